package loss

import (
	"math"
	"slices"

	"kdistill/internal/kernel"
)

// reduced is a position in the small vocabulary of the kept ids and, as the last one, the tail. There the student's logits are z_i/T and log Σ e^(z_j/T) over
// the tail, a loss is its ordinary row at T = 1, and the gradient of the tail goes to its ids in proportion to q_j.
type reduced[F kernel.Float] struct {
	ids      []int32
	z        []F  // the student's logits of ids
	q, p, g  []F  // of ids and tail: logits of student and teacher at the loss's temperature, and the gradient
	tailed   bool // the student has a tail
	top, sum F    // of q, as of kernel.MaxExpSum
}

// nothing is the log-probability of what has none: finite, and e^ of it is 0.
const nothing = -1e4

// mask notes the kept ids that the student has, with the teacher's log-probabilities, and takes them out of the student's row: they become -Inf.
func (r *reduced[F]) mask(student []F, kept *Kept) {
	n := len(kept.IDs)
	r.ids, r.z, r.p = slices.Grow(r.ids[:0], n)[:n], slices.Grow(r.z[:0], n)[:n], slices.Grow(r.p[:0], n+1)[:n]
	minus, at := F(math.Inf(-1)), 0
	for i, id := range kept.IDs {
		if log := F(kept.LogProbs[i]); int(id) < len(student) && log != minus {
			r.ids[at], r.z[at], r.p[at] = id, student[id], log
			student[id] = minus
			at++
		}
	}
	r.ids, r.z, r.p = r.ids[:at], r.z[:at], r.p[:at]
}

// restore undoes mask, in reverse: a damaged row may name an id twice.
func (r *reduced[F]) restore(student []F) {
	for i := len(r.ids) - 1; i >= 0; i-- {
		student[r.ids[i]] = r.z[i]
	}
}

// setStudent makes q from the kept logits and from the tail's, of which rest is log Σ e^(z_j/T), and returns that of all ids.
func (r *reduced[F]) setStudent(unit, rest float64) (logZ float64) {
	high := max(rest, unit*float64(kernel.Max(r.z))) // large logits would swallow what tells them apart
	n := len(r.z)
	r.q = slices.Grow(r.q[:0], n+1)[:n+1]
	for i, z := range r.z {
		r.q[i] = F(unit*float64(z) - high)
	}
	r.q[n] = F(max(rest-high, nothing))
	if r.tailed = !math.IsInf(rest, -1); r.tailed {
		n++
	}
	r.top, r.sum = kernel.MaxExpSum(r.q[:n], 1)
	return high + float64(r.top) + math.Log(float64(r.sum))
}

// setTeacher completes p. At another temperature than the rows' it is known up to a constant, with a tail of equally likely ids.
func (r *reduced[F]) setTeacher(kept *Kept, s *sparse, temperature float64) {
	tail := max(float64(kept.Tail), nothing)
	if power := s.Temperature / temperature; power != 1 {
		kernel.Scale(r.p, r.p, F(power))
		if others := s.Vocabulary - len(kept.IDs); others > 0 && tail > nothing {
			spread := math.Log(float64(others))
			tail = spread + power*(tail-spread)
		}
	}
	r.p = append(r.p, F(tail))
}

// value evaluates a loss, at first T² left out, and adds scale times its gradient to g (nil: none).
func (r *reduced[F]) value(s *sparse, g []F, scale F, kept *Kept) F {
	k := len(r.ids)
	n, tail := k, r.p[k]
	if s.Tail != BothRenormalized && r.tailed {
		n++
	}
	if n == 0 {
		return 0
	}
	if s.Sampled || s.Tail == TeacherRenormalized {
		r.p[k] = nothing
	}
	if g != nil {
		g = g[:n]
	}
	row, ok := any(s.row32).(Row[F])
	if !ok {
		row = any(s.row64).(Row[F])
	}
	value := row(g, scale, r.q[:n], r.p[:n], -1)
	r.p[k] = tail
	if s.entropy {
		value -= F(kept.Entropy)
	}
	if s.Tail == TailRaw && n > k {
		value -= r.drop(s.point, g, scale)
	}
	return value
}

// drop returns what the tail adds to a sum over ids, and takes its gradient off g: ∂log Q/∂s_i = 1[i is the tail] − q_i.
func (r *reduced[F]) drop(at point, g []F, scale F) F {
	k := len(r.ids)
	top, sum := kernel.MaxExpSum(r.p, 1)
	value, slope := at(float64(r.p[k]-top)-math.Log(float64(sum)), float64(r.q[k]-r.top)-math.Log(float64(r.sum)))
	if g != nil {
		kernel.AxpySoftmax(g, r.q, 1, r.top, scale*F(slope)/r.sum)
		g[k] -= scale * F(slope)
	}
	return F(value)
}

// tails are the teacher's and the student's probability of the tail.
func (r *reduced[F]) tails(s *sparse) (p, q float64) {
	k := len(r.ids)
	if !s.Sampled {
		top, sum := kernel.MaxExpSum(r.p, 1)
		p = math.Exp(float64(r.p[k]-top)) / float64(sum)
	}
	if r.tailed {
		q = math.Exp(float64(r.q[k]-r.top)) / float64(r.sum)
	}
	return p, q
}

// sparseGroup is group for losses on kept rows, and those on labels at the same temperature.
func (s *Sum[F]) sparseGroup(g *group, w *sumWork[F], values []float64, grad []F, add bool, scales []float64, z []F, kept *Kept, label int) (p, q float64) {
	all := len(z)
	z = z[:min(all, s.teacher)]
	w.fit(len(z), 0)
	r := &w.reduced
	r.mask(z, kept)
	m := newMoments[F](g.temperature)
	for b := range blocks(len(z)) {
		from, to := span(b, len(z))
		m.add(w.q[from:to], nil, z[from:to], nil, false, false)
		w.refQ[b] = m.z.ref
	}
	r.restore(z)
	st := statistics{logZ: r.setStudent(m.unit(), m.z.log())}
	r.setTeacher(kept, s.losses[g.sparse[0]].sparse, g.temperature)
	p, q = r.tails(s.losses[g.sparse[0]].sparse)
	var total slope
	if g.labels && label >= 0 {
		st.label = m.unit() * float64(z[label])
	}
	for _, i := range g.members {
		l := s.losses[i]
		value, slope := l.form.value(st, label)
		values[i] = l.factor() * value
		if grad != nil {
			total.add(slope, l.factor()*scales[i]/g.temperature)
		}
	}
	var ofReduced []F
	if grad != nil {
		ofReduced = slices.Grow(r.g[:0], len(r.q))[:len(r.q)]
		clear(ofReduced)
		r.g = ofReduced
	}
	for _, i := range g.sparse {
		l, scale := s.losses[i], F(0)
		if grad != nil {
			scale = F(l.factor() * scales[i] / g.temperature)
		}
		values[i] = l.factor() * float64(r.value(l.sparse, ofReduced, scale, kept))
	}
	if grad == nil {
		return p, q
	}
	k := len(r.ids)
	kernel.AxpySoftmax(ofReduced[:k], r.q[:k], 1, r.top, F(total.student)/r.sum)
	ofTail := total.student*q + float64(ofReduced[k])
	for b := range blocks(len(z)) { // the kept ids are 0 in w.q
		from, to := span(b, len(z))
		out := grad[from:to]
		if add {
			out = w.sum[:to-from]
		}
		if r.tailed {
			kernel.Scale(out, w.q[from:to], F(ofTail*m.z.factor(w.refQ[b])))
		} else {
			clear(out)
		}
		if add {
			kernel.Add(grad[from:to], grad[from:to], out)
		}
	}
	for i, id := range r.ids {
		grad[id] += ofReduced[i]
	}
	if total.label != 0 {
		grad[label] += F(total.label)
	}
	if !add {
		clear(grad[len(z):all])
	}
	return p, q
}
