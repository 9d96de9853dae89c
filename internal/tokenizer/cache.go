package tokenizer

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

// cache keeps the tokens of words, one word in each slot, the newest. It holds no pointers, which the garbage collector
// would have to follow, and a slot is a cache line.
type cache struct {
	slots []cacheSlot
}

type cacheSlot struct {
	size, count uint8
	ends        [cacheTokens]int8
	ids         [cacheTokens]int32
	word        [cacheWord]byte
}

const (
	cacheSlots  = 1 << 14
	cacheWord   = 32 // bytes of the longest word that is kept
	cacheTokens = 6  // and the most tokens
)

// slot returns where a word is kept, nil for one that is too long.
func (c *cache) slot(word string) *cacheSlot {
	if len(word) > cacheWord || word == "" {
		return nil
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
	return &c.slots[h*0x9E3779B97F4A7C15>>(64-14)]
}

// get appends the tokens of word to dst; false where they are not known.
func (s *cacheSlot) get(dst []token, word string) ([]token, bool) {
	if s == nil || string(s.word[:s.size]) != word {
		return dst, false
	}
	for i := range s.count {
		dst = append(dst, token{s.ids[i], int32(s.ends[i])})
	}
	return dst, true
}

func (s *cacheSlot) put(word string, tokens []token) {
	if s == nil || len(tokens) == 0 || len(tokens) > cacheTokens {
		return
	}
	s.size, s.count = uint8(copy(s.word[:], word)), uint8(len(tokens))
	for i, t := range tokens {
		s.ids[i], s.ends[i] = t.id, int8(t.end)
	}
}
