package graph

import (
	"errors"
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"kdistill/internal/kernel"
	"kdistill/internal/loss"
)

// Head turns hidden states into logits: z = h · Wᵀ + b, and where there is a softcap c, c·tanh(z/c) of that.
type Head struct {
	Weight  *Param  // [V, D]
	Bias    *Param  // [V]; nil: none
	Softcap float64 // 0: none
}

// Teacher is what a live teacher gives: its final hidden states as a leaf of the student's graph, and its head. Or it is a Recording alone, and the only one.
type Teacher struct {
	Hidden    *Node // [N, D_t]
	Head      Head
	Recording Recording
	Share     float64 // of the average of several, in proportion to the others'
}

// Loss adds head and losses over the final hidden states [N, D]: a scalar node Σ_terms Scale · Σ_positions value, and where the per-position
// values will be. There are no teachers where no term needs one, and nil is one that no term on logits hears. A term that compares logits uses the first min(V_s, V_t) ids of the teachers that it hears.
// Terms on features are the sums of their features; the head is added only where there is a term on logits.
func (g *Graph) Loss(hidden *Node, head Head, teachers []*Teacher, terms []*Term, features ...*Feature) (*Node, *Losses) {
	l := &Losses{Terms: terms, Values: make([][]float64, len(terms))}
	for i, t := range terms {
		l.Values[i] = make([]float64, g.Rows())
		if t.Loss.Rows != loss.Logits {
			continue
		}
		l.logits = append(l.logits, i)
		if err := checkVoice(t, teachers); err != nil {
			g.Fail(err)
		}
	}
	for i, t := range terms {
		if t.Loss.Rows != loss.Logits && !slices.ContainsFunc(features, func(f *Feature) bool { return f.Term == i }) {
			g.Fail(fmt.Errorf("loss %s: it compares features, and none are given", t.Loss.Name))
		}
	}
	if len(terms) == 0 {
		g.Fail(errors.New("there is no loss"))
	}
	if g.err != nil {
		return nil, l
	}
	var parts []*Node
	if len(l.logits) > 0 {
		g.needHead(head)
		parts = append(parts, dispatch(g, func() *Node { return headLoss[float32](g, l, hidden, head, teachers) }, func() *Node { return headLoss[float64](g, l, hidden, head, teachers) }))
	}
	for _, f := range features {
		parts = append(parts, dispatch(g, func() *Node { return featureLoss[float32](g, l, f) }, func() *Node { return featureLoss[float64](g, l, f) }))
	}
	if len(features) == 0 && len(parts) == 1 {
		return parts[0], l
	}
	return g.sum(l, features, parts), l
}

// Logits adds the head alone, without gradient: [N, V], for generation.
func (g *Graph) Logits(hidden *Node, head Head) *Node {
	g.needHead(head)
	return dispatch(g, func() *Node { return logits[float32](g, hidden, head) }, func() *Node { return logits[float64](g, hidden, head) })
}

func logits[F kernel.Float](g *Graph, hidden *Node, head Head) *Node {
	var operands []*Node
	p := newProjection[F](g, hidden, head.frozen(), &operands)
	rows := g.Rows()
	if p == nil {
		return nil
	}
	return g.apply(&op{
		name: "head", shape: tensor.Shape{rows, p.vocab}, inPlace: -1,
		run: func(out gorgonia.Value, in []gorgonia.Value) {
			z := floats[F](out)
			p.products(z, floats[F](in[p.hidden]), rows, 0, p.vocab)
			if p.bias >= 0 || p.softcap != 0 {
				kernel.Parallel(rows, func(r int) { p.finish(z[r*p.vocab:(r+1)*p.vocab], 0, in) })
			}
		},
	}, operands...)
}

// needHead fails for a bare encoder.
func (g *Graph) needHead(head Head) {
	if head.Weight == nil {
		g.Fail(errors.New("the model has no head, and so no logits: give it one, or use losses on features"))
	}
}

// frozen is the head without gradients.
func (h Head) frozen() Head {
	h.Weight = h.Weight.Frozen()
	if h.Bias != nil {
		h.Bias = h.Bias.Frozen()
	}
	return h
}

// projection is a head as part of an op.
type projection[F kernel.Float] struct {
	g                    *Graph
	hidden, weight, bias int    // operands of the op; bias -1: none
	matrix               *Param // the weight
	width, vocab         int
	softcap              F
	dw, db               *Param // whose gradients the op adds to; nil: frozen
}

// newProjection adds the operands of a head over hidden states; nil once the graph has failed.
func newProjection[F kernel.Float](g *Graph, hidden *Node, head Head, operands *[]*Node) *projection[F] {
	w := g.Weight(head.Weight)
	if w == nil {
		return nil
	}
	p := &projection[F]{g: g, hidden: len(*operands), weight: len(*operands) + 1, bias: -1, matrix: head.Weight, width: width(hidden), vocab: w.Shape()[0], softcap: F(head.Softcap)}
	*operands = append(*operands, hidden, w)
	if g.trained(w) {
		p.dw = head.Weight
	}
	if head.Bias == nil {
		return p
	}
	b := g.Weight(head.Bias)
	if have := b.Shape(); !have.Eq(tensor.Shape{p.vocab}) {
		g.Fail(fmt.Errorf("%s: have shape %v, want [%d], one for each row of %s", head.Bias.Name, have, p.vocab, head.Weight.Name))
		return nil
	}
	p.bias = len(*operands)
	*operands = append(*operands, b)
	if g.trained(b) {
		p.db = head.Bias
	}
	return p
}

// products sets z [m, to-from] to the products of h [m, D] with the rows from … to-1 of W.
func (p *projection[F]) products(z, h []F, m, from, to int) {
	multiplyFrom(p.g, true, m, to-from, p.width, h, p.width, p.matrix, from, false, z, to-from)
}

// finish turns a row of products, those from an id on, into logits.
func (p *projection[F]) finish(z []F, from int, in []gorgonia.Value) {
	if p.bias >= 0 {
		kernel.Add(z, z, floats[F](in[p.bias])[from:])
	}
	if p.softcap != 0 {
		kernel.Softcap(z, z, p.softcap)
	}
}

// roundsGradient reports whether the rows of dz are to be rounded before backward, whose products both read them: the bias takes them as they are.
func (p *projection[F]) roundsGradient() bool { return rounds[F](p.g) && p.db == nil }

// backward takes the gradient dz [m, to-from] of products, its rows by roundRow with roundsGradient: it sets dh to dz · W, or adds that, and adds
// dzᵀ · h and the sum of dz's rows to the gradients of weight and bias.
func (p *projection[F]) backward(dh, dz, h []F, m, from, to int, accumulate bool) {
	n := to - from
	if p.roundsGradient() { // the weight is trained, and so in float32
		gemmRounded(false, false, m, p.width, n, dz, n, floats[F](p.matrix.Value)[from*p.width:], p.width, accumulate, dh, p.width)
		if dw := gradient[F](p.dw); dw != nil {
			gemmRounded(true, false, n, p.width, m, dz, n, h, p.width, true, dw[from*p.width:], p.width)
		}
		return
	}
	multiplyFrom(p.g, false, m, p.width, n, dz, n, p.matrix, from, accumulate, dh, p.width)
	if dw := gradient[F](p.dw); dw != nil {
		gemm(p.g, true, false, n, p.width, m, dz, n, h, p.width, true, dw[from*p.width:], p.width)
	}
	if db := gradient[F](p.db); db != nil {
		kernel.BiasGradient(db[from:], dz, m, n, n)
	}
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
