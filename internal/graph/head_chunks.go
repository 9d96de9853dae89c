package graph

import (
	"time"
	"unsafe"

	"gorgonia.org/gorgonia"
	"kdistill/internal/kernel"
	"kdistill/internal/loss"
)

// chunks evaluates head and losses for some positions at a time: products, a pass over each row of logits that leaves their gradient in their place, products.
// Where not even few whole rows are allowed, it takes the vocabulary in blocks, see blocks.
type chunks[F kernel.Float] struct {
	*Losses
	student              *projection[F]
	teachers             []*projection[F]
	places               []int     // in teachers of those that Loss was given
	recording            Recording // in place of a teacher; nil: none
	train                bool
	labelled, unlabelled *counting[F]
	targets              []int // terms with a target, which count where there is a label
	ids                  int   // of the student's that are worked on at a time

	sizes                   []int // of the working memory's parts
	reads                   kernel.FreeList[recorded[F]]
	several                 kernel.FreeList[together[F]]
	whole, tell, scan, back func(r int) // methods, made once

	// of what is being worked on
	in                             []gorgonia.Value
	dh, z, h, dhChunk, y, hTeacher []F // those of teachers one behind the other
	positions                      []int32
	from, to                       int       // ids of the student's
	values                         []float64 // of each row's terms
}

// plan decides on how many positions and ids to work at a time, within a budget of bytes (0: the usual one) for logits, and returns the size of the working
// memory in elements: the gradient of n hidden states first.
func (c *chunks[F]) plan(n, budget int, teachers []*Teacher) int {
	s := c.student
	ids, whole := make([]int, len(teachers)), 0 // of each teacher; elements of their rows together
	for k, t := range teachers {
		if t != nil && t.Recording == nil {
			ids[k] = c.teachers[c.places[k]].vocab
			whole += ids[k]
		}
	}
	if c.recording != nil {
		if ids = []int{c.recording.Vocab()}; c.recording.Complete() {
			whole = ids[0]
		}
	}
	c.labelled, c.unlabelled = c.newCounting(teachers, ids, true), c.newCounting(teachers, ids, false)
	for _, i := range c.logits {
		if c.Terms[i].Loss.Target {
			c.targets = append(c.targets, i)
		}
	}
	c.chunk, c.ids = n, s.vocab
	switch rows := budget / int(unsafe.Sizeof(F(0))) / (s.vocab + whole) / 32 * 32; {
	case budget == 0:
		c.chunk = min(n, max(headRows, headBudget/(s.vocab+whole)/32*32))
	case rows < min(n, leastRows) && c.recording == nil && c.streams():
		c.chunk, c.ids = blockOf(n, s.vocab, budget/int(unsafe.Sizeof(F(0)))/(1+len(c.teachers)))
	default:
		c.chunk = min(n, max(leastRows, rows))
	}
	c.labelled.fit(c.chunk, c.ids < s.vocab)
	c.unlabelled.fit(c.chunk, c.ids < s.vocab)
	c.values = make([]float64, c.chunk*len(c.logits))
	c.whole, c.tell, c.scan, c.back = c.wholeRow, c.tellRow, c.scanRow, c.backRow

	c.sizes = []int{0, c.chunk * c.ids, c.chunk * s.width, 0, 0, 0}
	if c.train {
		c.sizes[0], c.sizes[3] = n*s.width, c.chunk*s.width
	}
	if c.ids < s.vocab {
		whole = 0
		for _, t := range c.teachers {
			whole += min(t.vocab, c.ids)
		}
	}
	c.sizes[4] = c.chunk * whole
	for _, t := range c.teachers {
		c.sizes[5] += c.chunk * t.width
	}
	total := 0
	for _, size := range c.sizes {
		total += size
	}
	return total
}

func (c *chunks[F]) run(memory []F, in []gorgonia.Value) {
	parts := [...]*[]F{&c.dh, &c.z, &c.h, &c.dhChunk, &c.y, &c.hTeacher}
	for i, part := range parts {
		*part, memory = memory[:c.sizes[i]], memory[c.sizes[i]:]
	}
	c.in = in
	c.labelled.scale(c.Terms)
	c.unlabelled.scale(c.Terms)
	clear(c.dh)
	s := c.student
	for at := 0; at < len(c.rows); at += c.chunk {
		c.positions = c.rows[at:min(at+c.chunk, len(c.rows))]
		take(c.h, floats[F](in[s.hidden]), c.positions, s.width)
		of := c.hTeacher
		for _, t := range c.teachers {
			take(of, floats[F](in[t.hidden]), c.positions, t.width)
			of = of[c.chunk*t.width:]
		}
		if c.ids < s.vocab {
			c.blocks()
		} else {
			c.from, c.to = 0, s.vocab
			c.products()
			c.each(c.whole)
			c.backward(false)
		}
		if c.train {
			put(c.dh, c.dhChunk, c.positions, s.width)
		}
	}
	c.in = nil
	for _, part := range parts { // the arena may move
		*part = nil
	}
}

// products multiplies hidden states by the student's ids at hand and the same of each teacher's, all of them where the student's are.
func (c *chunks[F]) products() {
	c.student.products(c.z, c.h, len(c.positions), c.from, c.to)
	c.teachersProducts()
}

func (c *chunks[F]) teachersProducts() {
	y, h := c.y, c.hTeacher
	for _, t := range c.teachers {
		from, to := c.idsOf(t)
		if from < to {
			t.products(y, h, len(c.positions), from, to)
		}
		y, h = y[c.chunk*(to-from):], h[c.chunk*t.width:]
	}
}

// idsOf says which ids of a teacher's are at hand.
func (c *chunks[F]) idsOf(t *projection[F]) (from, to int) {
	if c.allIDs() {
		return 0, t.vocab
	}
	return min(c.from, t.vocab), min(c.to, t.vocab)
}

// allIDs reports whether the ids at hand are the student's whole vocabulary.
func (c *chunks[F]) allIDs() bool { return c.from == 0 && c.to == c.student.vocab }

// backward takes the gradients of the products that lie in their place further.
func (c *chunks[F]) backward(accumulate bool) {
	if c.train {
		c.student.backward(c.dhChunk, c.z, c.h, len(c.positions), c.from, c.to, accumulate)
	}
}

// each lets f handle every row at hand.
func (c *chunks[F]) each(f func(r int)) {
	began := time.Now()
	kernel.Parallel(len(c.positions), f)
	c.student.g.times.addRows(began)
}

// finished turns row r of the products into logits: the student's, and the teacher's where there is one.
func (c *chunks[F]) finished(r int) (z, y []F) {
	n := c.to - c.from
	z = c.z[r*n : (r+1)*n]
	c.student.finish(z, c.from, c.in)
	return z, c.finishTeachers(r)
}

func (c *chunks[F]) finishTeachers(r int) (y []F) {
	for k, t := range c.teachers {
		y = c.teacherRow(k, r)
		from, _ := c.idsOf(t)
		t.finish(y, from, c.in)
	}
	return y
}

// teacherRow is row r of a teacher's logits.
func (c *chunks[F]) teacherRow(k, r int) []F {
	at := 0
	for _, t := range c.teachers[:k] {
		from, to := c.idsOf(t)
		at += c.chunk * (to - from)
	}
	from, to := c.idsOf(c.teachers[k])
	n := to - from
	return c.y[at+r*n : at+(r+1)*n]
}

// at returns the position of row r, its label, the terms that count it, and where their values go.
func (c *chunks[F]) at(r int) (position int32, label int, terms *counting[F], values []float64) {
	position = c.positions[r]
	label, terms = int(ints(c.in[0])[position]), c.labelled
	if label < 0 {
		terms = c.unlabelled
	}
	return position, label, terms, c.values[r*len(c.logits):][:len(c.logits)]
}

// wholeRow evaluates the terms at row r and puts the gradient of its products in their place.
func (c *chunks[F]) wholeRow(r int) {
	position, label, terms, values := c.at(r)
	z, y := c.finished(r)
	var kept *loss.Kept
	if c.recording != nil && terms.compares {
		if n := len(c.y) / c.chunk; n > 0 {
			y = c.y[r*n : (r+1)*n]
		}
		read := c.reads.Take()
		defer c.reads.Give(read)
		read.read(c.recording, int(position), y)
		kept = &read.kept
	}
	target := c.target(z, position, label)
	if target != nil {
		defer kernel.GiveBack(target)
	}
	var p, q float64
	if c.train {
		c.inPlace(z, func(dz []F) {
			p, q = c.evaluate(terms, values, dz, r, z, y, kept, label)
			if target != nil {
				kernel.Add(dz, dz, target)
			}
			c.weigh(dz, position)
		})
	} else {
		p, q = c.evaluate(terms, values, nil, r, z, y, kept, label)
	}
	if c.TeacherTail != nil {
		c.TeacherTail[position], c.StudentTail[position] = p, q
	}
	c.keep(position, terms, values)
}

// keep stores the weighted values of a position.
func (c *chunks[F]) keep(position int32, terms *counting[F], values []float64) {
	weight := c.weight(position)
	for _, h := range terms.hearings {
		for j, i := range h.terms {
			c.Values[i][position] = weight * values[j]
		}
		values = values[len(h.terms):]
	}
}

func (c *chunks[F]) weight(position int32) float64 {
	if c.Weights == nil {
		return 1
	}
	return float64(c.Weights[position])
}

// weigh multiplies the gradient of a position's logits by its weight.
func (c *chunks[F]) weigh(dz []F, position int32) {
	if w := c.weight(position); w != 1 {
		kernel.Scale(dz, dz, F(w))
	}
}

// inPlace puts the gradient of products in the place of their logits z; gradient writes that of the logits, over them where it can.
func (c *chunks[F]) inPlace(z []F, gradient func(dz []F)) {
	if s := c.student; s.softcap == 0 {
		gradient(z)
	} else {
		dz := kernel.Borrow[F](len(z)) // the way back needs the logits
		gradient(dz)
		kernel.SoftcapBackward(z, dz, z, s.softcap)
		kernel.GiveBack(dz)
	}
	if c.student.roundsGradient() {
		roundRow(z, z)
	}
}

// target evaluates the terms with a target at a position and returns their gradient, which is to be given back; nil: none.
func (c *chunks[F]) target(z []F, position int32, label int) (dz []F) {
	if label < 0 || len(c.targets) == 0 {
		return nil
	}
	number := kernel.Borrow[F](1)
	defer kernel.GiveBack(number)
	if c.train {
		dz = kernel.Borrow[F](len(z))
		clear(dz)
	}
	for _, i := range c.targets {
		t := c.Terms[i]
		number[0] = F(t.Targets[position])
		c.Values[i][position] = c.weight(position) * float64(loss.Value(t.Loss, dz, F(t.Scale), z, number, label))
	}
	return dz
}

func (c *chunks[F]) operations([]gorgonia.Value) float64 {
	s := c.student
	products := s.width * s.vocab
	if c.train {
		products *= 2
	}
	if s.dw != nil {
		products += s.width * s.vocab
	}
	for _, t := range c.teachers {
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
