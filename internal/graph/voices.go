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
	shares   []float64 // of several teachers, which add up to 1
	ids      int       // of the teacher, or those in which several are compared
	terms    []int
	scales   []float64
	sum      *loss.Sum[F]
	averages []*loss.Average[F] // of several teachers, at the positions at hand
	streams  []loss.Stream[F]   // at these, where the vocabulary comes in blocks
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

// streamable reports whether the vocabulary may come in blocks.
func (n *counting[F]) streamable() bool {
	return !slices.ContainsFunc(n.hearings, func(h *hearing[F]) bool { return !h.sum.Streams() })
}

// fit prepares for so many positions at a time, and perhaps for blocks of the vocabulary.
func (n *counting[F]) fit(positions int, blocks bool) {
	for _, h := range n.hearings {
		for range positions {
			if blocks {
				h.streams = append(h.streams, h.sum.NewStream())
			}
			if len(h.teachers) > 1 {
				h.averages = append(h.averages, loss.NewAverage[F](h.temperature, h.shares))
			}
		}
	}
}

// averages reports whether several teachers are heard together.
func (n *counting[F]) averages() bool {
	return slices.ContainsFunc(n.hearings, func(h *hearing[F]) bool { return len(h.teachers) > 1 })
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
	c.hear(terms, dz, r, func(h *hearing[F], grad, y []F) {
		h.sum.Row(values[:len(h.terms)], grad, h.scalesFor(grad), z, y, nil, label)
		values = values[len(h.terms):]
	})
	return 0, 0
}

// hear gives f what each hearing hears at row r, and sets dz, where there is one, to the sum of the gradients that f writes. It may be what f reads.
func (c *chunks[F]) hear(terms *counting[F], dz []F, r int, f func(h *hearing[F], grad, y []F)) {
	w := c.several.Take()
	defer c.several.Give(w)
	if dz == nil || len(terms.hearings) == 1 {
		for _, h := range terms.hearings {
			f(h, dz, c.heard(h, r, w))
		}
		return
	}
	if w.sum == nil {
		w.sum, w.part = make([]F, c.ids), make([]F, c.ids)
	}
	sum, part := w.sum[:len(dz)], w.part[:len(dz)]
	for i, h := range terms.hearings {
		if i == 0 {
			f(h, sum, c.heard(h, r, w))
			continue
		}
		f(h, part, c.heard(h, r, w))
		kernel.Add(sum, sum, part)
	}
	copy(dz, sum)
}

// heard is what the terms of a hearing read of the teachers: the ids of row r that are at hand.
func (c *chunks[F]) heard(h *hearing[F], r int, w *together[F]) []F {
	switch len(h.teachers) {
	case 0:
		return nil
	case 1:
		return c.teacherRow(c.places[h.teachers[0]], r)
	}
	w.rows = w.rows[:0]
	for _, k := range h.teachers {
		w.rows = append(w.rows, c.compared(h, k, r))
	}
	a := h.averages[r]
	if c.allIDs() {
		a.Begin()
		for k, row := range w.rows {
			a.Scan(k, row)
		}
	}
	if w.average == nil {
		w.average = make([]F, c.ids)
	}
	average := w.average[:len(w.rows[0])]
	a.Row(average, w.rows)
	return average
}

// compared are a teacher's logits of the ids at hand in which a hearing compares several.
func (c *chunks[F]) compared(h *hearing[F], k, r int) []F {
	return c.teacherRow(c.places[k], r)[:max(0, min(c.to, h.ids)-c.from)]
}

// scalesFor are the terms' scales where a gradient is wanted.
func (h *hearing[F]) scalesFor(grad []F) []float64 {
	if grad == nil {
		return nil
	}
	return h.scales
}
