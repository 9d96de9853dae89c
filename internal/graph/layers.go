package graph

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"kdistill/internal/kernel"
)

// Shapes: N = B*T positions, D width, H query heads, K key-value heads, d head width, F feed-forward width.

// Skip is the residual path round a block: the node that feeds both the block's first op and the Add that closes it.
// The closing Add hands its gradient to the first op, which adds it to its own: there is no sum of two gradients to compute then.
type Skip struct {
	X    *Node
	dout *Node
}

// Fork opens a residual path at x: give it to the first op of the block and to the Add that closes the block.
func Fork(x *Node) *Skip { return &Skip{X: x} }

// carry lists the gradient that came round the block, for a backward op's operands.
func (s *Skip) carry() []*Node {
	if s == nil || s.dout == nil {
		return nil
	}
	return []*Node{s.dout}
}

// Embedding looks up ids + offset [N] in table [rows, D]: result [N, D]. The row of id padding (-1: none) gets no gradient, as torch's padding_idx.
func (g *Graph) Embedding(table, ids *Node, offset, padding int32) *Node {
	return dispatch(g, func() *Node { return embedding[float32](g, table, ids, offset, padding) }, func() *Node { return embedding[float64](g, table, ids, offset, padding) })
}

func embedding[F kernel.Float](g *Graph, table, ids *Node, offset, padding int32) *Node {
	n, d := g.Rows(), width(table)
	rows, kept, dkept := save[int32](n), save[int32](n), []F(nil)
	return g.apply(&op{
		name: "embedding", shape: tensor.Shape{n, d}, diff: []bool{g.trained(table), false}, inPlace: -1,
		run: func(out gorgonia.Value, in []gorgonia.Value) {
			for i, id := range ints(in[1]) {
				rows[i] = id + offset
			}
			if isBF16(in[0]) {
				kernel.Gather(floats[F](out), bits(in[0]), rows, d)
			} else {
				kernel.Gather(floats[F](out), floats[F](in[0]), rows, d)
			}
		},
		back: func(in gorgonia.Nodes, _, dout *Node) (gorgonia.Nodes, error) {
			p := g.params[in[0]]
			if padding >= 0 {
				dkept = save[F](n * d)
			}
			dtable := g.apply(&op{
				name: "gradient of " + p.Name, shape: p.Shape, fixed: true, out: p.Grad, inPlace: -1,
				run: func(out gorgonia.Value, in []gorgonia.Value) {
					dx := floats[F](in[0])
					if padding < 0 {
						kernel.ScatterAdd(floats[F](out), dx, rows, d)
						return
					}
					m := 0
					for i, row := range rows {
						if row-offset != padding {
							copy(dkept[m*d:(m+1)*d], dx[i*d:])
							kept[m] = row
							m++
						}
					}
					kernel.ScatterAdd(floats[F](out), dkept[:m*d], kept[:m], d)
				},
			}, dout)
			return gorgonia.Nodes{dtable, nil}, g.err
		},
	}, table, ids)
}

// Add returns x + y, both [N, D]; each gets the gradient.
func (g *Graph) Add(x, y *Node) *Node { return g.add(x, y, nil) }

// Close ends a residual block: skip.X + y.
func (g *Graph) Close(skip *Skip, y *Node) *Node { return g.add(skip.X, y, skip) }

func (g *Graph) add(x, y *Node, skip *Skip) *Node {
	return dispatch(g, func() *Node { return add[float32](g, x, y, skip) }, func() *Node { return add[float64](g, x, y, skip) })
}

func add[F kernel.Float](g *Graph, x, y *Node, skip *Skip) *Node {
	return g.apply(&op{
		name: "add", shape: x.Shape(), diff: []bool{skip == nil, true}, inPlace: 1,
		run: func(out gorgonia.Value, in []gorgonia.Value) {
			kernel.Add(floats[F](out), floats[F](in[0]), floats[F](in[1]))
		},
		back: func(_ gorgonia.Nodes, _, dout *Node) (gorgonia.Nodes, error) {
			if skip != nil {
				skip.dout = dout
				return gorgonia.Nodes{nil, dout}, nil
			}
			return gorgonia.Nodes{dout, dout}, nil
		},
	}, x, y)
}

// RMSNorm is x / sqrt(mean(x²) + eps) · (w + offset) over the last dimension; skip may be nil.
func (g *Graph) RMSNorm(x, w *Node, eps, offset float64, skip *Skip) *Node {
	return dispatch(g, func() *Node { return rmsNorm[float32](g, x, w, eps, offset, skip) }, func() *Node { return rmsNorm[float64](g, x, w, eps, offset, skip) })
}

func rmsNorm[F kernel.Float](g *Graph, x, w *Node, eps, offset float64, skip *Skip) *Node {
	rows, d := g.Rows(), width(x)
	inv := save[F](rows)
	return g.apply(&op{
		name: "rms_norm", shape: x.Shape(), diff: []bool{true, g.trained(w)}, inPlace: -1, cheap: true,
		run: func(out gorgonia.Value, in []gorgonia.Value) {
			kernel.RMSNorm(floats[F](out), inv, floats[F](in[0]), floats[F](in[1]), rows, d, F(eps), F(offset))
		},
		back: func(in gorgonia.Nodes, _, dout *Node) (gorgonia.Nodes, error) {
			operands := append([]*Node{dout, in[0], in[1]}, skip.carry()...)
			p := g.params[in[1]]
			dx := g.apply(&op{
				name: "rms_norm backward", shape: x.Shape(), inPlace: -1,
				run: func(out gorgonia.Value, in []gorgonia.Value) {
					kernel.RMSNormBackward(floats[F](out), gradient[F](p), floats[F](in[0]), floats[F](in[1]), floats[F](in[2]), inv, optional[F](in, 3), rows, d, F(offset))
				},
			}, operands...)
			return gorgonia.Nodes{dx, g.sinkIf(p, dx)}, g.err
		},
	}, x, w)
}

// LayerNorm is (x − mean) / sqrt(var + eps) · w + b over the last dimension; skip may be nil.
func (g *Graph) LayerNorm(x, w, b *Node, eps float64, skip *Skip) *Node {
	return dispatch(g, func() *Node { return layerNorm[float32](g, x, w, b, eps, skip) }, func() *Node { return layerNorm[float64](g, x, w, b, eps, skip) })
}

func layerNorm[F kernel.Float](g *Graph, x, w, b *Node, eps float64, skip *Skip) *Node {
	rows, d := g.Rows(), width(x)
	mean, inv := save[F](rows), save[F](rows)
	return g.apply(&op{
		name: "layer_norm", shape: x.Shape(), diff: []bool{true, g.trained(w), g.trained(b)}, inPlace: -1, cheap: true,
		run: func(out gorgonia.Value, in []gorgonia.Value) {
			kernel.LayerNorm(floats[F](out), mean, inv, floats[F](in[0]), floats[F](in[1]), floats[F](in[2]), rows, d, F(eps))
		},
		back: func(in gorgonia.Nodes, _, dout *Node) (gorgonia.Nodes, error) {
			operands := append([]*Node{dout, in[0], in[1]}, skip.carry()...)
			pw, pb := g.params[in[1]], g.params[in[2]]
			var unused []F // the kernel has no way to leave out the weight alone
			if !g.trained(in[1]) && g.trained(in[2]) {
				unused = save[F](d)
			}
			dx := g.apply(&op{
				name: "layer_norm backward", shape: x.Shape(), inPlace: -1,
				run: func(out gorgonia.Value, in []gorgonia.Value) {
					dw := gradient[F](pw)
					if unused != nil {
						dw = unused
					}
					kernel.LayerNormBackward(floats[F](out), dw, gradient[F](pb), floats[F](in[0]), floats[F](in[1]), floats[F](in[2]), mean, inv, optional[F](in, 3), rows, d)
				},
			}, operands...)
			return gorgonia.Nodes{dx, g.sinkIf(pw, dx), g.sinkIf(pb, dx)}, g.err
		},
	}, x, w, b)
}

// HeadNorm is RMSNorm with one weight [d] over each of the heads that begin at column from of x [N, stride]; other columns pass unchanged.
func (g *Graph) HeadNorm(x, w *Node, from, heads int, eps, offset float64) *Node {
	return dispatch(g, func() *Node { return headNorm[float32](g, x, w, from, heads, eps, offset) },
		func() *Node { return headNorm[float64](g, x, w, from, heads, eps, offset) })
}

func headNorm[F kernel.Float](g *Graph, x, w *Node, from, heads int, eps, offset float64) *Node {
	rows, stride, d := g.Rows(), width(x), width(w)
	inv := save[F](rows * heads)
	return g.apply(&op{
		name: "head_norm", shape: x.Shape(), diff: []bool{true, g.trained(w)}, inPlace: -1, cheap: true, inColumns: true, makes: map[int]span{1: {from, heads * d}},
		run: func(out gorgonia.Value, in []gorgonia.Value) {
			src, dst := floats[F](in[0]), floats[F](out)
			copy(dst, src)
			kernel.HeadNorm(dst[from:], inv, src[from:], floats[F](in[1]), rows, heads, d, stride, F(eps), F(offset))
		},
		back: func(in gorgonia.Nodes, _, dout *Node) (gorgonia.Nodes, error) {
			p := g.params[in[1]]
			dx := g.apply(&op{
				name: "head_norm backward", shape: x.Shape(), inPlace: 0,
				run: func(out gorgonia.Value, in []gorgonia.Value) {
					dout, dx := floats[F](in[0]), floats[F](out)
					if &dx[0] != &dout[0] {
						copy(dx, dout)
					}
					kernel.HeadNormBackward(dx[from:], gradient[F](p), dout[from:], floats[F](in[1])[from:], floats[F](in[2]), inv, rows, heads, d, stride, F(offset))
				},
			}, dout, in[0], in[1])
			return gorgonia.Nodes{dx, g.sinkIf(p, dx)}, g.err
		},
	}, x, w)
}

// Linear is one or several projections of x [N, D] side by side: result [N, Σ out]. Weights are [out, D], or [D, out] when conv1d (GPT-2).
// biases holds nil for a projection without one. skip may be nil.
func (g *Graph) Linear(x *Node, weights, biases []*Node, conv1d bool, skip *Skip) *Node {
	return dispatch(g, func() *Node { return linear[float32](g, x, weights, biases, conv1d, skip) }, func() *Node { return linear[float64](g, x, weights, biases, conv1d, skip) })
}

func linear[F kernel.Float](g *Graph, x *Node, weights, biases []*Node, conv1d bool, skip *Skip) *Node {
	rows, d := g.Rows(), width(x)
	type part struct {
		weight        *Param
		from, n, bias int // columns, and which operand is the bias
	}
	var parts []part
	makes := map[int]span{}
	total := 0
	operands := append([]*Node{x}, weights...)
	diff := []bool{true}
	for i, w := range weights {
		if w == nil {
			g.Fail(fmt.Errorf("linear: weight %d is missing", i))
			return nil
		}
		s := w.Shape()
		in, n := s[1], s[0]
		if conv1d {
			in, n = s[0], s[1]
		}
		if in != d {
			g.Fail(fmt.Errorf("%s: have input width %d, want %d", w.Name(), in, d))
			return nil
		}
		g.linears = append(g.linears, linearWeight{g.params[w], !conv1d})
		parts, makes[1+i] = append(parts, part{weight: g.params[w], from: total, n: n, bias: -1}), span{total, n}
		diff = append(diff, g.trained(w))
		total += n
	}
	for i, b := range biases {
		if b != nil {
			parts[i].bias, makes[len(operands)] = len(operands), makes[1+i]
			operands, diff = append(operands, b), append(diff, g.trained(b))
		}
	}
	all := &sideBySide[F]{}
	for _, p := range parts {
		all.params = append(all.params, p.weight)
	}
	product := float64(2*rows) * float64(d)
	return g.apply(&op{
		name: "linear", shape: tensor.Shape{rows, total}, diff: diff, inPlace: -1, makes: makes,
		operations: func([]gorgonia.Value) float64 { return product * float64(total) },
		run: func(out gorgonia.Value, in []gorgonia.Value) {
			y, x := floats[F](out), floats[F](in[0])
			together := !conv1d && all.multiply(g, rows, d, x, y, total)
			for _, p := range parts {
				if !together {
					multiply(g, !conv1d, rows, p.n, d, x, d, p.weight, false, y[p.from:], total)
				}
				if p.bias >= 0 {
					kernel.AddBias(y[p.from:], floats[F](in[p.bias]), rows, p.n, total)
				}
			}
		},
		back: func(in gorgonia.Nodes, _, dout *Node) (gorgonia.Nodes, error) {
			operands := append([]*Node{dout, in[0]}, in[1:1+len(parts)]...)
			carry := len(operands)
			operands = append(operands, skip.carry()...)
			dx := g.apply(&op{
				name: "linear backward", shape: x.Shape(), inPlace: -1,
				operations: func([]gorgonia.Value) float64 {
					n := total
					for i, p := range parts {
						if g.trained(in[1+i]) {
							n += p.n
						}
					}
					return product * float64(n)
				},
				run: func(out gorgonia.Value, v []gorgonia.Value) {
					dx, dy, x := floats[F](out), floats[F](v[0]), floats[F](v[1])
					c := optional[F](v, carry)
					if c != nil {
						copy(dx, c)
					}
					for i, p := range parts {
						multiply(g, conv1d, rows, d, p.n, dy[p.from:], total, p.weight, c != nil || i > 0, dx, d)
						dw := gradient[F](g.params[in[1+i]])
						switch {
						case dw == nil:
						case conv1d:
							gemm(g, true, false, d, p.n, rows, x, d, dy[p.from:], total, true, dw, p.n)
						default:
							gemm(g, true, false, p.n, d, rows, dy[p.from:], total, x, d, true, dw, d)
						}
						if p.bias >= 0 {
							if db := gradient[F](g.params[in[p.bias]]); db != nil {
								kernel.BiasGradient(db, dy[p.from:], rows, p.n, total)
							}
						}
					}
				},
			}, operands...)
			grads := gorgonia.Nodes{dx}
			for _, n := range in[1:] {
				grads = append(grads, g.sinkIf(g.params[n], dx))
			}
			return grads, g.err
		},
	}, operands...)
}

// GLU is f(gate)·up of x [N, 2F] for an activation f, gate in the first half: result [N, F] (Shazeer 2020, GLU Variants Improve Transformer).
func (g *Graph) GLU(kind kernel.Activation, x *Node) *Node {
	return dispatch(g, func() *Node { return glu[float32](g, kind, x) }, func() *Node { return glu[float64](g, kind, x) })
}

func glu[F kernel.Float](g *Graph, kind kernel.Activation, x *Node) *Node {
	rows, f := g.Rows(), width(x)/2
	return g.apply(&op{
		name: "glu", shape: tensor.Shape{rows, f}, diff: []bool{true}, inPlace: -1, cheap: true,
		run: func(out gorgonia.Value, in []gorgonia.Value) {
			x := floats[F](in[0])
			kernel.GLU(kind, floats[F](out), x, x[f:], f, 2*f, rows, f)
		},
		back: func(in gorgonia.Nodes, _, dout *Node) (gorgonia.Nodes, error) {
			dx := g.apply(&op{
				name: "glu backward", shape: x.Shape(), inPlace: 1,
				run: func(out gorgonia.Value, in []gorgonia.Value) {
					dx, x := floats[F](out), floats[F](in[1])
					kernel.GLUBackward(kind, dx, dx[f:], floats[F](in[0]), x, x[f:], 2*f, f, 2*f, rows, f)
				},
			}, dout, in[0])
			return gorgonia.Nodes{dx}, g.err
		},
	}, x)
}

// Activate applies an activation function to each element.
func (g *Graph) Activate(kind kernel.Activation, x *Node) *Node {
	return dispatch(g, func() *Node { return activate[float32](g, kind, x) }, func() *Node { return activate[float64](g, kind, x) })
}

func activate[F kernel.Float](g *Graph, kind kernel.Activation, x *Node) *Node {
	return g.apply(&op{
		name: "activation", shape: x.Shape(), diff: []bool{true}, inPlace: 0, cheap: true,
		run: func(out gorgonia.Value, in []gorgonia.Value) {
			kernel.Activate(kind, floats[F](out), floats[F](in[0]))
		},
		back: func(in gorgonia.Nodes, _, dout *Node) (gorgonia.Nodes, error) {
			dx := g.apply(&op{
				name: "activation backward", shape: x.Shape(), inPlace: 0,
				run: func(out gorgonia.Value, in []gorgonia.Value) {
					kernel.ActivateBackward(kind, floats[F](out), floats[F](in[0]), floats[F](in[1]))
				},
			}, dout, in[0])
			return gorgonia.Nodes{dx}, g.err
		},
	}, x)
}

// gradient is a parameter's gradient buffer, nil where it is frozen.
func gradient[F kernel.Float](p *Param) []F {
	if p == nil || p.Grad == nil {
		return nil
	}
	return floats[F](p.Grad)
}

func (g *Graph) sinkIf(p *Param, back *Node) *Node {
	if p == nil || p.Grad == nil {
		return nil
	}
	return g.sink(p, back)
}

func optional[F kernel.Float](in []gorgonia.Value, i int) []F {
	if i >= len(in) {
		return nil
	}
	return floats[F](in[i])
}
