package main

import (
	"fmt"
	"path/filepath"

	"kdistill/scripts/internal/trials"
)

// stories: the student of scripts/tinystories, with the teacher's logits alone and with its layers.
var stories = study{
	about: "TinyStories, nats per token on 200 stories; 200 others choose the learning rate. Every number of steps has its own schedule.",
	steps: 400,
	run: func(o *options) error {
		o.rates = []float64{4e-3, 8e-3}
		all, err := trials.Stories(filepath.Join(o.shared, "data/text/tinystories_10k.txt"))
		if err != nil {
			return err
		}
		train := all[400:]
		if o.documents > 0 && o.documents < len(train) {
			train = train[:o.documents]
		}
		for name, part := range map[string][]string{"test.txt": all[:200], "choice.txt": all[200:400], "train.txt": train} {
			if err := o.write(name, part, trials.Separator); err != nil {
				return err
			}
		}
		teacher := filepath.Join(o.shared, "models/stories260k")
		measure := func(model string, report bool) (float64, error) {
			file := "choice.txt"
			if report {
				file = "test.txt"
			}
			figures, err := o.eval(model, "--data", o.path(file), "--separator", trials.Separator, "--sequence-length", "512", "--long-documents", "truncate")
			if err != nil {
				return 0, err
			}
			return figures["nll"].(float64), nil
		}
		whole := o.steps
		for _, percent := range []int{10, 30, 100} {
			o.steps = max(2, whole*percent/100)
			var arms []arm
			for _, a := range []struct{ name, loss string }{
				{"logits", "[{name: forward_kl}]"},
				{"logits and features", "[{name: forward_kl}, {name: hidden_mse, layers: [embedding, uniform]}]"},
			} {
				arms = append(arms, arm{name: a.name, measure: measure, lower: true, train: func(seed int, rate float64) (string, error) {
					return o.train(fmt.Sprintf("%s-%d-seed%d-lr%g", slug(a.name), o.steps, seed, rate), fmt.Sprintf(`teacher: {path: %q}
student: {init: random, config: {hidden_size: 40, intermediate_size: 108, num_hidden_layers: 3, num_attention_heads: 5, num_key_value_heads: 5, head_dim: 8}}
data:
  train: [{path: %q, separator: "<|endoftext|>"}]
  eval: [{path: %q, separator: "<|endoftext|>"}]
  sequence_length: 256
loss: %s
train:
  steps: %d
  batch_size: 8
  micro_batch_size: 8
  optimizer: {lr: %g}
  schedule: {name: cosine, warmup_steps: %d, min_lr_ratio: 0.1}
  seed: %d
  eval_every: 0
  save_every: 0
`, teacher, o.path("train.txt"), o.path("choice.txt"), a.loss, o.steps, rate, o.steps/20, seed))
				}})
			}
			figures, rates, err := o.compare(arms)
			if err != nil {
				return err
			}
			o.print("nats per token", arms, figures, rates)
		}
		return nil
	},
}
