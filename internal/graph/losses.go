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
	Attended bool   // count every real token, not only those with a label; a term on features always does
	Tokens   Tokens // of a term on hidden states
	Teacher  int    // the number, from 1, of the one of several teachers that it compares with; 0: their average, of features the first
	Scale    float64
	Targets  []float32 // [N]; where the loss has a target, the number for each position; read at every run
}

// Tokens says what of a document a term on hidden states compares.
type Tokens int

// All its tokens, each a position that counts; or one value for the document, at its first position: that of the first token, or the mean of all tokens.
const (
	AllTokens Tokens = iota
	FirstToken
	MeanOfTokens
)

// Losses are the terms of an objective. Those on logits are fused with the head, which never holds logits of more than a chunk of positions.
type Losses struct {
	Terms []*Term
	// Values holds each term's value at each position after a run, [terms][N]; 0 where the term doesn't count.
	Values [][]float64
	// Weights are factors of value and gradient at each position, of the terms on logits; nil: all 1. They are read at every run.
	Weights []float32
	// TeacherTail and StudentTail hold the probability of the ids that a recording has not kept at each position where a term compares, 0 elsewhere; nil where
	// rows are whole.
	TeacherTail, StudentTail []float64

	logits []int   // the terms on logits
	rows   []int32 // positions that some of them counts
	chunk  int
}

// A chunk's logits take up to headBudget elements (109 MB of float32), or those of headRows positions where these are more:
// the products of each chunk read the whole head anew, which halves their speed at 32 positions and costs a tenth of it at 192.
const headBudget, headRows = 26 << 20, 192

func headLoss[F kernel.Float](g *Graph, l *Losses, hidden *Node, head Head, teachers []*Teacher) *Node {
	n := g.Rows()
	operands := []*Node{g.Inputs.Labels, g.Inputs.Attended}
	c := &chunks[F]{Losses: l, student: newProjection[F](g, hidden, head, &operands)}
	for _, t := range teachers {
		c.places = append(c.places, len(c.teachers))
		if t == nil {
			continue
		}
		if c.recording = t.Recording; c.recording == nil {
			c.teachers = append(c.teachers, newProjection[F](g, t.Hidden, t.Head, &operands))
		} else if !c.recording.Complete() {
			l.TeacherTail, l.StudentTail = make([]float64, n), make([]float64, n)
		}
	}
	if g.err != nil {
		return nil
	}
	s := c.student
	c.train = s.dw != nil || s.db != nil
	l.rows = make([]int32, 0, n)
	o := &op{
		name: "head and losses", result: g.dtype, shape: tensor.ScalarShape(), fixed: true, out: scalar(g.dtype), inPlace: -1,
		diff: make([]bool, len(operands)), scratch: c.plan(n, g.HeadBudget, teachers), operations: c.operations,
	}
	o.run = func(out gorgonia.Value, in []gorgonia.Value) {
		l.count(ints(in[0]), ints(in[1]))
		for _, i := range l.logits {
			clear(l.Values[i])
		}
		clear(l.TeacherTail)
		clear(l.StudentTail)
		c.run(working[F](o), in)
		setScalar(out, l.total(l.logits))
	}
	o.diff[s.hidden], o.diff[s.weight] = c.train, s.dw != nil
	if s.bias >= 0 {
		o.diff[s.bias] = s.db != nil
	}
	o.back = func(in gorgonia.Nodes, out, dout *Node) (gorgonia.Nodes, error) {
		dhidden := g.apply(&op{
			name: "head and losses backward", shape: hidden.Shape(), inPlace: -1,
			run: func(out gorgonia.Value, _ []gorgonia.Value) { copy(floats[F](out), working[F](o)) },
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
