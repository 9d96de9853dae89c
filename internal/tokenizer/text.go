package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// text is a piece of the input on its way to the model: its characters as the steps so far have changed them, and
// where in the input each of its bytes comes from.
type text struct {
	s     string
	from  []origin // one for each byte of s; nil: s is the input from start on, unchanged
	start int      // where the piece begins in the input
	mem   *arena   // holds from; nil: the heap does
}

// origin is the span of input bytes (always whole characters) that a byte of a changed text stands for.
type origin struct{ start, end int32 }

// arena is memory for the origins of one text's changes, used again for the next text.
type arena struct{ block []origin }

// take returns room for n origins.
func (a *arena) take(n int) []origin {
	if a == nil {
		return make([]origin, 0, n)
	}
	used := len(a.block)
	if used+n > cap(a.block) { // what was taken stays where it is
		used, a.block = 0, make([]origin, 0, max(2*cap(a.block), n, 1<<10))
	}
	a.block = a.block[:used+n]
	return a.block[used : used : used+n]
}

// free takes everything back.
func (a *arena) free() { a.block = a.block[:0] }

// slice returns bytes i to j of t.
func (t text) slice(i, j int) text {
	if t.from == nil {
		return text{s: t.s[i:j], start: t.start + i, mem: t.mem}
	}
	start := t.start
	if i < j {
		start = int(t.from[i].start)
	}
	return text{s: t.s[i:j], from: t.from[i:j:j], start: start, mem: t.mem}
}

// span returns the input span of bytes i to j of t, widened to whole characters.
func (t text) span(i, j int) Span {
	if j > len(t.s) {
		j = len(t.s)
	}
	if i >= j {
		i = min(i, len(t.s))
		return Span{t.start + i, t.start + i}
	}
	if t.from != nil {
		return Span{int(t.from[i].start), int(t.from[j-1].end)}
	}
	for i > 0 && !utf8.RuneStart(t.s[i]) {
		i--
	}
	for j < len(t.s) && !utf8.RuneStart(t.s[j]) {
		j++
	}
	return Span{t.start + i, t.start + j}
}

// origins returns t.from, made explicit where the text is unchanged.
func (t text) origins() []origin {
	if t.from != nil || t.s == "" {
		return t.from
	}
	from := t.mem.take(len(t.s))[:len(t.s)]
	for i, r := range t.s {
		n := utf8.RuneLen(r)
		o := origin{int32(t.start + i), int32(t.start + i + n)}
		for k := i; k < i+n; k++ {
			from[k] = o
		}
	}
	return from
}

// rewriter builds a changed text character by character. The rule of where a new character comes from is that of the
// reference library: a replaced character keeps its origin, an inserted one shares that of the character before it.
type rewriter struct {
	old  text
	from []origin // origins of old
	pos  int      // bytes of old consumed
	s    strings.Builder
	to   []origin
}

func rewrite(t text) *rewriter {
	w := &rewriter{old: t, from: t.origins()}
	room := len(t.s)*3/2 + 8 // spaces that become '▁' fit
	w.s.Grow(room)
	w.to = t.mem.take(room)
	return w
}

// room makes sure that n more bytes have place in w.to.
func (w *rewriter) room(n int) {
	if len(w.to)+n > cap(w.to) {
		w.to = append(w.old.mem.take(2*(len(w.to)+n)), w.to...)
	}
}

// put writes r. change 0: in place of the next old character; > 0: in addition; -n: in place of the next and of the n
// characters after it.
func (w *rewriter) put(r rune, change int) {
	var o origin
	switch {
	case change > 0 && w.pos == 0:
		o = origin{int32(w.old.start), int32(w.old.start)}
	case change > 0:
		o = w.from[w.pos-1]
	case w.pos < len(w.from):
		o = w.from[w.pos]
	case len(w.from) > 0: // more characters than there were: only a wrong change count gets here
		o = w.from[len(w.from)-1]
	}
	if change <= 0 {
		w.skip(1 - change)
	}
	w.write(r, o)
}

// skip drops n old characters.
func (w *rewriter) skip(n int) {
	for ; n > 0 && w.pos < len(w.old.s); n-- {
		_, size := utf8.DecodeRuneInString(w.old.s[w.pos:])
		w.pos += size
	}
}

func (w *rewriter) write(r rune, o origin) {
	n, _ := w.s.WriteRune(r)
	w.room(n)
	for ; n > 0; n-- {
		w.to = append(w.to, o)
	}
}

// keep copies the old text up to byte end.
func (w *rewriter) keep(end int) {
	w.room(end - w.pos)
	w.s.WriteString(w.old.s[w.pos:end])
	w.to = append(w.to, w.from[w.pos:end]...)
	w.pos = end
}

// replace drops the old text up to byte end and writes content with the origin of the last character dropped.
func (w *rewriter) replace(end int, content string) {
	o := origin{int32(w.old.start), int32(w.old.start)}
	if end > 0 {
		o = w.from[end-1]
	}
	w.room(len(content))
	w.s.WriteString(content)
	for range len(content) {
		w.to = append(w.to, o)
	}
	w.pos = end
}

func (w *rewriter) text() text {
	return text{s: w.s.String(), from: w.to, start: w.old.start, mem: w.old.mem}
}

// prepend puts prefix before t; it shares the origin of the first character.
func prepend(t text, prefix string) text {
	if t.s == "" {
		return t
	}
	first := t.origins()
	_, size := utf8.DecodeRuneInString(t.s)
	from := t.mem.take(len(prefix) + len(t.s))
	for range len(prefix) {
		from = append(from, first[0])
	}
	// The first character counts as inserted after the prefix, which keeps the origin of its last byte.
	for range size {
		from = append(from, first[size-1])
	}
	return text{s: prefix + t.s, from: append(from, first[size:]...), start: t.start, mem: t.mem}
}

// sanitize returns s with every maximal ill-formed byte sequence replaced by U+FFFD, as Unicode recommends and as
// Python and Rust do it.
func sanitize(s string) text {
	if utf8.ValidString(s) {
		return text{s: s}
	}
	var b strings.Builder
	var from []origin
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			n = illFormed(s[i:])
		}
		m, _ := b.WriteRune(r)
		for range m {
			from = append(from, origin{int32(i), int32(i + n)})
		}
		i += n
	}
	return text{s: b.String(), from: from}
}

// lossy is sanitize for bytes that have no origin.
func lossy(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return sanitize(s).s
}

// illFormed returns the length of the ill-formed sequence at the beginning of s: the longest prefix of a character, or
// one byte.
func illFormed(s string) int {
	low, high, size := byte(0x80), byte(0xBF), 0
	switch c := s[0]; {
	case c >= 0xC2 && c <= 0xDF:
		size = 2
	case c >= 0xE0 && c <= 0xEF:
		size = 3
		if c == 0xE0 {
			low = 0xA0
		} else if c == 0xED {
			high = 0x9F
		}
	case c >= 0xF0 && c <= 0xF4:
		size = 4
		if c == 0xF0 {
			low = 0x90
		} else if c == 0xF4 {
			high = 0x8F
		}
	}
	n := 1
	for ; n < size && n < len(s) && s[n] >= low && s[n] <= high; n++ {
		low, high = 0x80, 0xBF
	}
	return n
}
