package graph

import (
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"kdistill/internal/kernel"
)

// Visit is given the logits [V] at a position of the batch, from several goroutines at once; they are valid during the call.
type Visit func(position int, logits []float32)

// EachRow adds a head whose logits nobody holds: a run calls visit at every position that is attended to and for which wanted is true. Both may change
// between runs. The node, which must be kept, has no value of interest.
func (g *Graph) EachRow(hidden *Node, head Head, wanted func(position int) bool, visit Visit) *Node {
	if g.needHead(head); g.err != nil {
		return nil
	}
	operands := []*Node{g.Inputs.Attended}
	p := newProjection[float32](g, hidden, head.frozen(), &operands)
	if p == nil {
		return nil
	}
	chunk := min(g.Rows(), max(headRows, headBudget/p.vocab/32*32))
	o := &op{
		name: "head, row by row", result: g.dtype, shape: tensor.ScalarShape(), fixed: true, out: scalar(g.dtype), inPlace: -1,
		scratch: chunk * (p.vocab + p.width), diff: make([]bool, len(operands)),
	}
	rows := make([]int32, 0, g.Rows())
	o.run = func(_ gorgonia.Value, in []gorgonia.Value) {
		rows = rows[:0]
		for i, attended := range ints(in[0]) {
			if attended != 0 && wanted(i) {
				rows = append(rows, int32(i))
			}
		}
		memory := working[float32](o)
		z, h := memory[:chunk*p.vocab], memory[chunk*p.vocab:]
		for at := 0; at < len(rows); at += chunk {
			positions := rows[at:min(at+chunk, len(rows))]
			take(h, floats[float32](in[p.hidden]), positions, p.width)
			p.products(z, h, len(positions), 0, p.vocab)
			kernel.Parallel(len(positions), func(r int) {
				row := z[r*p.vocab : (r+1)*p.vocab]
				p.finish(row, 0, in)
				visit(int(positions[r]), row)
			})
		}
	}
	return g.apply(o, operands...)
}
