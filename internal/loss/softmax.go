package loss

import (
	"math"

	"kdistill/internal/kernel"
)

// blockSize is how many ids are worked on at a time, so that scratch stays in the first-level cache.
const blockSize = 1024

// softmax is a row of logits seen as a distribution at a temperature: log p_i = scale·x_i − top − logSum.
// top, the largest scale·x_i, is kept apart from logSum, so that large logits do not swallow it.
type softmax[F kernel.Float] struct {
	x               []F
	scale, top, sum F // sum is Σ e^(scale·x − top)
	logSum          F
}

func (s *softmax[F]) set(x []F, scale F) {
	top, sum := kernel.MaxExpSum(x, scale)
	*s = softmax[F]{x, scale, top, sum, F(math.Log(float64(sum)))}
}

// logProb returns log p_i.
func (s *softmax[F]) logProb(i int) F { return s.scale*s.x[i] - s.top - s.logSum }

// exps writes p_i·sum of the ids from … to-1 to the start of dst and returns that part: for where 1/sum can join another factor.
func (s *softmax[F]) exps(dst *[blockSize]F, from, to int) []F {
	out := dst[:to-from]
	kernel.ExpShift(out, s.x[from:to], s.scale, s.top)
	return out
}

// probs writes p_i of the ids from … to-1 to the start of dst and returns that part.
func (s *softmax[F]) probs(dst *[blockSize]F, from, to int) []F {
	out := s.exps(dst, from, to)
	kernel.Scale(out, out, 1/s.sum)
	return out
}

// work is what one call of a row works with: the two distributions (q of the student, p of the teacher)
// and scratch that is kept between calls.
type work[F kernel.Float] struct {
	student, teacher softmax[F]
	q, p, log        [blockSize]F
	row              []F
}

// logOverMixture writes log(p/m) and log(q/m) of the ids from … to-1, m = (1 − share)·p + share·q.
func (w *work[F]) logOverMixture(logPM, logQM []F, share F, from, to int) {
	q, p := &w.student, &w.teacher
	kernel.LogMixture(logPM, logQM, p.x[from:to], q.x[from:to], q.scale, (q.top-p.top)+(q.logSum-p.logSum), share)
}

// rowOf makes a Row of a loss on distributions at a temperature. The body's scale is Row's over the temperature, because ∂(z/T)/∂z = 1/T.
// Scratch is kept: a call allocates nothing once there was one before.
func rowOf[F kernel.Float](temperature float64, body func(w *work[F], grad []F, scale F, label int) F) Row[F] {
	free := new(kernel.FreeList[work[F]])
	inverse := F(1 / temperature)
	return func(grad []F, scale F, student, teacher []F, label int) F {
		w := free.Take()
		w.student.set(student, inverse)
		if teacher != nil {
			w.teacher.set(teacher[:len(student)], inverse)
		}
		value := body(w, grad, scale*inverse, label)
		w.student.x, w.teacher.x = nil, nil // scratch must not keep the logits alive
		free.Give(w)
		return value
	}
}

// scratchRow returns scratch for one number per id.
func (w *work[F]) scratchRow() []F {
	n := len(w.student.x)
	if cap(w.row) < n {
		w.row = make([]F, n)
	}
	return w.row[:n]
}

// throughSoftmax adds the gradient of losses Σ_i f(q_i, p_i): scale·q_i (g_i − Σ_j q_j g_j), and returns Σ_j q_j g_j and the sum of what terms returns.
// terms is called for the ids from … to-1, with q as from exps, and writes g_i = ∂f/∂q_i to g: up to a constant, which the softmax removes,
// and anything where q_i is 0. The gradient needs the whole sum first, so g is kept and q computed again.
func throughSoftmax[F kernel.Float](w *work[F], grad []F, scale F, terms func(w *work[F], g, q []F, from, to int) F) (mean, sum F) {
	student, all := &w.student, w.scratchRow()
	var weighted, total float64
	for from := 0; from < len(all); from += blockSize {
		to := min(from+blockSize, len(all))
		q, g := student.exps(&w.q, from, to), all[from:to]
		total += float64(terms(w, g, q, from, to))
		weighted += float64(kernel.Expectation(q, g))
	}
	mean = F(weighted / float64(student.sum))
	if grad == nil {
		return mean, F(total)
	}
	for from := 0; from < len(all); from += blockSize {
		to := min(from+blockSize, len(all))
		kernel.AxpyCentered(grad[from:to], student.exps(&w.q, from, to), all[from:to], mean, scale/student.sum)
	}
	return mean, F(total)
}
