package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// AddedToken is a token that is matched in the text before the model sees it.
type AddedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // matches only between characters that are no part of a word
	LStrip     bool   `json:"lstrip"`      // takes white space on its left
	RStrip     bool   `json:"rstrip"`      // takes white space on its right
	Normalized bool   `json:"normalized"`  // is matched, normalized itself, in the normalized text
	Special    bool   `json:"special"`     // is left out by Decode with skipSpecial

	decoded string // what Decode writes: the content, normalized where Normalized says so
}

// matcher finds added tokens in a text, leftmost first, the longest of those that begin at one place.
type matcher struct {
	first [256]bool // bytes that a token begins with
	nodes []trieNode
}

type trieNode struct {
	next  map[byte]int32
	token *AddedToken
}

func newMatcher(tokens []*AddedToken) *matcher {
	m := &matcher{nodes: []trieNode{{}}}
	for _, token := range tokens {
		s := token.decoded
		if s == "" {
			continue
		}
		m.first[s[0]] = true
		at := int32(0)
		for i := range len(s) {
			next, ok := m.nodes[at].next[s[i]]
			if !ok {
				next = int32(len(m.nodes))
				if m.nodes[at].next == nil {
					m.nodes[at].next = map[byte]int32{}
				}
				m.nodes[at].next[s[i]] = next
				m.nodes = append(m.nodes, trieNode{})
			}
			at = next
		}
		if m.nodes[at].token == nil { // of two with the same content the first counts
			m.nodes[at].token = token
		}
	}
	if len(m.nodes) == 1 {
		return nil
	}
	return m
}

// longest returns the longest token that s begins with, and its length in s.
func (m *matcher) longest(s string) (found *AddedToken, length int) {
	at := int32(0)
	for i := range len(s) {
		next, ok := m.nodes[at].next[s[i]]
		if !ok {
			break
		}
		at = next
		if token := m.nodes[at].token; token != nil {
			found, length = token, i+1
		}
	}
	return found, length
}

// split calls plain with the runs between added tokens and added with each token and its place; both get byte ranges.
func (m *matcher) split(s string, plain func(i, j int), added func(token *AddedToken, i, j int)) {
	done, spaces := 0, 0 // spaces: where white space ends that a token took on its right
	for i := 0; m != nil && i < len(s); {
		if !m.first[s[i]] {
			i++
			continue
		}
		token, n := m.longest(s[i:])
		if token == nil {
			i++
			continue
		}
		start, end := i, i+n
		i = end
		if token.SingleWord && (endsInWord(s[:start]) || startsWithWord(s[end:])) {
			continue
		}
		if token.LStrip {
			start = max(start, done)
			start = done + len(strings.TrimRightFunc(s[done:start], unicode.IsSpace))
		}
		if token.RStrip {
			if end > spaces {
				spaces = len(s) - len(strings.TrimLeftFunc(s[end:], unicode.IsSpace))
			}
			end = spaces
		}
		if start >= end { // all of it is taken already
			continue
		}
		if done < start {
			plain(done, start)
		}
		added(token, start, end)
		done = end // a token within the white space taken is still found, as in the reference
	}
	if done < len(s) {
		plain(done, len(s))
	}
}

func endsInWord(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && isWord(r)
}

func startsWithWord(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && isWord(r)
}
