package tokenizer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"unicode"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// precompiled is SentencePiece's compiled normalization: a double-array trie from byte sequences to places in a blob
// of NUL-terminated replacements.
type precompiled struct {
	units []uint32
	blob  []byte
}

func newPrecompiled(charsmap []byte) (normalizer, error) {
	if len(charsmap) == 0 {
		return always(func(t text) text { return t }), nil // as in the reference
	}
	if len(charsmap) < 4 {
		return nil, errors.New("precompiled_charsmap is cut short")
	}
	size := binary.LittleEndian.Uint32(charsmap)
	if size%4 != 0 || uint64(size)+4 > uint64(len(charsmap)) {
		return nil, errors.New("precompiled_charsmap has a wrong size in its header")
	}
	p := &precompiled{units: make([]uint32, size/4), blob: charsmap[4+size:]}
	for i := range p.units {
		p.units[i] = binary.LittleEndian.Uint32(charsmap[4+4*i:])
	}
	if !utf8.Valid(p.blob) {
		return nil, errors.New("precompiled_charsmap holds replacements that are not UTF-8")
	}
	return always(p.normalize), nil
}

// find returns the replacement of the shortest prefix of s that has one; the rest of s is replaced with it (sic).
func (p *precompiled) find(s string) ([]byte, bool) {
	unit := func(i uint32) uint32 {
		if int(i) < len(p.units) {
			return p.units[i]
		}
		return 0
	}
	offset := func(u uint32) uint32 { return u >> 10 << (u & (1 << 9) >> 6) }
	at := offset(unit(0))
	for i := range len(s) {
		if s[i] == 0 {
			break
		}
		at ^= uint32(s[i])
		u := unit(at)
		if u&(1<<31|0xFF) != uint32(s[i]) {
			return nil, false
		}
		at ^= offset(u)
		if u>>8&1 == 1 {
			from := int(unit(at) & (1<<31 - 1))
			if from > len(p.blob) {
				return nil, false
			}
			b := p.blob[from:]
			if end := bytes.IndexByte(b, 0); end >= 0 {
				b = b[:end]
			}
			return b, true
		}
	}
	return nil, false
}

// longCluster is how many bytes a grapheme cluster has that is not looked up as a whole.
const longCluster = 6

// normalize replaces whole grapheme clusters of less than longCluster bytes where they have a replacement, single characters
// otherwise.
func (p *precompiled) normalize(t text) text {
	r := replacement{table: p, t: t, last: -1}
	for i := 0; i < len(t.s); {
		end := i + clusterLen(t.s[i:])
		if end-i < longCluster && r.replace(i, end) {
			i = end
			continue
		}
		for i < end {
			_, size := utf8.DecodeRuneInString(t.s[i:])
			r.replace(i, i+size)
			i += size
		}
	}
	if r.w == nil {
		return t
	}
	r.keep(len(t.s))
	return r.w.text()
}

// clusterLen returns the length in bytes of the grapheme cluster that s begins with.
func clusterLen(s string) int {
	if s[0] < utf8.RuneSelf && (len(s) == 1 || s[1] < utf8.RuneSelf && s[0] != '\r') {
		return 1
	}
	cluster, _, _, _ := uniseg.FirstGraphemeClusterInString(s, -1)
	n := len(cluster)
	first, _ := utf8.DecodeRuneInString(cluster)
	for n < longCluster && !unicode.In(first, unicode.C, unicode.Zl, unicode.Zp) { // what the table of clusters does not know
		r, size := utf8.DecodeRuneInString(s[n:])
		if k := like(r); k == r || !unicode.Is(unicode.M, k) {
			break
		}
		n += size
	}
	return n
}

// replacement is a text while parts of it are replaced, from left to right.
type replacement struct {
	table *precompiled
	t     text
	w     *rewriter // nil before the first replacement
	done  int       // bytes of t that are written
	last  rune      // the last character written, where it is an addition, or -1
}

// keep writes what lies before end as it is.
func (r *replacement) keep(end int) {
	if r.done < end {
		r.last = -1
	}
	if r.w.pos == r.done {
		r.w.keep(end)
	} else {
		for _, c := range r.t.s[r.done:end] {
			r.w.put(c, 0)
		}
	}
	r.done = end
}

// replace writes what stands for t[i:j], where the table has something, and tells whether it has.
func (r *replacement) replace(i, j int) bool {
	content, ok := r.table.find(r.t.s[i:j])
	if !ok {
		return false
	}
	if r.w == nil {
		r.w = rewrite(r.t)
	}
	r.keep(i)
	r.done = j
	w, left := r.w, utf8.RuneCount(content)
	surplus := left - utf8.RuneCountInString(r.t.s[i:j])
	if left == 0 && len(w.to) > 0 { // without a character before it nothing is dropped, and the origins lag behind (sic)
		if r.last >= 0 { // that one takes the place of what is dropped
			w.to = w.to[:len(w.to)-utf8.RuneLen(r.last)]
			for range utf8.RuneLen(r.last) {
				w.to = append(w.to, w.from[w.pos])
			}
			r.last = -1
		}
		w.skip(-surplus)
	}
	for _, c := range string(content) {
		switch left--; {
		case left < surplus: // the last ones are additions
			w.put(c, 1)
			r.last = c
		case left == 0: // the last one takes the place of the rest
			w.put(c, surplus)
			r.last = -1
		default:
			w.put(c, 0)
			r.last = -1
		}
	}
	return true
}
