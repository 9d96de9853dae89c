package loss

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"kdistill/internal/kernel"
)

var (
	nan      = math.NaN()
	infinity = math.Inf(1)
)

// variants calls f for every loss with its defaults, with each parameter at its ends and between, and with a temperature.
func variants(t *testing.T, f func(t *testing.T, e entry, l *Loss)) {
	t.Helper()
	for _, name := range Names() {
		e := registry[name]
		settings := []Params{{}}
		if e.Temperature {
			settings = append(settings, Params{Temperature: 3}, Params{Temperature: 0.7, T2Scaling: true})
		}
		for _, p := range e.Params {
			ends := []float64{p.Min, p.Min + 0.3*(p.Max-p.Min), p.Max}
			if p.BelowMax {
				ends[2] -= 0.1 // at Max the loss would vanish, and its digits in float32 before it
			}
			for _, v := range ends {
				settings = append(settings, Params{Values: map[string]float64{p.Name: v}})
			}
		}
		for _, c := range e.Choices {
			for _, v := range c.Values[1:] {
				settings = append(settings, Params{Choices: map[string]string{c.Name: v}})
			}
		}
		for _, p := range settings {
			l, err := New(name, p)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(fmt.Sprintf("%s/T=%g,%v,%v", name, l.Params.Temperature, l.Params.Values, l.Params.Choices), func(t *testing.T) { f(t, e, l) })
		}
	}
}

// Value against the closed form and gradient against its central difference, along single ids and along a random direction,
// for sizes around the blocks.
func TestGradient(t *testing.T) {
	variants(t, func(t *testing.T, e entry, l *Loss) {
		r := rand.New(rand.NewPCG(7, 7))
		for _, ids := range []int{1, 2, 3, 31, blockSize - 1, blockSize, blockSize + 1, 2*blockSize + 100} {
			student, teacher, label := normal(r, ids, 2), normal(r, ids, 2), r.IntN(ids)
			gradient := make([]float64, ids)
			if ids > 1 { // the closed form of adaptive_kl divides by Σ |p − q|, which is 0 for one id
				near(t, "value", l.Row64(gradient, 1, student, teacher, label), e.definition(l.Params, student, student, teacher, label), 1e-11)
			} else {
				l.Row64(gradient, 1, student, teacher, label)
			}
			if 1 < ids && ids < 100 {
				for i, want := range e.differences(l.Params, student, teacher, label) {
					near(t, fmt.Sprintf("gradient %d of %d", i, ids), gradient[i], want, 1e-8)
				}
			}
			if ids > 100 {
				along := normal(r, ids, 1)
				const h = 1e-6
				up, down, want := slices.Clone(student), slices.Clone(student), 0.0
				for i, d := range along {
					up[i] += h * d
					down[i] -= h * d
					want += gradient[i] * d
				}
				have := (e.definition(l.Params, up, student, teacher, label) - e.definition(l.Params, down, student, teacher, label)) / (2 * h)
				near(t, fmt.Sprintf("derivative along a direction of %d ids", ids), want, have, 1e-7)
			}
		}
	})
}

// Adding a constant to all logits changes no softmax, so the gradient then sums to zero.
func TestGradientSumsToZero(t *testing.T) {
	variants(t, func(t *testing.T, _ entry, l *Loss) {
		r := rand.New(rand.NewPCG(1, 8))
		student, teacher := normal(r, 1500, 3), normal(r, 1500, 3)
		gradient := make([]float64, len(student))
		value := l.Row64(gradient, 1, student, teacher, 3)
		shifted := slices.Clone(student)
		for i := range shifted {
			shifted[i] += 5
		}
		if math.Abs(l.Row64(nil, 0, shifted, teacher, 3)-value) > 1e-9 {
			if l.Name != "logit_mse" && !l.Target && l.Rows != Hidden && l.Params.Choices["compare"] != "scores" {
				t.Error("the value depends on a constant added to all logits")
			}
			return
		}
		near(t, "sum of the gradient", kernel.Sum(gradient), 0, 1e-13)
	})
}

// grad is added to, scale multiplies it and not the value, and without grad the value is the same.
func TestAccumulates(t *testing.T) {
	variants(t, func(t *testing.T, _ entry, l *Loss) {
		r := rand.New(rand.NewPCG(2, 8))
		student, teacher, before := normal(r, 1100, 2), normal(r, 1100, 2), normal(r, 1100, 1)
		gradient, sum := make([]float64, len(student)), slices.Clone(before)
		value := l.Row64(gradient, 1, student, teacher, 9)
		if again := l.Row64(sum, -0.25, student, teacher, 9); again != value {
			t.Errorf("value: have %v with scale -0.25, want %v", again, value)
		}
		if only := l.Row64(nil, 0, student, teacher, 9); only != value {
			t.Errorf("value: have %v without grad, want %v", only, value)
		}
		for i := range sum {
			near(t, "gradient", sum[i], before[i]-0.25*gradient[i], 1e-13)
		}
	})
}

// A student equal to its teacher is at the optimum.
func TestIdenticalLogits(t *testing.T) {
	variants(t, func(t *testing.T, _ entry, l *Loss) {
		if !l.Teacher {
			t.Skip("compares with no teacher")
		}
		x := normal(rand.New(rand.NewPCG(3, 8)), 1100, 4)
		want := 0.0
		if l.Name == "soft_cross_entropy" {
			for _, p := range probabilities(x, l.Params.Temperature) {
				want -= p * math.Log(p)
			}
			if l.Params.T2Scaling {
				want *= l.Params.Temperature * l.Params.Temperature
			}
		}
		gradient, gradient32 := make([]float64, len(x)), make([]float32, len(x))
		near(t, "value", l.Row64(gradient, 1, x, x, 0), want, 1e-14)
		near(t, "value float32", float64(l.Row32(gradient32, 1, narrow(x), narrow(x), 0)), want, 1e-6)
		for i := range x {
			near(t, "gradient", gradient[i], 0, 1e-15)
			near(t, "gradient float32", float64(gradient32[i]), 0, 1e-7)
		}
	})
}

// Losses that turn into others at the ends of their parameters.
func TestLimits(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 8))
	student, teacher := normal(r, 300, 2), normal(r, 300, 2)
	for _, c := range []struct {
		name, param string
		value       float64
		same        string
	}{
		{"generalized_jsd", "beta", 0, "forward_kl"},
		{"generalized_jsd", "beta", 1, "reverse_kl"},
		{"symmetric_kl", "forward_weight", 1, "forward_kl"},
		{"symmetric_kl", "forward_weight", 0, "reverse_kl"},
		{"skew_kl", "alpha", 0, "forward_kl"},
		{"skew_reverse_kl", "alpha", 0, "reverse_kl"},
		{"adaptive_kl", "mu", 1, "forward_kl"},
	} {
		a, err := New(c.name, Params{Temperature: 2, T2Scaling: true, Values: map[string]float64{c.param: c.value}})
		if err != nil {
			t.Fatal(err)
		}
		b, err := New(c.same, Params{Temperature: 2, T2Scaling: true})
		if err != nil {
			t.Fatal(err)
		}
		ga, gb := make([]float64, len(student)), make([]float64, len(student))
		if va, vb := a.Row64(ga, 1, student, teacher, 0), b.Row64(gb, 1, student, teacher, 0); va != vb || !slices.Equal(ga, gb) {
			t.Errorf("%s with %s %g: have %v, want %s, %v", c.name, c.param, c.value, va, c.same, vb)
		}
	}
}

// Logits of ±1e4 are one-hot rows. Everything stays finite, in both types, and both agree as far as float32 can tell such logits apart.
func TestExtremeLogits(t *testing.T) {
	const resolution = 8e-3 // a few steps of float32 near 2e4, the largest difference
	const ids = 1033        // no whole number of ids holds half of a flat row: adaptive_kl's head would end there by rounding
	fill := func(background float64, at map[int]float64) []float64 {
		x := make([]float64, ids)
		for i := range x {
			x[i] = background
		}
		for i, v := range at {
			x[i] = v
		}
		return x
	}
	rows := map[string][]float64{
		"flat":          fill(0, nil),
		"high":          fill(1e4, nil),
		"low":           fill(-1e4, nil),
		"one-hot":       fill(0, map[int]float64{3: 1e4}),
		"one-hot other": fill(-1e4, map[int]float64{1026: 1e4}),
		"two":           fill(-1e4, map[int]float64{3: 1e4, 700: 1e4}),
		"hole":          fill(0, map[int]float64{5: -1e4, 1025: -1e4}),
		"usual":         normal(rand.New(rand.NewPCG(5, 8)), ids, 3),
	}
	variants(t, func(t *testing.T, _ entry, l *Loss) {
		for studentName, student := range rows {
			for teacherName, teacher := range rows {
				what := studentName + " against " + teacherName
				gradient, gradient32 := make([]float64, ids), make([]float32, ids)
				value := l.Row64(gradient, 1, student, teacher, 3)
				value32 := float64(l.Row32(gradient32, 1, narrow(student), narrow(teacher), 3))
				if math.IsNaN(value) || math.IsInf(value, 0) {
					t.Fatalf("%s: value %v", what, value)
				}
				near(t, what+": value float32", value32, value, resolution)
				for i, g := range gradient {
					if math.IsNaN(g) || math.IsInf(g, 0) {
						t.Fatalf("%s: gradient %v at %d", what, g, i)
					}
					near(t, what+": gradient float32", float64(gradient32[i]), g, resolution)
				}
			}
		}
	})
}

// A masked vocabulary, -Inf at the same ids, gives what the vocabulary without those ids gives, and no gradient at them.
func TestMaskedIDs(t *testing.T) {
	variants(t, func(t *testing.T, _ entry, l *Loss) {
		if l.Rows == Hidden {
			t.Skip("nothing is masked in a hidden state")
		}
		r := rand.New(rand.NewPCG(6, 8))
		const ids = 1100
		student, teacher := normal(r, ids, 3), normal(r, ids, 3)
		var shortStudent, shortTeacher []float64
		label, shortLabel := 600, 0
		for i := range ids {
			if i%3 == 1 || i > 1050 {
				student[i], teacher[i] = -infinity, -infinity
				continue
			}
			if i == label {
				shortLabel = len(shortStudent)
			}
			shortStudent, shortTeacher = append(shortStudent, student[i]), append(shortTeacher, teacher[i])
		}
		gradient, gradient32, short := make([]float64, ids), make([]float32, ids), make([]float64, len(shortStudent))
		value := l.Row64(short, 1, shortStudent, shortTeacher, shortLabel)
		near(t, "value", l.Row64(gradient, 1, student, teacher, label), value, 1e-12)
		near(t, "value float32", float64(l.Row32(gradient32, 1, narrow(student), narrow(teacher), label)), value, 2e-6)
		n := 0
		for i, g := range gradient {
			if math.IsInf(student[i], -1) {
				if g != 0 || gradient32[i] != 0 {
					t.Fatalf("gradient at the masked id %d: %v, %v", i, g, gradient32[i])
				}
				continue
			}
			near(t, "gradient", g, short[n], 1e-13)
			near(t, "gradient float32", float64(gradient32[i]), short[n], 1e-6)
			n++
		}
	})
}

// Where only one model masks an id the true value may be infinite, but it is not NaN, and bounded losses stay bounded.
func TestMaskedByOne(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 8))
	free, held := normal(r, 50, 1), normal(r, 50, 1)
	held[7] = -infinity
	for name, want := range map[string][2]bool{ // finite where the student, the teacher masks
		"cross_entropy": {true, true}, "forward_kl": {false, true}, "soft_cross_entropy": {false, true}, "reverse_kl": {true, false},
		"generalized_jsd": {true, true}, "skew_kl": {true, true}, "skew_reverse_kl": {true, true}, "total_variation": {true, true},
	} {
		l, err := New(name, Params{})
		if err != nil {
			t.Fatal(err)
		}
		for i, rows := range [][2][]float64{{held, free}, {free, held}} {
			gradient := make([]float64, len(free))
			value := l.Row64(gradient, 1, rows[0], rows[1], 3)
			if math.IsNaN(value) || math.IsInf(value, 0) == want[i] {
				t.Errorf("%s: have %v, want finite: %v", name, value, want[i])
			}
			if want[i] && slices.ContainsFunc(gradient, func(g float64) bool { return math.IsNaN(g) || math.IsInf(g, 0) }) {
				t.Errorf("%s: gradient %v", name, gradient)
			}
		}
	}
}

func TestIgnoredLabel(t *testing.T) {
	l, err := New("cross_entropy", Params{Values: map[string]float64{"label_smoothing": 0.1}})
	if err != nil {
		t.Fatal(err)
	}
	gradient := make([]float32, 3)
	if v := l.Row32(gradient, 1, []float32{1, 2, 3}, nil, -100); v != 0 || slices.Max(gradient) != 0 || slices.Min(gradient) != 0 {
		t.Errorf("have %v, gradient %v, want 0", v, gradient)
	}
}

// A NaN among the logits must reach the value, or the trainer could not stop at it.
func TestNaNReachesValue(t *testing.T) {
	variants(t, func(t *testing.T, _ entry, l *Loss) {
		r := rand.New(rand.NewPCG(10, 8))
		for _, who := range []string{"student", "teacher"} {
			if who == "teacher" && !l.Teacher {
				continue
			}
			student, teacher := normal(r, 40, 1), normal(r, 40, 1)
			map[string][]float64{"student": student, "teacher": teacher}[who][20] = nan
			if v := l.Row32(make([]float32, 40), 1, narrow(student), narrow(teacher), 3); v == v {
				t.Errorf("NaN in the %s's logits: value %v", who, v)
			}
		}
	})
}

// float32 stays close to float64 on a large vocabulary.
func TestFloat32(t *testing.T) {
	const ids = 32000
	r := rand.New(rand.NewPCG(11, 8))
	student, teacher := normal(r, ids, 3), normal(r, ids, 3)
	for i := range student { // the same numbers for both types
		student[i], teacher[i] = float64(float32(student[i])), float64(float32(teacher[i]))
	}
	variants(t, func(t *testing.T, _ entry, l *Loss) {
		gradient, gradient32 := make([]float64, ids), make([]float32, ids)
		value := l.Row64(gradient, 1, student, teacher, 77)
		near(t, "value", float64(l.Row32(gradient32, 1, narrow(student), narrow(teacher), 77)), value, 2e-6)
		largest := max(slices.Max(gradient), -slices.Min(gradient))
		for i, g := range gradient {
			if math.Abs(float64(gradient32[i])-g) > 5e-5*largest {
				t.Fatalf("gradient at %d: have %v, want %v, the largest being %v", i, gradient32[i], g, largest)
			}
		}
	})
}

// One Row serves many goroutines, and allocates nothing per call.
func TestConcurrentUse(t *testing.T) {
	variants(t, func(t *testing.T, _ entry, l *Loss) {
		r := rand.New(rand.NewPCG(12, 8))
		student, teacher := narrow(normal(r, 1500, 2)), narrow(normal(r, 1500, 2))
		want := make([]float32, len(student))
		value := l.Row32(want, 1, student, teacher, 1)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 4 {
					grad := make([]float32, len(student))
					if v := l.Row32(grad, 1, student, teacher, 1); v != value || !slices.Equal(grad, want) {
						t.Errorf("have %v, want %v", v, value)
					}
				}
			})
		}
		wg.Wait()
		if n := testing.AllocsPerRun(50, func() { l.Row32(want, 1, student, teacher, 1) }); n > 0 {
			t.Errorf("%v allocations per row", n)
		}
	})
}

func BenchmarkRow(b *testing.B) {
	const ids = 32000
	r := rand.New(rand.NewPCG(13, 8))
	student, teacher, grad := narrow(normal(r, ids, 3)), narrow(normal(r, ids, 3)), make([]float32, ids)
	for _, name := range Names() {
		l, err := New(name, Params{})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				l.Row32(grad, 1, student, teacher, 5)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/ids, "ns/id")
		})
	}
}
