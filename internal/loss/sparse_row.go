package loss

import (
	"math"
	"slices"
	"sync"

	"kdistill/internal/kernel"
)

// reduced is a position in the small vocabulary of the kept ids and, as the last one, the tail.
type reduced[F kernel.Float] struct {
	ids     []int32
	z       []F // the student's logits of ids
	q, p, g []F // of ids and tail: logits of student and teacher at the loss's temperature, and the gradient
	top     F   // the student's tail, as of kernel.MaxExpSum
	sum     F
}

// nothing is the log-probability of what has none: finite, and e^ of it is 0.
const nothing = -1e4

// sparseOf calls the loss's row at T = 1 on the reduced vocabulary, where the student's logits are z_i/T and log Σ e^(z_j/T) over the tail,
// and maps the gradient back: that of the tail to its ids in proportion to q_j.
func sparseOf[F kernel.Float](l *Loss, s SparseParams, row Row[F]) SparseRow[F] {
	pool := sync.Pool{New: func() any { return new(reduced[F]) }}
	inverse, t2 := F(1/l.Params.Temperature), F(1)
	if l.Params.T2Scaling {
		t2 = F(l.Params.Temperature * l.Params.Temperature)
	}
	power := F(s.Temperature / l.Params.Temperature)
	entropy := s.Sampled && l.Name == "forward_kl"
	point := points[l.Name](l.Params.Values)
	return func(grad []F, scale F, student []F, kept *Kept) (value, p, q F) {
		w := pool.Get().(*reduced[F])
		defer pool.Put(w)
		w.setTeacher(kept, len(student), power, s.Vocabulary)
		w.setStudent(student, inverse)
		defer w.restore(student)
		n := len(w.ids)
		q = w.tail(w.q)
		if !s.Sampled {
			p = w.tail(w.p)
		}
		if s.Sampled || s.Tail == TeacherRenormalized {
			w.p[n] = nothing
		}
		if s.Tail != BothRenormalized && w.sum > 0 {
			n++
		}
		if n == 0 {
			return 0, p, q
		}
		var g []F
		if grad != nil {
			g = slices.Grow(w.g[:0], n)[:n]
			clear(g)
			w.g = g
		}
		scale *= inverse * t2
		value = row(g, scale, w.q[:n], w.p[:n], -1)
		if entropy {
			value -= F(kept.Entropy)
		}
		if s.Tail == TailRaw && n > len(w.ids) {
			value -= w.drop(g, scale, point)
		}
		if grad == nil {
			return t2 * value, p, q
		}
		for i, id := range w.ids {
			grad[id] += g[i]
		}
		if n > len(w.ids) { // the kept ids are -Inf in student by now
			kernel.AxpySoftmax(grad, student, inverse, w.top, g[n-1]/w.sum)
		}
		return t2 * value, p, q
	}
}

// setTeacher reads the kept ids that are below vocab, at the loss's temperature: at another one than the rows' up to a constant, and with a tail of equally
// likely ids.
func (w *reduced[F]) setTeacher(kept *Kept, vocab int, power F, teacherVocab int) {
	w.ids, w.p = w.ids[:0], w.p[:0]
	for i, id := range kept.IDs {
		if log := F(kept.LogProbs[i]); int(id) < vocab && !masked(log) {
			w.ids, w.p = append(w.ids, id), append(w.p, power*log)
		}
	}
	tail := max(F(kept.Tail), nothing)
	if others := teacherVocab - len(kept.IDs); power != 1 && others > 0 && tail > nothing {
		spread := F(math.Log(float64(others)))
		tail = spread + power*(tail-spread)
	}
	w.p = append(w.p, tail)
}

// setStudent takes the kept ids out of the student's row, where they become -Inf, and sums up the rest.
func (w *reduced[F]) setStudent(student []F, inverse F) {
	w.z, w.q = w.z[:0], w.q[:0]
	for _, id := range w.ids {
		w.z = append(w.z, student[id])
		student[id] = F(math.Inf(-1))
	}
	w.top, w.sum = kernel.MaxExpSum(student, inverse)
	high := max(w.top, inverse*kernel.Max(w.z)) // large logits would swallow the sum's
	for _, z := range w.z {
		w.q = append(w.q, inverse*z-high)
	}
	tail := F(nothing)
	if w.sum > 0 {
		tail = max(w.top-high+F(math.Log(float64(w.sum))), nothing)
	}
	w.q = append(w.q, tail)
}

func (w *reduced[F]) restore(student []F) {
	for i, id := range w.ids {
		student[id] = w.z[i]
	}
}

// tail is the probability of the last entry.
func (w *reduced[F]) tail(x []F) F {
	top, sum := kernel.MaxExpSum(x, 1)
	return F(math.Exp(float64(x[len(x)-1]-top))) / sum
}

// drop returns what the tail adds to a sum over ids, and takes its gradient off g: ∂log Q/∂s_i = 1[i is the tail] − q_i.
func (w *reduced[F]) drop(g []F, scale F, point point) F {
	n := len(w.q) - 1
	topP, sumP := kernel.MaxExpSum(w.p, 1)
	topQ, sumQ := kernel.MaxExpSum(w.q, 1)
	value, slope := point(float64(w.p[n]-topP)-math.Log(float64(sumP)), float64(w.q[n]-topQ)-math.Log(float64(sumQ)))
	if g != nil {
		kernel.AxpySoftmax(g, w.q, 1, topQ, scale*F(slope)/sumQ)
		g[n] -= scale * F(slope)
	}
	return F(value)
}
