package graph

// Chunks of 32 positions are as slow as blocks of the vocabulary, which compute the logits twice: fewer of them would be slower.
const leastRows = 32

// idBlock is what blocks of the vocabulary are multiples of, so that they change no bit of a value.
const idBlock = 1024

// blockOf cuts n positions times a vocabulary into blocks of at most so many logits, or of leastRows positions and idBlock ids: as many positions as can be.
func blockOf(n, vocabulary, logits int) (positions, ids int) {
	positions = min(n, max(leastRows, logits/idBlock/32*32))
	return positions, min(vocabulary, max(1, logits/positions/idBlock)*idBlock)
}

// streams reports whether the losses allow blocks of the vocabulary.
func (c *chunks[F]) streams() bool {
	return c.student.vocab > idBlock && len(c.targets) == 0 && c.labelled.streamable() && c.unlabelled.streamable()
}

// blocks evaluates the positions at hand without holding a row of logits (as Wijmans et al. 2024, arXiv:2411.09009, do for cross-entropy): the logits of
// a block of ids for all of them, then of the next block, with running sums for each position; and once more for the gradient. An average of teachers needs
// the sums of each before: their logits are computed once more.
func (c *chunks[F]) blocks() {
	for r := range c.positions {
		_, _, terms, _ := c.at(r)
		for _, h := range terms.hearings {
			h.sum.Begin(h.streams[r])
			if h.averages != nil {
				h.averages[r].Begin()
			}
		}
	}
	if c.labelled.averages() || c.unlabelled.averages() {
		c.eachBlock(func() {
			c.teachersProducts()
			c.each(c.tell)
		})
	}
	c.eachBlock(func() {
		c.products()
		c.each(c.scan)
	})
	for r := range c.positions {
		position, label, terms, values := c.at(r)
		for _, h := range terms.hearings {
			scales := h.scales
			if !c.train {
				scales = nil
			}
			h.sum.Close(h.streams[r], values[:len(h.terms)], scales, label)
			values = values[len(h.terms):]
		}
		c.keep(position, terms, c.values[r*len(c.logits):])
	}
	if c.train {
		c.eachBlock(func() {
			c.products()
			c.each(c.back)
			c.backward(c.from > 0)
		})
	}
}

// eachBlock lets f work on one block of ids after the other.
func (c *chunks[F]) eachBlock(f func()) {
	for from := 0; from < c.student.vocab; from += c.ids {
		c.from, c.to = from, min(from+c.ids, c.student.vocab)
		f()
	}
}

// tellRow takes the block of row r into the sums of the teachers whose average is heard.
func (c *chunks[F]) tellRow(r int) {
	_, _, terms, _ := c.at(r)
	c.finishTeachers(r)
	for _, h := range terms.hearings {
		if h.averages == nil {
			continue
		}
		for i, k := range h.teachers {
			h.averages[r].Scan(i, c.compared(h, k, r))
		}
	}
}

// scanRow takes the block of row r into its sums.
func (c *chunks[F]) scanRow(r int) {
	_, label, terms, _ := c.at(r)
	z, _ := c.finished(r)
	c.hear(terms, nil, r, func(h *hearing[F], _, y []F) { h.sum.Scan(h.streams[r], z, y, c.from, label) })
}

// backRow puts the gradient of the block of row r in its place.
func (c *chunks[F]) backRow(r int) {
	position, label, terms, _ := c.at(r)
	z, _ := c.finished(r)
	c.inPlace(z, func(dz []F) {
		c.hear(terms, dz, r, func(h *hearing[F], grad, y []F) { h.sum.Gradient(h.streams[r], grad, z, y, c.from, label) })
		c.weigh(dz, position)
	})
}
