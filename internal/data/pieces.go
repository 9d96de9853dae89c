package data

import "fmt"

// piece is a run of a document's tokens that is computed as one sequence: ids[start:end], with the frame around it where framed. Causal: those from
// `from` on are predicted and those before are context. A pair's second text is ids[second:secondEnd]. All are offsets into the Dataset.
type piece struct {
	document          int32
	framed            bool
	start, from, end  int
	second, secondEnd int
}

// frame is what is put around a text, or around and between two, and the token types of all of it: of the prefix, the first text, the middle, the
// second text, the suffix.
type frame struct {
	prefix, middle, suffix []int32
	types                  [5]int32
}

func (f frame) size() int { return len(f.prefix) + len(f.middle) + len(f.suffix) }

// cutter makes the pieces of documents.
type cutter struct {
	length       int   // most tokens of a piece, its frame included
	stride       int   // tokens that a piece adds to the one before; 0: as many as possible
	truncate     bool  // one piece a document
	single, pair frame // of each piece
	always       bool  // put the prefix also in front of raw documents that do not begin with it
}

// cut makes the pieces of document i and returns the number of tokens that are dropped.
func (c *cutter) cut(d *Dataset, i int, emit func(piece)) (dropped int, err error) {
	switch d.task {
	case Masked, NoTask:
		return c.cutFramed(d, i, emit)
	case Classification:
		return c.cutTexts(d, i, emit)
	}
	return c.cutCausal(d, i, emit)
}

// cutCausal cuts so that each token is predicted once, except those that have nothing before them: start tokens, and a document's first token where
// there is no start token. Where a piece has no start token it begins with context: at least the token before.
func (c *cutter) cutCausal(d *Dataset, i int, emit func(piece)) (dropped int, err error) {
	lo, hi := d.start[i], d.start[i+1]
	p := piece{document: int32(i)}
	room, most := c.length, c.length-1 // tokens of the document in a piece; those that a piece can add
	if n := len(c.single.prefix); n > 0 {
		has := hasPrefix(d.ids[lo:hi], c.single.prefix)
		if has {
			lo += n
		}
		if has || c.always || !d.origin(i).raw {
			p.framed = true
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
		if !p.framed {
			p.from = max(p.from, lo+1)
		}
		emit(p)
		if p.end == hi || c.truncate {
			return hi - p.end, nil
		}
		p.from = p.end
	}
}

// frame is what is put around p.
func (s *Source) frame(p piece) frame {
	switch {
	case !p.framed:
		return frame{}
	case p.second > 0:
		return s.cutter.pair
	}
	return s.cutter.single
}

// tokens is the length of p as a sequence.
func (s *Source) tokens(p piece) int {
	return s.frame(p).size() + p.end - p.start + p.secondEnd - p.second
}

// fill writes p as segment number `segment` into b from position `at` of the flat slices.
func (s *Source) fill(b *Batch, at int, segment int32, p piece, epoch int) {
	d, f, first := s.data, s.frame(p), at
	put := func(ids []int32, part int) {
		if b.TokenTypes != nil {
			for i := range ids {
				b.TokenTypes[at+i] = f.types[part]
			}
		}
		at += copy(b.Tokens[at:], ids)
	}
	put(f.prefix, 0)
	text := at
	put(d.ids[p.start:p.end], 1)
	put(f.middle, 2)
	put(d.ids[p.second:p.secondEnd], 3)
	put(f.suffix, 4)
	if d.types != nil && d.origin(int(p.document)).raw {
		copy(b.TokenTypes[text:], d.types[p.start:p.end])
	}
	for i := first; i < at; i++ {
		b.Segments[i], b.Positions[i], b.Documents[i] = segment, int32(i-first), p.document
	}
	switch d.task {
	case Masked:
		s.hide(b, text, p, epoch)
	case Classification:
		b.Labels[first] = d.classes[p.document]
		if d.targets != nil {
			b.Targets[first] = d.targets[p.document]
		}
	case Causal:
		p.predictNext(b, text, d)
	}
}

// predictNext writes the label of a token where the token is predicted: one before it. The piece's text begins at `text` in b.
func (p piece) predictNext(b *Batch, text int, d *Dataset) {
	labels := d.label()
	for i := p.from; i < p.end; i++ {
		if labels[i] == Ignore {
			continue
		}
		predictor := text + i - p.start - 1
		b.Labels[predictor] = labels[i]
		if b.Weights != nil {
			b.Weights[predictor] = d.weights[i]
		}
		if b.Bytes != nil {
			b.Bytes[predictor] = d.bytes[i]
		}
	}
}
