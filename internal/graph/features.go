package graph

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"kdistill/internal/kernel"
	"kdistill/internal/loss"
)

// Feature is a part of a term on features: a layer of the student's and one of the teacher's.
type Feature struct {
	Term             int       // which one it is a part of
	Student, Teacher *Node     // hidden states [N, D], D the same for both, or what scores are made from
	Scores           ScorePair // of terms on scores and relations

	values []float64 // [N]
}

// featureLoss adds a feature's own op.
func featureLoss[F kernel.Float](g *Graph, l *Losses, f *Feature) *Node {
	if l.Terms[f.Term].Loss.Rows == loss.Hidden {
		return hiddenLoss[F](g, l, f)
	}
	return scoreLoss[F](g, l, f)
}

// counts reports whether a term on features counts a position.
func (t *Term) counts(attended, position int32) bool {
	return attended != 0 && (t.Tokens == AllTokens || position == 0)
}

// hiddenLoss is the sum over positions of a row function on hidden states.
func hiddenLoss[F kernel.Float](g *Graph, l *Losses, f *Feature) *Node {
	n, d, term := g.Rows(), width(f.Student), l.Terms[f.Term]
	if have := width(f.Teacher); have != d {
		g.Fail(fmt.Errorf("loss %s: the student's hidden state has width %d, the teacher's %d", term.Loss.Name, d, have))
		return nil
	}
	student, teacher := f.Student, f.Teacher
	if term.Tokens == MeanOfTokens {
		student, teacher = documentMeans[F](g, student), documentMeans[F](g, teacher)
	}
	f.values = make([]float64, n)
	h := &hiddenRows[F]{term: term, values: f.values, d: d}
	h.work = h.position
	return g.apply(&op{
		name: "loss on hidden states", result: g.dtype, shape: tensor.ScalarShape(), fixed: true, out: scalar(g.dtype), inPlace: -1,
		diff: []bool{true, false, false, false},
		run: func(out gorgonia.Value, in []gorgonia.Value) {
			h.run(nil, in)
			setScalar(out, f.total(term))
		},
		back: func(in gorgonia.Nodes, _, dout *Node) (gorgonia.Nodes, error) {
			dx := g.apply(&op{
				name: "loss on hidden states backward", shape: student.Shape(), inPlace: -1,
				run: func(out gorgonia.Value, in []gorgonia.Value) { h.run(floats[F](out), in) },
			}, in[0], in[1], in[2], in[3])
			return gorgonia.Nodes{dx, nil, nil, nil}, g.err
		},
	}, student, teacher, g.Inputs.Attended, g.Inputs.Positions)
}

// hiddenRows hands rows of hidden states to the row function.
type hiddenRows[F kernel.Float] struct {
	term   *Term
	values []float64
	d      int

	work                   func(i int) // the method position, made once
	student, teacher, grad []F         // of the run
	attended, positions    []int32
}

// run evaluates all positions that count, and sets grad to the gradient of the student's node where it is not nil.
func (h *hiddenRows[F]) run(grad []F, in []gorgonia.Value) {
	h.student, h.teacher, h.grad, h.attended, h.positions = floats[F](in[0]), floats[F](in[1]), grad, ints(in[2]), ints(in[3])
	clear(h.values)
	clear(grad)
	kernel.Parallel(len(h.values), h.work)
	h.student, h.teacher, h.grad, h.attended, h.positions = nil, nil, nil, nil, nil
}

func (h *hiddenRows[F]) position(i int) {
	if !h.term.counts(h.attended[i], h.positions[i]) {
		return
	}
	row := func(x []F) []F { return x[i*h.d : (i+1)*h.d] }
	var grad []F
	if h.grad != nil {
		grad = row(h.grad)
	}
	h.values[i] = float64(loss.Value(h.term.Loss, grad, F(h.term.Scale), row(h.student), row(h.teacher), 0))
}

// total is the weighted sum over positions.
func (f *Feature) total(t *Term) float64 {
	sum := 0.0
	for _, v := range f.values {
		sum += v
	}
	return t.Scale * sum
}

// sum adds up the parts of the objective, and the features of each term at each position.
func (g *Graph) sum(l *Losses, features []*Feature, parts []*Node) *Node {
	diff := make([]bool, len(parts))
	for i := range diff {
		diff[i] = true
	}
	return g.apply(&op{
		name: "sum of losses", result: g.dtype, shape: tensor.ScalarShape(), fixed: true, out: scalar(g.dtype), inPlace: -1, diff: diff,
		run: func(out gorgonia.Value, _ []gorgonia.Value) {
			total := l.total(l.logits)
			for _, f := range features {
				clear(l.Values[f.Term])
			}
			for _, f := range features {
				for i, v := range f.values {
					l.Values[f.Term][i] += v
				}
				total += f.total(l.Terms[f.Term])
			}
			setScalar(out, total)
		},
		back: func(in gorgonia.Nodes, _, dout *Node) (gorgonia.Nodes, error) {
			grads := make(gorgonia.Nodes, len(in))
			for i := range grads {
				grads[i] = dout
			}
			return grads, nil
		},
	}, parts...)
}
