package graph

import (
	"gorgonia.org/gorgonia"
	"kdistill/internal/kernel"
)

// Scale is factor·x.
func (g *Graph) Scale(x *Node, factor float64) *Node {
	return dispatch(g, func() *Node { return scale[float32](g, x, factor) }, func() *Node { return scale[float64](g, x, factor) })
}

func scale[F kernel.Float](g *Graph, x *Node, factor float64) *Node {
	run := rowByRow(g.Rows(), width(x), func(y, x []F) { kernel.Scale(y, x, F(factor)) })
	return g.apply(&op{
		name: "scale", shape: x.Shape(), diff: []bool{true}, inPlace: 0, run: run,
		back: func(_ gorgonia.Nodes, _, dout *Node) (gorgonia.Nodes, error) {
			return gorgonia.Nodes{g.apply(&op{name: "scale backward", shape: x.Shape(), inPlace: 0, run: run}, dout)}, g.err
		},
	}, x)
}

// HeadsApart takes a projection [N, H·3·d] that holds query, key and value of each head side by side, as GPT-NeoX fuses them,
// to that of Heads: all queries, all keys, all values.
func (g *Graph) HeadsApart(x *Node, heads int) *Node {
	return dispatch(g, func() *Node { return headsApart[float32](g, x, heads) }, func() *Node { return headsApart[float64](g, x, heads) })
}

func headsApart[F kernel.Float](g *Graph, x *Node, heads int) *Node {
	const parts = 3
	d := width(x) / (heads * parts)
	move := func(back bool) func(gorgonia.Value, []gorgonia.Value) {
		return rowByRow(g.Rows(), width(x), func(y, x []F) {
			for i := range heads * parts {
				from, to := i*d, (i%parts*heads+i/parts)*d
				if back {
					from, to = to, from
				}
				copy(y[to:to+d], x[from:])
			}
		})
	}
	return g.apply(&op{
		name: "heads apart", shape: x.Shape(), diff: []bool{true}, inPlace: -1, run: move(false),
		back: func(_ gorgonia.Nodes, _, dout *Node) (gorgonia.Nodes, error) {
			return gorgonia.Nodes{g.apply(&op{name: "heads apart backward", shape: x.Shape(), inPlace: -1, run: move(true)}, dout)}, g.err
		},
	}, x)
}

// rowByRow returns an op's run that hands each row of the result and of the operand, both of width d, to f. The closure that goes over the rows is made
// once: made in each run, it would be an allocation.
func rowByRow[F kernel.Float](rows, d int, f func(y, x []F)) func(gorgonia.Value, []gorgonia.Value) {
	var y, x []F
	row := func(r int) { f(y[r*d:(r+1)*d], x[r*d:(r+1)*d]) }
	return func(out gorgonia.Value, in []gorgonia.Value) {
		y, x = floats[F](out), floats[F](in[0])
		kernel.Parallel(rows, row)
		y, x = nil, nil // the arena may move
	}
}
