package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// sentencePiece is a SentencePiece model file, a ModelProto of sentencepiece_model.proto.
type sentencePiece struct {
	pieces []piece

	// trainer_spec
	algorithm    uint64
	byteFallback bool
	suffixSpaces bool // spaces are the ends of words
	unk, bos     int32
	eos          int32
	unkPiece     string
	bosPiece     string
	eosPiece     string

	// normalizer_spec
	charsmap    []byte
	dummyPrefix bool // a space before the text
	squeeze     bool // no spaces at the ends, single ones between words
	escape      bool // spaces are written '▁'
}

type piece struct {
	text  string
	score float32
	kind  uint64
}

// Kinds of pieces, and algorithms.
const (
	pieceNormal  = 1
	pieceUnknown = 2
	pieceControl = 3
	pieceUser    = 4
	pieceUnused  = 5
	pieceLast    = 6

	algorithmUnigram = 1
	algorithmBPE     = 2
	algorithmLast    = 4
)

// longestPiece is more bytes than any trained piece has; it bounds the time that finding the merges takes.
const longestPiece = 1 << 14

func parseSentencePiece(data []byte) (*sentencePiece, error) {
	m := &sentencePiece{
		algorithm: algorithmUnigram, bos: 1, eos: 2, unkPiece: "<unk>", bosPiece: "<s>", eosPiece: "</s>",
		dummyPrefix: true, squeeze: true, escape: true,
	}
	err := eachField(data, func(f field) error {
		if f.kind != protowire.BytesType {
			return nil
		}
		switch f.number {
		case 1:
			p := piece{kind: pieceNormal}
			err := eachField(f.bytes, p.read)
			m.pieces = append(m.pieces, p)
			return err
		case 2:
			return eachField(f.bytes, m.readTrainer)
		case 3:
			return eachField(f.bytes, m.readNormalizer)
		}
		return nil
	})
	if err == nil && len(m.pieces) == 0 {
		err = errors.New("it has no pieces")
	}
	if err != nil {
		return nil, fmt.Errorf("not a SentencePiece model: %w", err)
	}
	return m, m.check()
}

// check refuses what the sentencepiece library refuses, and algorithms that have no counterpart here.
func (m *sentencePiece) check() error {
	if m.algorithm != algorithmUnigram && m.algorithm != algorithmBPE {
		return fmt.Errorf("SentencePiece model type %d is not supported, want Unigram (1) or BPE (2)", m.algorithm)
	}
	seen := make(map[string]int, len(m.pieces))
	for id, p := range m.pieces {
		switch other, double := seen[p.text]; {
		case p.text == "":
			return fmt.Errorf("piece %d is empty", id)
		case !utf8.ValidString(p.text):
			return fmt.Errorf("piece %d (%q) is not UTF-8", id, p.text)
		case len(p.text) > longestPiece:
			return fmt.Errorf("piece %d: have %d bytes, want at most %d", id, len(p.text), longestPiece)
		case double:
			return fmt.Errorf("piece %d (%q) is piece %d again", id, p.text, other)
		case math.IsNaN(float64(p.score)) || math.IsInf(float64(p.score), 0):
			return fmt.Errorf("piece %d (%q): have score %v, want a finite one", id, p.text, p.score)
		}
		seen[p.text] = id
	}
	return nil
}

func (p *piece) read(f field) error {
	switch {
	case f.number == 1 && f.kind == protowire.BytesType:
		p.text = string(f.bytes)
	case f.number == 2 && f.kind == protowire.Fixed32Type:
		p.score = math.Float32frombits(uint32(f.value))
	case f.number == 3 && f.kind == protowire.VarintType && f.value >= pieceNormal && f.value <= pieceLast:
		p.kind = f.value
	}
	return nil
}

func (m *sentencePiece) readTrainer(f field) error {
	if f.kind == protowire.VarintType {
		switch f.number {
		case 3:
			if f.value >= algorithmUnigram && f.value <= algorithmLast {
				m.algorithm = f.value
			}
		case 24:
			m.suffixSpaces = f.value != 0
		case 35:
			m.byteFallback = f.value != 0
		case 40:
			m.unk = int32(f.value)
		case 41:
			m.bos = int32(f.value)
		case 42:
			m.eos = int32(f.value)
		}
	}
	if f.kind == protowire.BytesType {
		switch f.number {
		case 45:
			m.unkPiece = string(f.bytes)
		case 46:
			m.bosPiece = string(f.bytes)
		case 47:
			m.eosPiece = string(f.bytes)
		}
	}
	return nil
}

func (m *sentencePiece) readNormalizer(f field) error {
	switch {
	case f.number == 2 && f.kind == protowire.BytesType:
		m.charsmap = f.bytes
	case f.kind != protowire.VarintType:
	case f.number == 3:
		m.dummyPrefix = f.value != 0
	case f.number == 4:
		m.squeeze = f.value != 0
	case f.number == 5:
		m.escape = f.value != 0
	}
	return nil
}

// field is a field of a protobuf message.
type field struct {
	number protowire.Number
	kind   protowire.Type
	value  uint64 // VarintType, Fixed32Type
	bytes  []byte // BytesType
}

// eachField calls f with each field of a message.
func eachField(message []byte, f func(field) error) error {
	for len(message) > 0 {
		var x field
		var n int
		if x.number, x.kind, n = protowire.ConsumeTag(message); n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		switch x.kind {
		case protowire.VarintType:
			x.value, n = protowire.ConsumeVarint(message)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(message)
			x.value = uint64(v)
		case protowire.BytesType:
			x.bytes, n = protowire.ConsumeBytes(message)
		default:
			n = protowire.ConsumeFieldValue(x.number, x.kind, message)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		if err := f(x); err != nil {
			return err
		}
	}
	return nil
}

// added returns the pieces that are matched in the text before the model.
func (m *sentencePiece) added() []AddedToken {
	var tokens []AddedToken
	for id, p := range m.pieces {
		if p.kind == pieceControl || p.kind == pieceUser {
			tokens = append(tokens, AddedToken{ID: int32(id), Content: p.text, Special: p.kind == pieceControl})
		}
	}
	return tokens
}

// unigram returns the model section.
func (m *sentencePiece) unigram() *modelConfig {
	c := &modelConfig{Type: new("Unigram"), UnkID: &m.unk, ByteFallback: m.byteFallback, pieces: true}
	for id, p := range m.pieces {
		c.entries = append(c.entries, entry{p.text, int32(id)})
		c.scores = append(c.scores, float64(p.score))
	}
	return c
}

// bpe returns the model section. SentencePiece joins any two pieces that together are a piece, the best one first; the
// merges say the same. order holds the ids of the pieces, the best first.
func (m *sentencePiece) bpe(order []int) *modelConfig {
	c := &modelConfig{Type: new("BPE"), UnkToken: &m.unkPiece, FuseUnk: true, ByteFallback: m.byteFallback}
	known := make(map[string]bool, len(m.pieces))
	for id, p := range m.pieces {
		c.entries = append(c.entries, entry{p.text, int32(id)})
		known[p.text] = true
	}
	for _, id := range order {
		whole := m.pieces[id].text
		for i := range whole {
			if i > 0 && known[whole[:i]] && known[whole[i:]] {
				c.merges = append(c.merges, [2]string{whole[:i], whole[i:]})
			}
		}
	}
	return c
}
