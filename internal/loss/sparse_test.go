package loss

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/kernel"
)

// losses_sparse.json: PyTorch's values and autograd gradients of every loss with every policy, at the rows' temperature and at others; and of draws.
func TestSparseGolden(t *testing.T) {
	var file struct {
		Student [][]float64
		Kept    []struct {
			Temperature float64
			IDs         [][]int32
			LogProbs    [][]float32 `json:"log_probs"`
			Tail        []float32
		}
		Cases []struct {
			Loss        string
			Values      map[string]float64
			Temperature float64
			T2Scaling   bool `json:"t2_scaling"`
			Tail        string
			Rows        float64 // the temperature of the rows
			Value       []float64
			Gradient    [][]float64
		}
		Draws struct {
			Counts  [][]float64
			Entropy []float32
			Cases   []struct {
				Loss     string
				Value    []float64
				Gradient [][]float64
			}
		}
	}
	readJSON(t, "golden/losses_sparse.json", &file)
	vocab := len(file.Student[0])
	seen := map[string]bool{}
	for _, c := range file.Cases {
		l, err := New(c.Loss, Params{Temperature: c.Temperature, T2Scaling: c.T2Scaling, Values: c.Values})
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Sparse(SparseParams{Tail: c.Tail, Temperature: c.Rows, Vocabulary: vocab})
		if err != nil {
			t.Fatal(err)
		}
		if s.Approximate() != (c.Rows != c.Temperature) {
			t.Errorf("%s: approximate is %v", c.Loss, s.Approximate())
		}
		seen[c.Loss+" "+c.Tail] = true
		k := file.Kept[slices.IndexFunc(file.Kept, func(k struct {
			Temperature float64
			IDs         [][]int32
			LogProbs    [][]float32 `json:"log_probs"`
			Tail        []float32
		}) bool {
			return k.Temperature == c.Rows
		})]
		for i := range file.Student {
			kept := &Kept{IDs: k.IDs[i], LogProbs: k.LogProbs[i], Tail: k.Tail[i]}
			sparseNear(t, fmt.Sprint(c.Loss, c.Values, " ", c.Tail, " T ", c.Temperature, " of ", c.Rows), s, file.Student[i], kept, c.Value[i], c.Gradient[i])
		}
	}
	for name := range points {
		for _, tail := range Tails() {
			if !seen[name+" "+tail] && !(name == "reverse_kl" && tail == TeacherRenormalized) {
				t.Errorf("%s has no golden values with %s", name, tail)
			}
		}
	}
	for _, c := range file.Draws.Cases {
		l, err := New(c.Loss, Params{})
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Sparse(SparseParams{Temperature: 1, Vocabulary: vocab, Sampled: true})
		if err != nil {
			t.Fatal(err)
		}
		for i, counts := range file.Draws.Counts {
			kept, n := &Kept{Tail: float32(math.Inf(-1)), Entropy: file.Draws.Entropy[i]}, 0.0
			for _, c := range counts {
				n += c
			}
			for id, c := range counts {
				if c > 0 {
					kept.IDs, kept.LogProbs = append(kept.IDs, int32(id)), append(kept.LogProbs, float32(math.Log(c/n)))
				}
			}
			sparseNear(t, c.Loss+" of draws", s, file.Student[i], kept, c.Value[i], c.Gradient[i])
		}
	}
}

// losses.json has forward_kl on the two likeliest ids, by an independent float64 reference; what is kept here is rounded to float32.
func TestSparseGoldenTop2(t *testing.T) {
	var file struct {
		Student [][][]float64 `json:"student_logits"`
		Teacher [][][]float64 `json:"teacher_logits"`
		Cases   []struct {
			Loss     string
			T, Value float64
			Labels   string
			Gradient [][]float64 `json:"grad_wrt_student_logits"`
		}
	}
	readJSON(t, "golden/losses.json", &file)
	student, teacher := flatten(file.Student), flatten(file.Teacher)
	seen := 0
	for _, c := range file.Cases {
		tail, ok := strings.CutPrefix(c.Loss, "top2_forward_kl/")
		if !ok || c.Labels != "all" {
			continue
		}
		seen++
		l, err := New("forward_kl", Params{Temperature: c.T})
		if err != nil {
			t.Fatal(err)
		}
		s, err := l.Sparse(SparseParams{Tail: tail, Temperature: c.T, Vocabulary: len(student[0])})
		if err != nil {
			t.Fatal(err)
		}
		mean, n := 0.0, float64(len(student))
		for i := range student {
			gradient := make([]float64, len(student[i]))
			value, _, _ := onKept(t, s, gradient, 1/n, student[i], topOf(teacher[i], 2, c.T))
			mean += value / n
			for j, want := range c.Gradient[i] {
				near(t, c.Loss+" gradient", gradient[j], want, 1e-7)
			}
		}
		near(t, c.Loss, mean, c.Value, 1e-7)
	}
	if seen < 8 {
		t.Errorf("have %d cases", seen)
	}
}

// onKept evaluates one loss on a kept row: the gradient is set. The student's row must come back as it was.
func onKept[F kernel.Float](t testing.TB, l *Loss, grad []F, scale float64, student []F, kept *Kept) (value, p, q float64) {
	t.Helper()
	s, values, before := NewSum[F]([]*Loss{l}, len(student), l.sparse.Vocabulary), []float64{0}, slices.Clone(student)
	p, q = s.Row(values, grad, []float64{scale}, student, nil, kept, -1)
	if !slices.Equal(student, before) {
		t.Errorf("%s: the student's row was not restored", l.Name)
	}
	return values[0], p, q
}

// sparseNear compares value and gradient in both types.
func sparseNear(t *testing.T, what string, l *Loss, student []float64, kept *Kept, value float64, want []float64) {
	t.Helper()
	gradient, gradient32 := make([]float64, len(student)), make([]float32, len(student))
	have, _, _ := onKept(t, l, gradient, 1, slices.Clone(student), kept)
	near(t, what, have, value, 1e-12)
	have32, _, _ := onKept(t, l, gradient32, 1, narrow(student), kept)
	near(t, what+" float32", have32, value, 3e-6)
	for j := range want {
		near(t, what+" gradient", gradient[j], want[j], 1e-12)
		near(t, what+" gradient float32", float64(gradient32[j]), want[j], 5e-6)
	}
}

// sparseVariants calls f for every loss and policy that go together.
func sparseVariants(t *testing.T, f func(t *testing.T, e entry, l, s *Loss, p SparseParams)) {
	variants(t, func(t *testing.T, e entry, l *Loss) {
		if points[l.Name] == nil {
			return
		}
		for _, tail := range Tails() {
			for _, temperature := range []float64{l.Params.Temperature, 1.5} {
				p := SparseParams{Tail: tail, Temperature: temperature, Vocabulary: 60}
				s, err := l.Sparse(p)
				if err != nil && tail == TeacherRenormalized && strings.Contains(err.Error(), "infinite") {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				t.Run(fmt.Sprintf("%s,%g", tail, temperature), func(t *testing.T) { f(t, e, l, s, p) })
			}
		}
	})
}

// topOf keeps the k likeliest ids of a teacher's logits at a temperature.
func topOf(teacher []float64, k int, temperature float64) *Kept {
	p, order := probabilities(teacher, temperature), make([]int, len(teacher))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		if p[i] > p[j] {
			return -1
		}
		return 1
	})
	kept, tail := &Kept{}, 0.0
	for n, i := range order {
		if n < k {
			kept.IDs, kept.LogProbs = append(kept.IDs, int32(i)), append(kept.LogProbs, float32(math.Log(p[i])))
		} else {
			tail += p[i]
		}
	}
	kept.Tail = float32(math.Log(tail))
	return kept
}

// sparseDefinition writes a policy out in plain probabilities, for the closed form of the loss. What has probability 0 has 1e-300.
func sparseDefinition(e entry, l *Loss, s SparseParams, student []float64, kept *Kept) float64 {
	x := position{values: l.Params.Values}
	all, power := probabilities(student, l.Params.Temperature), s.Temperature/l.Params.Temperature
	restP, restQ, sum := 0.0, 1.0, 0.0
	if others := float64(s.Vocabulary - len(kept.IDs)); others > 0 {
		restP = others * math.Pow(math.Exp(float64(kept.Tail))/others, power)
	}
	for i, id := range kept.IDs {
		x.q, x.p = append(x.q, all[id]), append(x.p, math.Exp(power*float64(kept.LogProbs[i])))
		restQ -= all[id]
		sum += x.p[i]
	}
	scale := func(p []float64, by float64) {
		for i := range p {
			p[i] /= by
		}
	}
	switch s.Tail {
	case TailBucket:
		x.q, x.p = append(x.q, restQ), append(x.p, restP)
		scale(x.p, sum+restP)
	case TailRaw:
		scale(x.p, sum+restP)
	case TeacherRenormalized:
		scale(x.p, sum)
		x.q, x.p = append(x.q, restQ), append(x.p, 1e-300)
	case BothRenormalized:
		scale(x.p, sum)
		scale(x.q, 1-restQ)
	}
	value := e.closed(x)
	if l.Params.T2Scaling {
		value *= l.Params.Temperature * l.Params.Temperature
	}
	return value
}

// Value against the policy written out, gradient against its central differences, and both tails.
func TestSparseGradient(t *testing.T) {
	sparseVariants(t, func(t *testing.T, e entry, l, s *Loss, p SparseParams) {
		r := rand.New(rand.NewPCG(7, 9))
		for _, k := range []int{1, 5, 59} {
			student, kept := normal(r, p.Vocabulary, 2), topOf(normal(r, p.Vocabulary, 2), k, p.Temperature)
			gradient := make([]float64, len(student))
			value, tailP, tailQ := onKept(t, s, gradient, 1, student, kept)
			near(t, "value", value, sparseDefinition(e, l, p, student, kept), 1e-11)
			if again, _, _ := onKept[float64](t, s, nil, 0, student, kept); again != value {
				t.Errorf("value: have %v without grad, want %v", again, value)
			}
			moved := slices.Clone(student)
			const h = 1e-5
			for i := range student {
				moved[i] = student[i] + h
				up := sparseDefinition(e, l, p, moved, kept)
				moved[i] = student[i] - h
				near(t, fmt.Sprintf("k %d, gradient %d", k, i), gradient[i], (up-sparseDefinition(e, l, p, moved, kept))/(2*h), 1e-8)
				moved[i] = student[i]
			}
			rest := 1.0
			for _, id := range kept.IDs {
				rest -= probabilities(student, l.Params.Temperature)[id]
			}
			near(t, "the student's tail", tailQ, rest, 1e-12)
			if p.Temperature == l.Params.Temperature {
				near(t, "the teacher's tail", tailP, math.Exp(float64(kept.Tail)), 1e-6)
			}
			// scale multiplies the gradient alone
			half := slices.Repeat([]float64{nan}, len(student))
			if again, _, _ := onKept(t, s, half, 0.5, student, kept); again != value {
				t.Errorf("value: have %v with scale 0.5, want %v", again, value)
			}
			for i := range half {
				near(t, "half the gradient", half[i], gradient[i]/2, 1e-12)
			}
		}
	})
}

// The tail bucket is at most the divergence of the whole rows, and equal to it where all ids are kept.
func TestTailBucketIsBounded(t *testing.T) {
	variants(t, func(t *testing.T, e entry, l *Loss) {
		if points[l.Name] == nil || l.Name == "soft_cross_entropy" {
			return
		}
		s, err := l.Sparse(SparseParams{Temperature: l.Params.Temperature, Vocabulary: 40})
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(3, 9))
		for range 20 {
			student, teacher := normal(r, 40, 2), normal(r, 40, 2)
			whole, last := l.Row64(nil, 0, student, teacher, 0), 0.0
			for _, k := range []int{1, 2, 4, 16, 39, 40} {
				value, _, _ := onKept[float64](t, s, nil, 0, student, topOf(teacher, k, l.Params.Temperature))
				if value > whole+1e-6 || value < last-1e-6 {
					t.Errorf("k %d: have %v, want from %v, that of fewer ids, to %v", k, value, last, whole)
				}
				last = value
			}
			near(t, "all kept", last, whole, 1e-6)
		}
	})
}

// Logits of ±1e4, masked ids, ids that the student has not, and rows without a tail give finite numbers.
func TestSparseExtremes(t *testing.T) {
	sparseVariants(t, func(t *testing.T, _ entry, l, s *Loss, p SparseParams) {
		minus := math.Inf(-1)
		all := func(f func(i int) float64) []float64 {
			z := make([]float64, 60)
			for i := range z {
				z[i] = f(i)
			}
			return z
		}
		r := rand.New(rand.NewPCG(4, 9))
		flat := all(func(int) float64 { return 0 })
		oneHot := func(at int) []float64 {
			return all(func(i int) float64 {
				if i == at {
					return 1e4
				}
				return -1e4
			})
		}
		masked := all(func(i int) float64 {
			if i >= 50 {
				return minus
			}
			return r.NormFloat64()
		})
		few := all(func(i int) float64 {
			if i > 2 {
				return minus
			}
			return 1
		})
		for what, x := range map[string]struct {
			student []float64
			kept    *Kept
		}{
			"one-hot student, kept":     {oneHot(1), topOf(normal(r, 60, 1), 60, 1)},
			"one-hot student, not kept": {oneHot(3), &Kept{IDs: []int32{4, 5}, LogProbs: []float32{-1, -2}, Tail: -0.7}},
			"one-hot teacher":           {flat, &Kept{IDs: []int32{4, 5}, LogProbs: []float32{0, -2e4}, Tail: -2e4}},
			"one-hot both":              {oneHot(4), &Kept{IDs: []int32{4, 5}, LogProbs: []float32{0, -2e4}, Tail: float32(minus)}},
			"masked ids":                {masked, &Kept{IDs: []int32{4, 5, 55}, LogProbs: []float32{-0.5, -1.2, float32(minus)}, Tail: -2}},
			"nothing but the kept":      {few, &Kept{IDs: []int32{0, 1, 2}, LogProbs: []float32{-1, -1, -1}, Tail: -4}},
			"ids beyond the student":    {flat[:30], &Kept{IDs: []int32{4, 29, 30, 59}, LogProbs: []float32{-1, -2, -2, -2}, Tail: -1}},
			"no id of the student":      {flat[:30], &Kept{IDs: []int32{30, 59}, LogProbs: []float32{-1, -2}, Tail: -1}},
			"no tail":                   {flat[:2], &Kept{IDs: []int32{0, 1}, LogProbs: []float32{-0.7, -0.7}, Tail: float32(minus)}},
		} {
			gradient, gradient32 := make([]float64, len(x.student)), make([]float32, len(x.student))
			value, tp, tq := onKept(t, s, gradient, 1, slices.Clone(x.student), x.kept)
			value32, tp32, tq32 := onKept(t, s, gradient32, 1, narrow(x.student), x.kept)
			if bad := value + tp + tq + value32 + tp32 + tq32; math.IsNaN(bad) || math.IsInf(bad, 0) {
				t.Errorf("%s: have %v %v %v, %v %v %v", what, value, tp, tq, value32, tp32, tq32)
			}
			near(t, what+" in float32", value32, value, 1e-3)
			for i := range gradient {
				if math.IsNaN(gradient[i]) || math.IsInf(gradient[i], 0) || math.Abs(gradient[i]-float64(gradient32[i])) > 1e-3*(1+math.Abs(gradient[i])) {
					t.Errorf("%s: gradient %d is %v, in float32 %v", what, i, gradient[i], gradient32[i])
				}
			}
		}
	})
}

// What an id adds, against the closed form of a vocabulary of that id alone.
func TestPoints(t *testing.T) {
	variants(t, func(t *testing.T, e entry, l *Loss) {
		if points[l.Name] == nil {
			return
		}
		point := points[l.Name](l.Params.Values)
		closed := func(p, q float64) float64 {
			return e.closed(position{p: []float64{p}, q: []float64{q}, values: l.Params.Values})
		}
		for _, x := range [][2]float64{{0.3, 0.2}, {0.1, 0.7}, {1e-6, 0.5}, {0.5, 1e-6}} {
			p, logQ := x[0], math.Log(x[1])
			value, slope := point(math.Log(p), logQ)
			near(t, "value", value, closed(p, x[1]), 1e-14)
			const h = 1e-6
			near(t, "slope", slope, (closed(p, math.Exp(logQ+h))-closed(p, math.Exp(logQ-h)))/(2*h), 1e-9)
		}
	})
}

func TestSparseRefuses(t *testing.T) {
	for _, c := range []struct {
		loss   string
		params Params
		sparse SparseParams
		want   string
	}{
		{"logit_mse", Params{}, SparseParams{Temperature: 1}, "compares logits"},
		{"adaptive_kl", Params{}, SparseParams{Temperature: 1}, "ranks the ids"},
		{"cross_entropy", Params{}, SparseParams{Temperature: 1}, "whole row"},
		{"hidden_mse", Params{}, SparseParams{Temperature: 1}, "whole row"},
		{"forward_kl", Params{}, SparseParams{Temperature: 1, Tail: "tail_bukket"}, "tail_bucket"},
		{"reverse_kl", Params{}, SparseParams{Temperature: 1, Tail: TeacherRenormalized}, "infinite"},
		{"symmetric_kl", Params{}, SparseParams{Temperature: 1, Tail: TeacherRenormalized}, "infinite"},
		{"reverse_kl", Params{}, SparseParams{Temperature: 1, Sampled: true}, "not linear"},
		{"forward_kl", Params{Temperature: 2}, SparseParams{Temperature: 1, Sampled: true}, "temperature 2"},
		{"forward_kl", Params{}, SparseParams{Temperature: 1, Sampled: true, Tail: TailRaw}, "have no tail"},
	} {
		l, err := New(c.loss, c.params)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Sparse(c.sparse); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s, %+v: have %v, want %q", c.loss, c.sparse, err, c.want)
		}
	}
}

// Losses on kept rows, on labels and at other temperatures together are the sum of what each is alone.
func TestSparseTogether(t *testing.T) {
	sparse := func(name string, p Params) *Loss {
		l, err := New(name, p)
		if err != nil {
			t.Fatal(err)
		}
		if l.Teacher {
			if l, err = l.Sparse(SparseParams{Temperature: 1, Vocabulary: 2000}); err != nil {
				t.Fatal(err)
			}
		}
		return l
	}
	forward, reverse := sparse("forward_kl", Params{}), sparse("reverse_kl", Params{})
	warm, entropy := sparse("forward_kl", Params{Temperature: 2, T2Scaling: true}), sparse("cross_entropy", Params{})
	smooth := sparse("cross_entropy", Params{Values: map[string]float64{"label_smoothing": 0.1}})
	r := rand.New(rand.NewPCG(6, 9))
	for _, losses := range [][]*Loss{{forward, entropy}, {entropy, forward, reverse}, {warm, entropy}, {entropy, warm, forward}, {smooth, forward}, {entropy, smooth, warm, reverse}} {
		for _, ids := range []int{1500, 2000, 2100} { // fewer than the teacher's, as many, more
			student, kept := normal(r, ids, 2), topOf(normal(r, 2000, 2), 30, 1)
			var scales, want []float64
			sum := make([]float64, ids)
			for range losses {
				scales = append(scales, r.Float64())
			}
			for i, l := range losses {
				alone, values := make([]float64, ids), []float64{0}
				NewSum[float64]([]*Loss{l}, ids, 2000).Row(values, alone, scales[i:i+1], student, nil, kept, 7)
				want = append(want, values[0])
				for j, g := range alone {
					sum[j] += g
				}
			}
			values, grad := make([]float64, len(losses)), slices.Clone(student)
			NewSum[float64](losses, ids, 2000).Row(values, grad, scales, grad, nil, kept, 7) // in place
			for i := range values {
				near(t, losses[i].Name, values[i], want[i], 1e-13)
			}
			for j := range sum {
				near(t, fmt.Sprintf("gradient %d", j), grad[j], sum[j], 1e-13)
			}
		}
	}
}

// A call allocates nothing.
func TestSparseAllocates(t *testing.T) {
	l, err := New("forward_kl", Params{Temperature: 2})
	if err != nil {
		t.Fatal(err)
	}
	if l, err = l.Sparse(SparseParams{Temperature: 2, Vocabulary: 60}); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(5, 9))
	student, gradient, kept := narrow(normal(r, 60, 2)), make([]float32, 60), topOf(normal(r, 60, 2), 8, 2)
	s, values := NewSum[float32]([]*Loss{l}, 60, 60), []float64{0}
	if n := testing.AllocsPerRun(100, func() { s.Row(values, gradient, []float64{1}, student, nil, kept, -1) }); n > 0 {
		t.Errorf("have %v allocations, want none", n)
	}
}
