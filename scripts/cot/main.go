// Command cot shows Distilling step-by-step (Hsieh et al. 2023) on real rationales: the problems of SVAMP with those that PaLM 540B wrote, published with the paper.
//
//	go run ./scripts/cot                        # about half an hour of two cores
//	go run ./scripts/cot -seeds 2 -passes 2     # a look
//
// stories260k learns to answer with a formula of the problem's numbers. Both students of a pair begin alike and read each problem equally often and in as many
// steps, in which the second reads rationales besides; a third reads problems and answers alone and as many tokens as the second. The problems whose answer is one
// operation on two of their numbers (of up to three) are put in order anew by each seed: the first 100 are the test, 50 choose the learning rate on a seed that is not reported, 25,
// 50 and 100 % of the others are learnt from. Accuracy: of all formulas of one operation on two of the numbers (18 for three numbers) the right one has the
// largest likelihood behind the problem. Students are asked with the prefix that they learnt ([label] or none) and write no rationale. Finished runs are kept in the
// folder -out, so that it goes on where it was stopped.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"gonum.org/v1/gonum/stat"

	"kdistill/internal/data"
	"kdistill/scripts/internal/trials"
)

const tested, chosen = 100, 50

// mostChoices are those of three numbers.
const mostChoices = 18

// arms are the students, the first of which the others are compared with.
var arms = []struct {
	name, style, prefix string
	passes, rows        int // of the first's
}{
	{"answers alone", "label_only", "", 1, 1},
	{"answers and rationales", "multitask", "[label] ", 1, 2}, // about twice the tokens in as many steps
	{"answers alone, as many tokens", "label_only", "", 2, 1},
}

type options struct {
	shared, out, model, kdistill string

	passes, rows, seeds, jobs int
	weight                    float64
	rates                     []float64

	problems []problem
}

type problem struct {
	Question string `json:"question"`
	Answer   string `json:"answer"`
	formulas []string
	raw      string // what PaLM wrote
}

func main() {
	log.SetFlags(0)
	o := options{rates: []float64{1e-3, 3e-3}}
	flag.StringVar(&o.shared, "shared", "../shared", "folder of data and models")
	flag.StringVar(&o.out, "out", "runs/cot", "folder of the runs")
	flag.StringVar(&o.model, "model", "", "the student's beginning; default: stories260k of -shared")
	flag.IntVar(&o.passes, "passes", 16, "over 100 % of the problems; over 25 % four times as many")
	flag.IntVar(&o.rows, "rows", 4, "rows of 512 tokens in a step, about four problems each")
	flag.IntVar(&o.seeds, "seeds", 6, "paired seeds")
	flag.IntVar(&o.jobs, "jobs", 2, "students trained at a time, one thread each")
	flag.Float64Var(&o.weight, "weight", 1, "λ, the weight of rationales")
	flag.Parse()
	if o.model == "" {
		o.model = filepath.Join(o.shared, "models/stories260k")
	}
	if err := o.run(); err != nil {
		log.Fatal("cot: ", err)
	}
}

func (o *options) run() error {
	if err := os.MkdirAll(o.out, 0o777); err != nil {
		return err
	}
	o.kdistill = o.path("kdistill")
	if out, err := exec.Command("go", "build", "-o", o.kdistill, "./cmd/kdistill").CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	if err := o.read(); err != nil {
		return err
	}
	rates := make([]float64, len(arms))
	for i := range arms {
		best := math.Inf(-1)
		for _, rate := range o.rates {
			figures, err := o.each(i, 100, 101, 101, rate, "choice")
			if err != nil {
				return err
			}
			if figures[0] > best {
				best, rates[i] = figures[0], rate
			}
		}
	}
	learnt := len(o.problems) - tested - chosen
	fmt.Printf("\n%d problems to learn from, read %d times, %d seeds, each with %d others as its test\n\n", learnt, o.passes, o.seeds, tested)
	fmt.Println("| problems | student | lr | accuracy | minus answers alone (95 % interval) |\n|---|---|---|---|---|")
	for _, percent := range []int{25, 50, 100} {
		var first []float64
		for i, a := range arms {
			figures, err := o.each(i, percent, 1, o.seeds, rates[i], "test")
			if err != nil {
				return err
			}
			difference := "-"
			if i == 0 {
				first = figures
			} else {
				difference = trials.Difference(figures, first)
			}
			fmt.Printf("| %d %% | %s | %g | %.4f | %s |\n", percent, a.name, rates[i], stat.Mean(figures, nil), difference)
		}
	}
	return nil
}

func (o *options) path(name string) string { return filepath.Join(o.out, name) }

var (
	operation = regexp.MustCompile(`^\( ([\d.]+) ([-+*/]) ([\d.]+) \)$`)
	number    = regexp.MustCompile(`\d+(?:\.\d+)?`)
)

// read takes the problems whose answer is one operation on two of their numbers.
func (o *options) read() error {
	dir := filepath.Join(o.shared, "data/cot/dss/svamp")
	objects, err := data.Objects(filepath.Join(dir, "svamp_train.json"))
	if err != nil {
		return err
	}
	var raw []string
	for _, name := range []string{"train_CoT_0.json", "train_CoT_1.json"} {
		text, err := os.ReadFile(filepath.Join(dir, "llm", name))
		if err != nil {
			return err
		}
		var part []string
		if err := json.Unmarshal(text, &part); err != nil {
			return err
		}
		raw = append(raw, part...)
	}
	if len(raw) != len(objects) {
		return fmt.Errorf("have %d problems and %d rationales", len(objects), len(raw))
	}
	for i, x := range objects {
		p := problem{raw: raw[i]}
		if err := errors.Join(json.Unmarshal(x.Fields["input"], &p.Question), json.Unmarshal(x.Fields["label"], &p.Answer)); err != nil {
			return fmt.Errorf("%s: %w", x.Place, err)
		}
		p.formulas = formulas(p.Question)
		m := operation.FindStringSubmatch(p.Answer)
		if m != nil && !slices.Contains(p.formulas, p.Answer) && strings.Contains("+*", m[2]) { // in the order of the text
			p.Answer = fmt.Sprintf("( %s %s %s )", m[3], m[2], m[1])
		}
		if slices.Contains(p.formulas, p.Answer) && len(p.formulas) <= mostChoices {
			o.problems = append(o.problems, p)
		}
	}
	if len(o.problems) < 2*(tested+chosen) {
		return fmt.Errorf("only %d problems can be used", len(o.problems))
	}
	return nil
}

// formulas lists the operations on two different numbers of a text; of sums and products one order is enough.
func formulas(text string) (all []string) {
	var numbers []string
	for _, n := range number.FindAllString(text, -1) {
		if !strings.Contains(n, ".") {
			n += ".0"
		}
		if !slices.Contains(numbers, n) {
			numbers = append(numbers, n)
		}
	}
	for i, a := range numbers {
		for j, b := range numbers {
			for _, op := range "+-*/" {
				if i < j || i > j && (op == '-' || op == '/') {
					all = append(all, fmt.Sprintf("( %s %c %s )", a, op, b))
				}
			}
		}
	}
	return all
}

// each trains an arm with some seeds, jobs at a time, and returns the accuracies.
func (o *options) each(arm, percent, first, last int, rate float64, task string) ([]float64, error) {
	figures, errs := make([]float64, last-first+1), make([]error, last-first+1)
	limit := make(chan struct{}, o.jobs)
	var wait sync.WaitGroup
	for i := range figures {
		limit <- struct{}{}
		wait.Go(func() {
			defer func() { <-limit }()
			figures[i], errs[i] = o.student(arm, percent, first+i, rate, task)
		})
	}
	wait.Wait()
	return figures, errors.Join(errs...)
}

// student trains one, unless its figure is there, and measures it.
func (o *options) student(arm, percent, seed int, rate float64, task string) (accuracy float64, err error) {
	a := arms[arm]
	id := fmt.Sprintf("%s-%d-passes%d-rows%d-weight%g-lr%g-seed%d", strings.NewReplacer(" ", "-", ",", "").Replace(a.name), percent, o.passes, o.rows, o.weight, rate, seed)
	result := o.path(id + ".json")
	if text, err := os.ReadFile(result); err == nil && json.Unmarshal(text, &accuracy) == nil {
		return accuracy, nil
	}
	dir := o.path(id)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return 0, err
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := o.files(in, percent, seed, a.prefix); err != nil {
		return 0, err
	}
	source := fmt.Sprintf("path: %q, format: cot, style: %s", in("train.json"), a.style)
	if a.style == "multitask" {
		source += fmt.Sprintf(", rationales: %q, rationale_weight: %g", in("rationales.json"), o.weight)
	}
	config := fmt.Sprintf(`student: {path: %q}
data: {train: [{%s}], sequence_length: 512}
loss: [{name: cross_entropy}]
train:
  epochs: %d
  batch_size: %d
  optimizer: {lr: %g, betas: [0.9, 0.99], weight_decay: 0.01}
  schedule: {name: cosine, warmup_steps: 10, min_lr_ratio: 0.1}
  seed: %d
  eval_every: 0
  save_every: 0
output: {dir: %q}
`, o.model, source, a.passes*o.passes*100/percent, a.rows*o.rows, rate, seed, in("run"))
	if err := os.WriteFile(in("run.yaml"), []byte(config), 0o666); err != nil {
		return 0, err
	}
	if out, err := exec.Command(o.kdistill, "train", "--config", in("run.yaml"), "--overwrite", "--threads", "1").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s: %w\n%s", id, err, out)
	}
	if accuracy, err = o.accuracy(in("run/model"), in(task+".json")); err != nil {
		return 0, err
	}
	log.Printf("%s: %.4f", id, accuracy)
	return accuracy, errors.Join(write(result, accuracy), os.RemoveAll(dir))
}

// files writes what a seed makes of the problems.
func (o *options) files(in func(string) string, percent, seed int, prefix string) error {
	order := rand.New(rand.NewPCG(uint64(seed), 0)).Perm(len(o.problems))
	task := func(part []int) (all []map[string]any) {
		for _, i := range part {
			p := o.problems[i]
			all = append(all, map[string]any{"prompt": prefix + data.Question(p.Question, nil), "choices": p.formulas, "reference": slices.Index(p.formulas, p.Answer)})
		}
		return all
	}
	var train []problem
	var raw []string
	learnt := order[tested+chosen:]
	for _, i := range learnt[:len(learnt)*percent/100] {
		train, raw = append(train, o.problems[i]), append(raw, o.problems[i].raw)
	}
	return errors.Join(write(in("test.json"), task(order[:tested])), write(in("choice.json"), task(order[tested:tested+chosen])),
		write(in("train.json"), train), write(in("rationales.json"), raw))
}

func write(path string, v any) error {
	text, err := json.Marshal(v)
	return errors.Join(err, os.WriteFile(path, text, 0o666))
}

// accuracy asks a model.
func (o *options) accuracy(model, task string) (float64, error) {
	command := exec.Command(o.kdistill, "eval", "--model", model, "--task", task, "--metric", "acc", "--json", "--threads", "1")
	var said bytes.Buffer
	command.Stderr = &said
	out, err := command.Output()
	if err != nil {
		return 0, fmt.Errorf("eval %s: %w\n%s", model, err, said.Bytes())
	}
	var figures struct{ Acc float64 }
	return figures.Acc, json.Unmarshal(out, &figures)
}
