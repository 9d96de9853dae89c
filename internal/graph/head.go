package graph

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"kdistill/internal/kernel"
	"kdistill/internal/loss"
)

// Head turns hidden states into logits: logits = h · Wᵀ, W [V, D].
type Head struct {
	Weight *Param
}

// Term is one loss of a weighted sum. Scale is the factor of each position's value: the term's weight over the number of
// positions that it counts in the whole optimizer step; it is read at every run.
type Term struct {
	Loss     *loss.Loss
	Attended bool // count every real token, not only those with a label
	Scale    float64
}

// Losses is the fused head and loss: it never holds logits of more than a chunk of positions.
type Losses struct {
	Terms []*Term
	// Values holds each term's value at each position after a run, [terms][N]; 0 where the term doesn't count.
	Values [][]float64

	rows    []int32 // positions that some term counts
	chunk   int
	student sideOf
	teacher *sideOf
}

// sideOf is one model's part of the head: hidden states, weight, vocabulary.
type sideOf struct{ width, vocab int }

// A chunk's logits and their gradient take up to headBudget elements (96 MB of float32), or those of headRows positions where these are more:
// the products of each chunk read the whole head anew, which halves their speed at 32 positions and costs a tenth of it at 192.
const headBudget, headRows = 24 << 20, 192

// Teacher is what a live teacher gives: its final hidden states as a leaf of the student's graph, and its head.
type Teacher struct {
	Hidden *Node // [N, D_t]
	Head   Head
}

// Loss adds head and losses over the final hidden states [N, D]: a scalar node Σ_terms Scale · Σ_positions value, and where the per-position
// values will be. teacher may be nil when no term needs one. A term that compares with the teacher uses the first min(V_s, V_t) ids.
func (g *Graph) Loss(hidden *Node, head Head, teacher *Teacher, terms []*Term) (*Node, *Losses) {
	l := &Losses{Terms: terms}
	if g.err == nil {
		for _, t := range terms {
			if t.Loss.Teacher && teacher == nil {
				g.Fail(fmt.Errorf("loss %s: it compares with a teacher, and there is none", t.Loss.Name))
			}
		}
	}
	n := dispatch(g, func() *Node { return headLoss[float32](g, l, hidden, head, teacher, terms) }, func() *Node { return headLoss[float64](g, l, hidden, head, teacher, terms) })
	return n, l
}

func headLoss[F kernel.Float](g *Graph, l *Losses, hidden *Node, head Head, teacher *Teacher, terms []*Term) *Node {
	n := g.Rows()
	w := g.Weight(head.Weight)
	train := g.trained(w)
	s := &l.student
	s.width, s.vocab = width(hidden), w.Shape()[0]
	operands := []*Node{hidden, w, g.Inputs.Labels, g.Inputs.Attended}
	perRow := s.vocab
	if train {
		perRow += s.vocab
	}
	if teacher != nil {
		tw := g.Weight(teacher.Head.Weight)
		l.teacher = &sideOf{width: width(teacher.Hidden), vocab: tw.Shape()[0]}
		perRow += l.teacher.vocab
		operands = append(operands, teacher.Hidden, tw)
	}
	l.chunk = min(n, max(headRows, headBudget/perRow/32*32))
	l.rows = make([]int32, 0, n)
	l.Values = make([][]float64, len(terms))
	for i := range l.Values {
		l.Values[i] = make([]float64, n)
	}

	total := gorgonia.Value(scalar(g.dtype))
	o := &op{
		name: "head and losses", result: g.dtype, shape: tensor.ScalarShape(), fixed: true, out: total, inPlace: -1,
		diff: make([]bool, len(operands)),
	}
	// Working memory: logits and gathered hidden states of a chunk; in training also their gradients, and that of all hidden states.
	sizes := []int{l.chunk * s.vocab, l.chunk * s.width, 0, 0, 0, 0, 0}
	if l.teacher != nil {
		sizes[2], sizes[3] = l.chunk*l.teacher.vocab, l.chunk*l.teacher.width
	}
	if train {
		sizes[4], sizes[5], sizes[6] = l.chunk*s.vocab, l.chunk*s.width, n*s.width
	}
	for _, size := range sizes {
		o.scratch += size
	}
	counted := make([]int32, 0, l.chunk)
	o.diff[0], o.diff[1] = train, train
	o.run = func(out gorgonia.Value, in []gorgonia.Value) {
		var part [7][]F
		rest := working[F](o)
		for i, size := range sizes {
			part[i], rest = rest[:size], rest[size:]
		}
		logits, hs, tlogits, ht, grad, dhs, dh := part[0], part[1], part[2], part[3], part[4], part[5], part[6]
		labels, attended := ints(in[2]), ints(in[3])
		l.count(labels, attended)
		for i := range l.Values {
			clear(l.Values[i])
		}
		clear(dh)
		for at := 0; at < len(l.rows); at += l.chunk {
			counted = append(counted[:0], l.rows[at:min(at+l.chunk, len(l.rows))]...)
			m := len(counted)
			take(hs, floats[F](in[0]), counted, s.width)
			multiply(true, m, s.vocab, s.width, hs, s.width, in[1], false, logits, s.vocab)
			if l.teacher != nil {
				t := l.teacher
				take(ht, floats[F](in[4]), counted, t.width)
				multiply(true, m, t.vocab, t.width, ht, t.width, in[5], false, tlogits, t.vocab)
			}
			kernel.Parallel(m, func(r int) {
				var z, y, dz []F
				z = logits[r*s.vocab : (r+1)*s.vocab]
				if l.teacher != nil {
					y = tlogits[r*l.teacher.vocab : (r+1)*l.teacher.vocab]
				}
				if train {
					dz = grad[r*s.vocab : (r+1)*s.vocab]
					clear(dz)
				}
				l.position(int(counted[r]), int(labels[counted[r]]), func(i, label int) float64 {
					return float64(rowValue(terms[i], dz, z, y, label))
				})
			})
			if train {
				kernel.Gemm(false, false, m, s.width, s.vocab, grad, s.vocab, floats[F](in[1]), s.width, false, dhs, s.width)
				put(dh, dhs, counted, s.width)
				if dw := gradient[F](g.params[w]); dw != nil {
					kernel.Gemm(true, false, s.vocab, s.width, m, grad, s.vocab, hs, s.width, true, dw, s.width)
				}
			}
		}
		setScalar(out, l.total())
	}
	o.operations = func([]gorgonia.Value) float64 {
		products := s.width * s.vocab
		if train {
			products *= 3
		}
		if l.teacher != nil {
			products += l.teacher.width * l.teacher.vocab
		}
		return float64(2*len(l.rows)) * float64(products)
	}
	o.back = func(in gorgonia.Nodes, out, dout *Node) (gorgonia.Nodes, error) {
		dhidden := g.apply(&op{
			name: "head and losses backward", shape: hidden.Shape(), inPlace: -1,
			run: func(out gorgonia.Value, _ []gorgonia.Value) {
				memory := working[F](o)
				copy(floats[F](out), memory[len(memory)-n*s.width:])
			},
		}, out)
		o.until = dhidden
		grads := make(gorgonia.Nodes, len(in))
		grads[0], grads[1] = dhidden, g.sinkIf(g.params[w], dhidden)
		return grads, g.err
	}
	return g.apply(o, operands...)
}

// rowValue calls the term's row function on the ids that it compares, adding Scale times its gradient to dz (nil: value only).
func rowValue[F kernel.Float](t *Term, dz, z, y []F, label int) F {
	switch {
	case t.Loss.Teacher:
		n := min(len(z), len(y))
		z, y = z[:n], y[:n]
		if dz != nil {
			dz = dz[:n]
		}
	case !t.Loss.Metric: // a metric may read a teacher's row of any length
		y = nil
	}
	switch row := any(t.Loss.Row32).(type) {
	case loss.Row[F]:
		return row(dz, F(t.Scale), z, y, label)
	default:
		return any(t.Loss.Row64).(loss.Row[F])(dz, F(t.Scale), z, y, label)
	}
}

// count lists the positions that some term needs.
func (l *Losses) count(labels, attended []int32) {
	all := false
	for _, t := range l.Terms {
		all = all || t.Attended
	}
	l.rows = l.rows[:0]
	for i, y := range labels {
		if y >= 0 || (all && attended[i] != 0) {
			l.rows = append(l.rows, int32(i))
		}
	}
}

// position evaluates every term that counts position p.
func (l *Losses) position(p, label int, value func(term, label int) float64) {
	for i, t := range l.Terms {
		if label >= 0 || t.Attended {
			l.Values[i][p] = value(i, label)
		}
	}
}

// total adds up the weighted values in a fixed order, in float64.
func (l *Losses) total() float64 {
	sum := 0.0
	for i, t := range l.Terms {
		sum += t.Scale * l.Sum(i)
	}
	return sum
}

// Sum is a term's unweighted sum over the positions of the last run.
func (l *Losses) Sum(term int) float64 {
	sum := 0.0
	for _, v := range l.Values[term] {
		sum += v
	}
	return sum
}

// take gathers rows of src [N, d] into dst; put writes them back.
func take[F kernel.Float](dst, src []F, rows []int32, d int) {
	for i, r := range rows {
		copy(dst[i*d:(i+1)*d], src[int(r)*d:])
	}
}

func put[F kernel.Float](dst, src []F, rows []int32, d int) {
	for i, r := range rows {
		copy(dst[int(r)*d:int(r)*d+d], src[i*d:])
	}
}

// Logits adds the head alone, without gradient: [N, V], for generation.
func (g *Graph) Logits(hidden *Node, head Head) *Node {
	return dispatch(g, func() *Node { return logits[float32](g, hidden, head) }, func() *Node { return logits[float64](g, hidden, head) })
}

func logits[F kernel.Float](g *Graph, hidden *Node, head Head) *Node {
	w := g.Weight(head.Weight.Frozen())
	rows, v, d := g.Rows(), w.Shape()[0], width(hidden)
	return g.apply(&op{
		name: "head", shape: tensor.Shape{rows, v}, inPlace: -1,
		run: func(out gorgonia.Value, in []gorgonia.Value) {
			multiply(true, rows, v, d, floats[F](in[0]), d, in[1], false, floats[F](out), v)
		},
	}, hidden, w)
}

func scalar(dtype tensor.Dtype) gorgonia.Value {
	if dtype == tensor.Float64 {
		return gorgonia.NewF64(0)
	}
	return gorgonia.NewF32(0)
}

func setScalar(v gorgonia.Value, x float64) {
	switch v := v.(type) {
	case *gorgonia.F64:
		*v = gorgonia.F64(x)
	case *gorgonia.F32:
		*v = gorgonia.F32(x)
	}
}
