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

// sumCase is several losses on one position.
type sumCase struct {
	losses           []*Loss
	scales           []float64
	student, teacher []float64
	label            int
}

// formed draws settings for which a loss has a form, and sometimes a loss without one.
func formed(t testing.TB, r *rand.Rand) *Loss {
	names := []string{"cross_entropy", "forward_kl", "reverse_kl", "symmetric_kl", "generalized_jsd", "total_variation", "acceptance"}
	name := names[r.IntN(len(names))]
	d, _ := Lookup(name)
	if d.Metric {
		m, err := NewMetric(name)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	p := Params{Values: map[string]float64{}}
	if d.Temperature {
		p.Temperature = []float64{1, 1, 2, 0.7}[r.IntN(4)]
		p.T2Scaling = r.IntN(2) == 0
	}
	for _, param := range d.Params {
		if r.IntN(2) == 0 && name != "cross_entropy" || r.IntN(8) == 0 {
			p.Values[param.Name] = []float64{param.Min, 0.3, param.Max}[r.IntN(3)]
		}
	}
	l, err := New(name, p)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// rows is what the Rows say: values, and the weighted sum of the gradients.
func (c *sumCase) rows() (values, grad []float64) {
	values, grad = make([]float64, len(c.losses)), make([]float64, len(c.student))
	for i, l := range c.losses {
		values[i] = Value(l, grad, c.scales[i], c.student, c.teacher, c.label)
	}
	return values, grad
}

// sum is what Sum says in the type F: with gradient, without, and with the gradient in place of the student's logits.
func sumOf[F kernel.Float](t testing.TB, c *sumCase) (values, grad []float64) {
	t.Helper()
	s := NewSum[F](c.losses, len(c.student), len(c.teacher))
	student, teacher := as[F](c.student), as[F](c.teacher)
	values = make([]float64, len(c.losses))
	out := slices.Repeat([]F{F(nan)}, len(student))
	s.Row(values, out, c.scales, student, teacher, nil, c.label)

	only := make([]float64, len(values))
	s.Row(only, nil, nil, student, teacher, nil, c.label)
	for i, v := range only {
		if v != values[i] && (v == v || values[i] == values[i]) {
			t.Errorf("%s: value %v with gradient, %v without", c.losses[i].Name, values[i], v)
		}
	}
	s.Row(only, student, c.scales, student, teacher, nil, c.label)
	for i := range student {
		if student[i] != out[i] && (student[i] == student[i] || out[i] == out[i]) {
			t.Fatalf("gradient at %d: %v in place, else %v", i, student[i], out[i])
		}
	}
	return values, as[float64](out)
}

func as[F, G kernel.Float](x []G) []F {
	if x == nil {
		return nil
	}
	out := make([]F, len(x))
	for i, v := range x {
		out[i] = F(v)
	}
	return out
}

func (c *sumCase) String() string {
	out := fmt.Sprintf("%d ids, teacher %d, label %d:", len(c.student), len(c.teacher), c.label)
	for i, l := range c.losses {
		out += fmt.Sprintf(" %v·%s(T=%v %v %v)", c.scales[i], l.Name, l.Params.Temperature, l.Params.T2Scaling, l.Params.Values)
	}
	return out
}

// check compares Sum in both types with the Rows. resolution is how far float32 can tell the logits apart.
func (c *sumCase) check(t testing.TB, resolution float64) {
	t.Helper()
	for i, x := range c.student {
		c.student[i] = float64(float32(x))
	}
	for i, x := range c.teacher {
		c.teacher[i] = float64(float32(x))
	}
	want, wantGrad := c.rows()
	for double, tolerance := range map[bool]float64{true: max(1e-11, 1e-6*resolution), false: resolution} {
		var values, grad []float64
		if double {
			values, grad = sumOf[float64](t, c)
		} else {
			values, grad = sumOf[float32](t, c)
		}
		for i, v := range want {
			if !close(values[i], v, tolerance*c.losses[i].factor()) {
				t.Fatalf("float64 %v: %v: value %d: have %v, want %v", double, c, i, values[i], v)
			}
		}
		if slices.ContainsFunc(want, func(v float64) bool { return v-v != 0 }) {
			continue // where a value is infinite the gradient is anything
		}
		for i, g := range wantGrad {
			if !close(grad[i], g, tolerance) {
				t.Fatalf("float64 %v: %v: gradient at %d: have %v, want %v", double, c, i, grad[i], g)
			}
		}
	}
}

// close reports whether two numbers are of one kind and nearly equal.
func close(a, b, tolerance float64) bool {
	switch {
	case b != b:
		return a != a
	case math.IsInf(b, 0):
		return a == b
	}
	return math.Abs(a-b) <= tolerance*(1+math.Abs(b))
}

// newSumCase draws losses and rows. The teacher may know fewer ids or more.
func newSumCase(t testing.TB, r *rand.Rand, ids int) *sumCase {
	c := &sumCase{student: normal(r, ids, 3), label: r.IntN(ids)}
	c.teacher = normal(r, max(1, ids+r.IntN(3)*r.IntN(3)-2), 3)
	for range 1 + r.IntN(3) {
		c.losses, c.scales = append(c.losses, formed(t, r)), append(c.scales, r.NormFloat64())
	}
	if r.IntN(4) == 0 {
		c.label = -100
	}
	return c
}

func TestSum(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 21))
	for _, ids := range []int{1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 100, blockSize - 1, blockSize, blockSize + 1, 2*blockSize + 100} {
		for range 40 {
			newSumCase(t, r, ids).check(t, 5e-6)
		}
	}
}

// FuzzSum draws rows with extreme numbers: ±1e4, masked ids, NaN, denormals.
func FuzzSum(f *testing.F) {
	for i := range uint64(50) {
		f.Add(i, uint16(1+i*i), uint8(i))
	}
	f.Fuzz(func(t *testing.T, seed uint64, ids uint16, kinds uint8) {
		r := rand.New(rand.NewPCG(seed, 22))
		c := newSumCase(t, r, 1+int(ids)%(3*blockSize))
		resolution := 5e-6
		at := func(x []float64) int { return r.IntN(len(x)) }
		if kinds&1 != 0 {
			for range 1 + r.IntN(5) {
				c.student[at(c.student)], c.teacher[at(c.teacher)] = 1e4*float64(1-r.IntN(3)), 1e4*float64(1-r.IntN(3))
			}
			resolution = 8e-3
		}
		if kinds&4 != 0 {
			c.student[at(c.student)], c.teacher[at(c.teacher)] = 1e-42, -1e-40
		}
		if kinds&2 != 0 { // a masked vocabulary
			for range r.IntN(2 * len(c.student)) {
				if i := at(c.student); i < len(c.teacher) && i != c.label && i > 0 {
					c.student[i], c.teacher[i] = -infinity, -infinity
				}
			}
		}
		if kinds&8 != 0 { // whole blocks apart
			for i := range c.student[:len(c.student)/2] {
				c.student[i] += 300
			}
			resolution = max(resolution, 1e-4)
		}
		if kinds&16 != 0 {
			x := [][]float64{c.student, c.teacher[:min(len(c.student), len(c.teacher))]}[r.IntN(2)]
			x[at(x)] = nan
		}
		c.check(t, resolution)
	})
}

// TestStream wants the same values, to the bit, and the same gradients from rows in blocks as from whole ones.
func TestStream(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 21))
	for done := 0; done < 100; {
		c := newSumCase(t, r, 1+r.IntN(5*blockSize))
		if NewSum[float32](c.losses, len(c.student), len(c.teacher)).Streams() {
			checkStream[float32](t, r, c, 1e-6)
			checkStream[float64](t, r, c, 1e-14)
			done++
		}
	}
}

func checkStream[F kernel.Float](t *testing.T, r *rand.Rand, c *sumCase, tolerance float64) {
	t.Helper()
	s := NewSum[F](c.losses, len(c.student), len(c.teacher))
	student, teacher := as[F](c.student), as[F](c.teacher)
	want, wantGrad := make([]float64, len(c.losses)), make([]F, len(student))
	s.Row(want, wantGrad, c.scales, student, teacher, nil, c.label)

	x, have := s.NewStream(), make([]float64, len(c.losses))
	var starts []int
	for at := 0; at < len(student); at += blockSize * (1 + r.IntN(3)) {
		starts = append(starts, at)
	}
	each := func(f func(z, y []F, from int)) {
		for i, from := range starts {
			to := len(student)
			if i+1 < len(starts) {
				to = starts[i+1]
			}
			f(student[from:to], teacher[min(from, len(teacher)):min(to, len(teacher))], from)
		}
	}
	for range 2 { // a stream can be used again
		s.Begin(x)
		each(func(z, y []F, from int) { s.Scan(x, z, y, from, c.label) })
		s.Close(x, have, c.scales, c.label)
		if !slices.Equal(have, want) {
			t.Errorf("%v: have %v, want %v", c, have, want)
		}
	}
	each(func(z, y []F, from int) { s.Gradient(x, z, z, y, from, c.label) })
	for i, g := range wantGrad {
		if !close(float64(student[i]), float64(g), tolerance) {
			t.Fatalf("%v: gradient at %d: have %v, want %v", c, i, student[i], g)
		}
	}
}

// TestStreams: a mixture needs a pass of its own, and so do losses that only their Rows know.
func TestStreams(t *testing.T) {
	for name, want := range map[string]bool{
		"cross_entropy": true, "forward_kl": true, "reverse_kl": true, "symmetric_kl": true, "generalized_jsd": false, "skew_kl": false,
	} {
		l, err := New(name, Params{})
		if err != nil {
			t.Fatal(err)
		}
		if have := NewSum[float32]([]*Loss{l}, 10, 10).Streams(); have != want {
			t.Errorf("%s: have %v, want %v", name, have, want)
		}
	}
}

// TestSumMaskedByOne: what one model alone masks makes values infinite where Rows are, never NaN.
func TestSumMaskedByOne(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 21))
	for _, name := range []string{"cross_entropy", "forward_kl", "reverse_kl", "symmetric_kl", "generalized_jsd"} {
		for who := range 2 {
			l, err := New(name, Params{})
			if err != nil {
				t.Fatal(err)
			}
			c := &sumCase{losses: []*Loss{l}, scales: []float64{0.5}, student: normal(r, 50, 1), teacher: normal(r, 50, 1), label: 3}
			[][]float64{c.student, c.teacher}[who][7] = -infinity
			c.check(t, 5e-6)
		}
	}
}

// TestSumRises: sums are relative to a largest logit that grows from block to block, by little or by much.
func TestSumRises(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 21))
	for _, rise := range []float64{0.3, 0.7, 0.75, 2, 40, 300} {
		for range 20 {
			c := newSumCase(t, r, 5*blockSize)
			for _, x := range [][]float64{c.student, c.teacher} {
				for i := range x {
					x[i] += rise * float64(i/blockSize)
				}
			}
			c.check(t, 5e-6*(1+rise))
		}
	}
}

// TestSumStaysInfinite: what makes a divergence infinite does so however small its probability turns out to be.
func TestSumStaysInfinite(t *testing.T) {
	for name, masked := range map[string]int{"forward_kl": 0, "reverse_kl": 1} {
		l, err := New(name, Params{})
		if err != nil {
			t.Fatal(err)
		}
		rows := [2][]float64{make([]float64, 2*blockSize), make([]float64, 2*blockSize)} // student, teacher
		rows[masked][3] = -infinity
		rows[0][blockSize+5], rows[1][blockSize+5] = 2000, 2000
		var value [1]float64
		NewSum[float64]([]*Loss{l}, 2*blockSize, 2*blockSize).Row(value[:], nil, nil, rows[0], rows[1], nil, -1)
		if !math.IsInf(value[0], 1) {
			t.Errorf("%s: have %v, want +Inf", name, value[0])
		}
	}
}

// TestSumShares: the usual mixture of losses takes one group, and only what can't share takes more.
func TestSumShares(t *testing.T) {
	make := func(name string, p Params) *Loss {
		l, err := New(name, p)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	ce, kl, reverse, jsd := make("cross_entropy", Params{}), make("forward_kl", Params{}), make("reverse_kl", Params{}), make("generalized_jsd", Params{})
	warm, smooth := make("forward_kl", Params{Temperature: 2}), make("cross_entropy", Params{Values: map[string]float64{"label_smoothing": 0.1}})
	for _, c := range []struct {
		losses       []*Loss
		teacher      int
		groups, rest int
	}{
		{[]*Loss{ce, kl}, 100, 1, 0},
		{[]*Loss{ce, kl, reverse}, 120, 1, 0},
		{[]*Loss{ce, jsd}, 100, 1, 0},
		{[]*Loss{kl, jsd, ce}, 100, 2, 0},
		{[]*Loss{ce, warm}, 100, 2, 0},
		{[]*Loss{ce, kl}, 90, 2, 0},
		{[]*Loss{kl, smooth}, 100, 1, 1},
	} {
		s := NewSum[float32](c.losses, 100, c.teacher)
		if len(s.groups) != c.groups || len(s.rest) != c.rest {
			t.Errorf("%d losses, teacher %d: have %d groups and %d others, want %d and %d", len(c.losses), c.teacher, len(s.groups), len(s.rest), c.groups, c.rest)
		}
	}
}

func TestSumAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 21))
	for range 20 {
		c := newSumCase(t, r, 1500)
		s := NewSum[float32](c.losses, 1500, len(c.teacher))
		student, teacher, values := narrow(c.student), narrow(c.teacher), make([]float64, len(c.losses))
		if n := testing.AllocsPerRun(20, func() { s.Row(values, student, c.scales, student, teacher, nil, 5) }); n > 0 {
			t.Errorf("%v: %v allocations", c, n)
		}
	}
}

// BenchmarkSum measures losses with their gradient over 512 rows on all threads, beside what bounds them: reading both rows and writing a third,
// and the exponentials of both.
func BenchmarkSum(b *testing.B) {
	const rows = 512
	for _, ids := range []int{512, 32000, 262144} {
		x := make([][]float32, 3)
		for i := range x {
			x[i] = make([]float32, rows*ids)
			for j := range x[i] {
				x[i][j] = float32((j*7+i*3)%61-30) / 8
			}
		}
		run := func(name string, f func(grad, student, teacher []float32)) {
			b.Run(fmt.Sprintf("%s/%d", name, ids), func(b *testing.B) {
				for b.Loop() {
					kernel.Parallel(rows, func(i int) {
						row := func(x []float32) []float32 { return x[i*ids : (i+1)*ids] }
						f(row(x[2]), row(x[0]), row(x[1]))
					})
				}
			})
		}
		run("memory", func(grad, student, teacher []float32) { kernel.Add(grad, student, teacher) })
		run("exponentials", func(grad, student, teacher []float32) {
			const block = 512
			for at := 0; at < 2*ids; at += block {
				kernel.Exp2Shift(grad[:block], student[:block], 1, 30)
			}
		})
		for _, c := range [][]string{{"forward_kl"}, {"cross_entropy", "forward_kl"}, {"cross_entropy"}, {"reverse_kl"}, {"generalized_jsd"}} {
			var losses []*Loss
			for _, name := range c {
				l, err := New(name, Params{})
				if err != nil {
					b.Fatal(err)
				}
				losses = append(losses, l)
			}
			s, scales := NewSum[float32](losses, ids, ids), make([]float64, len(c))
			run(strings.Join(c, "+"), func(grad, student, teacher []float32) {
				var values [2]float64
				s.Row(values[:len(c)], grad, scales, student, teacher, nil, 1)
			})
			run(strings.Join(c, "+")+" by rows", func(grad, student, teacher []float32) {
				clear(grad)
				for _, l := range losses {
					l.Row32(grad, 0.5, student, teacher, 1)
				}
			})
		}
	}
}
