package loss

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"kdistill/internal/kernel"
)

// CheckResult compares a loss with its definition, written out once more in plain float64 probabilities, on a fixed set of rows.
type CheckResult struct {
	Name            string
	Setting         string  // "" for the defaults, else what differs from them, as "T=2 t2_scaling" or "beta=0.3"
	Closed          float64 // the definition's value, mean over the rows
	Value, Value32  float64 // the value in float64 and in float32, by Row or by Sum: what is farther from the definition's
	GradientError   float64 // largest difference of the gradient in float64 from the definition's central differences; 0 for a metric
	GradientError32 float64 // the same in float32
	Pass            bool
}

// What Check lets pass: rounding for the values, rounding and the error of central differences for the gradients.
const (
	valueTolerance, valueTolerance32       = 1e-12, 1e-5
	gradientTolerance, gradientTolerance32 = 1e-8, 1e-5
)

// Check checks every registered loss and metric: with its defaults, with a temperature where it takes one, and with each parameter moved.
func Check() []CheckResult {
	var results []CheckResult
	for _, name := range append(Names(), MetricNames()...) {
		e := registry[name]
		results = append(results, e.check("", Params{}))
		if e.Temperature {
			results = append(results, e.check("T=2 t2_scaling", Params{Temperature: 2, T2Scaling: true}))
		}
		for _, p := range e.Params {
			v := p.Min + 0.3*(p.Max-p.Min)
			results = append(results, e.check(fmt.Sprintf("%s=%v", p.Name, v), Params{Values: map[string]float64{p.Name: v}}))
		}
		for _, c := range e.Choices {
			for _, v := range c.Values[1:] {
				results = append(results, e.check(c.Name+"="+v, Params{Choices: map[string]string{c.Name: v}}))
			}
		}
	}
	return results
}

func (e entry) check(setting string, params Params) CheckResult {
	r := CheckResult{Name: e.Name, Setting: setting}
	l, err := e.make(params)
	if err != nil {
		r.Setting, r.Closed = err.Error(), math.NaN()
		return r
	}
	const rows, ids = 5, 23
	ways := []way{{byRow[float64](l), byRow[float32](l)}}
	if l.form != nil {
		ways = append(ways, way{bySum[float64](l, ids), bySum[float32](l, ids)})
	}
	values, values32 := make([]float64, len(ways)), make([]float64, len(ways))
	random := rand.New(rand.NewPCG(1, 2))
	for range rows {
		student, teacher := normal(random, ids, 2), normal(random, ids, 2)
		label := random.IntN(ids)
		r.Closed += e.definition(l.Params, student, student, teacher, label) / rows
		var differences []float64
		if !e.Metric {
			differences = e.differences(l.Params, student, teacher, label)
		}
		for i, w := range ways {
			gradient, gradient32 := make([]float64, ids), make([]float32, ids)
			values[i] += w.double(gradient, student, teacher, label) / rows
			values32[i] += float64(w.single(gradient32, narrow(student), narrow(teacher), label)) / rows
			for i, d := range differences {
				r.GradientError = worse(r.GradientError, gradient[i]-d)
				r.GradientError32 = worse(r.GradientError32, float64(gradient32[i])-d)
			}
		}
	}
	r.Value, r.Value32 = farthest(values, r.Closed), farthest(values32, r.Closed)
	size := 1 + math.Abs(r.Closed)
	r.Pass = math.Abs(r.Value-r.Closed) <= valueTolerance*size && math.Abs(r.Value32-r.Closed) <= valueTolerance32*size &&
		r.GradientError <= gradientTolerance && r.GradientError32 <= gradientTolerance32
	return r
}

// way is how a loss is evaluated, with its gradient added to zeros.
type way struct {
	double func(grad, student, teacher []float64, label int) float64
	single func(grad, student, teacher []float32, label int) float32
}

func byRow[F kernel.Float](l *Loss) func(grad, student, teacher []F, label int) F {
	return func(grad, student, teacher []F, label int) F { return Value(l, grad, 1, student, teacher, label) }
}

func bySum[F kernel.Float](l *Loss, ids int) func(grad, student, teacher []F, label int) F {
	sum := NewSum[F]([]*Loss{l}, ids, ids)
	return func(grad, student, teacher []F, label int) F {
		value := make([]float64, 1)
		sum.Row(value, grad, []float64{1}, student, teacher, nil, label)
		return F(value[0])
	}
}

// farthest returns the value that is farthest from another; NaN is.
func farthest(values []float64, from float64) float64 {
	return slices.MaxFunc(values, func(a, b float64) int {
		if a != a || b != b {
			return cmp.Compare(b, a) // NaN is the least of all
		}
		return cmp.Compare(math.Abs(a-from), math.Abs(b-from))
	})
}

// definition evaluates the closed form, T² included, at the student's logits; detached quantities are taken at base.
func (e entry) definition(p Params, student, base, teacher []float64, label int) float64 {
	value := e.closed(position{
		student: student, teacher: teacher, label: label, values: p.Values, choices: p.Choices,
		q: probabilities(student, p.Temperature), p: probabilities(teacher, p.Temperature), detached: probabilities(base, p.Temperature),
	})
	if p.T2Scaling {
		value *= p.Temperature * p.Temperature
	}
	return value
}

// differences returns the central differences of the closed form.
func (e entry) differences(p Params, student, teacher []float64, label int) []float64 {
	const h = 1e-5
	out, moved := make([]float64, len(student)), append([]float64(nil), student...)
	for i, z := range student {
		moved[i] = z + h
		up := e.definition(p, moved, student, teacher, label)
		moved[i] = z - h
		out[i] = (up - e.definition(p, moved, student, teacher, label)) / (2 * h)
		moved[i] = z
	}
	return out
}

// position is what a closed form sees of one position.
type position struct {
	student, teacher []float64 // logits, or what the rows hold
	q, p             []float64 // their probabilities at the temperature
	detached         []float64 // q for quantities that the gradient takes as constants
	label            int
	values           map[string]float64
	choices          map[string]string
}

func probabilities(x []float64, temperature float64) []float64 {
	out, sum := make([]float64, len(x)), 0.0
	for i, v := range x {
		out[i] = math.Exp(v / temperature)
		sum += out[i]
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}

// kl is KL(a‖b).
func kl(a, b []float64) float64 {
	value := 0.0
	for i := range a {
		value += a[i] * math.Log(a[i]/b[i])
	}
	return value
}

// mix is share·a + (1−share)·b.
func mix(share float64, a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range out {
		out[i] = share*a[i] + (1-share)*b[i]
	}
	return out
}

func normal(r *rand.Rand, n int, deviation float64) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = deviation * r.NormFloat64()
	}
	return x
}

func narrow(x []float64) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = float32(v)
	}
	return out
}

// worse returns the larger of an error so far and another one's size; NaN stays.
func worse(soFar, other float64) float64 { return max(soFar, math.Abs(other)) }
