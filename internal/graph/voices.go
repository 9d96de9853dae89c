package graph

import (
	"fmt"
	"slices"

	"kdistill/internal/kernel"
	"kdistill/internal/loss"
)

// voice is what some terms on logits hear: nobody, one teacher, or the average of several at a temperature.
type voice struct {
	teachers    []int
	temperature float64
}

// Hears says whether a term that compares reads the logits of teacher k, from 0, of so many, with its share of their average.
func (t *Term) Hears(k, teachers int, share float64) bool {
	return t.Teacher == k+1 || t.Teacher == 0 && (share > 0 || teachers == 1)
}

// voiceOf is what a term hears.
func voiceOf(t *Term, teachers []*Teacher) voice {
	var v voice
	for k, teacher := range teachers {
		if teacher != nil && t.Hears(k, len(teachers), teacher.Share) {
			v.teachers = append(v.teachers, k)
		}
	}
	if len(v.teachers) > 1 {
		v.temperature = t.Loss.Params.Temperature
	}
	return v
}

// checkVoice refuses a term on logits that compares with what is not there.
func checkVoice(t *Term, teachers []*Teacher) error {
	l := t.Loss
	if !l.Teacher {
		return nil
	}
	v := voiceOf(t, teachers)
	switch {
	case len(teachers) == 0:
		return fmt.Errorf("loss %s: it compares with a teacher, and there is none", l.Name)
	case len(v.teachers) == 0:
		return fmt.Errorf("loss %s: there is no teacher %d: it hears none", l.Name, t.Teacher)
	case len(v.teachers) > 1 && l.Raw:
		return fmt.Errorf("loss %s compares logits, and an average of several teachers is one of probabilities: name one of them", l.Name)
	}
	r := teachers[v.teachers[0]].Recording
	if r != nil && len(teachers) > 1 {
		return fmt.Errorf("loss %s: a recorded teacher has to be the only one", l.Name)
	}
	if partly := r != nil && !r.Complete(); l.Partly() != partly {
		return fmt.Errorf("loss %s: made for rows that are known in part: %v, the teacher's are: %v", l.Name, l.Partly(), partly)
	}
	return nil
}

// counting are the terms on logits that count a position with a label, or without one.
type counting[F kernel.Float] struct {
	hearings []*hearing[F] // at least one
	compares bool          // some term reads the teacher's row
}

// hearing are terms of one voice; those that compare with nothing are in the first.
type hearing[F kernel.Float] struct {
	voice
	shares  []float64 // of several teachers, which add up to 1
	ids     int       // of the teacher, or those in which several are compared
	terms   []int
	scales  []float64
	sum     *loss.Sum[F]
	streams []loss.Stream[F] // of the positions at hand, where the vocabulary comes in blocks
}

// newCounting sorts the terms by what they hear of teachers of so many ids.
func (c *chunks[F]) newCounting(teachers []*Teacher, ids []int, label bool) *counting[F] {
	n := &counting[F]{}
	find := func(v voice) int {
		return slices.IndexFunc(n.hearings, func(h *hearing[F]) bool {
			return slices.Equal(h.teachers, v.teachers) && h.temperature == v.temperature
		})
	}
	counted := slices.DeleteFunc(slices.Clone(c.logits), func(i int) bool { return c.Terms[i].Loss.Target || !label && !c.Terms[i].Attended })
	for _, i := range counted {
		if t := c.Terms[i]; t.Loss.Teacher && find(voiceOf(t, teachers)) < 0 {
			n.compares = true
			n.hearings = append(n.hearings, newHearing[F](voiceOf(t, teachers), teachers, ids, c.student.vocab))
		}
	}
	if n.hearings == nil {
		n.hearings = []*hearing[F]{{}}
	}
	losses := make([][]*loss.Loss, len(n.hearings))
	for _, i := range counted {
		at, t := 0, c.Terms[i]
		if t.Loss.Teacher {
			at = find(voiceOf(t, teachers))
		}
		h := n.hearings[at]
		h.terms, h.scales, losses[at] = append(h.terms, i), append(h.scales, 0), append(losses[at], t.Loss)
	}
	for at, h := range n.hearings {
		h.sum = loss.NewSum[F](losses[at], c.student.vocab, h.ids)
	}
	return n
}

func newHearing[F kernel.Float](v voice, teachers []*Teacher, ids []int, student int) *hearing[F] {
	h := &hearing[F]{voice: v, ids: ids[v.teachers[0]]}
	if len(v.teachers) == 1 {
		return h
	}
	all := 0.0
	for _, k := range v.teachers {
		h.ids = min(h.ids, ids[k], student)
		all += teachers[k].Share
	}
	for _, k := range v.teachers {
		h.shares = append(h.shares, teachers[k].Share/all)
	}
	return h
}

// scale reads the terms' scales.
func (n *counting[F]) scale(terms []*Term) {
	for _, h := range n.hearings {
		for j, i := range h.terms {
			h.scales[j] = terms[i].Scale
		}
	}
}

// streamable reports whether the vocabulary may come in blocks: an average of teachers needs whole rows.
func (n *counting[F]) streamable() bool {
	h := n.hearings[0]
	return len(n.hearings) == 1 && len(h.teachers) < 2 && h.sum.Streams()
}

// stream prepares for blocks of the vocabulary at so many positions.
func (n *counting[F]) stream(positions int) {
	h := n.hearings[0]
	h.streams = make([]loss.Stream[F], positions)
	for i := range h.streams {
		h.streams[i] = h.sum.NewStream()
	}
}

// together is scratch for several voices at a position.
type together[F kernel.Float] struct {
	rows               [][]F
	average, part, sum []F
}

// evaluate sets the values of all terms at row r, and dz, where there is one, to their gradient. It may be z.
func (c *chunks[F]) evaluate(terms *counting[F], values []float64, dz []F, r int, z, y []F, kept *loss.Kept, label int) (p, q float64) {
	if first := terms.hearings[0]; len(terms.hearings) == 1 && len(first.teachers) < 2 && len(c.teachers) < 2 {
		return first.sum.Row(values, dz, first.scalesFor(dz), z, y, kept, label)
	}
	w := c.several.Take()
	defer c.several.Give(w)
	if w.sum == nil {
		w.sum, w.part, w.average = make([]F, len(z)), make([]F, len(z)), make([]F, len(z))
	}
	for i, h := range terms.hearings {
		grad := w.part
		switch {
		case dz == nil:
			grad = nil
		case i == 0:
			grad = w.sum
		}
		h.sum.Row(values[:len(h.terms)], grad, h.scalesFor(grad), z, c.heard(h, r, w), nil, label)
		values = values[len(h.terms):]
		if i > 0 && grad != nil {
			kernel.Add(w.sum, w.sum, grad)
		}
	}
	copy(dz, w.sum)
	return 0, 0
}

// heard is the teacher's row that the terms of a hearing read.
func (c *chunks[F]) heard(h *hearing[F], r int, w *together[F]) []F {
	w.rows = w.rows[:0]
	for _, k := range h.teachers {
		w.rows = append(w.rows, c.teacherRow(c.places[k], r))
	}
	switch len(w.rows) {
	case 0:
		return nil
	case 1:
		return w.rows[0]
	}
	average := w.average[:h.ids]
	for i, row := range w.rows {
		w.rows[i] = row[:h.ids]
	}
	loss.Average(average, h.temperature, w.rows, h.shares)
	return average
}

// scalesFor are the terms' scales where a gradient is wanted.
func (h *hearing[F]) scalesFor(grad []F) []float64 {
	if grad == nil {
		return nil
	}
	return h.scales
}
