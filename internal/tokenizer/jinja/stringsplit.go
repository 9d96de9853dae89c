package jinja

import (
	"strings"
	"unicode/utf8"
)

// split is str.split and str.rsplit.
func split(r *render, s string, a *arguments, at func(s, sep string, n int) []string, space func(s string, n int) []string) any {
	v := a.bind("split", 0, "sep", "maxsplit")
	n := wantIntOr(v[1], -1)
	if n < 0 {
		n = len(s) + 1
	}
	if !given(v[0]) || v[0] == nil {
		return r.texts(space(s, n))
	}
	sep := wantText(v[0])
	if sep == "" {
		fail("empty separator")
	}
	return r.texts(at(s, sep, n))
}

func (r *render) texts(parts []string) List {
	r.charge(len(parts))
	list := make(List, len(parts))
	for i, p := range parts {
		list[i] = p
	}
	return list
}

func splitLeft(s, sep string, n int) []string { return strings.SplitN(s, sep, n+1) }

func splitRight(s, sep string, n int) []string {
	var parts []string
	for ; n > 0; n-- {
		i := strings.LastIndex(s, sep)
		if i < 0 {
			break
		}
		parts = append(parts, s[i+len(sep):])
		s = s[:i]
	}
	return reversed(append(parts, s))
}

func reversed(parts []string) []string {
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return parts
}

func splitSpaceLeft(s string, n int) (parts []string) {
	for s = strings.TrimLeftFunc(s, isSpace); s != ""; s = strings.TrimLeftFunc(s, isSpace) {
		i := strings.IndexFunc(s, isSpace)
		if n == 0 || i < 0 {
			return append(parts, s)
		}
		parts = append(parts, s[:i])
		s = s[i:]
		n--
	}
	return parts
}

func splitSpaceRight(s string, n int) (parts []string) {
	for s = strings.TrimRightFunc(s, isSpace); s != ""; s = strings.TrimRightFunc(s, isSpace) {
		i := strings.LastIndexFunc(s, isSpace)
		if n == 0 || i < 0 {
			parts = append(parts, s)
			break
		}
		_, width := utf8.DecodeRuneInString(s[i:])
		parts = append(parts, s[i+width:])
		s = s[:i]
		n--
	}
	return reversed(parts)
}

func splitLinesMethod(r *render, s string, a *arguments) any {
	keep := a.bind("splitlines", 0, "keepends")[0]
	return r.texts(splitLines(s, given(keep) && truth(keep)))
}

// splitLines is str.splitlines.
func splitLines(s string, keepEnds bool) (lines []string) {
	for s != "" {
		i := strings.IndexAny(s, "\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029")
		if i < 0 {
			return append(lines, s)
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		if strings.HasPrefix(s[i:], "\r\n") {
			n = 2
		}
		if keepEnds {
			lines = append(lines, s[:i+n])
		} else {
			lines = append(lines, s[:i])
		}
		s = s[i+n:]
	}
	return lines
}

func partition(at func(s, sep string) int, last bool) stringMethod {
	return func(_ *render, s string, a *arguments) any {
		sep := wantText(a.bind("partition", 1, "/sep")[0])
		if sep == "" {
			fail("empty separator")
		}
		i := at(s, sep)
		switch {
		case i >= 0:
			return Tuple{s[:i], sep, s[i+len(sep):]}
		case last:
			return Tuple{"", "", s}
		}
		return Tuple{s, "", ""}
	}
}

func join(r *render, s string, a *arguments) any {
	var b strings.Builder
	next := r.iterate(a.bind("join", 1, "/iterable")[0])
	for i := 0; ; i++ {
		v, ok := next()
		if !ok {
			return b.String()
		}
		text, ok := plain(v)
		if !ok {
			fail("join wants texts, have a %s", typeName(v))
		}
		if i > 0 {
			b.WriteString(s)
		}
		b.WriteString(text)
		r.chargeText(len(s) + len(text))
	}
}

func replace(r *render, s string, a *arguments) any {
	v := a.bind("replace", 2, "/old", "/new", "/count")
	return r.replace(s, wantText(v[0]), wantText(v[1]), wantIntOr(v[2], -1))
}

func (r *render) replace(s, from, to string, count int) string {
	n := strings.Count(s, from)
	if count >= 0 {
		n = min(n, count)
	}
	r.times(len(to)/16+1, int64(n))
	return strings.Replace(s, from, to, count)
}

// within returns the part of s from character start to character end, as Python's methods count them, and its place in
// characters; false where it begins behind the end of s.
func within(s string, start, end any) (part string, offset int, ok bool) {
	if (!given(start) || start == nil) && (!given(end) || end == nil) {
		return s, 0, true
	}
	runes := []rune(s)
	n := len(runes)
	bound := func(v any, missing int) int {
		if !given(v) || v == nil {
			return missing
		}
		i := wantInt(v)
		if i < 0 {
			i = max(i+n, 0)
		}
		return i
	}
	from, to := bound(start, 0), min(bound(end, n), n)
	if from > n || from > to {
		return "", from, false
	}
	return string(runes[from:to]), from, true
}

func affix(has func(s, part string) bool) stringMethod {
	return func(_ *render, s string, a *arguments) any {
		v := a.bind("the method", 1, "/part", "/start", "/end")
		part, _, ok := within(s, v[1], v[2])
		options, isTuple := v[0].(Tuple)
		if !isTuple {
			options = Tuple{v[0]}
		}
		result := false
		for _, o := range options {
			if want := wantText(o); ok && has(part, want) {
				result = true
				break
			}
		}
		return result
	}
}

// search is a method that looks for a text; position: its result is a place in bytes, to be given in characters.
func search(find func(s, part string) int, position bool) stringMethod {
	return func(_ *render, s string, a *arguments) any {
		v := a.bind("the method", 1, "/sub", "/start", "/end")
		part, offset, ok := within(s, v[1], v[2])
		want := wantText(v[0])
		switch {
		case !ok && position:
			return int64(-1)
		case !ok:
			return int64(0)
		}
		i := find(part, want)
		if position && i >= 0 {
			i = utf8.RuneCountInString(part[:i]) + offset
		}
		return int64(i)
	}
}

// found is search where nothing found is an error.
func found(find func(s, part string) int) stringMethod {
	find1 := search(find, true)
	return func(r *render, s string, a *arguments) any {
		v := find1(r, s, a)
		if v == any(int64(-1)) {
			fail("the text is not found")
		}
		return v
	}
}
