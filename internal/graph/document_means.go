package graph

import (
	"gorgonia.org/gorgonia"
	"kdistill/internal/kernel"
)

// documentMeans holds at each document's first position the mean of x [N, D] over the document's tokens, and 0 elsewhere.
func documentMeans[F kernel.Float](g *Graph, x *Node) *Node {
	d := width(x)
	node := func(name string, document func(y, x []F, d int)) *op {
		m := &documentRows[F]{b: g.B, t: g.T, d: d, document: document}
		m.work = m.row
		return &op{name: name, shape: x.Shape(), inPlace: -1, run: m.run}
	}
	o := node("means of documents", func(y, x []F, d int) {
		clear(y)
		for i := 0; i < len(x); i += d {
			kernel.Add(y[:d], y[:d], x[i:i+d])
		}
		kernel.Scale(y[:d], y[:d], F(d)/F(len(x)))
	})
	o.diff = []bool{true, false, false}
	o.back = func(in gorgonia.Nodes, _, dout *Node) (gorgonia.Nodes, error) {
		dx := g.apply(node("means of documents backward", func(dx, dy []F, d int) {
			for i := 0; i < len(dx); i += d {
				kernel.Scale(dx[i:i+d], dy[:d], F(d)/F(len(dx)))
			}
		}), dout, in[1], in[2])
		return gorgonia.Nodes{dx, nil, nil}, g.err
	}
	return g.apply(o, x, g.Inputs.Attended, g.Inputs.Positions)
}

// documentRows hands the rows of each document to a function, and clears the result where there is none.
type documentRows[F kernel.Float] struct {
	b, t, d  int
	document func(y, x []F, d int) // all the document's rows of the result and of the operand

	work                func(r int) // the method row, made once
	y, x                []F         // of the run
	attended, positions []int32
}

func (m *documentRows[F]) run(out gorgonia.Value, in []gorgonia.Value) {
	m.y, m.x, m.attended, m.positions = floats[F](out), floats[F](in[0]), ints(in[1]), ints(in[2])
	kernel.Parallel(m.b, m.work)
	m.y, m.x, m.attended, m.positions = nil, nil, nil, nil
}

func (m *documentRows[F]) row(r int) {
	for i, end := r*m.t, (r+1)*m.t; i < end; {
		first := i
		for i++; i < end && m.attended[i] != 0 && m.positions[i] != 0; i++ {
		}
		if m.attended[first] == 0 {
			i = first + 1
			clear(m.y[first*m.d : i*m.d])
			continue
		}
		m.document(m.y[first*m.d:i*m.d], m.x[first*m.d:i*m.d], m.d)
	}
}
