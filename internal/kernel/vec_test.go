package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// wide converts to float64, in which references are computed.
func wide(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// near fails unless got and want differ by at most tolerance times (1 + |want|), or are the same NaN or infinity.
func near[F Float](t *testing.T, what string, got []F, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	for i, g := range got {
		g, w := float64(g), want[i]
		if g == w || g != g && w != w {
			continue
		}
		if !(math.Abs(g-w) <= tolerance*(1+math.Abs(w))) {
			t.Fatalf("%s: [%d] of %d = %.9g, want %.9g", what, i, len(got), g, w)
		}
	}
}

var infinity = math.Inf(1)

// vecCases compute the vector functions on x, y and z with scalars a and b, and what they should be by their definitions.
func vecResults[F Float](x, y, z []F, a, b F) map[string][]F {
	n := len(x)
	dst := func(f func(dst []F)) []F {
		d := append([]F(nil), z...)
		f(d)
		return d
	}
	one := func(v F) []F { return []F{v} }
	var sum, diff F
	return map[string][]F{
		"Exp":             dst(func(d []F) { Exp(d, x) }),
		"ExpShift":        dst(func(d []F) { sum = ExpShift(d, x, a, b) }),
		"ExpShift sum":    one(sum / F(max(n, 1))),
		"ExpShift no dst": one(ExpShift(nil, x, a, b) / F(max(n, 1))),
		"Max":             one(Max(x)),
		"Sum":             one(Sum(x) / F(max(n, 1))),
		"Dot":             one(Dot(x, y) / F(max(n, 1))),
		"Axpy":            dst(func(d []F) { Axpy(d, x, a) }),
		"Scale":           dst(func(d []F) { Scale(d, x, a) }),
		"Add":             dst(func(d []F) { Add(d, x, y) }),
		"MaxExpSum":       one(logSumExp(x, a)),
		"LogRatio":        dst(func(d []F) { LogRatio(d, x, y, a, b) }),
		"Expectation":     one(Expectation(x, y) / F(max(n, 1))),
		"LogMixture":      dst(func(d []F) { LogMixture(d, make([]F, n), x, y, a, b, 0.3) }),
		"LogMixture q":    dst(func(d []F) { LogMixture(make([]F, n), d, x, y, a, b, 0.3) }),
		"AxpyDiff":        dst(func(d []F) { AxpyDiff(d, x, y, a) }),
		"AxpyCentered":    dst(func(d []F) { AxpyCentered(d, x, y, a, b) }),
		"AxpySoftmax":     dst(func(d []F) { AxpySoftmax(d, x, a, b, 0.25) }),
		"SoftmaxDiff":     dst(func(d []F) { diff = SoftmaxDiff(d, x, y, a, b, 0.75, 0.25, 0.125) }),
		"SoftmaxDiff sum": one(diff / F(max(n, 1))),
		"SoftmaxDiff nil": one(SoftmaxDiff(nil, x, y, a, b, 0.75, 0.25, 0.125) / F(max(n, 1))),
	}
}

func vecReferences(x, y, z []float64, a, b float64) map[string][]float64 {
	n := max(float64(len(x)), 1)
	each := func(f func(x, y, z float64) float64) []float64 {
		d := make([]float64, len(x))
		for i := range d {
			d[i] = f(x[i], y[i], z[i])
		}
		return d
	}
	sum := func(f func(x, y, z float64) float64) float64 {
		s := 0.0
		for _, v := range each(f) {
			s += v
		}
		return s
	}
	one := func(v float64) []float64 { return []float64{v} }
	top := -infinity
	for _, v := range x {
		top = math.Max(top, v)
	}
	shifted := sum(func(x, _, _ float64) float64 { return math.Exp(a*x - b) })
	diff := sum(func(x, y, _ float64) float64 { return math.Exp(a*y-0.75) * (a*(y-x) - 0.75 + b) })
	return map[string][]float64{
		"Exp":             each(func(x, _, _ float64) float64 { return math.Exp(x) }),
		"ExpShift":        each(func(x, _, _ float64) float64 { return math.Exp(a*x - b) }),
		"ExpShift sum":    one(shifted / n),
		"ExpShift no dst": one(shifted / n),
		"Max":             one(top),
		"Sum":             one(sum(func(x, _, _ float64) float64 { return x }) / n),
		"Dot":             one(sum(func(x, y, _ float64) float64 { return x * y }) / n),
		"Axpy":            each(func(x, _, z float64) float64 { return z + a*x }),
		"Scale":           each(func(x, _, _ float64) float64 { return a * x }),
		"Add":             each(func(x, y, _ float64) float64 { return x + y }),
		"MaxExpSum":       one(math.Log(sum(func(x, _, _ float64) float64 { return math.Exp(a * x) }))),
		"LogRatio":        each(func(x, y, _ float64) float64 { return a*(x-y) - b }),
		"Expectation":     one(sum(func(x, y, _ float64) float64 { return x * y }) / n),
		"LogMixture":      each(func(x, y, _ float64) float64 { return -math.Log(0.7 + 0.3*math.Exp(a*(y-x)-b)) }),
		"LogMixture q":    each(func(x, y, _ float64) float64 { return -math.Log(0.7*math.Exp(a*(x-y)+b) + 0.3) }),
		"AxpyDiff":        each(func(x, y, z float64) float64 { return z + a*(x-y) }),
		"AxpyCentered":    each(func(x, y, z float64) float64 { return z + b*x*(y-a) }),
		"AxpySoftmax":     each(func(x, _, z float64) float64 { return z + 0.25*math.Exp(a*x-b) }),
		"SoftmaxDiff":     each(func(x, y, z float64) float64 { return z + 0.25*math.Exp(a*x-b) - 0.125*math.Exp(a*y-0.75) }),
		"SoftmaxDiff sum": one(diff / n),
		"SoftmaxDiff nil": one(diff / n),
	}
}

func TestVec(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		for _, n := range append(lengths, 2049, 4097, 70001) {
			x, y, z := random[float32](r, n), random[float32](r, n), random[float32](r, n)
			want := vecReferences(wide(x), wide(y), wide(z), 0.75, 0.5)
			for name, got := range vecResults(x, y, z, 0.75, 0.5) {
				near(t, name, got, want[name], 2e-6)
			}
			for name, got := range vecResults(wide(x), wide(y), wide(z), 0.75, 0.5) {
				near(t, name+" in float64", got, want[name], 1e-13)
			}
		}
	})
}

// The sums of rows as long as a vocabulary stay within two units of a float32.
func TestLongSums(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		x := random[float32](r, 262144)
		for i := range x {
			x[i] = 1 + x[i]*x[i]
		}
		want := Sum(wide(x))
		near(t, "Sum", []float32{Sum(x) / float32(want)}, []float64{1}, 1e-7)
		near(t, "Dot", []float32{Dot(x, x) / float32(Dot(wide(x), wide(x)))}, []float64{1}, 1e-7)
		near(t, "ExpShift", []float32{ExpShift(nil, x, -1, 0) / float32(ExpShift(nil, wide(x), -1, 0))}, []float64{1}, 1e-7)
		near(t, "MaxExpSum", []float32{logSumExp(x, 0.5)}, []float64{logSumExp(wide(x), 0.5)}, 1e-7)
	})
}

// logSumExp returns log Σ e^(scale·x) by MaxExpSum.
func logSumExp[F Float](x []F, scale F) F {
	top, sum := MaxExpSum(x, scale)
	if sum == 0 {
		return top
	}
	return F(float64(top) + math.Log(float64(sum)))
}

func TestMaxExpSumExtremes(t *testing.T) {
	inf := float32(infinity)
	long := make([]float32, 3*sumBlock)
	for i := range long {
		long[i] = -inf
	}
	long[2*sumBlock+1] = 5
	rising := make([]float32, 3*sumBlock)
	for i := range rising {
		rising[i] = float32(i)
	}
	onEachPath(t, func(t *testing.T) {
		for _, c := range []struct {
			x    []float32
			want float64
		}{
			{nil, -infinity},
			{[]float32{-inf, -inf}, -infinity},
			{[]float32{1e4, -1e4}, 1e4},
			{[]float32{-1e4, -1e4}, -1e4 + math.Ln2},
			{[]float32{-inf, 3}, 3},
			{[]float32{3e38, 3e38}, float64(float32(3e38))},
			{[]float32{0, float32(math.NaN())}, math.NaN()},
			{[]float32{0, inf}, math.NaN()},
			{long, 5},
			{rising, 3*sumBlock - 1 - math.Log(1-math.Exp(-1))},
		} {
			near(t, fmt.Sprint("MaxExpSum of ", len(c.x)), []float32{logSumExp(c.x, 1)}, []float64{c.want}, 1e-6)
			near(t, fmt.Sprint("MaxExpSum of ", len(c.x)), []float64{logSumExp(wide(c.x), 1)}, []float64{c.want}, 1e-14)
		}
	})
}

// A masked vocabulary has −Inf at the same places of both rows; nothing there may count, and nothing may become NaN.
func TestMaskedRows(t *testing.T) {
	inf := float32(infinity)
	onEachPath(t, func(t *testing.T) {
		z := []float32{1, -inf, 2, -1e4, 1e4, -inf}
		y := []float32{0, -inf, 1e4, 3, -1e4, -inf}
		topZ, sumZ := MaxExpSum(z, 1)
		topY, sumY := MaxExpSum(y, 1)
		grad := make([]float32, len(z))
		near(t, "SoftmaxDiff", []float32{SoftmaxDiff(grad, z, y, 1, topZ, topY, 2/sumZ, 2/sumY)}, []float64{1e4 - 2}, 1e-6)
		near(t, "gradient", grad, []float64{0, 0, -2, 0, 2, 0}, 1e-6)
		ratio := make([]float32, len(z))
		LogRatio(ratio, y, z, 1, topY-topZ)
		near(t, "LogRatio", ratio, []float64{-1, 0, 1e4 - 2, 1e4 + 3, -2e4, 0}, 1e-6)
		near(t, "SoftmaxDiff nil", []float32{SoftmaxDiff(nil, z, y, 1, topZ, topY, 0, 0)}, []float64{1e4 - 2}, 1e-6)
		clear(grad)
		AxpyCentered(grad, []float32{0, 0, 1, 0, 0, 0}, []float32{inf, -inf, 3, 1, 1, 1}, 1, 2)
		near(t, "AxpyCentered", grad, []float64{0, 0, 4, 0, 0, 0}, 0)
		near(t, "Expectation of p = 0", []float32{Expectation([]float32{0, 1, 0}, []float32{inf, 3, -inf})}, []float64{3}, 0)
		logP, logQ := make([]float32, len(z)), make([]float32, len(z))
		LogMixture(logP, logQ, y, z, 1, topZ-topY, 0.5)
		near(t, "log p/m", logP, []float64{math.Ln2 - math.Log1p(math.E), math.Ln2 - math.Log(2), math.Ln2, math.Ln2, math.Ln2 - 2e4, math.Ln2 - math.Log(2)}, 1e-6)
		near(t, "log q/m", logQ, []float64{math.Ln2 - math.Log1p(1/math.E), math.Ln2 - math.Log(2), math.Ln2 + 2 - 1e4, math.Ln2 - 1e4 - 3, math.Ln2, math.Ln2 - math.Log(2)}, 1e-6)
	})
}

// A row far below 0, with tails of every length: what lies beyond its end, as 0 as it may seem, is far above it.
func TestLowRows(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		for n := 1; n < 70; n++ {
			z, y, grad := make([]float32, n), make([]float32, n), make([]float32, n)
			for i := range z {
				z[i], y[i] = -3000, -3002
			}
			want := []float64{-float64(n) / math.E}
			near(t, "MaxExpSum", []float32{logSumExp(y, 1)}, []float64{-3002 + math.Log(float64(n))}, 1e-6)
			near(t, "SoftmaxDiff", []float32{SoftmaxDiff(grad, z, y, 1, -3000, -3001, 1, math.E/2)}, want, 1e-6)
			near(t, "SoftmaxDiff nil", []float32{SoftmaxDiff(nil, z, y, 1, -3000, -3001, 1, 0.5)}, want, 1e-6)
			near(t, "gradient", []float32{Sum(grad)}, []float64{float64(n) / 2}, 1e-6)
		}
	})
}

func TestMax(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		for n := 1; n < 200; n++ {
			for _, at := range []int{0, n / 2, n - 1} {
				x := make([]float32, n)
				for i := range x {
					x[i] = -5 - float32(i%7)
				}
				x[at] = -4
				if got := Max(x); got != -4 {
					t.Fatalf("Max of %d with -4 at %d = %g", n, at, got)
				}
				x[at] = float32(math.NaN())
				if got := Max(x); got == got {
					t.Fatalf("Max of %d with NaN at %d = %g", n, at, got)
				}
			}
		}
	})
}

// ulp returns the unit in the last place of a float32 of x's size, denormals included.
func ulp(x float64) float64 {
	exponent := -126
	if math.Abs(x) >= 0x1p-126 {
		exponent = math.Ilogb(x)
	}
	return math.Ldexp(1, exponent-23)
}

// distance returns |got − want|, 0 where both are beyond the largest float32.
func distance(got float32, want float64) float64 {
	if math.IsInf(float64(got), 0) && float64(got)*want > 0 && math.Abs(want) > math.MaxFloat32 {
		return 0
	}
	return math.Abs(float64(got) - want)
}

// TestErrors holds the elementary functions to the errors that their comments state, over a dense sample of all floats.
func TestErrors(t *testing.T) {
	sigmoid := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	activate := func(kind Activation) func(d, x []float32) { return func(d, x []float32) { Activate(kind, d, x) } }
	for _, c := range []struct {
		name     string
		from, to float64
		limit    float64
		ofX      bool // ulps of x, not of the result
		f        func(d, x []float32)
		want     func(x float64) float64
	}{
		{"Exp", -200, 200, 1.1, false, Exp[float32], math.Exp},
		{"Exp2Shift", -125, 1, 1.5, false, func(d, x []float32) { Exp2Shift(d, x, 1, 0) }, math.Exp2},
		{"SiLU", -87, 1e5, 3, false, activate(SiLU), func(x float64) float64 { return x * sigmoid(x) }},
		{"SiLU", -1e5, 1e5, 2, true, activate(SiLU), func(x float64) float64 { return x * sigmoid(x) }},
		{"GELU", -13, 1e5, 7, false, activate(GELU), func(x float64) float64 { return x * math.Erfc(-x/math.Sqrt2) / 2 }},
		{"GELU", -1e5, 1e5, 4, true, activate(GELU), func(x float64) float64 { return x * math.Erfc(-x/math.Sqrt2) / 2 }},
		{"GELUTanh", -1e5, 1e5, 2, true, activate(GELUTanh), func(x float64) float64 { return x * sigmoid(tanhSlope*(x+0.044715*x*x*x)) }},
		{"QuickGELU", -1e5, 1e5, 2, true, activate(QuickGELU), func(x float64) float64 { return x * sigmoid(1.702*x) }},
	} {
		onEachPath(t, func(t *testing.T) {
			const step = 16381
			var x []float32
			for b := uint64(0); b < 1<<32; b += step {
				if v := float64(math.Float32frombits(uint32(b))); v >= c.from && v <= c.to {
					x = append(x, float32(v))
				}
			}
			for v := max(c.from, -20); v < min(c.to, 20); v += 1e-3 { // where most happens
				x = append(x, float32(v))
			}
			got := make([]float32, len(x))
			c.f(got, x)
			worst, where := 0.0, float32(0)
			for i, v := range x {
				want := c.want(float64(v))
				size := want
				if c.ofX {
					size = float64(v)
				}
				e := distance(got[i], want) / ulp(size)
				if !(e <= worst) {
					worst, where = e, v
				}
			}
			t.Logf("%s: %.2f ulp at %g", c.name, worst, where)
			if !(worst <= c.limit) {
				t.Errorf("%s: error of %.2f ulp at %g, stated %g", c.name, worst, where, c.limit)
			}
		})
	}
}

func TestExpExtremes(t *testing.T) {
	inf, nan := float32(infinity), float32(math.NaN())
	x := []float32{inf, -inf, nan, 0, float32(math.Copysign(0, -1)), 88.72283, 88.7229, 3e38, -3e38, -87.33655, -103.97208, -104, math.SmallestNonzeroFloat32}
	onEachPath(t, func(t *testing.T) {
		got := make([]float32, len(x))
		Exp(got, x)
		for i, want := range []float32{inf, 0, nan, 1, 1, 3.4027983e38, inf, inf, 0, 1.1754907e-38, math.SmallestNonzeroFloat32, 0, 1} {
			if class(got[i]) != class(want) || distance(got[i], float64(want)) > 1.1*ulp(float64(want)) {
				t.Errorf("e^%g = %g, want %g", x[i], got[i], want)
			}
		}
	})
}
