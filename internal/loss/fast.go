package loss

import (
	"math"

	"kdistill/internal/kernel"
)

// form is a loss as Sum evaluates it: from sums over both rows that one pass gives. Losses of one temperature share them.
type form struct {
	// value returns the loss and its slope; nil for a mixture.
	value func(s statistics, label int) (float64, slope)
	// mixture is generalized_jsd's β, whose gradient needs sums over normalised probabilities and so a pass of its own; 0 for the others.
	mixture          float64
	forward, reverse bool // needs those statistics
}

// statistics are what a form sees of one position at a temperature T; q and p are the probabilities of student and teacher.
type statistics struct {
	logZ, logY float64 // log Σ e^(z/T), log Σ e^(y/T)
	forward    float64 // Σ p·(y − z)/T
	reverse    float64 // Σ q·(z − y)/T
	label      float64 // z/T of the label
}

// slope is a gradient: ∂/∂(z/T)_i = q_i·(student + ratio·((z_i − y_i)/T − reverse)) + teacher·p_i + label·1[i = label], with reverse from the statistics.
type slope struct{ student, ratio, teacher, label float64 }

func (s *slope) add(t slope, scale float64) {
	s.student += scale * t.student
	s.ratio += scale * t.ratio
	s.teacher += scale * t.teacher
	s.label += scale * t.label
}

// forms are the losses that Sum knows; nil where their settings make them another one.
var forms = map[string]func(Params) *form{
	"cross_entropy": func(p Params) *form {
		if p.Values["label_smoothing"] != 0 {
			return nil
		}
		return &form{value: func(s statistics, label int) (float64, slope) {
			if label < 0 {
				return 0, slope{}
			}
			return s.logZ - s.label, slope{student: 1, label: -1}
		}}
	},
	"forward_kl":   func(Params) *form { return between(1) },
	"reverse_kl":   func(Params) *form { return between(0) },
	"symmetric_kl": func(p Params) *form { return between(p.Values["forward_weight"]) },
	"generalized_jsd": func(p Params) *form {
		beta := p.Values["beta"]
		if beta == 0 || beta == 1 {
			return between(1 - beta)
		}
		return &form{mixture: beta}
	},
}

// between is w·forward_kl + (1 − w)·reverse_kl.
func between(w float64) *form {
	return &form{forward: w != 0, reverse: w != 1, value: func(s statistics, _ int) (float64, slope) {
		shift := s.logY - s.logZ
		switch w {
		case 1: // the other divergence may be infinite
			return s.forward - shift, slope{student: 1, teacher: -1}
		case 0:
			return s.reverse + shift, slope{ratio: 1}
		}
		return w*(s.forward-shift) + (1-w)*(s.reverse+shift), slope{student: w, ratio: 1 - w, teacher: -w}
	}}
}

// partition is Σ 2^(scale·x) of a row of logits that comes in blocks: 2^ref·sum.
type partition[F kernel.Float] struct {
	ref F // no less than the largest scale·x so far, but for 1
	sum float64
}

// add takes in the next block of x and sets e = 2^(scale·x − ref). It returns the block's largest x, the sum of e, and what sums that are relative to ref
// have to be multiplied by because it grew. A block that is not twice as large as those before keeps their ref, and is read once.
func (p *partition[F]) add(e, x []F, scale F) (top F, sum, shrink float64) {
	var of F
	if shrink = 1; !masked(p.ref) {
		if of, top = kernel.Exp2Shift(e, x, scale, p.ref); !(scale*top > p.ref+1) {
			p.sum += float64(of)
			return top, float64(of), shrink
		}
	} else if top = kernel.Max(x); masked(top) {
		clear(e)
		return top, 0, shrink
	}
	ref := scale * top
	shrink = math.Exp2(float64(p.ref) - float64(ref))
	of, _ = kernel.Exp2Shift(e, x, scale, ref)
	p.ref, p.sum = ref, p.sum*shrink+float64(of)
	return top, float64(of), shrink
}

// log returns the logarithm of the whole sum.
func (p *partition[F]) log() float64 { return (float64(p.ref) + math.Log2(p.sum)) * math.Ln2 }

// factor turns the exponentials of a block, relative to a former ref, into probabilities.
func (p *partition[F]) factor(ref F) float64 {
	if ref == p.ref { // nearly always
		return 1 / p.sum
	}
	return math.Exp2(float64(ref)-float64(p.ref)) / p.sum
}

// moments are the sums behind statistics.
type moments[F kernel.Float] struct {
	scale            F // log2(e)/T
	z, y             partition[F]
	forward, reverse float64 // Σ 2^(…y)·(y − z) relative to y.ref, Σ 2^(…z)·(z − y) relative to z.ref
}

func newMoments[F kernel.Float](temperature float64) moments[F] {
	least := partition[F]{ref: F(math.Inf(-1))}
	return moments[F]{scale: F(math.Log2E / temperature), z: least, y: least}
}

// unit is 1/T as precisely as scale gives it: values have to be those of one temperature.
func (m *moments[F]) unit() float64 { return float64(m.scale) * math.Ln2 }

// add takes in the next block of both rows, y nil where there is no teacher, and leaves their exponentials in q and p.
func (m *moments[F]) add(q, p, z, y []F, forward, reverse bool) {
	topZ, sumQ, shrinkZ := m.z.add(q, z, m.scale)
	if y == nil {
		return
	}
	topY, sumP, shrinkY := m.y.add(p, y, m.scale)
	center := topY - topZ // large logits may be far apart
	if center-center != 0 {
		center = 0
	}
	if forward {
		m.forward = shrunk(m.forward, shrinkY) + float64(kernel.ExpectationDiff(p, y, z, center)) + sumP*float64(center)
	}
	if reverse {
		m.reverse = shrunk(m.reverse, shrinkZ) + float64(kernel.ExpectationDiff(q, z, y, -center)) - sumQ*float64(center)
	}
}

// shrunk is sum·by, but that an infinite sum stays so: a logit of −Inf where the other model has any probability at all makes a divergence infinite.
func shrunk(sum, by float64) float64 {
	if math.IsInf(sum, 0) {
		return sum
	}
	return sum * by
}

// evaluation is what a group of losses knows of one position.
type evaluation[F kernel.Float] struct {
	moments[F]
	label F // the label's logit
	statistics
	total slope // of the weighted sum of the losses
}

// sums returns the statistics once all blocks were added.
func (e *evaluation[F]) sums() statistics {
	unit := e.unit()
	return statistics{
		logZ: e.z.log(), logY: e.y.log(),
		forward: unit * e.moments.forward / e.y.sum, reverse: unit * e.moments.reverse / e.z.sum, label: unit * float64(e.label),
	}
}

// gradient sets out to the weighted gradient of a block, but for what the label gets, from exponentials relative to refQ and refP.
func (e *evaluation[F]) gradient(out, q, p, z, y []F, refQ, refP F) {
	ofQ := e.z.factor(refQ)
	student := F(e.total.student * ofQ)
	if y == nil {
		kernel.Scale(out, q, student)
		return
	}
	teacher := F(e.total.teacher * e.y.factor(refP))
	if e.total.ratio == 0 {
		kernel.Blend(out, q, p, student, teacher)
		return
	}
	kernel.BlendRatio(out, q, p, z, y, F(e.statistics.reverse/e.unit()), student, F(e.total.ratio*e.unit()*ofQ), teacher)
}
