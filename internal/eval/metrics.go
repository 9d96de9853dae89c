package eval

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"kdistill/internal/kernel"
	"kdistill/internal/loss"
	"kdistill/internal/model"
)

// definition registers a metric: a mean over the logits of each predicted token, a score of all documents' predictions together, or one of a task's examples.
type definition struct {
	name        string
	kinds       kinds // of models that have it
	teacher     bool  // compares with the teacher
	higher      bool  // is better
	percentiles bool
	row         func() (*loss.Loss, error)               // of a mean
	score       func(predicted, labels []float64) Figure // of a score: classes, or numbers

	check func(e Example, o TaskOptions) error         // of a task: says what an example lacks; nil: nothing
	each  func(e Example, o TaskOptions) float64       // of a task's mean
	all   func(examples []Example) (Figure, []float64) // in place of each: of all examples together, and what there is to say of each
}

// kinds are sets of what models predict.
type kinds int

const (
	causal  kinds = 1 << iota // the next token
	masked                    // hidden tokens
	binary                    // one of two classes
	several                   // one of three or more classes
	numeric                   // a number: a regression
	written                   // a text: a task's examples
	ranked                    // one of an example's choices, by its likelihood

	tokens  = causal | masked
	classes = binary | several
)

func kindOf(info model.Info) kinds {
	switch {
	case info.Task == model.Masked:
		return masked
	case info.Task == model.Classification && info.Logits() == 1:
		return numeric
	case info.Task == model.Classification && info.Logits() == 2:
		return binary
	case info.Task == model.Classification:
		return several
	case info.Task == model.NoTask:
		return 0
	}
	return causal
}

// registry lists the metrics in the order in which they are reported.
var registry = []definition{
	{name: "nll", kinds: tokens | classes, row: func() (*loss.Loss, error) { return loss.New("cross_entropy", loss.Params{}) }},
	accuracy, f1, macroF1, matthews, squaredError, pearson, spearman,
	{name: "teacher_nll", kinds: tokens | classes, teacher: true, row: teacherNLL},
	{name: "kl", kinds: tokens | classes, teacher: true, percentiles: true, row: func() (*loss.Loss, error) { return loss.New("forward_kl", loss.Params{}) }},
	{name: "reverse_kl", kinds: tokens | classes, teacher: true, percentiles: true, row: func() (*loss.Loss, error) { return loss.New("reverse_kl", loss.Params{}) }},
	{name: "top1_agreement", kinds: tokens | classes, teacher: true, higher: true, row: func() (*loss.Loss, error) { return loss.NewMetric("top1_agreement") }},
	{name: "acceptance", kinds: tokens | classes, teacher: true, higher: true, row: func() (*loss.Loss, error) { return loss.NewMetric("acceptance") }},
	accuracyOfChoices, accuracyByBytes, exactMatch, finalNumber, finalChoice, rouge1, rouge2, rougeL, distinct(1), distinct(2), distinct(3), distinct(4), words,
}

// Metrics lists the names of all metrics of documents; TaskMetrics has the others.
func Metrics() []string { return names(tokens | classes | numeric) }

// names lists the metrics that a kind in the set has.
func names(of kinds) (names []string) {
	for _, m := range registry {
		if m.kinds&of != 0 {
			names = append(names, m.name)
		}
	}
	return names
}

// Available lists the metrics that a model has, with a teacher or without.
func Available(info model.Info, teacher bool) (names []string) {
	for _, m := range registry {
		if m.fits(info, teacher) {
			names = append(names, m.name)
		}
	}
	return names
}

func (d definition) fits(info model.Info, teacher bool) bool {
	return d.kinds&kindOf(info) != 0 && (teacher || !d.teacher)
}

// Check says why a model hasn't a metric.
func Check(metric string, info model.Info, teacher bool) error {
	have := Available(info, teacher)
	if slices.Contains(have, metric) {
		return nil
	}
	if slices.Contains(Available(info, true), metric) {
		return fmt.Errorf("%s compares with a teacher: set teacher.path, or use one of %s", metric, strings.Join(have, ", "))
	}
	if len(have) == 0 {
		return errors.New("a model without a head predicts nothing that could be measured")
	}
	return fmt.Errorf("%s is no figure of %s: use one of %s", metric, info.Class, strings.Join(have, ", "))
}

// Better says whether a is a better value of the metric than b.
func Better(metric string, a, b float64) bool {
	i := slices.IndexFunc(registry, func(d definition) bool { return d.name == metric })
	if i >= 0 && registry[i].higher {
		return a > b
	}
	return a < b
}

// teacherNLL is the cross-entropy of the teacher's own row. It does not compare, so that the teacher's whole vocabulary counts.
func teacherNLL() (*loss.Loss, error) {
	ce, err := loss.New("cross_entropy", loss.Params{})
	if err != nil {
		return nil, err
	}
	return rowOf("teacher_nll",
		func(_ []float32, _ float32, _, teacher []float32, label int) float32 {
			return ce.Row32(nil, 0, teacher, nil, label)
		},
		func(_ []float64, _ float64, _, teacher []float64, label int) float64 {
			return ce.Row64(nil, 0, teacher, nil, label)
		}), nil
}

// rowOf makes a metric of a row function.
func rowOf(name string, row32 loss.Row[float32], row64 loss.Row[float64]) *loss.Loss {
	return &loss.Loss{Definition: loss.Definition{Name: name, Metric: true}, Row32: row32, Row64: row64}
}

// predictions gives what scores are made of.
func predictions() (*loss.Loss, error) {
	return rowOf("prediction", prediction[float32], prediction[float64]), nil
}

// prediction is the class with the largest logit, or the number that a regression gives.
func prediction[F kernel.Float](_ []F, _ F, student, _ []F, _ int) F {
	if len(student) == 1 {
		return student[0]
	}
	return F(best(student))
}

// best is the place of the largest logit, of equal ones the first; -1 where one is NaN.
func best[F kernel.Float](logits []F) int { return slices.Index(logits, kernel.Max(logits)) }
