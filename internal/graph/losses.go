package graph

import (
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"kdistill/internal/kernel"
	"kdistill/internal/loss"
)

// Term is one loss of a weighted sum. Scale is the factor of each position's value: the term's weight over the number of
// positions that it counts in the whole optimizer step; it is read at every run.
type Term struct {
	Loss     *loss.Loss
	Attended bool // count every real token, not only those with a label; a term on features always does
	First    bool // of a term on features: count the first token of each document only
	Scale    float64
}

// Losses are the terms of an objective. Those on logits are fused with the head, which never holds logits of more than a chunk of positions.
type Losses struct {
	Terms []*Term
	// Values holds each term's value at each position after a run, [terms][N]; 0 where the term doesn't count.
	Values [][]float64

	logits []int   // the terms on logits
	rows   []int32 // positions that some of them counts
	chunk  int
}

// A chunk's logits and their gradient take up to headBudget elements (96 MB of float32), or those of headRows positions where these are more:
// the products of each chunk read the whole head anew, which halves their speed at 32 positions and costs a tenth of it at 192.
const headBudget, headRows = 24 << 20, 192

func headLoss[F kernel.Float](g *Graph, l *Losses, hidden *Node, head Head, teacher *Teacher) *Node {
	n := g.Rows()
	operands := []*Node{g.Inputs.Labels, g.Inputs.Attended}
	s, t := newProjection[F](g, hidden, head, &operands), (*projection[F])(nil)
	if teacher != nil {
		t = newProjection[F](g, teacher.Hidden, teacher.Head, &operands)
	}
	if g.err != nil {
		return nil
	}
	train := s.dw != nil || s.db != nil
	perRow := s.vocab
	if train {
		perRow += s.vocab
	}
	if t != nil {
		perRow += t.vocab
	}
	l.chunk = min(n, max(headRows, headBudget/perRow/32*32))
	l.rows = make([]int32, 0, n)

	total := gorgonia.Value(scalar(g.dtype))
	o := &op{
		name: "head and losses", result: g.dtype, shape: tensor.ScalarShape(), fixed: true, out: total, inPlace: -1,
		diff: make([]bool, len(operands)),
	}
	// Working memory: logits and gathered hidden states of a chunk; in training also their gradients, and that of all hidden states.
	sizes := []int{l.chunk * s.vocab, l.chunk * s.width, 0, 0, 0, 0, 0}
	if t != nil {
		sizes[2], sizes[3] = l.chunk*t.vocab, l.chunk*t.width
	}
	if train {
		sizes[4], sizes[5], sizes[6] = l.chunk*s.vocab, l.chunk*s.width, n*s.width
	}
	for _, size := range sizes {
		o.scratch += size
	}
	counted := make([]int32, 0, l.chunk)
	o.run = func(out gorgonia.Value, in []gorgonia.Value) {
		var part [7][]F
		rest := working[F](o)
		for i, size := range sizes {
			part[i], rest = rest[:size], rest[size:]
		}
		logits, hs, tlogits, ht, grad, dhs, dh := part[0], part[1], part[2], part[3], part[4], part[5], part[6]
		labels, attended := ints(in[0]), ints(in[1])
		l.count(labels, attended)
		for _, i := range l.logits {
			clear(l.Values[i])
		}
		clear(dh)
		for at := 0; at < len(l.rows); at += l.chunk {
			counted = append(counted[:0], l.rows[at:min(at+l.chunk, len(l.rows))]...)
			m := len(counted)
			take(hs, floats[F](in[s.hidden]), counted, s.width)
			s.products(logits, hs, m, in)
			if t != nil {
				take(ht, floats[F](in[t.hidden]), counted, t.width)
				t.products(tlogits, ht, m, in)
			}
			kernel.Parallel(m, func(r int) {
				var y, dz []F
				z := logits[r*s.vocab : (r+1)*s.vocab]
				s.finish(z, in)
				if t != nil {
					y = tlogits[r*t.vocab : (r+1)*t.vocab]
					t.finish(y, in)
				}
				if train {
					dz = grad[r*s.vocab : (r+1)*s.vocab]
					clear(dz)
				}
				l.position(int(counted[r]), int(labels[counted[r]]), func(i, label int) float64 {
					return float64(rowValue(l.Terms[i], dz, z, y, label))
				})
				if train {
					s.unfinish(dz, z)
				}
			})
			if train {
				s.backward(dhs, grad, hs, m, in)
				put(dh, dhs, counted, s.width)
			}
		}
		setScalar(out, l.total(l.logits))
	}
	o.operations = func([]gorgonia.Value) float64 {
		products := s.width * s.vocab
		if train {
			products *= 2
		}
		if s.dw != nil {
			products += s.width * s.vocab
		}
		if t != nil {
			products += t.width * t.vocab
		}
		return float64(2*len(l.rows)) * float64(products)
	}
	o.diff[s.hidden], o.diff[s.weight] = train, s.dw != nil
	if s.bias >= 0 {
		o.diff[s.bias] = s.db != nil
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
		grads[s.hidden], grads[s.weight] = dhidden, g.sinkIf(s.dw, dhidden)
		if s.bias >= 0 {
			grads[s.bias] = g.sinkIf(s.db, dhidden)
		}
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
	for _, i := range l.logits {
		all = all || l.Terms[i].Attended
	}
	l.rows = l.rows[:0]
	for i, y := range labels {
		if y >= 0 || (all && attended[i] != 0) {
			l.rows = append(l.rows, int32(i))
		}
	}
}

// position evaluates every term on logits that counts position p.
func (l *Losses) position(p, label int, value func(term, label int) float64) {
	for _, i := range l.logits {
		if label >= 0 || l.Terms[i].Attended {
			l.Values[i][p] = value(i, label)
		}
	}
}

// total adds up the weighted values of some terms in a fixed order, in float64.
func (l *Losses) total(terms []int) float64 {
	sum := 0.0
	for _, i := range terms {
		sum += l.Terms[i].Scale * l.Sum(i)
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
