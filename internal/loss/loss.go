// Package loss compares one row of the student's with one of the teacher's (logits, a hidden state, a query's scores), or with a label, and gives the value and its gradient.
// It knows no batches, masks, means, threads or graphs; formulae and sources stand above each loss, one file each.
package loss

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"kdistill/internal/kernel"
	"kdistill/internal/suggest"
)

// Row returns the value of one position (that of a divergence in nats) and, where grad is not nil, adds scale·∂value/∂student to grad.
// student, teacher and grad hold one number per token id [V], or what Definition.Rows says; teacher is nil where the loss has none.
// label is the id to predict; a negative one gives 0 and no gradient where the loss needs it, other losses ignore it.
// An id whose logit is -Inf in both rows is masked: no part of the vocabulary. A Row is safe for concurrent use.
type Row[F kernel.Float] func(grad []F, scale F, student, teacher []F, label int) F

// Params are a loss's settings.
type Params struct {
	Temperature float64            // divides both rows of logits; 0 means 1
	T2Scaling   bool               // multiplies value and gradient by Temperature²
	Values      map[string]float64 // by the names of Definition.Params; what is absent takes its default
	Choices     map[string]string  // by the names of Definition.Choices
}

// Rows says what the rows of a loss hold.
type Rows int

// What rows hold.
const (
	Logits    Rows = iota // one for each token id
	Hidden                // a hidden state
	Scores                // of a query: one for each key that it sees, before the softmax
	Relations             // the same between two of a layer's projections: queries, keys, values
)

// Param describes one entry of Params.Values.
type Param struct {
	Name              string
	Default, Min, Max float64
	BelowMax          bool // Max itself is out of range
	Doc               string
}

// Choice describes one entry of Params.Choices.
type Choice struct {
	Name   string
	Values []string // the first is the default
	Doc    string
}

// Definition describes a loss.
type Definition struct {
	Name, Doc, Paper string
	Rows             Rows
	Teacher          bool // compares with the teacher's row
	Target           bool // compares with a number that the document comes with, which stands in place of the teacher's row
	Temperature      bool // takes a temperature other than 1
	Raw              bool // compares logits themselves: unlike probabilities, a constant that is added to all of a row changes it
	Metric           bool // a figure of evaluation: a Row without gradient, which ignores grad
	Params           []Param
	Choices          []Choice
}

// Loss is a loss with its settings, every default filled in.
type Loss struct {
	Definition
	Params Params
	Row32  Row[float32]
	Row64  Row[float64]
	form   *form   // how Sum evaluates it, nil: by its Row
	sparse *sparse // of a loss on rows of which a part is known; nil: they are whole
}

// entry is a registered loss: how its rows are made, and its definition once more for Check.
type entry struct {
	Definition
	row32  func(Params) Row[float32]
	row64  func(Params) Row[float64]
	closed func(position) float64
}

var registry = map[string]entry{}

// register adds a loss. It is called from init of the file that holds the loss.
func register(d Definition, row32 func(Params) Row[float32], row64 func(Params) Row[float64], closed func(position) float64) {
	if _, twice := registry[d.Name]; twice {
		panic("loss: registered twice: " + d.Name)
	}
	registry[d.Name] = entry{d, row32, row64, closed}
}

// Names returns the losses in alphabetical order.
func Names() []string { return names(false) }

// MetricNames returns the metrics in alphabetical order.
func MetricNames() []string { return names(true) }

func names(metric bool) []string {
	var out []string
	for name, e := range registry {
		if e.Metric == metric {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Lookup returns the definition of a loss or metric.
func Lookup(name string) (Definition, bool) {
	e, ok := registry[name]
	return e.Definition, ok
}

// New returns the named loss. A name or parameter that is not known, a value out of range,
// and a temperature where the loss has none are errors that say what there is.
func New(name string, p Params) (*Loss, error) {
	e, ok := registry[name]
	if !ok || e.Metric {
		return nil, suggest.Unknown("loss", name, Names())
	}
	return e.make(p)
}

// NewMetric returns the named metric.
func NewMetric(name string) (*Loss, error) {
	e, ok := registry[name]
	if !ok || !e.Metric {
		return nil, suggest.Unknown("metric", name, MetricNames())
	}
	return e.make(Params{})
}

func (e entry) make(p Params) (*Loss, error) {
	p, err := e.fill(p)
	if err != nil {
		return nil, fmt.Errorf("loss %s: %w", e.Name, err)
	}
	l := &Loss{Definition: e.Definition, Params: p}
	l.Row32, l.Row64 = times(l.factor(), e.row32(p)), times(l.factor(), e.row64(p))
	if of := forms[e.Name]; of != nil {
		l.form = of(p)
	}
	return l, nil
}

// factor is what T2Scaling multiplies the loss by.
func (l *Loss) factor() float64 {
	if l.Params.T2Scaling {
		return l.Params.Temperature * l.Params.Temperature
	}
	return 1
}

// Value evaluates a loss by its Row of the type F on the ids that it compares: the first min(len(student), len(teacher)). grad may be nil.
func Value[F kernel.Float](l *Loss, grad []F, scale F, student, teacher []F, label int) F {
	switch {
	case l.Teacher || l.Target:
		n := min(len(student), len(teacher))
		student, teacher = student[:n], teacher[:n]
		if grad != nil {
			grad = grad[:n]
		}
	case !l.Metric: // a metric may read a teacher's row of any length
		teacher = nil
	}
	if row, ok := any(l.Row32).(Row[F]); ok {
		return row(grad, scale, student, teacher, label)
	}
	return any(l.Row64).(Row[F])(grad, scale, student, teacher, label)
}

// fill returns p with its defaults, checked.
func (d Definition) fill(p Params) (Params, error) {
	if p.Temperature == 0 {
		p.Temperature = 1
	}
	if !(p.Temperature > 0) || math.IsInf(p.Temperature, 0) {
		return p, fmt.Errorf("temperature: have %v, want a number above 0", p.Temperature)
	}
	if !d.Temperature && p.Temperature != 1 {
		return p, fmt.Errorf("temperature: have %v, want none: this loss has no temperature", p.Temperature)
	}
	if !d.Temperature && p.T2Scaling {
		return p, fmt.Errorf("t2_scaling: have true, want none: this loss has no temperature")
	}
	values := make(map[string]float64, len(d.Params))
	var known []string
	for _, q := range d.Params {
		known = append(known, q.Name)
		values[q.Name] = q.Default
	}
	for _, name := range slices.Sorted(maps.Keys(p.Values)) {
		i := slices.Index(known, name)
		if i < 0 {
			return p, suggest.Unknown("parameter", name, known)
		}
		if err := d.Params[i].check(p.Values[name]); err != nil {
			return p, err
		}
		values[name] = p.Values[name]
	}
	p.Values = values
	var err error
	p.Choices, err = d.choose(p.Choices)
	return p, err
}

// choose returns choices with their defaults, checked.
func (d Definition) choose(given map[string]string) (map[string]string, error) {
	out := make(map[string]string, len(d.Choices))
	var known []string
	for _, c := range d.Choices {
		known = append(known, c.Name)
		out[c.Name] = c.Values[0]
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		i := slices.Index(known, name)
		if i < 0 {
			return nil, suggest.Unknown("parameter", name, known)
		}
		if !slices.Contains(d.Choices[i].Values, given[name]) {
			return nil, suggest.Unknown(name, given[name], d.Choices[i].Values)
		}
		out[name] = given[name]
	}
	return out, nil
}

func (p Param) check(v float64) error {
	if v >= p.Min && (v < p.Max || v == p.Max && !p.BelowMax) {
		return nil
	}
	bracket := "]"
	if p.BelowMax {
		bracket = ")"
	}
	return fmt.Errorf("%s: have %v, want a number in [%v, %v%s", p.Name, v, p.Min, p.Max, bracket)
}

// times multiplies a row's value and gradient.
func times[F kernel.Float](factor float64, row Row[F]) Row[F] {
	if factor == 1 {
		return row
	}
	f := F(factor)
	return func(grad []F, scale F, student, teacher []F, label int) F {
		return f * row(grad, f*scale, student, teacher, label)
	}
}
