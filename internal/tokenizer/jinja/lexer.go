package jinja

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind int

const (
	eof kind = iota
	data
	blockBegin
	blockEnd
	variableBegin
	variableEnd
	nameToken
	stringToken
	numberToken
	operator
)

type token struct {
	kind  kind
	text  string
	value any // of a number
	line  int
}

func (t token) String() string {
	switch t.kind {
	case eof:
		return "the end of the template"
	case blockBegin, variableBegin, blockEnd, variableEnd:
		return "the " + map[kind]string{blockBegin: "start", variableBegin: "start", blockEnd: "end", variableEnd: "end"}[t.kind] + " of a tag"
	}
	return strconv.Quote(t.text)
}

// lexer splits a template as jinja2 does with trim_blocks and lstrip_blocks.
type lexer struct {
	s       string
	i       int
	tokens  []token
	newline bool // what was read last ends with a newline, or nothing was read
	counted int  // bytes whose lines are counted
	line    int
}

func lex(source string) []token {
	if !utf8.ValidString(source) {
		fail("the template is not UTF-8")
	}
	source = strings.ReplaceAll(strings.ReplaceAll(source, "\r\n", "\n"), "\r", "\n")
	l := &lexer{s: strings.TrimSuffix(source, "\n"), newline: true, line: 1}
	for l.i < len(l.s) {
		l.data()
	}
	return append(l.tokens, token{kind: eof, line: l.lineAt(len(l.s))})
}

func (l *lexer) lineAt(i int) int {
	l.line += strings.Count(l.s[l.counted:max(i, l.counted)], "\n")
	l.counted = max(i, l.counted)
	return l.line
}

func (l *lexer) fail(format string, args ...any) {
	defer func() {
		f := recover().(failure)
		f.Line = l.lineAt(l.i)
		panic(f)
	}()
	fail(format, args...)
}

func (l *lexer) add(k kind, text string, value any) {
	l.tokens = append(l.tokens, token{k, text, value, l.lineAt(l.i)})
}

// pass moves to position i behind a tag.
func (l *lexer) pass(i int) {
	l.newline = strings.HasSuffix(l.s[l.i:i], "\n")
	l.i = i
}

// data reads text up to the next tag, and that tag.
func (l *lexer) data() {
	at := -1
	for i := l.i; i+1 < len(l.s); i++ {
		if l.s[i] == '{' && strings.IndexByte("%{#", l.s[i+1]) >= 0 {
			at = i
			break
		}
	}
	if at < 0 {
		l.add(data, l.s[l.i:], nil)
		l.i = len(l.s)
		return
	}
	opened := l.s[at+1]
	sign, end := l.sign(at + 2)
	if text := l.strip(l.s[l.i:at], sign, opened == '{'); text != "" {
		l.add(data, text, nil)
	}
	if opened == '%' {
		if i := l.word(end, "raw"); i >= 0 {
			if i = l.end(i, "%}", false); i >= 0 {
				l.pass(i)
				l.raw()
				return
			}
		}
	}
	l.pass(end)
	switch opened {
	case '#':
		l.comment()
	case '{':
		l.add(variableBegin, "{{", nil)
		l.tag(variableEnd, "}}")
	default:
		l.add(blockBegin, "{%", nil)
		l.tag(blockEnd, "%}")
	}
}

// sign reads the sign of a tag that opens.
func (l *lexer) sign(i int) (sign byte, end int) {
	if i < len(l.s) && (l.s[i] == '-' || l.s[i] == '+') {
		return l.s[i], i + 1
	}
	return 0, i
}

// strip takes white space off text that stands before a tag.
func (l *lexer) strip(text string, sign byte, variable bool) string {
	if sign == '-' {
		return strings.TrimRightFunc(text, isSpace)
	}
	if sign == '+' || variable {
		return text
	}
	start := strings.LastIndexByte(text, '\n') + 1
	if (start > 0 || l.newline) && strings.TrimLeftFunc(text[start:], isSpace) == "" {
		return text[:start]
	}
	return text
}

// space returns the end of the white space at i.
func (l *lexer) space(i int) int { return len(l.s) - len(strings.TrimLeftFunc(l.s[i:], isSpace)) }

// word returns the end of a word, with the white space around it, at i; -1 where it is not there.
func (l *lexer) word(i int, word string) int {
	if i = l.space(i); !strings.HasPrefix(l.s[i:], word) {
		return -1
	}
	return l.space(i + len(word))
}

// end returns the end of a tag that closes at i, and of what it takes off the text behind it; -1 where none closes. A tag
// with a minus takes white space, another one a newline where block is set.
func (l *lexer) end(i int, mark string, block bool) int {
	rest := l.s[i:]
	switch {
	case strings.HasPrefix(rest, mark):
		i += len(mark)
		if block && strings.HasPrefix(l.s[i:], "\n") {
			i++
		}
		return i
	case strings.HasPrefix(rest, "-"+mark):
		return l.space(i + 1 + len(mark))
	case block && strings.HasPrefix(rest, "+"+mark):
		return i + 1 + len(mark)
	}
	return -1
}

// raw reads text up to {% endraw %}.
func (l *lexer) raw() {
	for at := l.i; ; at += 2 {
		next := strings.Index(l.s[at:], "{%")
		if next < 0 {
			break
		}
		at += next
		sign, i := l.sign(at + 2)
		if i = l.word(i, "endraw"); i < 0 {
			continue
		}
		if i = l.end(i, "%}", true); i < 0 {
			continue
		}
		if text := l.strip(l.s[l.i:at], sign, false); text != "" {
			l.add(data, text, nil)
		}
		l.pass(i)
		return
	}
	if l.i < len(l.s) {
		l.fail("the raw block has no end")
	}
}

func (l *lexer) comment() {
	for at := l.i; at < len(l.s); at++ {
		if i := l.end(at, "#}", true); i >= 0 {
			l.pass(i)
			return
		}
	}
	if l.i < len(l.s) {
		l.fail("the comment has no end")
	}
}

var (
	float     = regexp.MustCompile(`^(?i:(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?e[+\-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+))`)
	integer   = regexp.MustCompile(`^(?i:0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*)`)
	operators = []string{"//", "**", "==", "!=", ">=", "<="}
)

// tag reads the tokens of a tag and its end.
func (l *lexer) tag(end kind, mark string) {
	var open []byte // brackets
	for l.i < len(l.s) {
		if len(open) == 0 {
			if i := l.end(l.i, mark, end == blockEnd); i >= 0 {
				l.add(end, mark, nil)
				l.pass(i)
				return
			}
		}
		c := l.s[l.i]
		r, _ := utf8.DecodeRuneInString(l.s[l.i:])
		switch {
		case isSpace(r):
			l.pass(l.space(l.i))
		case c >= '0' && c <= '9':
			l.number()
		case inName(r):
			l.name()
		case c == '\'' || c == '"':
			l.quoted()
		default:
			open = l.operator(open)
		}
	}
}

func inName(r rune) bool {
	return r == '_' || unicode.In(r, unicode.L, unicode.N, unicode.M, unicode.Pc)
}

func (l *lexer) name() {
	n := strings.IndexFunc(l.s[l.i:], func(r rune) bool { return !inName(r) })
	if n < 0 {
		n = len(l.s) - l.i
	}
	name := l.s[l.i : l.i+n]
	if r, _ := utf8.DecodeRuneInString(name); !unicode.IsLetter(r) && r != '_' {
		l.fail("%q is not a name", name)
	}
	l.add(nameToken, name, nil)
	l.pass(l.i + n)
}

func (l *lexer) number() {
	rest := l.s[l.i:]
	if n := strings.IndexFunc(rest, func(r rune) bool { return !inName(r) && !strings.ContainsRune(".+-", r) }); n >= 0 {
		rest = rest[:n]
	}
	if m := float.FindString(rest); m != "" && l.s[l.i-1] != '.' {
		f, _ := strconv.ParseFloat(strings.ReplaceAll(m, "_", ""), 64) // beyond the range: infinity, as in Python
		l.add(numberToken, m, f)
		l.pass(l.i + len(m))
		return
	}
	m := integer.FindString(rest)
	base := 10
	if len(m) > 1 && m[1] > '9' && m[1] != '_' {
		base = 0 // as the prefix says
	}
	v, err := strconv.ParseInt(strings.ReplaceAll(m, "_", ""), base, 64)
	if err != nil {
		l.fail("not supported: the integer %s, which has more than 64 bits", m)
	}
	l.add(numberToken, m, v)
	l.pass(l.i + len(m))
}

func (l *lexer) quoted() {
	for i := l.i + 1; i < len(l.s); i++ {
		switch l.s[i] {
		case '\\':
			i++
		case l.s[l.i]:
			l.add(stringToken, l.unescape(l.s[l.i+1:i]), nil)
			l.pass(i + 1)
			return
		}
	}
	l.fail("unexpected %q: the text has no end", l.s[l.i])
}

// operator reads an operator and returns the brackets that are open behind it.
func (l *lexer) operator(open []byte) []byte {
	c := l.s[l.i]
	text := l.s[l.i : l.i+1]
	if two := l.s[l.i:min(l.i+2, len(l.s))]; slices.Contains(operators, two) {
		text = two
	} else if strings.IndexByte("-+/*%~[](){}><=.:|,;", c) < 0 {
		r, _ := utf8.DecodeRuneInString(l.s[l.i:])
		l.fail("unexpected %q", r)
	}
	switch c {
	case '(', '[', '{':
		open = append(open, c)
	case ')', ']', '}':
		if len(open) == 0 || strings.IndexByte("([{", open[len(open)-1]) != strings.IndexByte(")]}", c) {
			l.fail("unexpected %q", c)
		}
		open = open[:len(open)-1]
	}
	l.add(operator, text, nil)
	l.pass(l.i + len(text))
	return open
}

// unescape resolves the escapes of a Python string.
func (l *lexer) unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			i++
			continue
		}
		c := s[i+1]
		i += 2
		if at := strings.IndexByte("\n\\'\"abfnrtv", c); at >= 0 {
			if at > 0 {
				b.WriteByte("\n\\'\"\a\b\f\n\r\t\v"[at])
			}
			continue
		}
		digits, base := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c], 16
		switch {
		case c >= '0' && c <= '7':
			i, base = i-1, 8
			for digits < 3 && i+digits < len(s) && s[i+digits] >= '0' && s[i+digits] <= '7' {
				digits++
			}
		case c == 'N':
			l.fail(`not supported: the escape \N`)
		case digits == 0: // Python keeps an escape that it does not know; other characters it escapes first
			b.WriteByte('\\')
			if i--; c >= utf8.RuneSelf {
				r, n := utf8.DecodeRuneInString(s[i:])
				b.WriteString(strings.TrimPrefix(escaped(r), `\`))
				i += n
			}
			continue
		}
		if i+digits > len(s) {
			l.fail("an escape of a string is cut short")
		}
		u, err := strconv.ParseUint(s[i:i+digits], base, 32)
		if err != nil || u > unicode.MaxRune || u >= 0xD800 && u < 0xE000 {
			l.fail("an escape of a string is not a character: %q", s[i:i+digits])
		}
		b.WriteRune(rune(u))
		i += digits
	}
	return b.String()
}
