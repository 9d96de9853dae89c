package data

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"unicode"
	"unicode/utf8"

	"kdistill/internal/tokenizer"
)

// BERT's shares (Devlin et al. 2018, 3.1): of the tokens to be predicted so many are replaced by the mask token, so many by a random one, the
// others stay. They are chosen anew in each epoch (RoBERTa's dynamic masking, Liu et al. 2019).
const maskedShare, randomShare = 0.8, 0.1

// cutFramed cuts document i into pieces with the frame around each.
func (c *cutter) cutFramed(d *Dataset, i int, emit func(piece)) (dropped int, err error) {
	lo, hi := d.start[i], d.start[i+1]
	p, room := piece{document: int32(i)}, c.length
	if !d.origin(i).raw {
		p.framed = true
		room -= c.single.size()
	}
	if room < 1 {
		return 0, fmt.Errorf("sequence_length: have %d, want at least %d: what the tokenizer puts around a text and one token", c.length, c.single.size()+1)
	}
	for p.start = lo; ; p.start += room {
		p.end = min(p.start+room, hi)
		emit(p)
		if p.end == hi || c.truncate {
			return hi - p.end, nil
		}
	}
}

// labelsGiven says whether a document came with labels: then what they predict is hidden already.
func (d *Dataset) labelsGiven(document int) bool { return d.given != nil && d.given[document] }

// mayHide says whether the token ids[i], which has a label, may be predicted: those that the tokenizer calls special may not.
func (d *Dataset) mayHide(i, document int) bool {
	return d.labelsGiven(document) || !d.special[d.ids[i]]
}

// hide chooses what the piece predicts, whose text begins at `text` in b, and hides it. What comes of it is a function of the seed, the epoch and the
// piece alone, so that batches, micro-batches and a resumed run get the same.
func (s *Source) hide(b *Batch, text int, p piece, epoch int) {
	d := s.data
	if d.labelsGiven(int(p.document)) {
		copy(b.Labels[text:], d.labels[p.start:p.end])
		return
	}
	random := maskRandom(s.o.Seed, epoch, p.document, p.start-d.start[p.document])
	chosen := false
	for i := p.start; i < p.end; i++ {
		if d.begins == nil || d.begins[i] || i == p.start {
			chosen = random.Float64() < s.o.MaskProbability
		}
		if !chosen || d.label()[i] == Ignore || d.special[d.ids[i]] {
			continue
		}
		at := text + i - p.start
		b.Labels[at] = d.ids[i]
		switch how := random.Float64(); {
		case how < maskedShare:
			b.Tokens[at] = d.mask
		case how < maskedShare+randomShare:
			b.Tokens[at] = random.Int32N(d.random)
		}
	}
}

func maskRandom(seed uint64, epoch int, document int32, offset int) *rand.Rand {
	var key [32]byte
	for i, x := range []uint64{seed, uint64(epoch), uint64(document), uint64(offset)} {
		binary.LittleEndian.PutUint64(key[8*i:], x)
	}
	return rand.New(rand.NewChaCha8(key))
}

// wordBegins tells which tokens begin a word. A token goes on with the word of the one before where no white space, punctuation or Chinese character
// lies between them or at the seam: for WordPiece these are the tokens that begin with ##, as in BERT's whole-word masking. Tokens of one character
// belong together.
func wordBegins(text string, spans []tokenizer.Span) []bool {
	begins := make([]bool, len(spans))
	for i, s := range spans {
		if i == 0 {
			begins[i] = true
			continue
		}
		before := spans[i-1]
		if s == before && s.End > s.Start {
			continue
		}
		_, last := utf8.DecodeLastRuneInString(text[:before.End])
		_, first := utf8.DecodeRuneInString(text[s.Start:])
		begins[i] = strings.ContainsFunc(text[before.End-last:max(before.End, s.Start+first)], separate)
	}
	return begins
}

// separate says whether a character is no part of a longer word. Control characters are no white space here: BERT's normalizer drops them.
func separate(r rune) bool {
	switch {
	case r == '\t' || r == '\n' || r == '\r':
		return true
	case r < utf8.RuneSelf && unicode.IsSymbol(r):
		return true
	}
	return unicode.IsSpace(r) && !unicode.IsControl(r) || unicode.IsPunct(r) || unicode.Is(unicode.Han, r)
}
