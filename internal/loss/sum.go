package loss

import (
	"math"

	"kdistill/internal/kernel"
)

// Sum evaluates several losses of one position. What they have in common is done once, and cross_entropy, forward_kl, reverse_kl, symmetric_kl and
// generalized_jsd take one exponential for each id of a row. Every other loss goes through its Row, and Rows say what is right for all.
type Sum[F kernel.Float] struct {
	losses           []*Loss
	student, teacher int // ids
	groups           []group
	rest             []int // losses that no group has
	free             kernel.FreeList[sumWork[F]]
	streams          kernel.FreeList[streamWork[F]]
}

// group is losses of one temperature that share their passes.
type group struct {
	temperature float64
	members     []int
	teacher     bool  // a member compares
	labels      bool  // a member needs the label
	forward     bool  // a member needs statistics.forward
	reverse     bool  // and statistics.reverse
	mixture     int   // the member that is a mixture, -1: none
	sparse      []int // losses on kept rows; no member compares then
}

// sumWork is scratch of one call, kept between calls.
type sumWork[F kernel.Float] struct {
	q, p       []F // exponentials of both rows
	refQ, refP []F // what each block's are relative to
	grad       []F // for a gradient that can't be made in place
	sum        [blockSize]F
	reduced    reduced[F]
}

// fit makes room for rows of so many ids.
func (w *sumWork[F]) fit(student, teacher int) {
	if len(w.q) < student {
		w.q, w.refQ, w.refP = make([]F, student), make([]F, blocks(student)), make([]F, blocks(student))
	}
	if len(w.p) < teacher {
		w.p = make([]F, teacher)
	}
}

// NewSum prepares losses for rows of so many ids of student and teacher (0: no teacher). Losses that compare use the first min(student, teacher) ids.
func NewSum[F kernel.Float](losses []*Loss, student, teacher int) *Sum[F] {
	s := &Sum[F]{losses: losses, student: student, teacher: teacher}
	for i, l := range losses {
		if l.form == nil && l.sparse == nil {
			s.rest = append(s.rest, i)
		} else {
			s.join(i, l)
		}
	}
	return s
}

// join puts a loss into the group whose passes it can share, or into a new one.
func (s *Sum[F]) join(i int, l *Loss) {
	at := 0
	for ; at < len(s.groups); at++ {
		g := &s.groups[at]
		sameRows := g.teacher == l.Teacher || s.teacher >= s.student
		mixtures := g.mixture >= 0 && l.Teacher || l.form != nil && l.form.mixture > 0 && g.teacher
		if g.temperature == l.Params.Temperature && sameRows && !mixtures {
			break
		}
	}
	if at == len(s.groups) {
		s.groups = append(s.groups, group{temperature: l.Params.Temperature, mixture: -1})
	}
	g := &s.groups[at]
	g.teacher = g.teacher || l.Teacher
	if l.sparse != nil {
		g.sparse = append(g.sparse, i)
		return
	}
	g.members = append(g.members, i)
	g.labels = g.labels || !l.Teacher
	g.forward = g.forward || l.form.forward
	g.reverse = g.reverse || l.form.reverse
	if l.form.mixture > 0 {
		g.mixture = i
	}
}

// direct reports whether a gradient can be written over the student's logits as it is made.
func (s *Sum[F]) direct() bool { return len(s.groups) == 1 && len(s.rest) == 0 }

// Row sets values[i] to loss i in nats. Where grad is not nil it is set to Σ scales[i]·∂values[i]/∂student; it may be student itself.
// student, teacher and label are those of a Row; kept stands in place of teacher for losses on kept rows, of which the teacher's and the student's probability
// of the tail are returned, and student is then written to and restored. It is safe for concurrent use.
func (s *Sum[F]) Row(values []float64, grad []F, scales []float64, student, teacher []F, kept *Kept, label int) (p, q float64) {
	w := s.free.Take()
	defer s.free.Give(w)
	out := grad
	if grad != nil && !s.direct() && &grad[0] == &student[0] {
		if w.grad == nil {
			w.grad = make([]F, s.student)
		}
		out = w.grad
	}
	told := false
	for i := range s.groups {
		if g := &s.groups[i]; len(g.sparse) > 0 {
			ofTeacher, ofStudent := s.sparseGroup(g, w, values, out, i > 0, scales, student, kept, label)
			if !told { // those of the first temperature
				p, q, told = ofTeacher, ofStudent, true
			}
		} else {
			s.group(g, w, values, out, i > 0, scales, student, teacher, label)
		}
	}
	if len(s.groups) == 0 {
		clear(out)
	}
	for _, i := range s.rest {
		if grad == nil {
			values[i] = float64(Value(s.losses[i], nil, 0, student, teacher, label))
			continue
		}
		values[i] = float64(Value(s.losses[i], out, F(scales[i]), student, teacher, label))
	}
	if grad != nil && &out[0] != &grad[0] {
		copy(grad, out)
	}
	return p, q
}

// group evaluates a group's members; their gradient is added to grad, or written.
func (s *Sum[F]) group(g *group, w *sumWork[F], values []float64, grad []F, add bool, scales []float64, z, y []F, label int) {
	all := len(z)
	z, y = compared(g, z, y)
	w.fit(len(z), len(y))
	e := evaluation[F]{moments: newMoments[F](g.temperature)}
	keep := grad != nil || g.mixture >= 0
	for b := range blocks(len(z)) {
		from, to := span(b, len(z))
		q, p := w.q[from:to], part(w.p, y, from, to)
		if !keep { // stay in the cache
			q, p = w.q[:to-from], part(w.p, y, 0, to-from)
		}
		e.add(q, p, z[from:to], part(y, y, from, to), g.forward, g.reverse)
		w.refQ[b], w.refP[b] = e.z.ref, e.y.ref
	}
	if g.labels && label >= 0 {
		e.label = z[label]
	}
	s.close(g, &e, values, scales, label)
	ofMixture := 0.0
	if i := g.mixture; i >= 0 {
		l := s.losses[i]
		later := z
		if grad != nil {
			later = grad
		}
		student, value := e.mixture(l.form.mixture, w, z, y, later)
		values[i] = l.factor() * value
		if grad != nil {
			ofMixture = l.factor() * scales[i] / g.temperature
			e.total.student -= ofMixture * student
		}
	}
	switch {
	case grad == nil:
		return
	case e.total == (slope{}) && ofMixture == 0: // without a label, whatever the logits
		if !add {
			clear(grad)
		}
		return
	}
	for b := range blocks(len(z)) {
		from, to := span(b, len(z))
		q, p, out := w.q[from:to], part(w.p, y, from, to), grad[from:to]
		if add {
			out = w.sum[:to-from]
		}
		if g.mixture >= 0 {
			kernel.Blend(out, q, p, F(e.total.student*e.z.factor(w.refQ[b])), F(ofMixture))
		} else {
			e.gradient(out, q, p, z[from:to], part(y, y, from, to), w.refQ[b], w.refP[b])
		}
		if add {
			kernel.Add(grad[from:to], grad[from:to], out)
		}
	}
	if e.total.label != 0 {
		grad[label] += F(e.total.label)
	}
	if !add {
		clear(grad[len(z):all])
	}
}

// compared cuts both rows to the ids that a group compares; y is nil where it compares nothing.
func compared[F kernel.Float](g *group, z, y []F) (student, teacher []F) {
	if !g.teacher {
		return z, nil
	}
	n := min(len(z), len(y))
	return z[:n], y[:n]
}

// close sets the values of the members that have one now, and the slope of their sum (scales nil: no gradient is wanted).
func (s *Sum[F]) close(g *group, e *evaluation[F], values, scales []float64, label int) {
	e.statistics = e.sums()
	for _, i := range g.members {
		l := s.losses[i]
		if l.form.value == nil {
			continue
		}
		value, slope := l.form.value(e.statistics, label)
		values[i] = l.factor() * value
		if scales != nil {
			e.total.add(slope, l.factor()*scales[i]/g.temperature)
		}
	}
}

// mixture evaluates generalized_jsd. It leaves Q_i·log(q_i/m_i), Q = (1 − β)·q, in w.p and returns the sum of that and the value:
// the gradient, which is going to be written to later, is Q_i·log(q_i/m_i) − q_i·Σ_j Q_j·log(q_j/m_j).
func (e *evaluation[F]) mixture(beta float64, w *sumWork[F], z, y, later []F) (student, value float64) {
	restQ, restP := -math.Log1p(-beta), -math.Log(beta)
	shift := e.logZ - e.logY + restQ - restP
	teacher := 0.0
	for b := range blocks(len(z)) {
		from, to := span(b, len(z))
		p := w.p[from:to]
		ofStudent, ofTeacher := kernel.Mixture(p, w.q[from:to], p, z[from:to], y[from:to], later[from:to],
			F((1-beta)*e.z.factor(w.refQ[b])), F(beta*e.y.factor(w.refP[b])), F(e.unit()), F(shift), F(restQ), F(restP))
		student += float64(ofStudent)
		teacher += float64(ofTeacher)
	}
	return student, student + teacher
}

func blocks(n int) int { return (n + blockSize - 1) / blockSize }

// span is where block b of n ids lies.
func span(b, n int) (from, to int) { return b * blockSize, min((b+1)*blockSize, n) }

// part is x[from:to], nil where there is no teacher.
func part[F kernel.Float](x, teacher []F, from, to int) []F {
	if teacher == nil {
		return nil
	}
	return x[from:to]
}
