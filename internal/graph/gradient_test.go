package graph

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"gorgonia.org/tensor"
	"kdistill/internal/kernel"
)

func TestEmbeddingGradient(t *testing.T) {
	for _, test := range []struct {
		name            string
		offset, padding int32
	}{{"plain", 0, -1}, {"offset", 2, -1}, {"padding", 0, 3}, {"offset and padding", 2, 3}} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(tensor.Float64, 2, 4)
			f.feed.Tokens = []int32{1, 3, 1, 0, 3, 5, 1, 2} // one twice and more, 4 never
			build := func(g *Graph, view func(*Param) *Param) *Node {
				return dot(g, g.Embedding(f.weight(g, view, "table", 8, 3), g.Inputs.Tokens, test.offset, test.padding))
			}
			if test.padding < 0 {
				f.checkGradients(t, build)
				return
			}
			// The row of the padding id gets nothing although it counts in the result: the rest must be as without padding.
			plain, _ := f.compile(t, func(g *Graph, view func(*Param) *Param) *Node {
				return dot(g, g.Embedding(f.weight(g, view, "table", 8, 3), g.Inputs.Tokens, test.offset, -1))
			}, true)
			f.run(t, plain)
			want := f.gradients()["table"]
			row := int(test.offset + test.padding)
			if nothing(want[row*3 : row*3+3]) {
				t.Fatal("without padding_idx the row's gradient is zero: nothing is checked")
			}
			clear(want[row*3 : row*3+3])
			p, _ := f.compile(t, build, true)
			f.clearGradients()
			f.run(t, p)
			sameBits(t, "gradient", f.gradients(), map[string][]float64{"table": want})
		})
	}
}

func nothing(x []float64) bool {
	for _, v := range x {
		if v != 0 {
			return false
		}
	}
	return true
}

func TestAddGradient(t *testing.T) {
	f := newFixture(tensor.Float64, 1, 3)
	f.checkGradients(t, func(g *Graph, view func(*Param) *Param) *Node {
		return dot(g, g.Add(f.matrix(g, view, "x", 4), f.matrix(g, view, "y", 4)))
	})
}

// TestSharedGradient has nodes that several others read, and sums of their gradients.
func TestSharedGradient(t *testing.T) {
	f := newFixture(tensor.Float64, 2, 3)
	f.checkGradients(t, func(g *Graph, view func(*Param) *Param) *Node {
		x := f.matrix(g, view, "x", 4)
		for i := range 3 {
			y := g.Linear(g.Activate(kernel.SiLU, x), []*Node{f.weight(g, view, fmt.Sprint("w", i), 4, 4)}, []*Node{nil}, false, nil)
			x = g.Add(g.Add(x, y), g.Activate(kernel.GELU, x))
		}
		return dot(g, g.Add(x, x))
	})
}

// TestSkipGradient has residual blocks: the closing Add hands its gradient to the block's first op.
func TestSkipGradient(t *testing.T) {
	first := map[string]func(f *fixture, g *Graph, view func(*Param) *Param, x *Node, s *Skip) *Node{
		"rms_norm": func(f *fixture, g *Graph, view func(*Param) *Param, x *Node, s *Skip) *Node {
			return g.RMSNorm(x, f.weight(g, view, "norm", 4), 1e-5, 0, s)
		},
		"layer_norm": func(f *fixture, g *Graph, view func(*Param) *Param, x *Node, s *Skip) *Node {
			return g.LayerNorm(x, f.weight(g, view, "norm", 4), f.weight(g, view, "norm.bias", 4), 1e-5, s)
		},
		"linear": func(f *fixture, g *Graph, view func(*Param) *Param, x *Node, s *Skip) *Node {
			return g.Linear(x, []*Node{f.weight(g, view, "a", 4, 4)}, []*Node{f.weight(g, view, "b", 4)}, false, s)
		},
		"conv1d": func(f *fixture, g *Graph, view func(*Param) *Param, x *Node, s *Skip) *Node {
			return g.Linear(x, []*Node{f.weight(g, view, "a", 4, 4)}, []*Node{nil}, true, s)
		},
	}
	for name, begin := range first {
		for _, also := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, read elsewhere %v", name, also), func(t *testing.T) {
				f := newFixture(tensor.Float64, 2, 3)
				f.checkGradients(t, func(g *Graph, view func(*Param) *Param) *Node {
					x := f.matrix(g, view, "x", 4)
					if name == "linear" { // an input that is a result itself
						x = g.Activate(kernel.SiLU, x)
					}
					skip := Fork(x)
					y := g.Activate(kernel.GELUTanh, begin(f, g, view, x, skip))
					z := g.Close(skip, g.Linear(y, []*Node{f.weight(g, view, "out", 4, 4)}, []*Node{nil}, false, nil))
					if also {
						z = g.Add(z, g.Activate(kernel.GELU, x))
					}
					return dot(g, z)
				})
			})
		}
	}
}

func TestNormGradients(t *testing.T) {
	for _, offset := range []float64{0, 1} {
		f := newFixture(tensor.Float64, 2, 3)
		f.checkGradients(t, func(g *Graph, view func(*Param) *Param) *Node {
			return dot(g, g.RMSNorm(f.matrix(g, view, "x", 5), f.weight(g, view, "w", 5), 1e-2, offset, nil))
		})
	}
	f := newFixture(tensor.Float64, 2, 3)
	f.checkGradients(t, func(g *Graph, view func(*Param) *Param) *Node {
		return dot(g, g.LayerNorm(f.matrix(g, view, "x", 5), f.weight(g, view, "w", 5), f.weight(g, view, "b", 5), 1e-2, nil))
	})
}

// TestPartlyFrozen trains one of an op's weights at a time.
func TestPartlyFrozen(t *testing.T) {
	ops := map[string]struct {
		weights []string
		apply   func(g *Graph, x *Node, w []*Node) *Node
		shapes  [][]int
	}{
		"layer_norm": {[]string{"w", "b"}, func(g *Graph, x *Node, w []*Node) *Node { return g.LayerNorm(x, w[0], w[1], 1e-5, nil) }, [][]int{{4}, {4}}},
		"linear":     {[]string{"w", "b"}, func(g *Graph, x *Node, w []*Node) *Node { return g.Linear(x, w[:1], w[1:], false, nil) }, [][]int{{4, 4}, {4}}},
		"two linear": {[]string{"v", "w"}, func(g *Graph, x *Node, w []*Node) *Node { return g.Linear(x, w, []*Node{nil, nil}, false, nil) }, [][]int{{4, 4}, {3, 4}}},
	}
	for name, o := range ops {
		for i, only := range o.weights {
			t.Run(name+", only "+only, func(t *testing.T) {
				f := newFixture(tensor.Float64, 1, 4)
				x := f.frozen("x", 4, 4)
				frozen := f.frozen(o.weights[1-i], o.shapes[1-i]...)
				f.checkGradients(t, func(g *Graph, view func(*Param) *Param) *Node {
					w := make([]*Node, 2)
					w[i], w[1-i] = f.weight(g, view, only, o.shapes[i]...), g.Weight(frozen)
					return dot(g, o.apply(g, g.Embedding(g.Weight(x), g.Inputs.Tokens, 0, -1), w))
				})
			})
		}
	}
}

func TestLinearGradients(t *testing.T) {
	for _, conv1d := range []bool{false, true} {
		for _, skip := range []bool{false, true} {
			t.Run(fmt.Sprintf("conv1d %v skip %v", conv1d, skip), func(t *testing.T) {
				f := newFixture(tensor.Float64, 2, 3)
				f.checkGradients(t, func(g *Graph, view func(*Param) *Param) *Node {
					x := f.matrix(g, view, "x", 4)
					w := func(name string, out int) *Node {
						if conv1d {
							return f.weight(g, view, name, 4, out)
						}
						return f.weight(g, view, name, out, 4)
					}
					var s *Skip
					if skip {
						s = Fork(x)
					}
					y := g.Linear(x, []*Node{w("q", 2), w("k", 1), w("v", 1)}, []*Node{f.weight(g, view, "q.bias", 2), nil, f.weight(g, view, "v.bias", 1)}, conv1d, s)
					if skip {
						y = g.Close(s, y)
					}
					return dot(g, y)
				})
			})
		}
	}
}

func TestActivationGradients(t *testing.T) {
	for kind, name := range map[kernel.Activation]string{kernel.ReLU: "relu", kernel.GELU: "gelu", kernel.GELUTanh: "gelu_tanh", kernel.SiLU: "silu", kernel.QuickGELU: "quick_gelu"} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(tensor.Float64, 1, 9)
			f.checkGradients(t, func(g *Graph, view func(*Param) *Param) *Node {
				return dot(g, g.Activate(kind, f.matrix(g, view, "x", 3)))
			})
		})
	}
	for _, kind := range []kernel.Activation{kernel.SiLU, kernel.GELUTanh} {
		t.Run(fmt.Sprint("glu ", kind), func(t *testing.T) {
			f := newFixture(tensor.Float64, 1, 5)
			f.checkGradients(t, func(g *Graph, view func(*Param) *Param) *Node { return dot(g, g.GLU(kind, f.matrix(g, view, "x", 6))) })
		})
	}
	t.Run("scale", func(t *testing.T) {
		f := newFixture(tensor.Float64, 1, 5)
		f.checkGradients(t, func(g *Graph, view func(*Param) *Param) *Node {
			return dot(g, g.Scale(f.matrix(g, view, "x", 6), -2.5))
		})
	})
	t.Run("heads apart", func(t *testing.T) {
		f := newFixture(tensor.Float64, 2, 3)
		f.checkGradients(t, func(g *Graph, view func(*Param) *Param) *Node {
			return dot(g, g.HeadsApart(f.matrix(g, view, "x", 12), 2))
		})
	})
}

func TestHeadNormGradient(t *testing.T) {
	f := newFixture(tensor.Float64, 2, 2)
	f.checkGradients(t, func(g *Graph, view func(*Param) *Param) *Node {
		x := f.matrix(g, view, "x", 3*(2+1)+1)
		x = g.HeadNorm(x, f.weight(g, view, "q", 3), 0, 2, 1e-3, 0)
		return dot(g, g.HeadNorm(x, f.weight(g, view, "k", 3), 6, 1, 1e-3, 1)) // the last column passes
	})
}

func turning(half int) *RotaryTable {
	r := &RotaryTable{Factor: 1.25}
	for i := range half {
		r.Frequencies = append(r.Frequencies, float32(math.Pow(3, -float64(i))))
	}
	return r
}

func TestRotaryGradient(t *testing.T) {
	for _, half := range []int{2, 1} { // the whole head, and its first half
		f := newFixture(tensor.Float64, 2, 3)
		f.checkGradients(t, func(g *Graph, view func(*Param) *Param) *Node {
			h := Heads{H: 2, KV: 1, D: 4}
			return dot(g, g.Rotary(f.matrix(g, view, "qkv", h.Width()), h, turning(half)))
		})
	}
}

// TestRotaryAngles compares with cos and sin of position times frequency, for two shapes over one table.
func TestRotaryAngles(t *testing.T) {
	table, h := turning(2), Heads{H: 1, KV: 1, D: 4}
	for _, length := range []int{3, 70, 5} {
		f := newFixture(tensor.Float64, 1, length)
		var y *Node
		g := New(f.dtype, 1, length)
		y = g.Rotary(f.matrix(g, (*Param).Frozen, "qkv", h.Width()), h, table)
		p, err := g.Compile(&Arena{}, nil, y)
		if err != nil {
			t.Fatal(err)
		}
		f.run(t, p)
		x, out := f.param("qkv", length, h.Width()).Value.Float64s(), p.Value(y).Float64s()
		for i := range length {
			row := i * h.Width()
			for head := range 3 {
				for k, frequency := range table.Frequencies {
					a, b := x[row+4*head+k], x[row+4*head+k+2]
					sin, cos := math.Sincos(float64(i) * float64(frequency))
					if head == 2 { // values are not turned
						sin, cos = 0, 1/table.Factor
					}
					wantA, wantB := table.Factor*(a*cos-b*sin), table.Factor*(b*cos+a*sin)
					if d := max(math.Abs(out[row+4*head+k]-wantA), math.Abs(out[row+4*head+k+2]-wantB)); !(d < 1e-5) {
						t.Fatalf("position %d, head %d, pair %d: off by %g", i, head, k, d)
					}
				}
			}
		}
		p.Close()
	}
}

func TestAttentionGradients(t *testing.T) {
	grouped := Heads{H: 4, KV: 2, D: 3}
	for name, test := range map[string]struct {
		heads Heads
		mask  func(f *fixture)
	}{
		"plain":               {Heads{H: 2, KV: 2, D: 3}, nil},
		"grouped":             {grouped, nil},
		"one kv":              {Heads{H: 3, KV: 1, D: 2}, nil},
		"window":              {Heads{H: 4, KV: 2, D: 3, Window: 2}, nil},
		"scale":               {Heads{H: 2, KV: 1, D: 3, Scale: 0.9}, nil},
		"documents":           {grouped, documents},
		"window in documents": {Heads{H: 4, KV: 2, D: 3, Window: 2}, documents},
		"padding": {grouped, func(f *fixture) {
			for _, i := range []int{4, 5, 6, 7} { // right in the first row, left in the second
				f.feed.First[i], f.feed.Last[i] = 0, 0
			}
			for i := 8; i < 12; i++ {
				f.feed.First[i] = 2
			}
		}},
		"two-sided": {grouped, func(f *fixture) {
			for i := range f.feed.Last {
				f.feed.Last[i] = 5
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(tensor.Float64, 2, 6)
			if test.mask != nil {
				test.mask(f)
			}
			f.checkGradients(t, func(g *Graph, view func(*Param) *Param) *Node {
				return dot(g, g.Attention(f.matrix(g, view, "qkv", test.heads.Width()), test.heads))
			})
		})
	}
}

// documents cuts the first row after position 2 and the second after 3.
func documents(f *fixture) {
	for _, i := range []int{2, 3, 4, 5} {
		f.feed.First[i] = 2
	}
	for _, i := range []int{9, 10, 11} {
		f.feed.First[i] = 3
	}
}

// TestBuildErrors are mistakes in building a graph: the first one sticks and Compile returns it.
func TestBuildErrors(t *testing.T) {
	f := newFixture(tensor.Float64, 1, 2)
	for want, build := range map[string]func(g *Graph, x *Node) *Node{
		"w: have input width 3, want 4": func(g *Graph, x *Node) *Node {
			return g.Linear(x, []*Node{f.weight(g, trained, "w", 5, 3)}, []*Node{nil}, false, nil)
		},
		"w1d: have input width 5, want 4": func(g *Graph, x *Node) *Node {
			return g.Linear(x, []*Node{f.weight(g, trained, "w1d", 5, 3)}, []*Node{nil}, true, nil)
		},
		"linear: weight 0 is missing":                                         func(g *Graph, x *Node) *Node { return g.Linear(x, []*Node{nil}, []*Node{nil}, false, nil) },
		"attention: have a projection of width 4, want (2 + 2 x 1) heads x 3": func(g *Graph, x *Node) *Node { return g.Attention(x, Heads{H: 2, KV: 1, D: 3}) },
		"add: an operand is missing":                                          func(g *Graph, x *Node) *Node { return g.Add(x, nil) },
		"loss forward_kl: it compares with a teacher, and there is none": func(g *Graph, x *Node) *Node {
			n, _ := g.Loss(x, Head{Weight: f.param("head", 7, 4)}, nil, []*Term{{Loss: newLoss(t, "forward_kl")}})
			return n
		},
	} {
		g := New(f.dtype, 1, 2)
		n := build(g, f.matrix(g, trained, "x", 4))
		for range 2 { // nothing that follows panics or hides the error
			n = g.Activate(kernel.SiLU, g.Add(n, n))
		}
		_, err := g.Compile(&Arena{}, dot(g, n))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("have error %v, want %s", err, want)
		}
	}
}
