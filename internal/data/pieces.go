package data

import "fmt"

// piece is a run of a document's tokens that is computed as one sequence: start tokens where prefixed, then ids[start:end],
// of which those from `from` on are predicted and those before are context. The three are offsets into the Dataset.
type piece struct {
	document         int32
	prefixed         bool
	start, from, end int
}

// cutter makes the pieces of documents.
type cutter struct {
	length   int     // most tokens of a piece, start tokens included
	stride   int     // tokens that a piece adds to the one before; 0: as many as possible
	truncate bool    // one piece a document
	prefix   []int32 // start tokens of each piece
	always   bool    // put the prefix also in front of raw documents that do not begin with it
}

// cut cuts document i so that each token is predicted once, except those that have nothing before them: start tokens, and a document's first token where
// there is no start token. Where a piece has no start token it begins with context: at least the token before. It returns the number of tokens that truncation drops.
func (c *cutter) cut(d *Dataset, i int, emit func(piece)) (dropped int, err error) {
	lo, hi := d.start[i], d.start[i+1]
	p := piece{document: int32(i)}
	room, most := c.length, c.length-1 // tokens of the document in a piece; those that a piece can add
	if n := len(c.prefix); n > 0 {
		has := hasPrefix(d.ids[lo:hi], c.prefix)
		if has {
			lo += n
		}
		if has || c.always || !d.origin(i).raw {
			p.prefixed = true
			room -= n
			most = room
		}
	}
	stride := c.stride
	if stride == 0 {
		stride = most
	}
	if most < 1 {
		return 0, fmt.Errorf("sequence_length: have %d, want at least %d: the start tokens and one more", c.length, c.length-most+1)
	}
	if stride > most {
		return 0, fmt.Errorf("stride: have %d, want at most %d: a piece of %d tokens predicts no more", stride, most, c.length)
	}
	for p.start, p.from = lo, lo; ; p.start += stride {
		p.end = min(p.start+room, hi)
		if !p.prefixed {
			p.from = max(p.from, lo+1)
		}
		emit(p)
		if p.end == hi || c.truncate {
			return hi - p.end, nil
		}
		p.from = p.end
	}
}

// tokens is the length of p as a sequence.
func (p piece) tokens(prefix []int32) int {
	n := p.end - p.start
	if p.prefixed {
		n += len(prefix)
	}
	return n
}

// fill writes p as segment number `segment` into b from position `at` of the flat slices. The label of a token is written where the token is predicted: one before it.
func (p piece) fill(b *Batch, at int, segment int32, d *Dataset, prefix []int32) {
	first := at
	if p.prefixed {
		at += copy(b.Tokens[at:], prefix)
	}
	copy(b.Tokens[at:], d.ids[p.start:p.end])
	labels := d.label()
	for i := p.from; i < p.end; i++ {
		if labels[i] == Ignore {
			continue
		}
		predictor := at + i - p.start - 1
		b.Labels[predictor] = labels[i]
		if b.Bytes != nil {
			b.Bytes[predictor] = d.bytes[i]
		}
	}
	for i := first; i < at+p.end-p.start; i++ {
		b.Segments[i], b.Positions[i], b.Documents[i] = segment, int32(i-first), p.document
	}
}
