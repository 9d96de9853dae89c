package main

import (
	"fmt"
	"path/filepath"
)

// sst2: a BERT-like teacher is fine-tuned from the encoder; students of three of its six layers' size begin at random weights.
var sst2 = study{
	about: "SST-2, accuracy on the 872 sentences of dev; the learning rate is chosen on 600 sentences of train that nobody learns from.",
	steps: 200, documents: 2000,
	run: func(o *options) error {
		encoder, err := o.encoder()
		if err != nil {
			return err
		}
		all, err := lines(filepath.Join(o.shared, "data/tasks/sst2_train.tsv"), 0)
		if err != nil {
			return err
		}
		choice, train := all[:600], all[600:]
		if o.documents > 0 && o.documents < len(train) {
			train = train[:o.documents]
		}
		if err := o.write("choice.tsv", choice, "\n"); err != nil {
			return err
		}
		if err := o.write("train.tsv", train, "\n"); err != nil {
			return err
		}
		measure := func(model string, report bool) (float64, error) {
			file := o.path("choice.tsv")
			if report {
				file = filepath.Join(o.shared, "data/tasks/sst2_dev.tsv")
			}
			figures, err := o.eval(model, "--data", file, "--columns", "text,label", "--sequence-length", "64")
			if err != nil {
				return 0, err
			}
			return figures["accuracy"].(float64), nil
		}
		config := func(head, loss string, steps, seed int, rate float64) string {
			return fmt.Sprintf(`%sdata:
  train: [{path: %q, columns: [text, label]}]
  sequence_length: 64
loss: %s
train:
  steps: %d
  batch_size: 32
  optimizer: {lr: %g, betas: [0.9, 0.999], weight_decay: 0.01}
  schedule: {name: linear, warmup_steps: %d}
  seed: %d
  eval_every: 0
  save_every: 0
  best_metric: accuracy
`, head, o.path("train.tsv"), loss, steps, rate, steps/10, seed)
		}
		teacher, err := o.train(fmt.Sprintf("teacher-%d-of-%d", o.steps, len(train)),
			config(fmt.Sprintf("student: {path: %q, task: classification}\n", encoder), "[{name: cross_entropy}]", o.steps, 1, 1e-4))
		if err != nil {
			return err
		}
		accuracy, err := measure(teacher, true)
		if err != nil {
			return err
		}
		fmt.Printf("teacher: accuracy %.4f\n", accuracy)
		var arms []arm
		for _, a := range []struct{ name, loss string }{
			{"labels alone", "[{name: cross_entropy}]"},
			{"logits", "[{name: cross_entropy, weight: 0.5}, {name: forward_kl, weight: 0.5, temperature: 2, t2_scaling: true}]"},
			{"logits and features", "[{name: cross_entropy, weight: 0.5}, {name: forward_kl, weight: 0.5, temperature: 2, t2_scaling: true}, {name: hidden_mse, layers: [embedding, uniform]}]"},
		} {
			arms = append(arms, arm{name: a.name, measure: measure, train: func(seed int, rate float64) (string, error) {
				head := fmt.Sprintf("teacher: {path: %q}\nstudent: {init: random, config: {num_hidden_layers: 3}}\n", teacher)
				return o.train(fmt.Sprintf("%s-%d-of-%d-seed%d-lr%g", slug(a.name), o.steps, len(train), seed, rate), config(head, a.loss, o.steps, seed, rate))
			}})
		}
		figures, rates, err := o.compare(arms)
		if err != nil {
			return err
		}
		o.print("accuracy", arms, figures, rates)
		return nil
	},
}
