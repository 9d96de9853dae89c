package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// numericGradient returns ∂f/∂x by central differences.
func numericGradient(x []float64, f func() float64) []float64 {
	const h = 1e-5
	g := make([]float64, len(x))
	for i, v := range x {
		x[i] = v + h
		up := f()
		x[i] = v - h
		g[i] = (up - f()) / (2 * h)
		x[i] = v
	}
	return g
}

// norm is a call of RMSNorm (center false) or LayerNorm, forward and backward.
type norm[F Float] struct {
	center, bias, carried bool
	rows, d               int
	offset                F
	x, w, b, dout, carry  []F
	out, mean, inv        []F
	dx, dw, db            []F
}

func randomNorm(r *rand.Rand, center, bias, carried bool, rows, d int) *norm[float64] {
	v := func(n int) []float64 { return random[float64](r, n) }
	n := &norm[float64]{center: center, bias: bias, carried: carried, rows: rows, d: d, x: v(rows * d), w: v(d), b: v(d), dout: v(rows * d), carry: v(rows * d), dw: v(d), db: v(d)}
	if !center {
		n.offset = 1
	}
	return n
}

// in returns the same call in another type.
func in[F Float](n *norm[float64]) *norm[F] {
	c := func(x []float64) []F {
		y := make([]F, len(x))
		for i, v := range x {
			y[i] = F(v)
		}
		return y
	}
	return &norm[F]{center: n.center, bias: n.bias, carried: n.carried, rows: n.rows, d: n.d, offset: F(n.offset), x: c(n.x), w: c(n.w), b: c(n.b), dout: c(n.dout), carry: c(n.carry), dw: c(n.dw), db: c(n.db)}
}

func (n *norm[F]) forward() []F {
	n.out, n.mean, n.inv = make([]F, n.rows*n.d), make([]F, n.rows), make([]F, n.rows)
	var b []F
	if n.bias {
		b = n.b
	}
	if n.center {
		LayerNorm(n.out, n.mean, n.inv, n.x, n.w, b, n.rows, n.d, 1e-3)
	} else {
		RMSNorm(n.out, n.inv, n.x, n.w, n.rows, n.d, 1e-3, n.offset)
	}
	return n.out
}

func (n *norm[F]) backward() {
	n.dx = make([]F, n.rows*n.d)
	var carry, db []F
	if n.carried {
		carry = n.carry
	}
	if n.bias {
		db = n.db
	}
	if n.center {
		LayerNormBackward(n.dx, n.dw, db, n.dout, n.x, n.w, n.mean, n.inv, carry, n.rows, n.d)
	} else {
		RMSNormBackward(n.dx, n.dw, n.dout, n.x, n.w, n.inv, carry, n.rows, n.d, n.offset)
	}
}

// reference returns the output by the definition.
func (n *norm[F]) reference() []float64 {
	var out []float64
	for r := range n.rows {
		x := n.x[r*n.d : (r+1)*n.d]
		var mean, variance float64
		if n.center {
			for _, v := range x {
				mean += float64(v) / float64(n.d)
			}
		}
		for _, v := range x {
			variance += math.Pow(float64(v)-mean, 2) / float64(n.d)
		}
		for i, v := range x {
			y := (float64(v) - mean) / math.Sqrt(variance+1e-3) * float64(n.w[i]+n.offset)
			if n.bias {
				y += float64(n.b[i])
			}
			out = append(out, y)
		}
	}
	return out
}

func (n *norm[F]) String() string {
	return fmt.Sprintf("center %v, bias %v, carry %v, %d rows of %d", n.center, n.bias, n.carried, n.rows, n.d)
}

func eachNorm(r *rand.Rand, rows, d int, f func(n *norm[float64])) {
	for _, carried := range []bool{false, true} {
		f(randomNorm(r, false, false, carried, rows, d))
		f(randomNorm(r, true, false, carried, rows, d))
		f(randomNorm(r, true, true, carried, rows, d))
	}
}

func TestNormGradient(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	eachNorm(r, 3, 5, func(n *norm[float64]) {
		near(t, n.String(), n.forward(), n.reference(), 1e-13)
		loss := func() float64 {
			return Dot(n.dout, n.reference()) + Dot(n.carry, n.x)
		}
		if !n.carried {
			loss = func() float64 { return Dot(n.dout, n.reference()) }
		}
		dw, db := append([]float64(nil), n.dw...), append([]float64(nil), n.db...)
		n.backward()
		near(t, n.String()+": dx", n.dx, numericGradient(n.x, loss), 1e-8)
		Add(dw, dw, numericGradient(n.w, loss))
		near(t, n.String()+": dw", n.dw, dw, 1e-8)
		if n.bias {
			Add(db, db, numericGradient(n.b, loss))
			near(t, n.String()+": db", n.db, db, 1e-8)
		}
	})
}

func TestNorm(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(2, 2))
		for _, d := range []int{1, 2, 7, 8, 15, 16, 17, 31, 33, 64, 100, 288, 2049} {
			for _, rows := range []int{0, 1, 2, 65, 200} {
				if rows*d > 20000 {
					continue
				}
				eachNorm(r, rows, d, func(want *norm[float64]) {
					got := in[float32](want)
					// where the few columns of a row are nearly equal, what is left of them after the mean is less precise
					near(t, got.String(), got.forward(), want.reference(), 1e-5)
					want.forward()
					want.backward()
					got.backward()
					near(t, got.String()+": dx", got.dx, want.dx, 2e-5)
					near(t, got.String()+": dw", got.dw, want.dw, 2e-5)
					near(t, got.String()+": db", got.db, want.db, 2e-5)

					frozen := in[float32](want)
					frozen.out, frozen.mean, frozen.inv = got.out, got.mean, got.inv
					frozen.dw = nil
					frozen.backward()
					if !sameBits(frozen.dx, got.dx) {
						t.Errorf("%v: dx is another when the weights are frozen", got)
					}
				})
			}
		}
	})
}

// The sum over many rows is taken in parts, so that float32 keeps its precision.
func TestNormLongSum(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 3))
		const rows, d = 20000, 3
		want := randomNorm(r, true, true, false, rows, d)
		for i := range want.dout {
			want.dout[i] = 1 + float64(i%d)
		}
		clear(want.db)
		got := in[float32](want)
		got.forward()
		got.backward()
		near(t, "db", got.db, []float64{rows, 2 * rows, 3 * rows}, 1e-7)
	})
}

// Output and input gradient may lie over their sources.
func TestNormInPlace(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(4, 4))
		const rows, d = 5, 37
		n := in[float32](randomNorm(r, true, true, true, rows, d))
		n.forward()
		n.backward()
		x := append([]float32(nil), n.x...)
		LayerNorm(x, nil, nil, x, n.w, n.b, rows, d, 1e-3)
		if !sameBits(x, n.out) {
			t.Error("LayerNorm in place differs")
		}
		for name, dx := range map[string][]float32{"dout": n.dout, "carry": n.carry} {
			place := append([]float32(nil), dx...)
			dout, carry := n.dout, place
			if name == "dout" {
				dout, carry = place, n.carry
			}
			LayerNormBackward(place, make([]float32, d), nil, dout, n.x, n.w, n.mean, n.inv, carry, rows, d)
			if !sameBits(place, n.dx) {
				t.Errorf("LayerNormBackward into %s differs", name)
			}
		}
		x = append([]float32(nil), n.x...)
		want := make([]float32, len(x))
		RMSNorm(want, nil, x, n.w, rows, d, 1e-3, 0)
		RMSNorm(x, nil, x, n.w, rows, d, 1e-3, 0)
		if !sameBits(x, want) {
			t.Error("RMSNorm in place differs")
		}
	})
}
