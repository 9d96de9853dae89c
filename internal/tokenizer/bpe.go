package tokenizer

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// model turns one word into tokens.
type model interface {
	// tokenize appends the tokens of word to dst.
	tokenize(dst []token, word string, st *state) ([]token, error)
	vocab() *vocabulary
	// rules tells how the model uses its vocabulary, for Fingerprint.
	rules() string
}

// token is an id and the byte of the word at which it ends; it begins where the one before it ends.
type token struct{ id, end int32 }

// bpe merges neighbouring symbols of a word, the pair of lowest rank first, the leftmost of equal ones (Sennrich et al.
// 2016, arXiv:1508.07909).
type bpe struct {
	*vocabulary
	merges       mergeTable
	unk          int32  // -1: unknown characters are dropped
	unkToken     string // where the vocabulary lacks it: an unknown character is an error
	fuseUnk      bool
	ignoreMerges bool // a word that is a token stays whole
	prefix       string
	suffix       string
	fallback     *[256]int32 // ids of <0x00> … <0xFF>; nil: no byte fallback
	symbols      *[256]int32 // byte level: ids of the single bytes, -1 where there is none
	cuts         bool        // no merge joins '▁' to a character before it: words can be cut there
}

// symbol is a part of a word during merging.
type symbol struct {
	id         int32
	prev, next int32
	size       int32 // bytes of the word; 0: merged into its left neighbour
}

// candidate is a pair that can be merged, in a heap ordered by rank, then position.
type candidate struct {
	rank uint32
	pos  int32
	id   int32 // of the merged symbol
}

// tokenize cuts the word where no merge can cross, which is exact and makes the pieces cacheable.
func (m *bpe) tokenize(dst []token, word string, st *state) ([]token, error) {
	if !m.cuts {
		return m.piece(dst, word, 0, st)
	}
	var err error
	for done := 0; done < len(word) && err == nil; {
		end := done + cut(word[done:])
		dst, err = m.piece(dst, word[done:end], int32(done), st)
		done = end
	}
	return dst, err
}

// cut returns the position of the first '▁' that follows another character.
func cut(word string) int {
	i := 0
	for strings.HasPrefix(word[i:], spaceMark) {
		i += len(spaceMark)
	}
	if n := strings.Index(word[i:], spaceMark); n >= 0 {
		return i + n
	}
	return len(word)
}

const spaceMark = "▁"

// piece appends the tokens of word, which begins at byte offset of the whole.
func (m *bpe) piece(dst []token, word string, offset int32, st *state) ([]token, error) {
	start := len(dst)
	slot := st.cache.slot(word)
	dst, ok := slot.get(dst, word)
	if !ok {
		var err error
		if dst, err = m.merge(dst, word, st); err != nil {
			return dst, err
		}
		slot.put(word, dst[start:])
	}
	for i := start; offset > 0 && i < len(dst); i++ {
		dst[i].end += offset
	}
	return dst, nil
}

func (m *bpe) merge(dst []token, word string, st *state) ([]token, error) {
	if m.ignoreMerges {
		if id, ok := m.lookup(word); ok {
			return append(dst, token{id, int32(len(word))}), nil
		}
	}
	symbols, err := m.split(st.symbols[:0], word, st)
	st.symbols = symbols
	if err != nil {
		return dst, err
	}
	if len(symbols) <= shortWord {
		m.mergeShort(st, &symbols)
	} else {
		m.mergeLong(st, symbols)
	}
	end := int32(0)
	for _, s := range symbols {
		if s.size > 0 {
			end += s.size
			dst = append(dst, token{s.id, end})
		}
	}
	return dst, nil
}

// split returns the word's characters (byte level: bytes) as symbols.
func (m *bpe) split(symbols []symbol, word string, st *state) ([]symbol, error) {
	if m.symbols != nil {
		for i := range len(word) {
			if id := m.symbols[word[i]]; id >= 0 { // others are dropped
				symbols = append(symbols, symbol{id: id, size: 1})
			}
		}
		return symbols, nil
	}
	unknown := int32(0) // bytes of the pending unknown symbol
	for i := 0; i < len(word); {
		_, n := utf8.DecodeRuneInString(word[i:])
		s := word[i : i+n]
		if m.prefix != "" && i > 0 || m.suffix != "" && i+n == len(word) {
			st.bytes = st.bytes[:0]
			if i > 0 {
				st.bytes = append(st.bytes, m.prefix...)
			}
			st.bytes = append(st.bytes, s...)
			if i+n == len(word) {
				st.bytes = append(st.bytes, m.suffix...)
			}
			s = string(st.bytes)
		}
		i += n
		if id, ok := m.lookup(s); ok {
			if unknown > 0 {
				symbols, unknown = append(symbols, symbol{id: m.unk, size: unknown}), 0
			}
			symbols = append(symbols, symbol{id: id, size: int32(n)})
			continue
		}
		if m.fallback != nil && hasAll(m.fallback, s) {
			for k := range len(s) { // a pending unknown symbol comes after these bytes, as in the reference
				symbols = append(symbols, symbol{id: m.fallback[s[k]], size: 1})
			}
			continue
		}
		if m.unkToken != "" {
			return symbols, fmt.Errorf("the character %q is unknown, and the vocabulary lacks the unknown token %q", s, m.unkToken)
		}
		if m.unk < 0 {
			continue
		}
		if unknown > 0 && !m.fuseUnk {
			symbols, unknown = append(symbols, symbol{id: m.unk, size: unknown}), 0
		}
		unknown += int32(n)
	}
	if unknown > 0 {
		symbols = append(symbols, symbol{id: m.unk, size: unknown})
	}
	return symbols, nil
}

func hasAll(ids *[256]int32, s string) bool {
	for i := range len(s) {
		if ids[s[i]] < 0 {
			return false
		}
	}
	return true
}

const shortWord = 24 // symbols up to which scanning all pairs is faster than a heap

// mergeShort merges by looking for the best pair again after each merge; ranks are kept beside the symbols.
func (m *bpe) mergeShort(st *state, word *[]symbol) {
	symbols := *word
	var best [shortWord]struct {
		rank uint32
		id   int32
	}
	for i := range len(symbols) - 1 {
		best[i].rank, best[i].id = m.merges.get(symbols[i].id, symbols[i+1].id)
	}
	for len(symbols) > 1 {
		at, rank := 0, noRank
		for i := range len(symbols) - 1 {
			if best[i].rank < rank {
				at, rank = i, best[i].rank
			}
		}
		if rank == noRank {
			break
		}
		symbols[at].id = best[at].id
		symbols[at].size += symbols[at+1].size
		last := len(symbols) - 1
		copy(symbols[at+1:], symbols[at+2:])
		copy(best[at+1:], best[min(at+2, last):last])
		symbols = symbols[:last]
		if at < last-1 {
			best[at].rank, best[at].id = m.merges.get(symbols[at].id, symbols[at+1].id)
		}
		if at > 0 {
			best[at-1].rank, best[at-1].id = m.merges.get(symbols[at-1].id, symbols[at].id)
		}
	}
	*word = symbols
}

// mergeLong merges with a heap: O(n log n).
func (m *bpe) mergeLong(st *state, symbols []symbol) {
	last := int32(len(symbols) - 1)
	heap := st.heap[:0]
	for i := range symbols {
		symbols[i].prev, symbols[i].next = int32(i)-1, int32(i)+1
		if int32(i) < last {
			if rank, id := m.merges.get(symbols[i].id, symbols[i+1].id); rank != noRank {
				heap = append(heap, candidate{rank, int32(i), id})
			}
		}
	}
	heap.build()
	for len(heap) > 0 {
		top := heap.pop()
		left := &symbols[top.pos]
		if left.size == 0 || left.next > last {
			continue
		}
		right := &symbols[left.next]
		if rank, id := m.merges.get(left.id, right.id); rank == noRank || id != top.id {
			continue // the pair has changed since
		}
		left.id = top.id
		left.size += right.size
		left.next = right.next
		right.size = 0
		if left.next <= last {
			symbols[left.next].prev = top.pos
			if rank, id := m.merges.get(left.id, symbols[left.next].id); rank != noRank {
				heap.push(candidate{rank, top.pos, id})
			}
		}
		if left.prev >= 0 {
			if rank, id := m.merges.get(symbols[left.prev].id, left.id); rank != noRank {
				heap.push(candidate{rank, left.prev, id})
			}
		}
	}
	st.heap = heap
}

// newBPE builds the model. Where the words come as raw bytes, v.raw is set.
func newBPE(c *modelConfig, v *vocabulary) (*bpe, error) {
	if c.Dropout != nil && *c.Dropout != 0 {
		return nil, fmt.Errorf("BPE dropout %v: the same text would give different ids each time; set it to null", *c.Dropout)
	}
	m := &bpe{vocabulary: v, unk: -1, fuseUnk: c.FuseUnk, ignoreMerges: c.IgnoreMerges, prefix: or(c.Prefix, ""), suffix: or(c.Suffix, "")}
	if c.UnkToken != nil {
		id, ok := v.id(*c.UnkToken)
		if ok {
			m.unk = id
		} else {
			m.unkToken = *c.UnkToken
		}
	}
	if c.ByteFallback {
		m.fallback = v.byteIDs(func(b byte) string { return byteTokens[b] })
	}
	if v.raw {
		m.symbols = v.byteIDs(func(b byte) string { return string(byteRunes[b]) })
	}
	_, known := v.id(spaceMark)
	// Where unknown characters are dropped, what stood around them can be merged.
	drops := m.unk < 0 && (m.fallback == nil || slices.Contains(m.fallback[:], -1))
	m.cuts = known && !drops && !v.raw && m.prefix == "" && m.suffix == "" && !m.ignoreMerges
	return m, m.setMerges(c.merges)
}

func (m *bpe) setMerges(merges [][2]string) error {
	m.merges = newMergeTable(len(merges))
	var joined []byte
	for rank, pair := range merges {
		left, right := m.key(m.buffer[0][:0], pair[0]), m.key(m.buffer[1][:0], pair[1])
		m.buffer[0], m.buffer[1] = left, right
		l, ok := m.lookupBytes(left)
		if !ok {
			return fmt.Errorf("merge %d: the vocabulary has no token %q", rank, pair[0])
		}
		r, ok := m.lookupBytes(right)
		if !ok {
			return fmt.Errorf("merge %d: the vocabulary has no token %q", rank, pair[1])
		}
		if len(right) < len(m.prefix) {
			return fmt.Errorf("merge %d: %q is shorter than the prefix %q", rank, pair[1], m.prefix)
		}
		joined = append(append(joined[:0], left...), right[len(m.prefix):]...)
		id, ok := m.lookupBytes(joined)
		if !ok {
			return fmt.Errorf("merge %d: the vocabulary has no token %q", rank, pair[0]+pair[1][len(m.prefix):])
		}
		m.merges.put(l, r, uint32(rank), id)
		if m.cuts && strings.HasPrefix(pair[1], spaceMark) && !strings.HasSuffix(pair[0], spaceMark) {
			m.cuts = false
		}
	}
	return nil
}
