package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

type stringMethod func(r *render, s string, a *arguments) any

// stringMethods are the methods of Python's str.
var stringMethods map[string]stringMethod

// unsupportedStringMethods are there too, but calling one is an error.
var unsupportedStringMethods = map[string]bool{
	"casefold": true, "encode": true, "format_map": true, "isidentifier": true, "maketrans": true, "swapcase": true, "translate": true,
}

func init() {
	stringMethods = map[string]stringMethod{
		"capitalize": plainMethod(func(s string) any { return capitalize(s) }),
		"lower":      plainMethod(func(s string) any { return lower(s) }),
		"title":      plainMethod(func(s string) any { return titleWords(s) }),
		"upper":      plainMethod(func(s string) any { return upper(s) }),
		"center":     pad(func(n int) int { return n / 2 }, true),
		"ljust":      pad(func(int) int { return 0 }, false),
		"rjust":      pad(func(n int) int { return n }, false),
		"zfill":      zfill,
		"expandtabs": expandTabs,
		"strip":      strip(strings.TrimFunc),
		"lstrip":     strip(strings.TrimLeftFunc),
		"rstrip":     strip(strings.TrimRightFunc),
		"split":      func(r *render, s string, a *arguments) any { return split(r, s, a, splitLeft, splitSpaceLeft) },
		"rsplit":     func(r *render, s string, a *arguments) any { return split(r, s, a, splitRight, splitSpaceRight) },
		"splitlines": splitLinesMethod,
		"partition":  partition(strings.Index, false),
		"rpartition": partition(strings.LastIndex, true),
		"join":       join,
		"replace":    replace,
		"format":     formatMethod,
		"startswith": affix(strings.HasPrefix),
		"endswith":   affix(strings.HasSuffix),
		"count":      search(func(s, part string) int { return strings.Count(s, part) }, false),
		"find":       search(strings.Index, true),
		"rfind":      search(strings.LastIndex, true),
		"index":      found(strings.Index),
		"rindex":     found(strings.LastIndex),
		"removeprefix": func(_ *render, s string, a *arguments) any {
			return strings.TrimPrefix(s, wantText(a.bind("removeprefix", 1, "/prefix")[0]))
		},
		"removesuffix": func(_ *render, s string, a *arguments) any {
			return strings.TrimSuffix(s, wantText(a.bind("removesuffix", 1, "/suffix")[0]))
		},
		"isascii":   plainMethod(func(s string) any { return ascii(s) }),
		"isspace":   every(isSpace),
		"isalpha":   every(unicode.IsLetter),
		"isdecimal": every(func(c rune) bool { return unicode.Is(unicode.Nd, c) }),
		"isdigit":   everyASCII(func(c rune) bool { return c >= '0' && c <= '9' }),
		"isnumeric": everyASCII(func(c rune) bool { return c >= '0' && c <= '9' }),
		"isalnum":   everyASCII(func(c rune) bool { return c >= '0' && c <= '9' || unicode.IsLetter(c) }),
		"islower":   plainMethod(func(s string) any { return allCase(s, isLower, isUpper) }),
		"isupper":   plainMethod(func(s string) any { return allCase(s, isUpper, isLower) }),
		"istitle":   plainMethod(func(s string) any { return isTitle(s) }),
		"isprintable": plainMethod(func(s string) any {
			return strings.IndexFunc(s, func(c rune) bool { return !printable(c) }) < 0
		}),
	}
}

// plainMethod is a method without arguments.
func plainMethod(f func(s string) any) stringMethod {
	return func(_ *render, s string, a *arguments) any {
		a.bind("the method", 0)
		return f(s)
	}
}

func every(is func(rune) bool) stringMethod {
	return plainMethod(func(s string) any {
		return s != "" && strings.IndexFunc(s, func(c rune) bool { return !is(c) }) < 0
	})
}

// everyASCII refuses other characters, whose properties Go does not have.
func everyASCII(is func(rune) bool) stringMethod {
	all := every(is)
	return func(r *render, s string, a *arguments) any {
		if !ascii(s) {
			unsupported("a test of the characters of %s", quote(s))
		}
		return all(r, s, a)
	}
}

func wantText(v any) string {
	need(v)
	s, ok := plain(v)
	if !ok {
		fail("want a text, have a %s", typeName(v))
	}
	return s
}

func wantInt(v any) int {
	need(v)
	i, ok := index(v)
	if !ok {
		fail("want an integer, have a %s", typeName(v))
	}
	return i
}

func wantIntOr(v any, missing int) int {
	if !given(v) {
		return missing
	}
	return wantInt(v)
}

func upper(s string) string { return cases.Upper(language.Und).String(s) }

func lower(s string) string { return cases.Lower(language.Und).String(s) }

// lowerAt is the lower case of a part of s; what stands before it decides about a final sigma.
func lowerAt(s string, i, j int) string {
	if !strings.ContainsRune(s[i:j], 'Σ') {
		return lower(s[i:j])
	}
	unsupported("the lower case of a sigma in a title")
	return ""
}

func title(c rune) string {
	switch {
	case unicode.Is(unicode.Lt, c):
		return string(c)
	case c < utf8.RuneSelf:
		return upper(string(c))
	}
	return cases.Title(language.Und, cases.NoLower).String(string(c))
}

func isLower(c rune) bool { return unicode.IsLower(c) || unicode.Is(unicode.Other_Lowercase, c) }

func isUpper(c rune) bool { return unicode.IsUpper(c) || unicode.Is(unicode.Other_Uppercase, c) }

func isTitleCase(c rune) bool { return unicode.Is(unicode.Lt, c) }

func capitalize(s string) string {
	c, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return ""
	}
	return title(c) + lowerAt(s, n, len(s))
}

// titleWords is Python's str.title: every letter that follows no letter is a title letter.
func titleWords(s string) string {
	var b strings.Builder
	cased := false
	for i, c := range s {
		if cased {
			b.WriteString(lowerAt(s, i, i+utf8.RuneLen(c)))
		} else {
			b.WriteString(title(c))
		}
		cased = isLower(c) || isUpper(c) || isTitleCase(c)
	}
	return b.String()
}

// allCase tells whether s has a character that is want and none that is other.
func allCase(s string, want, other func(rune) bool) bool {
	some := false
	for _, c := range s {
		if other(c) || isTitleCase(c) {
			return false
		}
		some = some || want(c)
	}
	return some
}

func isTitle(s string) bool {
	some, cased := false, false
	for _, c := range s {
		switch {
		case isUpper(c) || isTitleCase(c):
			if cased {
				return false
			}
			some, cased = true, true
		case isLower(c):
			if !cased {
				return false
			}
		default:
			cased = false
		}
	}
	return some
}

// pad is a method that fills a text up; left tells how much of n goes before it.
func pad(left func(n int) int, center bool) stringMethod {
	return func(r *render, s string, a *arguments) any {
		v := a.bind("the method", 1, "/width", "/fillchar")
		width, fill := wantInt(v[0]), " "
		if given(v[1]) {
			fill = wantText(v[1])
		}
		if utf8.RuneCountInString(fill) != 1 {
			fail("the fill character must be one character")
		}
		n := width - utf8.RuneCountInString(s)
		if n <= 0 {
			return s
		}
		before := left(n)
		if center {
			before += n & width & 1
		}
		r.times(len(fill), int64(n))
		return strings.Repeat(fill, before) + s + strings.Repeat(fill, n-before)
	}
}

func zfill(r *render, s string, a *arguments) any {
	n := wantInt(a.bind("zfill", 1, "/width")[0]) - utf8.RuneCountInString(s)
	if n <= 0 {
		return s
	}
	zeros := strings.Repeat("0", r.times(1, int64(n)))
	if s != "" && (s[0] == '+' || s[0] == '-') {
		return s[:1] + zeros + s[1:]
	}
	return zeros + s
}

func expandTabs(r *render, s string, a *arguments) any {
	size := wantIntOr(a.bind("expandtabs", 0, "tabsize")[0], 8)
	var b strings.Builder
	column := 0
	for _, c := range s {
		switch {
		case c == '\t':
			n := 0
			if size > 0 {
				n = size - column%size
			}
			b.WriteString(strings.Repeat(" ", r.times(1, int64(n))))
			column += n
			continue
		case c == '\n' || c == '\r':
			column = -1
		}
		b.WriteRune(c)
		column++
	}
	return b.String()
}

func strip(trim func(string, func(rune) bool) string) stringMethod {
	return func(_ *render, s string, a *arguments) any {
		return stripped(trim, s, a.bind("strip", 0, "/chars")[0])
	}
}

func stripped(trim func(string, func(rune) bool) string, s string, characters any) string {
	if !given(characters) || characters == nil {
		return trim(s, isSpace)
	}
	set := wantText(characters)
	if len(set) > 1000 {
		unsupported("stripping %d characters", len(set))
	}
	return trim(s, func(c rune) bool { return strings.ContainsRune(set, c) })
}
