// Command cached compares what is kept of a teacher on disk with the live teacher: what the student learns from it, what a token takes, and how long a step.
//
//	go run ./scripts/cached -speed 30        # a step with cross-entropy, from caches and with the live teacher, taken in turns
//	go run ./scripts/cached                  # students of a third of stories260k, six paired seeds: the table of scripts/README.md
//
// The last 200 of the stories longer than 200 bytes are the test, the others the text to learn from. Students start alike, seed by seed, and take the same
// steps with the same learning rate; each is measured after its last step. Caches and finished runs are kept in the folder -out.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/gonum/stat"

	"kdistill/internal/config"
	"kdistill/internal/distill"
	"kdistill/scripts/internal/trials"
)

// signals are the ways to learn, the one that others are compared with first.
var signals = []struct{ name, loss, cache string }{
	{"cross-entropy", "cross_entropy", ""},
	{"live", "forward_kl", ""},
	{"top 1", "forward_kl", "{top_k: 1}"},
	{"top 4", "forward_kl", "{top_k: 4}"},
	{"top 16", "forward_kl", "{top_k: 16}"},
	{"top 64", "forward_kl", "{top_k: 64}"},
	{"top 64, 8 bits", "forward_kl", "{top_k: 64, bits: 8}"},
	{"16 draws", "forward_kl", "{samples: 16}"},
	{"64 draws", "forward_kl", "{samples: 64}"},
	{"all, 32 bits", "forward_kl", "{top_k: all, bits: 32}"},
}

type options struct {
	teacher, student, text, out string
	part, steps, seeds, rows    int
	length, speed               int
	rate                        float64
}

func main() {
	log.SetFlags(0)
	var o options
	flag.StringVar(&o.teacher, "teacher", "../shared/models/stories260k", "a Hugging Face folder")
	flag.StringVar(&o.student, "student", "{hidden_size: 40, intermediate_size: 108, num_hidden_layers: 3, num_attention_heads: 5, num_key_value_heads: 5, head_dim: 8}",
		"keys of config.json that differ from the teacher's")
	flag.StringVar(&o.text, "text", "../shared/data/text/tinystories_10k.txt", "stories, <|endoftext|> between them")
	flag.StringVar(&o.out, "out", "runs/cached", "folder of caches and runs")
	flag.IntVar(&o.part, "part", 100, "percent of the text to learn from")
	flag.IntVar(&o.steps, "steps", 400, "optimizer steps of a student")
	flag.IntVar(&o.seeds, "seeds", 6, "paired seeds")
	flag.IntVar(&o.rows, "rows", 8, "rows of a step")
	flag.IntVar(&o.length, "length", 256, "tokens of a row")
	flag.Float64Var(&o.rate, "lr", 4e-3, "learning rate")
	flag.IntVar(&o.speed, "speed", 0, "time so many steps of each kind, and train nothing")
	flag.Parse()
	if err := o.run(context.Background()); err != nil {
		log.Fatal("cached: ", err)
	}
}

func (o *options) run(ctx context.Context) error {
	if err := os.MkdirAll(o.out, 0o777); err != nil {
		return err
	}
	if err := o.split(); err != nil {
		return err
	}
	bytes := make([]float64, len(signals))
	for i, s := range signals {
		if s.cache == "" {
			continue
		}
		c, err := o.config(i, 1)
		if err != nil {
			return err
		}
		r, err := distill.Cache(ctx, c, distill.Options{Log: io.Discard})
		if err != nil {
			return err
		}
		t := r.Totals
		bytes[i] = t.PerRow(float64(t.Bytes))
		log.Printf("%s: %.1f bytes a token, divergence %.3g (%.3g by rounding), tail %.3g", s.name, bytes[i], t.PerRow(t.Divergence), t.PerRow(t.Rounding), t.PerRow(t.Tail))
	}
	if o.speed > 0 {
		return o.race(ctx)
	}
	return o.table(ctx, bytes)
}

// split writes the stories to learn from and those to measure on.
func (o *options) split() error {
	stories, err := trials.Stories(o.text)
	if err != nil {
		return err
	}
	n := len(stories) - 200
	if n < 1 {
		return fmt.Errorf("%s: have %d stories, want more than 200", o.text, len(stories))
	}
	write := func(name string, part []string) error {
		return os.WriteFile(filepath.Join(o.out, name), []byte(strings.Join(part, trials.Separator)), 0o666)
	}
	return errors.Join(write("train.txt", stories[:max(1, n*o.part/100)]), write("test.txt", stories[n:]))
}

// config is that of a signal and a seed.
func (o *options) config(signal, seed int) (*config.Config, error) {
	s := signals[signal]
	name := strings.NewReplacer(" ", "_", ",", "").Replace(s.name)
	cache := ""
	if s.cache != "" {
		cache = filepath.Join(o.out, fmt.Sprintf("cache-%s-%d", name, o.length))
	}
	text := fmt.Sprintf(`
teacher: {path: %q, cache: %q}
student: {init: random, config: %s}
data: {train: [{path: %q, format: text}], eval: [{path: %q, format: text}], sequence_length: %d}
loss: [{name: %s}]
train:
  steps: %d
  batch_size: %d
  micro_batch_size: %d
  optimizer: {lr: %g}
  schedule: {name: cosine, warmup_steps: %d, min_lr_ratio: 0.1}
  seed: %d
  eval_every: 0
  save_every: 0
output: {dir: %q}
cache: %s
`, o.teacher, cache, o.student, filepath.Join(o.out, "train.txt"), filepath.Join(o.out, "test.txt"), o.length, s.loss, o.steps, o.rows, o.rows, o.rate,
		o.steps/20, seed, filepath.Join(o.out, fmt.Sprintf("run-%s-%d", name, seed)), orNull(s.cache))
	path := filepath.Join(o.out, "run.yaml")
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		return nil, err
	}
	return config.Load(path, nil)
}

func orNull(s string) string {
	if s == "" {
		return "null"
	}
	return s
}

// race takes steps of each kind in turns, so that what else the machine does falls on all alike.
func (o *options) race(ctx context.Context) error {
	benches := make([]*distill.Bench, len(signals))
	times := make([][]float64, len(signals))
	for i := range signals {
		c, err := o.config(i, 1)
		if err != nil {
			return err
		}
		if benches[i], err = distill.NewBench(ctx, c, distill.Options{Log: io.Discard}); err != nil {
			return err
		}
		defer benches[i].Close()
	}
	for turn := range o.speed + 2 {
		for i, b := range benches {
			step, err := b.Step(ctx)
			if err != nil {
				return err
			}
			if turn >= 2 {
				times[i] = append(times[i], step.Seconds)
			}
		}
	}
	fmt.Printf("\n%d steps of %d x %d tokens each, in turns\n\n| teacher | step, median | tokens/s | of cross-entropy's step |\n|---|---|---|---|\n", o.speed, o.rows, o.length)
	for i, s := range signals {
		ratios := make([]float64, o.speed)
		for j := range ratios {
			ratios[j] = times[i][j] / times[0][j]
		}
		fmt.Printf("| %s | %.1f ms | %.0f | %.3f |\n", s.name, 1e3*median(times[i]), float64(o.rows*o.length)/median(times[i]), median(ratios))
	}
	return nil
}

// outcome is what a student came to.
type outcome struct{ NLL, TokensPerSecond float64 }

// train trains a student, unless its outcome is there.
func (o *options) train(ctx context.Context, signal, seed int) (have outcome, err error) {
	c, err := o.config(signal, seed)
	if err != nil {
		return have, err
	}
	path := fmt.Sprintf("%s-%dx%dx%d-%d.json", c.Output.Dir, o.steps, o.rows, o.length, o.part)
	if text, err := os.ReadFile(path); err == nil && json.Unmarshal(text, &have) == nil {
		return have, nil
	}
	r, err := distill.Train(ctx, c, distill.Options{Overwrite: true, Log: io.Discard})
	if err != nil {
		return have, err
	}
	have.NLL, _ = r.After.Figures["nll"].(float64)
	if have.TokensPerSecond, err = speedOf(filepath.Join(c.Output.Dir, "metrics.jsonl")); err != nil {
		return have, err
	}
	text, err := json.Marshal(have)
	log.Printf("%s, seed %d: %.4f nats per token, %.0f tokens/s", signals[signal].name, seed, have.NLL, have.TokensPerSecond)
	return have, errors.Join(err, os.WriteFile(path, text, 0o666), os.RemoveAll(c.Output.Dir))
}

// speedOf is the median speed of a run's steps.
func speedOf(path string) (float64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var all []float64
	for line := range strings.Lines(string(text)) {
		var s struct {
			Rate float64 `json:"tokens_per_second"`
		}
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			return 0, err
		}
		if s.Rate > 0 {
			all = append(all, s.Rate)
		}
	}
	return median(all), nil
}

// table trains all students and prints means over seeds, with 95 % t-intervals of the paired difference to the live teacher.
func (o *options) table(ctx context.Context, bytes []float64) error {
	const live = 1
	nll, speed := make([][]float64, len(signals)), make([][]float64, len(signals))
	for seed := 1; seed <= o.seeds; seed++ {
		for i := range signals {
			r, err := o.train(ctx, i, seed)
			if err != nil {
				return err
			}
			nll[i], speed[i] = append(nll[i], r.NLL), append(speed[i], r.TokensPerSecond)
		}
	}
	fmt.Printf("\n%d steps of %d x %d tokens, %d seeds, forward KL\n\n", o.steps, o.rows, o.length, o.seeds)
	fmt.Println("| teacher | bytes per token | nats per token | minus live (95 % interval) | tokens/s |\n|---|---|---|---|---|")
	for i, s := range signals {
		size, difference := "-", "-"
		if bytes[i] > 0 {
			size = fmt.Sprintf("%.1f", bytes[i])
		}
		if i != live {
			difference = trials.Difference(nll[i], nll[live])
		}
		fmt.Printf("| %s | %s | %.4f | %s | %.0f |\n", s.name, size, stat.Mean(nll[i], nil), difference, stat.Mean(speed[i], nil))
	}
	return nil
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}
