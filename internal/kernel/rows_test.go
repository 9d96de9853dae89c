package kernel

import (
	"fmt"
	"math/cmplx"
	"math/rand/v2"
	"runtime"
	"testing"
)

func TestRotary(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 1))
		for _, c := range []struct{ rows, heads, d, rot, strideOut, strideX int }{
			{0, 1, 8, 8, 8, 8}, {1, 1, 2, 2, 2, 2}, {3, 2, 8, 8, 16, 48}, {5, 3, 20, 12, 70, 60}, {2, 2, 34, 34, 68, 68}, {70, 6, 48, 48, 288, 864}, {3, 1, 128, 66, 128, 130},
		} {
			const positions = 9
			half := c.rot / 2
			cos, sin := random[float32](r, positions*half), random[float32](r, positions*half)
			position := make([]int32, c.rows)
			for i := range position {
				position[i] = int32(r.IntN(positions))
			}
			x, out := random[float32](r, c.rows*c.strideX), random[float32](r, c.rows*c.strideOut)
			for _, inverse := range []bool{false, true} {
				want := wide(out)
				for row := range c.rows {
					for h := range c.heads {
						x, want := x[row*c.strideX+h*c.d:], want[row*c.strideOut+h*c.d:]
						for i := range c.d {
							want[i] = float64(x[i])
						}
						for i := range half {
							k := int(position[row])*half + i
							turn := complex(float64(cos[k]), float64(sin[k]))
							if inverse {
								turn = cmplx.Conj(turn)
							}
							z := complex(float64(x[i]), float64(x[i+half])) * turn
							want[i], want[i+half] = real(z), imag(z)
						}
					}
				}
				got, got64 := append([]float32(nil), out...), wide(out)
				Rotary(got, x, c.strideOut, c.strideX, cos, sin, position, c.rows, c.heads, c.d, c.rot, inverse)
				Rotary(got64, wide(x), c.strideOut, c.strideX, wide(cos), wide(sin), position, c.rows, c.heads, c.d, c.rot, inverse)
				near(t, fmt.Sprint("Rotary ", c), got, want, 1e-6)
				near(t, fmt.Sprint("Rotary in float64 ", c), got64, want, 1e-14)

				place := append([]float32(nil), x...)
				Rotary(place, place, c.strideX, c.strideX, cos, sin, position, c.rows, c.heads, c.d, c.rot, inverse)
				for row := range c.rows {
					if !sameBits(place[row*c.strideX:][:c.heads*c.d], got[row*c.strideOut:][:c.heads*c.d]) {
						t.Fatalf("Rotary %v in place differs in row %d", c, row)
					}
				}
			}
		}
	})
}

func TestBias(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(2, 2))
		for _, c := range []struct{ rows, d, stride int }{{0, 3, 3}, {1, 1, 1}, {5, 17, 20}, {300, 33, 33}, {5000, 2, 2}} {
			x, bias := random[float32](r, c.rows*c.stride), random[float32](r, c.d)
			want, gradient := wide(x), wide(bias)
			for i := range c.rows {
				for j := range c.d {
					gradient[j] += want[i*c.stride+j]
					want[i*c.stride+j] += float64(bias[j])
				}
			}
			db := append([]float32(nil), bias...)
			BiasGradient(db, x, c.rows, c.d, c.stride)
			near(t, fmt.Sprint("BiasGradient ", c), db, gradient, 1e-5)
			AddBias(x, bias, c.rows, c.d, c.stride)
			near(t, fmt.Sprint("AddBias ", c), x, want, 1e-7)
		}
	})
}

func TestEmbedding(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 3))
		for _, c := range []struct{ n, d, vocabulary int }{{0, 4, 3}, {1, 1, 1}, {7, 5, 3}, {400, 70, 5}, {1000, 64, 1000}, {300, 200, 2}} {
			table := random[float32](r, c.vocabulary*c.d)
			half := make([]uint16, len(table))
			for i, v := range table {
				half[i] = BF16(v)
				table[i] = FromBF16(half[i])
			}
			ids := make([]int32, c.n)
			for i := range ids {
				ids[i] = int32(r.IntN(c.vocabulary))
			}
			dout := random[float32](r, c.n*c.d)
			want, gradient := make([]float64, c.n*c.d), wide(table)
			for i, id := range ids {
				for j := range c.d {
					want[i*c.d+j] = float64(table[int(id)*c.d+j])
					gradient[int(id)*c.d+j] += float64(dout[i*c.d+j])
				}
			}
			out, out64 := make([]float32, c.n*c.d), make([]float64, c.n*c.d)
			Gather(out, table, ids, c.d)
			near(t, "Gather", out, want, 0)
			Gather(out, half, ids, c.d)
			near(t, "Gather of bfloat16", out, want, 0)
			Gather(out64, table, ids, c.d)
			near(t, "Gather to float64", out64, want, 0)
			dtable64 := wide(table)
			ScatterAdd(table, dout, ids, c.d)
			near(t, "ScatterAdd", table, gradient, 1e-5)
			ScatterAdd(dtable64, wide(dout), ids, c.d)
			near(t, "ScatterAdd in float64", dtable64, gradient, 1e-12)
		}
	})
}

// The gradient of a frequent id is summed in parts, so that float32 keeps its precision.
func TestScatterAddLongSum(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		dout, sum := make([]float32, 50000), []float32{0}
		for i := range dout {
			dout[i] = 0.1
		}
		ScatterAdd(sum, dout, make([]int32, len(dout)), 1)
		near(t, "ScatterAdd", sum, []float64{50000 * float64(float32(0.1))}, 1e-5)
	})
}

// rowCalls returns what every function over rows computes from random numbers for that many rows, in rows.
func rowCalls(r *rand.Rand, rows int) (outputs map[string][]float32, sums map[string][]float32) {
	const d, heads = 48, 3
	v := func(n int) []float32 { return random[float32](r, n) }
	w, b, w2 := v(d), v(d), v(2*d)
	x, y, dout := v(rows*2*d), v(rows*2*d), v(rows*2*d)
	position, ids := make([]int32, rows), make([]int32, rows)
	for i := range position {
		position[i], ids[i] = int32(i%5), int32(i*i%7)
	}
	cos, sin := x[:5*d], y[:5*d]
	inv, mean := v(rows), v(rows)
	outputs, sums = map[string][]float32{}, map[string][]float32{}
	out := func(name string, n int) []float32 {
		outputs[name] = make([]float32, rows*n)
		return outputs[name]
	}
	sum := func(name string, n int) []float32 {
		sums[name] = make([]float32, n)
		return sums[name]
	}
	RMSNorm(out("RMSNorm", d), out("RMSNorm inv", 1), x, w, rows, d, 1e-5, 0)
	RMSNormBackward(out("RMSNormBackward", d), sum("RMSNormBackward dw", d), dout, x, w, inv, y, rows, d, 0)
	LayerNorm(out("LayerNorm", d), out("LayerNorm mean", 1), out("LayerNorm inv", 1), x, w, b, rows, d, 1e-5)
	LayerNormBackward(out("LayerNormBackward", d), sum("LayerNormBackward dw", d), sum("LayerNormBackward db", d), dout, x, w, mean, inv, y, rows, d)
	Rotary(out("Rotary", d), x, d, d, cos, sin, position, rows, heads, d/heads, d/heads, false)
	Activate(GELU, out("GELU", d), x)
	ActivateBackward(GELU, out("GELU backward", d), dout, x)
	SwiGLU(out("SwiGLU", d), x, x[d:], d, 2*d, rows, d)
	both := out("SwiGLUBackward", 2*d)
	SwiGLUBackward(both, both[d:], dout, x, x[d:], 2*d, d, 2*d, rows, d)
	AddBias(out("AddBias", 2*d), w2, rows, 2*d, 2*d)
	BiasGradient(sum("BiasGradient", 2*d), dout, rows, 2*d, 2*d)
	Gather(out("Gather", d), x, ids, d)
	ScatterAdd(sum("ScatterAdd", 7*d), dout, ids, d)
	copy(sum("SumSquares", 1), list(float32(SumSquares(x))))
	p := out("AdamW", 2*d)
	AdamW(p, x, y, out("AdamW v", 2*d), AdamWStep{LR: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Decay: 0.1, Scale: 0.5, Step: 3})
	return outputs, sums
}

func compareBits(t *testing.T, what string, got, want map[string][]float32) {
	t.Helper()
	for name := range want {
		if !sameBits(got[name][:len(want[name])], want[name]) {
			t.Errorf("%s: %s differs", what, name)
		}
	}
}

// The number of threads changes nothing.
func TestRowsThreads(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		const rows = 1500
		run := func(threads int) (a, b map[string][]float32) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(threads))
			return rowCalls(rand.New(rand.NewPCG(1, 2)), rows)
		}
		outputs, sums := run(1)
		for _, threads := range []int{2, 3, 7} {
			o, s := run(threads)
			compareBits(t, fmt.Sprint(threads, " threads"), o, outputs)
			compareBits(t, fmt.Sprint(threads, " threads"), s, sums)
		}
	})
}

// A row's result does not depend on how many rows follow it.
func TestRowsAlone(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 5))
		const rows, d = 400, 67
		x, dout, w := random[float32](r, rows*d), random[float32](r, rows*d), random[float32](r, d)
		call := func(from, to int) map[string][]float32 {
			n := to - from
			x, dout := x[from*d:to*d], dout[from*d:to*d]
			o := map[string][]float32{}
			for _, name := range []string{"RMSNorm", "RMSNormBackward", "LayerNorm", "LayerNormBackward", "GELU", "SiLU", "SwiGLU"} {
				o[name] = make([]float32, n*d)
			}
			inv, mean := make([]float32, n), make([]float32, n)
			RMSNorm(o["RMSNorm"], inv, x, w, n, d, 1e-5, 0)
			RMSNormBackward(o["RMSNormBackward"], make([]float32, d), dout, x, w, inv, nil, n, d, 0)
			LayerNorm(o["LayerNorm"], mean, inv, x, w, nil, n, d, 1e-5)
			LayerNormBackward(o["LayerNormBackward"], make([]float32, d), nil, dout, x, w, mean, inv, nil, n, d)
			Activate(GELU, o["GELU"], x)
			Activate(SiLU, o["SiLU"], x)
			SwiGLU(o["SwiGLU"], x, dout, d, d, n, d)
			return o
		}
		all := call(0, rows)
		for _, row := range []int{0, 1, 130, 399} {
			for name, alone := range call(row, row+1) {
				if !sameBits(alone, all[name][row*d:(row+1)*d]) {
					t.Errorf("%s: row %d alone has other bits than among %d", name, row, rows)
				}
			}
		}
	})
}

func TestRowsAllocateNothing(t *testing.T) {
	const rows, d = 300, 64
	v := func(n int) []float32 { return random[float32](rand.New(rand.NewPCG(1, 1)), n) }
	x, y, z, w, inv := v(rows*2*d), v(rows*2*d), v(rows*2*d), v(2*d), v(rows)
	ids := make([]int32, rows)
	for name, f := range map[string]func(){
		"RMSNorm":           func() { RMSNorm(x, inv, y, w, rows, d, 1e-5, 0) },
		"RMSNormBackward":   func() { RMSNormBackward(x, w, y, z, w[d:], inv, nil, rows, d, 0) },
		"LayerNormBackward": func() { LayerNormBackward(x, w, w[d:], y, z, w, inv, inv, nil, rows, d) },
		"Rotary":            func() { Rotary(x, y, d, d, w, w, ids, rows, 1, d, d, false) },
		"Activate":          func() { Activate(GELU, x, y) },
		"SwiGLU":            func() { SwiGLU(x, y, z, d, d, rows, d) },
		"BiasGradient":      func() { BiasGradient(w, x, rows, d, d) },
		"Gather":            func() { Gather(x, y, ids, d) },
		"ScatterAdd":        func() { ScatterAdd(x, y, ids, d) },
		"SumSquares":        func() { SumSquares(x) },
		"AdamW":             func() { AdamW(x, y, z, z, AdamWStep{Step: 1}) },
		"ExpShift": func() {
			var block [64]float32 // stays on the stack
			ExpShift(block[:], x[:64], 1, 0)
		},
	} {
		if n := testing.AllocsPerRun(50, f); n >= 1 {
			t.Errorf("%s: %g allocations per call", name, n)
		}
	}
}

func TestBorrow(t *testing.T) {
	small, large := make([]float64, 1e6), make([]float64, 2e6)
	GiveBack(large)
	GiveBack(small)
	if b := Borrow[float64](1e6 - 1); &b[0] != &small[0] {
		t.Error("borrow does not return the smallest buffer that is large enough")
	}
	if b := Borrow[float64](1e6); &b[0] != &large[0] {
		t.Error("borrow does not return what is left")
	}
}
