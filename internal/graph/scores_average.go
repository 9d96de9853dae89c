package graph

import (
	"math"

	"kdistill/internal/kernel"
	"kdistill/internal/loss"
)

// together compares the mean over all of the student's heads with the mean over all of the teacher's: of scores where the row function compares
// these, else of probabilities, whose logarithms then stand for scores: softmax(log ā) = ā.
func (c *scoreRows[F]) together(q block, values []float64) {
	size, hs, ht := q.n*q.keys, c.Student.Heads, c.Teacher.Heads
	memory := kernel.Borrow[F]((2*hs+ht)*size + 4*q.keys)
	defer kernel.GiveBack(memory)
	cut := func(n int) []F { part := memory[:n]; memory = memory[n:]; return part }
	s, t, ds := cut(hs*size), cut(ht*size), cut(hs*size)
	meanS, meanT, inverse, grad := cut(q.keys), cut(q.keys), cut(q.keys), cut(q.keys)
	for h := range hs {
		c.scores(s[h*size:][:size], c.student, c.strideS, c.Student, h, q)
	}
	for h := range ht {
		c.scores(t[h*size:][:size], c.teacher, c.strideT, c.Teacher, h, q)
	}
	clear(ds)
	onScores := c.term.Loss.Params.Choices["compare"] == "scores"
	for i := range q.n {
		from, to := c.columns(q, i)
		if from >= to {
			continue
		}
		keys := to - from
		row := func(x []F, h int) []F { return x[h*size+i*q.keys:][from:to] }
		z, y, g := meanS[:keys], meanT[:keys], grad[:keys]
		clear(z)
		clear(y)
		clear(g)
		for h := range hs {
			p := row(s, h)
			if !onScores {
				p = row(ds, h)
				probabilities(p, row(s, h))
			}
			kernel.Axpy(z, p, 1/F(hs))
		}
		for h := range ht {
			p := row(t, h)
			if !onScores {
				probabilities(p, p)
			}
			kernel.Axpy(y, p, 1/F(ht))
		}
		if !onScores {
			for j, p := range z {
				const tiny = 1e-37 // what underflows to 0 would make a divergence infinite
				p = max(p, tiny)
				inverse[j] = 1 / p
				z[j], y[j] = F(math.Log(float64(p))), F(math.Log(float64(max(y[j], tiny))))
			}
		}
		values[q.from+i] += float64(loss.Value(c.term.Loss, g, F(c.term.Scale), z, y, 0))
		if c.grad == nil {
			continue
		}
		for h := range hs {
			d := row(ds, h)
			if onScores {
				kernel.Scale(d, g, 1/F(hs))
				continue
			}
			// through ā = Σ p/H and p = softmax(s)
			mean := F(0)
			for j, p := range d {
				mean += p * g[j] * inverse[j]
			}
			for j, p := range d {
				d[j] = p * (g[j]*inverse[j] - mean) / F(hs)
			}
		}
	}
	if c.grad != nil {
		for h := range hs {
			c.backward(ds[h*size:][:size], s[h*size:][:size], h, q)
		}
	}
}

// probabilities sets p = softmax(scores); p may be scores.
func probabilities[F kernel.Float](p, scores []F) {
	sum := kernel.ExpShift(p, scores, 1, kernel.Max(scores))
	kernel.Scale(p, p, 1/sum)
}
