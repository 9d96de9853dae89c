package tokenizer

import (
	"fmt"
	"unicode/utf8"
)

// wordPiece takes the longest token that a word begins with, and again from there; a word that does not come out is
// unknown as a whole (BERT).
type wordPiece struct {
	*vocabulary
	unk      int32 // -1: an unknown word is an error
	unkToken string
	prefix   string // of tokens that continue a word
	maxChars int    // longer words are unknown
	longest  int    // bytes of the longest token
}

func newWordPiece(c *modelConfig, v *vocabulary) *wordPiece {
	m := &wordPiece{vocabulary: v, unk: -1, unkToken: or(c.UnkToken, "[UNK]"), prefix: or(c.Prefix, "##"), maxChars: or(c.MaxChars, 100)}
	if id, ok := v.id(m.unkToken); ok {
		m.unk = id
	}
	for _, token := range v.keys {
		m.longest = max(m.longest, len(token))
	}
	return m
}

func (m *wordPiece) tokenize(dst []token, word string, st *state) ([]token, error) {
	slot := st.cache.slot(word)
	start := len(dst)
	if dst, ok := slot.get(dst, word); ok {
		return dst, nil
	}
	dst, err := m.pieces(dst, word, st)
	if err == nil {
		slot.put(word, dst[start:])
	}
	return dst, err
}

func (m *wordPiece) pieces(dst []token, word string, st *state) ([]token, error) {
	start := len(dst)
	if utf8.RuneCountInString(word) > m.maxChars {
		return m.unknown(dst, word)
	}
	for i := 0; i < len(word); {
		j := min(len(word), i+m.longest)
		for ; j > i; j-- {
			if j < len(word) && !utf8.RuneStart(word[j]) {
				continue
			}
			id, ok := int32(0), false
			if i == 0 {
				id, ok = m.lookup(word[:j])
			} else {
				st.bytes = append(append(st.bytes[:0], m.prefix...), word[i:j]...)
				id, ok = m.lookupBytes(st.bytes)
			}
			if ok {
				dst = append(dst, token{id, int32(j)})
				break
			}
		}
		if j == i {
			return m.unknown(dst[:start], word)
		}
		i = j
	}
	return dst, nil
}

func (m *wordPiece) unknown(dst []token, word string) ([]token, error) {
	if m.unk < 0 {
		return dst, fmt.Errorf("the word %.40q is unknown, and the vocabulary lacks the unknown token %q", word, m.unkToken)
	}
	return append(dst, token{m.unk, int32(len(word))}), nil
}

// wordLevel takes whole words only.
type wordLevel struct {
	*vocabulary
	unk      int32 // -1: an unknown word is an error
	unkToken string
}

func newWordLevel(unkToken *string, v *vocabulary) *wordLevel {
	m := &wordLevel{vocabulary: v, unk: -1, unkToken: or(unkToken, "<unk>")}
	if id, ok := v.id(m.unkToken); ok {
		m.unk = id
	}
	return m
}

func (m *wordLevel) tokenize(dst []token, word string, _ *state) ([]token, error) {
	id, ok := m.lookup(word)
	if !ok {
		if id = m.unk; id < 0 {
			return dst, fmt.Errorf("the word %.40q is unknown, and the vocabulary lacks the unknown token %q", word, m.unkToken)
		}
	}
	return append(dst, token{id, int32(len(word))}), nil
}
