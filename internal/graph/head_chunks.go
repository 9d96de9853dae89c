package graph

import (
	"sync"
	"time"

	"gorgonia.org/gorgonia"
	"kdistill/internal/kernel"
	"kdistill/internal/loss"
)

// chunks evaluates head and losses for some positions at a time: products, a pass over each row of logits that leaves their gradient in their place, products.
type chunks[F kernel.Float] struct {
	*Losses
	student, teacher     *projection[F] // teacher nil: none
	recording            Recording      // in place of teacher; nil: none
	train                bool
	labelled, unlabelled *counting[F]
	targets              []int // terms with a target, which count where there is a label

	sizes []int       // of the working memory's parts
	spare sync.Pool   // rows of the student's gradient
	reads sync.Pool   // *recorded[F]
	each  func(r int) // c.row, made once

	// of the current chunk
	in                             []gorgonia.Value
	dh, z, h, dhChunk, y, hTeacher []F
	positions                      []int32
	values                         []float64 // of each row's terms
}

// plan sizes the working memory, in elements: the gradient of n hidden states first.
func (c *chunks[F]) plan(n int) int {
	s, t := c.student, c.teacher
	perRow, ids := s.vocab, 0
	whole := 0 // elements of the teacher's row
	switch {
	case t != nil:
		ids, whole = t.vocab, t.vocab
	case c.recording != nil:
		if ids = c.recording.Vocab(); c.recording.Complete() {
			whole = ids
		}
		c.reads.New = func() any { return new(recorded[F]) }
	}
	perRow += whole
	c.chunk = min(n, max(headRows, headBudget/perRow/32*32))
	c.labelled, c.unlabelled = newCounting[F](c.Losses, s.vocab, ids, true), newCounting[F](c.Losses, s.vocab, ids, false)
	for _, i := range c.logits {
		if c.Terms[i].Loss.Target {
			c.targets = append(c.targets, i)
		}
	}
	c.values = make([]float64, c.chunk*len(c.logits))
	c.spare.New = func() any { row := make([]F, s.vocab); return &row }
	c.each = c.row

	c.sizes = []int{0, c.chunk * s.vocab, c.chunk * s.width, 0, 0, 0}
	if c.train {
		c.sizes[0], c.sizes[3] = n*s.width, c.chunk*s.width
	}
	c.sizes[4] = c.chunk * whole
	if t != nil {
		c.sizes[5] = c.chunk * t.width
	}
	total := 0
	for _, size := range c.sizes {
		total += size
	}
	return total
}

func (c *chunks[F]) run(memory []F, in []gorgonia.Value) {
	parts := []*[]F{&c.dh, &c.z, &c.h, &c.dhChunk, &c.y, &c.hTeacher}
	for i, part := range parts {
		*part, memory = memory[:c.sizes[i]], memory[c.sizes[i]:]
	}
	c.in = in
	c.labelled.scale(c.Terms)
	c.unlabelled.scale(c.Terms)
	clear(c.dh)
	s, t := c.student, c.teacher
	for at := 0; at < len(c.rows); at += c.chunk {
		c.positions = c.rows[at:min(at+c.chunk, len(c.rows))]
		m := len(c.positions)
		take(c.h, floats[F](in[s.hidden]), c.positions, s.width)
		s.products(c.z, c.h, m, in)
		if t != nil {
			take(c.hTeacher, floats[F](in[t.hidden]), c.positions, t.width)
			t.products(c.y, c.hTeacher, m, in)
		}
		began := time.Now()
		kernel.Parallel(m, c.each)
		s.g.times.addRows(began)
		if c.train {
			s.backward(c.dhChunk, c.z, c.h, m, in)
			put(c.dh, c.dhChunk, c.positions, s.width)
		}
	}
	c.in = nil
	for _, part := range parts { // the arena may move
		*part = nil
	}
}

// row evaluates the terms at row r of the chunk and puts the gradient of its products in their place.
func (c *chunks[F]) row(r int) {
	s, position := c.student, c.positions[r]
	label := int(ints(c.in[0])[position])
	z, y := c.z[r*s.vocab:(r+1)*s.vocab], []F(nil)
	s.finish(z, c.in)
	if t := c.teacher; t != nil {
		y = c.y[r*t.vocab : (r+1)*t.vocab]
		t.finish(y, c.in)
	}
	terms := c.labelled
	if label < 0 {
		terms = c.unlabelled
	}
	var kept *loss.Kept
	if c.recording != nil && terms.compares {
		if n := len(c.y) / c.chunk; n > 0 {
			y = c.y[r*n : (r+1)*n]
		}
		read := c.reads.Get().(*recorded[F])
		defer c.reads.Put(read)
		read.read(c.recording, int(position), y)
		kept = &read.kept
	}
	target := c.target(z, position, label)
	values := c.values[r*len(c.logits):][:len(terms.terms)]
	var p, q float64
	switch {
	case !c.train:
		p, q = terms.sum.Row(values, nil, nil, z, y, kept, label)
	case s.softcap == 0:
		p, q = terms.sum.Row(values, z, terms.scales, z, y, kept, label)
		if target != nil {
			kernel.Add(z, z, target)
		}
	default: // the way back needs the logits
		dz := c.spare.Get().(*[]F)
		p, q = terms.sum.Row(values, *dz, terms.scales, z, y, kept, label)
		if target != nil {
			kernel.Add(*dz, *dz, target)
		}
		kernel.SoftcapBackward(z, *dz, z, s.softcap)
		c.spare.Put(dz)
	}
	for j, i := range terms.terms {
		c.Values[i][position] = values[j]
	}
	if c.TeacherTail != nil {
		c.TeacherTail[position], c.StudentTail[position] = p, q
	}
}

// target evaluates the terms with a target at a position and returns their gradient, nil: none.
func (c *chunks[F]) target(z []F, position int32, label int) (dz []F) {
	if label < 0 || len(c.targets) == 0 {
		return nil
	}
	if c.train {
		dz = make([]F, len(z))
	}
	for _, i := range c.targets {
		t := c.Terms[i]
		c.Values[i][position] = float64(loss.Value(t.Loss, dz, F(t.Scale), z, []F{F(t.Targets[position])}, label))
	}
	return dz
}

func (c *chunks[F]) operations([]gorgonia.Value) float64 {
	s, t := c.student, c.teacher
	products := s.width * s.vocab
	if c.train {
		products *= 2
	}
	if s.dw != nil {
		products += s.width * s.vocab
	}
	if t != nil {
		products += t.width * t.vocab
	}
	return float64(2*len(c.rows)) * float64(products)
}

// take gathers rows of src [N, d] into dst; put writes them back.
func take[F kernel.Float](dst, src []F, rows []int32, d int) {
	for i, r := range rows {
		copy(dst[i*d:(i+1)*d], src[int(r)*d:])
	}
}

func put[F kernel.Float](dst, src []F, rows []int32, d int) {
	for i, r := range rows {
		copy(dst[int(r)*d:int(r)*d+d], src[i*d:])
	}
}
