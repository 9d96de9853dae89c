package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// unigram takes the sequence of tokens of the highest total score (Kudo 2018, arXiv:1804.10959), by Viterbi's
// algorithm.
type unigram struct {
	*vocabulary
	scores   []float64
	unk      int32 // -1: an unknown character is an error
	unkScore float64
	fallback *[256]int32
	trie     byteTrie
}

// node is the best way to reach a byte of the word.
type node struct {
	score float64
	start int32 // where its last token begins; -1: not reached
	id    int32
}

func newUnigram(v *vocabulary, scores []float64, unk *int32, fallback bool) (*unigram, error) {
	m := &unigram{vocabulary: v, scores: scores, unk: -1}
	if unk != nil {
		if *unk < 0 || int(*unk) >= len(scores) {
			return nil, fmt.Errorf("unk_id: have %d, want an id of the %d tokens", *unk, len(scores))
		}
		m.unk = *unk
	}
	lowest := math.Inf(1)
	for id, token := range v.tokens {
		lowest = min(lowest, scores[id])
		if last, ok := v.id(token); ok && token != "" {
			m.trie.put(token, last)
		}
	}
	m.unkScore = lowest - 10
	if fallback {
		m.fallback = v.byteIDs(func(b byte) string { return byteTokens[b] })
	}
	return m, nil
}

var errNoUnknown = errors.New("a character is unknown, and the tokenizer has no unknown token (unk_id)")

func (m *unigram) tokenize(dst []token, word string, st *state) ([]token, error) {
	slot := st.cache.slot(word)
	start := len(dst)
	if dst, ok := slot.get(dst, word); ok {
		return dst, nil
	}
	dst, err := m.best(dst, word, st)
	if err == nil {
		slot.put(word, dst[start:])
	}
	return dst, err
}

func (m *unigram) best(dst []token, word string, st *state) ([]token, error) {
	nodes := st.nodes[:0]
	for range len(word) + 1 {
		nodes = append(nodes, node{start: -1})
	}
	st.nodes = nodes
	for i := 0; i < len(word); {
		_, size := utf8.DecodeRuneInString(word[i:])
		here, single := nodes[i].score, false
		m.trie.prefixes(word[i:], func(n int, id int32) {
			single = single || n == size
			if to := &nodes[i+n]; to.start < 0 || here+m.scores[id] > to.score {
				*to = node{here + m.scores[id], int32(i), id}
			}
		})
		if !single {
			if to := &nodes[i+size]; to.start < 0 || here+m.unkScore > to.score {
				if m.unk < 0 {
					return dst, errNoUnknown
				}
				*to = node{here + m.unkScore, int32(i), m.unk}
			}
		}
		i += size
	}
	// Follow the best path back; runs of unknown characters become one token.
	path := st.fresh[:0]
	for end := int32(len(word)); end > 0; {
		n := nodes[end]
		if last := len(path) - 1; last < 0 || n.id != m.unk || path[last].id != m.unk {
			path = append(path, token{n.id, end})
		}
		end = n.start
	}
	st.fresh = path
	from := int32(0)
	for i := len(path) - 1; i >= 0; i-- {
		t := path[i]
		if t.id == m.unk {
			dst = m.unknown(dst, word[from:t.end], t.end)
		} else {
			dst = append(dst, t)
		}
		from = t.end
	}
	return dst, nil
}

// unknown appends what stands for the unknown characters s that end at byte end: themselves where together they are a
// token, their bytes, or the unknown token.
func (m *unigram) unknown(dst []token, s string, end int32) []token {
	if id, ok := m.lookup(s); ok {
		return append(dst, token{id, end})
	}
	if m.fallback != nil && hasAll(m.fallback, s) {
		for i := range len(s) {
			dst = append(dst, token{m.fallback[s[i]], sameSpan})
		}
		dst[len(dst)-1].end = end
		return dst
	}
	return append(dst, token{m.unk, end})
}

// sameSpan as the end of a token says that it has the span of the next one.
const sameSpan = -1

// byteTrie finds the tokens that a text begins with. Nodes are in one slice; each has a first child and a sibling, and
// the root a table of its children.
type byteTrie struct {
	nodes []byteNode
	root  [256]int32
}

type byteNode struct {
	child, sibling int32 // 0: none
	id             int32 // -1: no token ends here
	b              byte
}

func (t *byteTrie) put(s string, id int32) {
	if len(t.nodes) == 0 {
		t.nodes = append(t.nodes, byteNode{id: -1}) // index 0 means none
	}
	at := t.root[s[0]]
	if at == 0 {
		at = t.add(s[0])
		t.root[s[0]] = at
	}
	for i := 1; i < len(s); i++ {
		next := t.nodes[at].child
		for next != 0 && t.nodes[next].b != s[i] {
			next = t.nodes[next].sibling
		}
		if next == 0 {
			next = t.add(s[i])
			t.nodes[next].sibling = t.nodes[at].child
			t.nodes[at].child = next
		}
		at = next
	}
	t.nodes[at].id = id
}

func (t *byteTrie) add(b byte) int32 {
	t.nodes = append(t.nodes, byteNode{id: -1, b: b})
	return int32(len(t.nodes) - 1)
}

// prefixes calls found with every token that s begins with, the shortest first.
func (t *byteTrie) prefixes(s string, found func(n int, id int32)) {
	at := t.root[s[0]]
	for i := 0; at != 0; {
		if id := t.nodes[at].id; id >= 0 {
			found(i+1, id)
		}
		if i++; i == len(s) {
			return
		}
		at = t.nodes[at].child
		for at != 0 && t.nodes[at].b != s[i] {
			at = t.nodes[at].sibling
		}
	}
}
