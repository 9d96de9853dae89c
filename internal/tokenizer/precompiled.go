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
	var w *rewriter
	done := 0        // bytes of t that are written
	last := rune(-1) // the last character written, where it is an addition
	keep := func(end int) {
		if done < end {
			last = -1
		}
		if w.pos == done {
			w.keep(end)
		} else {
			for _, r := range t.s[done:end] {
				w.put(r, 0)
			}
		}
		done = end
	}
	replace := func(i, j int) bool {
		content, ok := p.find(t.s[i:j])
		if !ok {
			return false
		}
		if w == nil {
			w = rewrite(t)
		}
		keep(i)
		done = j
		left := utf8.RuneCount(content)
		surplus := left - utf8.RuneCountInString(t.s[i:j])
		if left == 0 && len(w.to) > 0 { // without a character before it nothing is dropped, and the origins lag behind (sic)
			if last >= 0 { // that one takes the place of what is dropped
				w.to = w.to[:len(w.to)-utf8.RuneLen(last)]
				for range utf8.RuneLen(last) {
					w.to = append(w.to, w.from[w.pos])
				}
				last = -1
			}
			w.skip(-surplus)
		}
		for _, r := range string(content) {
			switch left--; {
			case left < surplus: // the last ones are additions
				w.put(r, 1)
				last = r
			case left == 0: // the last one takes the place of the rest
				w.put(r, surplus)
				last = -1
			default:
				w.put(r, 0)
				last = -1
			}
		}
		return true
	}
	for i := 0; i < len(t.s); {
		n := 1
		if t.s[i] >= utf8.RuneSelf || i+1 < len(t.s) && (t.s[i+1] >= utf8.RuneSelf || t.s[i] == '\r') {
			cluster, _, _, _ := uniseg.FirstGraphemeClusterInString(t.s[i:], -1)
			n = len(cluster)
			first, _ := utf8.DecodeRuneInString(cluster)
			for n < longCluster && !unicode.In(first, unicode.C, unicode.Zl, unicode.Zp) { // what the table of clusters does not know
				r, size := utf8.DecodeRuneInString(t.s[i+n:])
				if k := like(r); k == r || !unicode.Is(unicode.M, k) {
					break
				}
				n += size
			}
		}
		end := i + n
		if n < longCluster && replace(i, end) {
			i = end
			continue
		}
		for i < end {
			_, size := utf8.DecodeRuneInString(t.s[i:])
			replace(i, i+size)
			i += size
		}
	}
	if w == nil {
		return t
	}
	keep(len(t.s))
	return w.text()
}
