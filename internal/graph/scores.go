package graph

import (
	"fmt"
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"kdistill/internal/kernel"
	"kdistill/internal/loss"
)

// Scores says how rows of scores are made of a node's columns: those of head h are Scale · x yᵀ, x the D columns from X + h·D on, y those from
// Y + g·D on, with g = h/(Heads/Groups). That is an attention over grouped keys, or the relations between two projections.
type Scores struct {
	X, Y             int
	Heads, Groups, D int
	Scale, Softcap   float64
	Window           int // as in Heads
}

// ScoresOf are the scores of an attention over a fused projection.
func ScoresOf(h Heads) Scores {
	if h.Scale == 0 {
		h.Scale = 1 / math.Sqrt(float64(h.D))
	}
	return Scores{Y: h.H * h.D, Heads: h.H, Groups: h.KV, D: h.D, Scale: h.Scale, Softcap: h.Softcap, Window: h.Window}
}

// reads are the columns that scores are made of.
func (s Scores) reads() []span { return []span{{s.X, s.Heads * s.D}, {s.Y, s.Groups * s.D}} }

// ScorePair is what a feature compares of queries' scores: student's heads with those of the teacher's in Heads (nil: of the same number), one by one,
// or the mean of all with the mean of all.
type ScorePair struct {
	Student, Teacher Scores
	Heads            []int
	Average          bool
}

// Check refuses scores that cannot be compared.
func (c ScorePair) Check() error {
	s, t := c.Student, c.Teacher
	switch {
	case s.Window != t.Window:
		return fmt.Errorf("a window of %d keys on the student's layer and of %d on the teacher's (0: none): compare layers of the same window", s.Window, t.Window)
	case c.Heads != nil && len(c.Heads) != s.Heads:
		return fmt.Errorf("heads: have %d of the teacher's, want one for each of the student's %d", len(c.Heads), s.Heads)
	case c.Heads == nil && !c.Average && s.Heads != t.Heads:
		return fmt.Errorf("the student has %d heads, the teacher %d: say which of the teacher's to compare with (heads: [0, 2, ...]), or heads: average", s.Heads, t.Heads)
	}
	for _, h := range c.Heads {
		if h < 0 || h >= t.Heads {
			return fmt.Errorf("heads: have %d, the teacher has heads 0 to %d", h, t.Heads-1)
		}
	}
	return nil
}

// blockQueries is how many queries' scores exist at a time, averageQueries those of all heads together.
const blockQueries, averageQueries = 64, 16

// scoreLoss is the sum over positions of a row function on the scores of each query with the keys that it sees, mean over heads.
// Scores are made in blocks of queries: once for the value, and again for the gradient.
func scoreLoss[F kernel.Float](g *Graph, l *Losses, f *Feature) *Node {
	n, term := g.Rows(), l.Terms[f.Term]
	c := &scoreRows[F]{ScorePair: f.Scores, term: term, b: g.B, t: g.T, strideS: width(f.Student), strideT: width(f.Teacher)}
	if err := c.Check(); err != nil {
		g.Fail(fmt.Errorf("loss %s: %w", term.Loss.Name, err))
		return nil
	}
	f.values = make([]float64, n)
	c.values, c.work = make([]float64, c.groups()*n), c.item
	name := map[loss.Rows]string{loss.Scores: "loss on attention", loss.Relations: "loss on relations"}[term.Loss.Rows]
	return g.apply(&op{
		name: name, result: g.dtype, shape: tensor.ScalarShape(), fixed: true, out: scalar(g.dtype), inPlace: -1,
		diff: []bool{true, false, false, false}, reads: c.Student.reads(),
		run: func(out gorgonia.Value, in []gorgonia.Value) {
			c.run(nil, in)
			clear(f.values)
			for i, v := range c.values {
				f.values[i%n] += v
			}
			setScalar(out, f.total(term))
		},
		back: func(in gorgonia.Nodes, _, dout *Node) (gorgonia.Nodes, error) {
			dx := g.apply(&op{
				name: name + " backward", shape: f.Student.Shape(), inPlace: -1,
				run: func(out gorgonia.Value, in []gorgonia.Value) { c.run(floats[F](out), in) },
			}, in[0], in[1], in[2], in[3])
			return gorgonia.Nodes{dx, nil, nil, nil}, g.err
		},
	}, f.Student, f.Teacher, g.Inputs.First, g.Inputs.Last)
}

// scoreRows makes rows of scores and hands them to the row function.
type scoreRows[F kernel.Float] struct {
	ScorePair
	term             *Term
	b, t             int
	strideS, strideT int
	values           []float64 // [groups][B*T]: groups of one row are worked on at once

	work                   func(item int) // the method item, made once
	student, teacher, grad []F            // of the run
	first, last            []int32
}

// groups are the student's heads that share their keys, each group apart from the others; with averages all heads go together.
func (c *scoreRows[F]) groups() int {
	if c.Average {
		return 1
	}
	return c.Student.Groups
}

// run evaluates all queries, and sets grad to the gradient of the student's node where it is not nil.
func (c *scoreRows[F]) run(grad []F, in []gorgonia.Value) {
	c.student, c.teacher, c.grad, c.first, c.last = floats[F](in[0]), floats[F](in[1]), grad, ints(in[2]), ints(in[3])
	clear(c.values)
	clear(grad)
	kernel.Parallel(c.b*c.groups(), c.work)
	c.student, c.teacher, c.grad, c.first, c.last = nil, nil, nil, nil, nil
}

// item evaluates a group of heads in one row of the batch.
func (c *scoreRows[F]) item(item int) {
	row, group, step := item/c.groups(), item%c.groups(), blockQueries
	if c.Average {
		step = averageQueries
	}
	for i := 0; i < c.t; i += step {
		q := block{row: row * c.t, from: row*c.t + i, n: min(step, c.t-i)}
		if c.span(&q); q.keys <= 0 {
			continue
		}
		values := c.values[group*c.b*c.t:][:c.b*c.t]
		if c.Average {
			c.together(q, values)
		} else {
			c.apart(q, group, values)
		}
	}
}

// block is n queries from a position on, and all keys that they see, from a position on.
type block struct{ row, from, n, key, keys int }

// span finds the block's keys.
func (c *scoreRows[F]) span(q *block) {
	lo, hi := c.t, 0
	for i := q.from; i < q.from+q.n; i++ {
		if a, b := c.seen(i); a < b {
			lo, hi = min(lo, a), max(hi, b)
		}
	}
	q.key, q.keys = q.row+lo, hi-lo
}

// seen returns the keys of its row that a query sees.
func (c *scoreRows[F]) seen(i int) (lo, hi int) {
	lo, hi = int(c.first[i]), int(c.last[i])
	if c.Student.Window > 0 {
		lo = max(lo, hi-c.Student.Window)
	}
	return lo, hi
}

// columns returns which of the block's keys a query sees.
func (c *scoreRows[F]) columns(q block, i int) (from, to int) {
	lo, hi := c.seen(q.from + i)
	return q.row + lo - q.key, q.row + hi - q.key
}

// scores sets dst [n, keys] to a head's scores where a query sees the key, to anything elsewhere.
func (c *scoreRows[F]) scores(dst, x []F, stride int, s Scores, head int, q block) {
	y := s.Y + head/(s.Heads/s.Groups)*s.D
	kernel.Gemm(false, true, q.n, q.keys, s.D, x[q.from*stride+s.X+head*s.D:], stride, x[q.key*stride+y:], stride, false, dst, q.keys)
	for i := range q.n {
		if from, to := c.columns(q, i); from < to {
			row := dst[i*q.keys:][from:to]
			kernel.Scale(row, row, F(s.Scale))
			if s.Softcap != 0 {
				kernel.Softcap(row, row, F(s.Softcap))
			}
		}
	}
}

// backward adds what the gradient ds of a head's scores makes of the projections' gradients. ds is 0 where a query does not see the key, and overwritten.
func (c *scoreRows[F]) backward(ds, scores []F, head int, q block) {
	s, stride := c.Student, c.strideS
	for i := range q.n {
		if from, to := c.columns(q, i); from < to {
			row := ds[i*q.keys:][from:to]
			if s.Softcap != 0 {
				kernel.SoftcapBackward(row, row, scores[i*q.keys:][from:to], F(s.Softcap))
			}
			kernel.Scale(row, row, F(s.Scale))
		}
	}
	x, y := q.from*stride+s.X+head*s.D, q.key*stride+s.Y+head/(s.Heads/s.Groups)*s.D
	kernel.Gemm(false, false, q.n, s.D, q.keys, ds, q.keys, c.student[y:], stride, true, c.grad[x:], stride)
	kernel.Gemm(true, false, q.keys, s.D, q.n, ds, q.keys, c.student[x:], stride, true, c.grad[y:], stride)
}

// apart compares the heads of a group one by one.
func (c *scoreRows[F]) apart(q block, group int, values []float64) {
	size := q.n * q.keys
	memory := kernel.Borrow[F](3 * size)
	defer kernel.GiveBack(memory)
	s, t, ds := memory[:size], memory[size:2*size], memory[2*size:3*size]
	share := 1 / float64(c.Student.Heads)
	for head := group * c.Student.Heads / c.Student.Groups; head < (group+1)*c.Student.Heads/c.Student.Groups; head++ {
		other := head
		if c.ScorePair.Heads != nil {
			other = c.ScorePair.Heads[head]
		}
		c.scores(s, c.student, c.strideS, c.Student, head, q)
		c.scores(t, c.teacher, c.strideT, c.Teacher, other, q)
		if c.grad != nil {
			clear(ds)
		}
		for i := range q.n {
			if from, to := c.columns(q, i); from < to {
				var grad []F
				if c.grad != nil {
					grad = ds[i*q.keys:][from:to]
				}
				values[q.from+i] += share * float64(loss.Value(c.term.Loss, grad, F(share*c.term.Scale), s[i*q.keys:][from:to], t[i*q.keys:][from:to], 0))
			}
		}
		if c.grad != nil {
			c.backward(ds, s, head, q)
		}
	}
}
