// Command tinystories shows distillation on real inputs: a student of less than a third of the stories260k model learns TinyStories from it, by several
// losses, with 10, 30 and 100 % of the training stories, and is compared with the same student trained on the text alone.
//
//	go run ./scripts/tinystories -out runs/tinystories
//
// Stories 1 to 200 are the test, 201 to 400 choose the learning rate (on seeds that are not reported) and, the first 50 of them, the moment to stop;
// the rest is training text.
// All students take the same steps from the same start, seed by seed; "same time" gives plain cross-entropy the wall-clock time of forward KL.
// Finished runs are kept in the folder, so that the script goes on where it was stopped. It prints the table of scripts/README.md.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gonum.org/v1/gonum/stat"

	"kdistill/scripts/internal/trials"
)

// arm is a way to train the student.
type arm struct {
	name, loss string
	same       string // the arm whose wall-clock time it is given; "": the same steps
}

var arms = []arm{
	{name: "cross-entropy", loss: "[{name: cross_entropy}]"},
	{name: "cross-entropy, same time", loss: "[{name: cross_entropy}]", same: "forward KL"},
	{name: "cross-entropy, label smoothing 0.1", loss: "[{name: cross_entropy, label_smoothing: 0.1}]"},
	{name: "forward KL", loss: "[{name: forward_kl}]"},
	{name: "reverse KL", loss: "[{name: reverse_kl}]"},
	{name: "generalized JSD 0.5", loss: "[{name: generalized_jsd, beta: 0.5}]"},
}

const student = "{hidden_size: 40, intermediate_size: 108, num_hidden_layers: 3, num_attention_heads: 5, num_key_value_heads: 5, head_dim: 8}"

// options of the command line.
type options struct {
	shared, out, kdistill string
	steps, seeds, jobs    int
	fractions             []int
	rates                 []float64
}

func main() {
	log.SetFlags(0)
	o := options{fractions: []int{10, 30, 100}, rates: []float64{4e-3, 8e-3, 1.6e-2}}
	flag.StringVar(&o.shared, "shared", "../shared", "folder of models/stories260k and data/text/tinystories_10k.txt")
	flag.StringVar(&o.out, "out", "runs/tinystories", "folder of the runs")
	flag.IntVar(&o.steps, "steps", 400, "optimizer steps of a student, 8 rows of 256 tokens each")
	flag.IntVar(&o.seeds, "seeds", 6, "paired seeds")
	flag.IntVar(&o.jobs, "jobs", 2, "students trained at a time, one thread each")
	flag.Parse()
	if err := o.run(); err != nil {
		log.Fatal("tinystories: ", err)
	}
}

func (o *options) run() error {
	if err := os.MkdirAll(o.out, 0o777); err != nil {
		return err
	}
	o.kdistill = filepath.Join(o.out, "kdistill")
	if out, err := exec.Command("go", "build", "-o", o.kdistill, "./cmd/kdistill").CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	if err := o.split(); err != nil {
		return err
	}
	rates, err := o.chooseRates()
	if err != nil {
		return err
	}
	var all []trial
	for _, a := range arms {
		for _, fraction := range o.fractions {
			for seed := 1; seed <= o.seeds; seed++ {
				all = append(all, trial{arm: a, fraction: fraction, seed: seed, rate: rates[a.loss]})
			}
		}
	}
	results, err := o.trainAll(all)
	if err != nil {
		return err
	}
	return o.table(results, rates)
}

// split writes the stories: test, choice, and the fractions of the training text.
func (o *options) split() error {
	stories, err := trials.Stories(filepath.Join(o.shared, "data/text/tinystories_10k.txt"))
	if err != nil {
		return err
	}
	write := func(name string, part []string) error {
		return os.WriteFile(filepath.Join(o.out, name), []byte(strings.Join(part, trials.Separator)), 0o666)
	}
	train := stories[400:]
	err = errors.Join(write("test.txt", stories[:200]), write("choice.txt", stories[200:400]), write("stop.txt", stories[200:250]))
	for _, f := range o.fractions {
		err = errors.Join(err, write(fmt.Sprintf("train-%d.txt", f), train[:len(train)*f/100]))
	}
	return err
}

// trial is one student.
type trial struct {
	arm      arm
	fraction int
	seed     int
	rate     float64
	steps    int // 0: the common number
}

// outcome is what a trial gave.
type outcome struct {
	Test, Choice map[string]any // figures of kdistill eval, at the best moment by stop.txt
	Seconds      float64
}

func (o *options) teacher() string { return filepath.Join(o.shared, "models/stories260k") }

// train trains one student, unless its outcome is there.
func (o *options) train(t trial) (outcome, error) {
	steps := o.steps
	if t.steps > 0 {
		steps = t.steps
	}
	id := fmt.Sprintf("%s-%d-seed%d-lr%g-steps%d", strings.NewReplacer(" ", "_", ",", "").Replace(t.arm.name), t.fraction, t.seed, t.rate, steps)
	dir := filepath.Join(o.out, id)
	var have outcome
	if text, err := os.ReadFile(dir + ".json"); err == nil && json.Unmarshal(text, &have) == nil {
		return have, nil
	}
	config := fmt.Sprintf(`teacher: {path: %q}
student: {init: random, config: %s}
data:
  train: [{path: %q, separator: "<|endoftext|>"}]
  eval: [{path: %q, separator: "<|endoftext|>"}]
  sequence_length: 256
loss: %s
train:
  steps: %d
  batch_size: 8
  micro_batch_size: 8
  optimizer: {lr: %g, betas: [0.9, 0.95], weight_decay: 0.1}
  schedule: {name: cosine, warmup_steps: %d, min_lr_ratio: 0.1}
  seed: %d
  eval_every: %d
  save_every: 0
output: {dir: %q}
`, o.teacher(), student, filepath.Join(o.out, fmt.Sprintf("train-%d.txt", t.fraction)), filepath.Join(o.out, "stop.txt"), t.arm.loss,
		steps, t.rate, steps/20, t.seed, max(1, steps/10), dir)
	if err := os.WriteFile(dir+".yaml", []byte(config), 0o666); err != nil {
		return have, err
	}
	start := time.Now()
	if out, err := exec.Command(o.kdistill, "train", "--config", dir+".yaml", "--overwrite", "--threads", "1").CombinedOutput(); err != nil {
		return have, fmt.Errorf("%s: %w\n%s", id, err, out)
	}
	have.Seconds = time.Since(start).Seconds()
	seconds, err := stepSeconds(filepath.Join(dir, "metrics.jsonl"))
	if err == nil {
		have.Seconds = seconds
	}
	best := filepath.Join(dir, "best")
	if have.Test, err = o.eval(best, "test.txt"); err != nil {
		return have, err
	}
	if have.Choice, err = o.eval(best, "choice.txt"); err != nil {
		return have, err
	}
	text, err := json.Marshal(have)
	if err != nil {
		return have, err
	}
	log.Printf("%s: test nll %.4f, %.0f s", id, have.Test["nll"], have.Seconds)
	return have, errors.Join(os.WriteFile(dir+".json", text, 0o666), os.RemoveAll(filepath.Join(dir, "checkpoints")))
}

// stepSeconds adds up the time of the steps alone: evaluations are not training.
func stepSeconds(path string) (float64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	sum := 0.0
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var s struct {
			Tokens int
			Rate   float64 `json:"tokens_per_second"`
			Eval   json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return 0, err
		}
		if s.Eval == nil && s.Rate > 0 {
			sum += float64(s.Tokens) / s.Rate
		}
	}
	return sum, nil
}

func (o *options) eval(model, file string) (map[string]any, error) {
	command := exec.Command(o.kdistill, "eval", "--model", model, "--teacher", o.teacher(), "--data", filepath.Join(o.out, file),
		"--separator", "<|endoftext|>", "--sequence-length", "512", "--long-documents", "truncate", "--threads", "1", "--json")
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("eval %s: %w", model, err)
	}
	var figures map[string]any
	return figures, json.Unmarshal(out, &figures)
}

// trainAll trains jobs students at a time.
func (o *options) trainAll(trials []trial) (map[string][]outcome, error) {
	results := make([]outcome, len(trials))
	errs := make([]error, len(trials))
	limit := make(chan struct{}, o.jobs)
	var wait sync.WaitGroup
	// The arms that others take their time from come first.
	for _, timed := range []bool{false, true} {
		for i, t := range trials {
			if timed != (t.arm.same != "") {
				continue
			}
			if timed {
				t.steps = o.stepsOf(t, trials, results)
			}
			limit <- struct{}{}
			wait.Go(func() {
				defer func() { <-limit }()
				results[i], errs[i] = o.train(t)
			})
		}
		wait.Wait()
	}
	by := map[string][]outcome{}
	for i, t := range trials {
		key := fmt.Sprintf("%s/%d", t.arm.name, t.fraction)
		by[key] = append(by[key], results[i])
	}
	return by, errors.Join(errs...)
}

// stepsOf converts the wall-clock time of another arm into steps of this one, by the mean times of all seeds, to tens.
func (o *options) stepsOf(t trial, trials []trial, results []outcome) int {
	var other, own float64
	for i, u := range trials {
		switch {
		case u.fraction != t.fraction:
		case u.arm.name == t.arm.same:
			other += results[i].Seconds
		case u.arm.same == "" && u.arm.loss == t.arm.loss:
			own += results[i].Seconds
		}
	}
	if own == 0 {
		return o.steps
	}
	return int(math.Round(float64(o.steps)*other/own/10)) * 10
}

// chooseRates takes for each loss the learning rate with the best nll on choice.txt, over two seeds that are not reported, with 30 % of the text.
func (o *options) chooseRates() (map[string]float64, error) {
	var trials []trial
	for _, a := range arms {
		for _, rate := range o.rates {
			for seed := 101; seed <= 102 && a.same == ""; seed++ {
				trials = append(trials, trial{arm: a, fraction: 30, seed: seed, rate: rate})
			}
		}
	}
	rates := map[string]float64{}
	best := map[string]float64{}
	for _, rate := range o.rates {
		var some []trial
		for _, t := range trials {
			if t.rate == rate {
				some = append(some, t)
			}
		}
		results, err := o.trainAll(some)
		if err != nil {
			return nil, err
		}
		for _, a := range arms {
			if a.same != "" {
				continue
			}
			nll := stat.Mean(column(results[fmt.Sprintf("%s/30", a.name)], func(r outcome) map[string]any { return r.Choice }, "nll"), nil)
			if have, ok := best[a.loss]; !ok || nll < have {
				best[a.loss], rates[a.loss] = nll, rate
			}
		}
	}
	return rates, nil
}

func column(results []outcome, part func(outcome) map[string]any, figure string) []float64 {
	var out []float64
	for _, r := range results {
		v, _ := part(r)[figure].(float64)
		out = append(out, v)
	}
	return out
}

func test(r outcome) map[string]any { return r.Test }

// table prints means over seeds, paired differences to plain cross-entropy with 95 % t-intervals, and the part of the gap to the teacher that is closed.
func (o *options) table(results map[string][]outcome, rates map[string]float64) error {
	figures, err := o.eval(o.teacher(), "test.txt")
	if err != nil {
		return err
	}
	teacher := figures["nll"].(float64)
	fmt.Printf("\nTeacher: %.4f nats per token on the test stories. %d steps of 8 x 256 tokens, %d seeds.\n\n", teacher, o.steps, o.seeds)
	fmt.Println("| text | student | lr | nats per token | minus cross-entropy (95 % interval) | gap closed | KL to teacher | top-1 | acceptance | s |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	for _, f := range o.fractions {
		base := column(results[fmt.Sprintf("%s/%d", arms[0].name, f)], test, "nll")
		for _, a := range arms {
			r := results[fmt.Sprintf("%s/%d", a.name, f)]
			nll := column(r, test, "nll")
			mean := func(figure string) float64 { return stat.Mean(column(r, test, figure), nil) }
			seconds := 0.0
			for _, x := range r {
				seconds += x.Seconds / float64(len(r))
			}
			difference, gap := "-", "-"
			if a.name != arms[0].name {
				d, _ := trials.Paired(nll, base)
				difference = trials.Difference(nll, base)
				gap = fmt.Sprintf("%.0f %%", 100*-d/(stat.Mean(base, nil)-teacher))
			}
			fmt.Printf("| %d %% | %s | %g | %.4f | %s | %s | %.4f | %.4f | %.4f | %.0f |\n", f, a.name, rates[a.loss], stat.Mean(nll, nil), difference, gap,
				mean("kl"), mean("top1_agreement"), mean("acceptance"), seconds)
		}
	}
	return nil
}
