package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// activations by their usual definitions.
var activations = map[Activation]func(x float64) float64{
	ReLU:      func(x float64) float64 { return math.Max(x, 0) },
	GELU:      func(x float64) float64 { return x / 2 * (1 + math.Erf(x/math.Sqrt2)) },
	GELUTanh:  func(x float64) float64 { return x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x))) },
	SiLU:      func(x float64) float64 { return x / (1 + math.Exp(-x)) },
	QuickGELU: func(x float64) float64 { return x / (1 + math.Exp(-1.702*x)) },
	Tanh:      math.Tanh,
}

func TestActivate(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 1))
		for kind, f := range activations {
			for _, n := range append(lengths, 2*grain+5) {
				x, dout := random[float32](r, n), random[float32](r, n)
				for i := range x {
					x[i] *= 3
					if max(x[i], -x[i]) < 1e-4 {
						x[i] = 1 // where ReLU has its kink
					}
				}
				want := make([]float64, n)
				for i, v := range x {
					want[i] = f(float64(v))
				}
				out, out64 := make([]float32, n), make([]float64, n)
				Activate(kind, out, x)
				Activate(kind, out64, wide(x))
				near(t, fmt.Sprint("activation ", kind), out, want, 1e-6)
				near(t, fmt.Sprint("activation ", kind), out64, want, 1e-14)

				const h = 1e-5
				for i, v := range wide(x) {
					want[i] = float64(dout[i]) * (f(v+h) - f(v-h)) / (2 * h)
				}
				ActivateBackward(kind, out, dout, x)
				ActivateBackward(kind, out64, wide(dout), wide(x))
				near(t, fmt.Sprint("slope of activation ", kind), out, want, 2e-6)
				near(t, fmt.Sprint("slope of activation ", kind), out64, want, 1e-8)
			}
		}
	})
}

// Far from zero the activations are x or 0 (tanh: 1 or -1), and their slopes 1 or 0, without overflow on the way.
func TestActivateFar(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		for kind := range activations {
			x := []float32{200, 1e10, 1e25, 1e38, -200, -1e10, -1e25, -1e38}
			want, slope := []float64{200, float64(x[1]), float64(x[2]), float64(x[3]), 0, 0, 0, 0}, []float64{1, 1, 1, 1, 0, 0, 0, 0}
			if kind == Tanh {
				want, slope = []float64{1, 1, 1, 1, -1, -1, -1, -1}, make([]float64, len(x))
			}
			out := make([]float32, len(x))
			Activate(kind, out, x)
			near(t, fmt.Sprint("activation ", kind), out, want, 0)
			ActivateBackward(kind, out, []float32{1, 1, 1, 1, 1, 1, 1, 1}, x)
			near(t, fmt.Sprint("slope of activation ", kind), out, slope, 0)
		}
		x, dx := []float32{0, float32(math.Copysign(0, -1))}, make([]float32, 2)
		ActivateBackward(ReLU, dx, []float32{1, 1}, x)
		near(t, "slope of ReLU at 0", dx, []float64{0, 0}, 0)
	})
}

func TestGLU(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		for _, kind := range []Activation{SiLU, GELUTanh, GELU} {
			testGLU(t, kind)
		}
	})
}

func testGLU(t *testing.T, kind Activation) {
	r := rand.New(rand.NewPCG(2, 2))
	f := activations[kind]
	for _, c := range []struct{ rows, d, strideOut, strideIn, strideD int }{
		{0, 4, 4, 8, 8}, {1, 1, 1, 2, 2}, {3, 7, 9, 14, 15}, {5, 16, 16, 32, 32}, {4, 33, 40, 70, 80}, {70, 300, 300, 600, 600},
	} {
		in, dout := random[float32](r, c.rows*c.strideIn+c.d), random[float32](r, c.rows*c.strideOut)
		gate, up := in, in[c.d:]
		out := random[float32](r, c.rows*c.strideOut)
		want := wide(out)
		for i := range c.rows {
			for j := range c.d {
				k := i*c.strideIn + j
				want[i*c.strideOut+j] = f(float64(gate[k])) * float64(up[k])
			}
		}
		GLU(kind, out, gate, up, c.strideOut, c.strideIn, c.rows, c.d)
		near(t, "GLU", out, want, 2e-6)

		back := random[float32](r, c.rows*c.strideD+c.d)
		want = wide(back)
		for i := range c.rows {
			for j := range c.d {
				const h = 1e-5
				k := i*c.strideIn + j
				g, u, d := float64(gate[k]), float64(up[k]), float64(dout[i*c.strideOut+j])
				want[i*c.strideD+j] = d * u * (f(g+h) - f(g-h)) / (2 * h)
				want[i*c.strideD+j+c.d] = d * f(g)
			}
		}
		back64 := wide(back)
		GLUBackward(kind, back, back[c.d:], dout, gate, up, c.strideD, c.strideOut, c.strideIn, c.rows, c.d)
		GLUBackward(kind, back64, back64[c.d:], wide(dout), wide(gate), wide(up), c.strideD, c.strideOut, c.strideIn, c.rows, c.d)
		near(t, "GLUBackward", back, want, 2e-6)
		near(t, "GLUBackward in float64", back64, want, 1e-8)
		separate := make([]float32, len(in))
		GLUBackward(kind, separate, separate[c.d:], dout, gate, up, c.strideIn, c.strideOut, c.strideIn, c.rows, c.d)
		GLUBackward(kind, in, in[c.d:], dout, in, in[c.d:], c.strideIn, c.strideOut, c.strideIn, c.rows, c.d)
		for i := range c.rows {
			if k := i * c.strideIn; !slices.Equal(in[k:k+2*c.d], separate[k:k+2*c.d]) {
				t.Errorf("GLUBackward in place of its input: row %d differs", i)
			}
		}
	}
}
