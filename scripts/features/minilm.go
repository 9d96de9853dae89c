package main

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strings"

	"gonum.org/v1/gonum/stat"
	"gorgonia.org/tensor"
	"kdistill/internal/checkpoint"
	"kdistill/internal/data"
	"kdistill/internal/graph"
	"kdistill/internal/nn"
	"kdistill/internal/objective"
)

// minilm: the sentence encoder's student keeps three of its six layers. Its embedding is the mean of the last hidden states.
var minilm = study{
	about: "Sentence embeddings: the mean cosine of the student's to the teacher's, on SST-2's 872 dev sentences; 600 of train choose the learning rate.",
	steps: 200, documents: 4000,
	run: func(o *options) error {
		o.rates = []float64{1e-4, 3e-4}
		teacher, err := o.encoder()
		if err != nil {
			return err
		}
		sentences := func(file string) ([]string, error) {
			all, err := lines(filepath.Join(o.shared, "data/tasks", file), 0)
			for i := range all {
				all[i], _, _ = strings.Cut(all[i], "\t")
			}
			return all, err
		}
		all, err := sentences("sst2_train.tsv")
		if err != nil {
			return err
		}
		test, err := sentences("sst2_dev.tsv")
		if err != nil {
			return err
		}
		choice, train := all[:600], all[600:]
		if o.documents > 0 && o.documents < len(train) {
			train = train[:o.documents]
		}
		for name, part := range map[string][]string{"train.txt": train, "choice.txt": choice, "test.txt": test} {
			if err := o.write(name, part, "\n"); err != nil {
				return err
			}
		}
		want := map[string][][]float64{}
		for _, name := range []string{"choice.txt", "test.txt"} {
			if want[name], err = embed(teacher, o.path(name)); err != nil {
				return err
			}
		}
		measure := func(model string, report bool) (float64, error) {
			name := "choice.txt"
			if report {
				name = "test.txt"
			}
			have, err := embed(model, o.path(name))
			if err != nil {
				return 0, err
			}
			var cosines []float64
			for i := range have {
				cosines = append(cosines, cosine(have[i], want[name][i]))
			}
			return stat.Mean(cosines, nil), nil
		}
		var arms []arm
		for _, a := range []struct{ name, loss string }{
			{"the embedding alone", "[{name: hidden_cosine, layer: last, tokens: mean}]"},
			{"the last hidden states alone", "[{name: hidden_mse, layer: last}]"},
			{"hidden states and relations", "[{name: hidden_mse, layers: [embedding, uniform]}, {name: relation_kl, relations: [qq, kk, vv], layer: last}]"},
		} {
			arms = append(arms, arm{name: a.name, measure: measure, train: func(seed int, rate float64) (string, error) {
				return o.train(fmt.Sprintf("%s-%d-of-%d-seed%d-lr%g", slug(a.name), o.steps, len(train), seed, rate), fmt.Sprintf(`teacher: {path: %q}
student: {init: teacher_layers, layers: uniform, config: {num_hidden_layers: 3}}
data:
  train: [{path: %q, separator: "\n"}]
  sequence_length: 128
loss: %s
train:
  steps: %d
  batch_size: 8
  optimizer: {lr: %g, betas: [0.9, 0.999], weight_decay: 0.01}
  schedule: {name: linear, warmup_steps: %d}
  seed: %d
  save_every: 0
`, teacher, o.path("train.txt"), a.loss, o.steps, rate, o.steps/10, seed))
			}})
		}
		figures, rates, err := o.compare(arms)
		if err != nil {
			return err
		}
		o.print("mean cosine", arms, figures, rates)
		return nil
	},
}

// embed returns the mean of the last hidden states of every line of a file.
func embed(dir, file string) ([][]float64, error) {
	m, err := checkpoint.OpenModel(dir)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	weights, err := checkpoint.ReadFrozen(m, m.Model, checkpoint.Auto)
	if err != nil {
		return nil, err
	}
	ctx, info := context.Background(), m.Model.Info()
	documents, err := data.Load(ctx, []data.File{{Path: file, Separator: "\n"}}, m.Tokenizer, data.LoadOptions{Vocab: info.Vocab, Task: data.NoTask})
	if err != nil {
		return nil, err
	}
	source, err := data.NewSource(documents, data.Options{SequenceLength: 128, Truncate: true, Epochs: 1})
	if err != nil {
		return nil, err
	}
	const rows = 32
	var arena graph.Arena
	programs := graph.ByShape[*encoder]{}
	defer programs.Close()
	means := make([][]float64, documents.Len())
	for range (source.Len() + rows - 1) / rows {
		b, err := source.Next(rows)
		if err != nil {
			return nil, err
		}
		p, err := programs.At(graph.Shape{B: b.B, T: b.T}, func() (*encoder, error) {
			g := &nn.Builder{Graph: graph.New(tensor.Float32, b.B, b.T), Weights: weights}
			last := m.Model.Forward(g).Final()
			program, err := g.Compile(&arena, nil, last)
			return &encoder{program, last}, err
		})
		if err != nil {
			return nil, err
		}
		if err := p.Run(ctx, objective.FeedOf(b, info)); err != nil {
			return nil, err
		}
		states := p.Value(p.last).Float32s()
		for i, d := range b.Documents {
			if d < 0 {
				continue
			}
			if means[d] == nil {
				means[d] = make([]float64, info.Width)
			}
			for k, x := range states[i*info.Width : (i+1)*info.Width] {
				means[d][k] += float64(x) // its length does not matter to a cosine
			}
		}
	}
	return means, nil
}

type encoder struct {
	*graph.Program
	last *graph.Node
}

func cosine(a, b []float64) float64 {
	ab, aa, bb := 0.0, 0.0, 0.0
	for i := range a {
		ab += a[i] * b[i]
		aa += a[i] * a[i]
		bb += b[i] * b[i]
	}
	return ab / math.Sqrt(aa*bb)
}
