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
// a block of ids for all of them, then of the next block, with running sums for each position; and once more for the gradient.
func (c *chunks[F]) blocks() {
	vocabulary := c.student.vocab
	for r := range c.positions {
		_, _, terms, _ := c.at(r)
		h := terms.hearings[0]
		h.sum.Begin(h.streams[r])
	}
	for from := 0; from < vocabulary; from += c.ids {
		c.products(from, min(from+c.ids, vocabulary))
		c.each(c.scan)
	}
	for r := range c.positions {
		position, label, terms, values := c.at(r)
		h := terms.hearings[0]
		scales := h.scales
		if !c.train {
			scales = nil
		}
		h.sum.Close(h.streams[r], values, scales, label)
		c.keep(position, terms, values)
	}
	if !c.train {
		return
	}
	for from := 0; from < vocabulary; from += c.ids {
		c.products(from, min(from+c.ids, vocabulary))
		c.each(c.back)
		c.backward(from > 0)
	}
}

// scanRow takes the block of row r into its sums.
func (c *chunks[F]) scanRow(r int) {
	_, label, terms, _ := c.at(r)
	z, y := c.finished(r)
	h := terms.hearings[0]
	h.sum.Scan(h.streams[r], z, y, c.from, label)
}

// backRow puts the gradient of the block of row r in its place.
func (c *chunks[F]) backRow(r int) {
	position, label, terms, _ := c.at(r)
	z, y := c.finished(r)
	h := terms.hearings[0]
	c.inPlace(z, func(dz []F) {
		h.sum.Gradient(h.streams[r], dz, z, y, c.from, label)
		c.weigh(dz, position)
	})
}
