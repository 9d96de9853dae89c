package tokenizer

import "strings"

// state is what one goroutine needs while it encodes: buffers and the tokens of the words it saw lately.
type state struct {
	cache   cache
	pieces  [2][]text
	tokens  []token
	fresh   []token
	symbols []symbol
	heap    mergeHeap
	bytes   []byte
	nodes   []node
	origins arena
	matched []matched // the added tokens of the text
	result  Encoding  // of the texts that are being encoded, one after the other
	ends    []int     // of each in result
}

// shrink lets go of the text, and of buffers that a long one has made large.
func (st *state) shrink() {
	const most = 1 << 16
	for i := range st.pieces {
		clear(st.pieces[i])
		if st.pieces[i] = st.pieces[i][:0]; cap(st.pieces[i]) > most {
			st.pieces[i] = nil
		}
	}
	if cap(st.symbols) > most || cap(st.heap) > most || cap(st.nodes) > most || cap(st.tokens) > most {
		st.symbols, st.heap, st.nodes, st.tokens, st.fresh, st.bytes = nil, nil, nil, nil, nil, nil
	}
	if clear(st.matched[:cap(st.matched)]); cap(st.matched) > most {
		st.matched = nil
	}
	if cap(st.origins.block) > 4*most {
		st.origins.block = nil
	}
	if cap(st.result.IDs) > most {
		st.result = Encoding{}
	}
}

// cache keeps the tokens of words, one word in each slot, the newest. It is bounded: at most cacheSlots words of at
// most cacheWord bytes.
type cache struct {
	slots []cacheSlot
}

type cacheSlot struct {
	word   string
	tokens []token
}

const (
	cacheSlots = 1 << 14
	cacheWord  = 64
)

// get returns the tokens of word, nil where they are not known, and the slot to put them in, -1 for none.
func (c *cache) get(word string) ([]token, int) {
	if len(word) > cacheWord || word == "" {
		return nil, -1
	}
	if c.slots == nil {
		c.slots = make([]cacheSlot, cacheSlots)
	}
	h := uint64(len(word))
	i := 0
	for ; i+8 <= len(word); i += 8 {
		w := word[i : i+8]
		x := uint64(w[0]) | uint64(w[1])<<8 | uint64(w[2])<<16 | uint64(w[3])<<24 |
			uint64(w[4])<<32 | uint64(w[5])<<40 | uint64(w[6])<<48 | uint64(w[7])<<56
		h = (h ^ x) * 0x9E3779B97F4A7C15
		h ^= h >> 29
	}
	for ; i < len(word); i++ {
		h = h<<8 ^ h>>56 ^ uint64(word[i])
	}
	slot := int(h * 0x9E3779B97F4A7C15 >> (64 - 14))
	s := &c.slots[slot]
	if s.word == word {
		return s.tokens, slot
	}
	return nil, slot
}

func (c *cache) put(slot int, word string, tokens []token) {
	if slot < 0 || len(tokens) == 0 {
		return
	}
	s := &c.slots[slot]
	s.word = strings.Clone(word)
	s.tokens = append(s.tokens[:0], tokens...)
}
