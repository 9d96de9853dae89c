package tokenizer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// onigReader writes a regular expression of Oniguruma (in its Ruby syntax), which tokenizer.json holds, as one that means
// the same to regexp2 (.NET's syntax with its Multiline option). What it cannot say is an error that names it.
type onigReader struct {
	in  string
	out strings.Builder

	atom   int   // where in out the last thing begins that a quantifier can follow
	groups []int // where in out the open groups begin
	start  bool  // a group, or the whole, begins here
	depth  int   // of classes within classes
}

const (
	longestExpression = 1 << 16
	deepestClass      = 16
)

func translateOniguruma(expression string) (string, error) {
	if len(expression) > longestExpression {
		return "", fmt.Errorf("regular expression: have %d bytes, want at most %d", len(expression), longestExpression)
	}
	t := &onigReader{in: expression, start: true}
	for t.in != "" {
		if err := t.next(); err != nil {
			return "", fmt.Errorf("regular expression %q: %w", expression, err)
		}
	}
	return t.out.String(), nil
}

func refuse(what string) error { return fmt.Errorf("%q is not supported", what) }

// read consumes one character.
func (t *onigReader) read() rune {
	r, n := utf8.DecodeRuneInString(t.in)
	t.in = t.in[n:]
	return r
}

func (t *onigReader) accept(s string) (ok bool) {
	t.in, ok = strings.CutPrefix(t.in, s)
	return ok
}

func (t *onigReader) next() error {
	started, begin := t.start, t.out.Len()
	t.start = false
	switch r := t.read(); r {
	case '\\':
		t.atom = begin
		return t.escape()
	case '[':
		t.atom = begin
		c, err := t.class()
		t.out.WriteString(c.expression())
		return err
	case '(':
		return t.group(started)
	case ')':
		t.out.WriteByte(')')
		if len(t.groups) == 0 {
			return errors.New("a ')' too many")
		}
		t.atom = t.groups[len(t.groups)-1]
		t.groups = t.groups[:len(t.groups)-1]
	case '|':
		t.out.WriteByte('|')
	case '*', '+', '?':
		t.out.WriteRune(r)
		if t.in != "" && (t.in[0] == '?' || t.in[0] == '+') { // reluctant, possessive
			t.out.WriteRune(t.read())
		}
	case '{':
		return t.interval(begin)
	default:
		t.atom = begin
		t.out.WriteRune(r)
	}
	return nil
}

// interval reads what follows a '{'.
func (t *onigReader) interval(begin int) error {
	inner, rest, ok := strings.Cut(t.in, "}")
	low, high, pair := strings.Cut(inner, ",")
	for _, s := range []string{low, high} {
		ok = ok && strings.Trim(s, "0123456789") == "" && len(s) < 6
	}
	if !ok || inner == "" || inner == "," { // no interval
		t.atom = begin
		t.out.WriteString(`\{`)
		return nil
	}
	t.in = rest
	l, _ := strconv.Atoi(low)
	if h, _ := strconv.Atoi(high); high != "" && h < l || !pair && t.accept("?") {
		return refuse("{" + inner + "}")
	}
	if low == "" {
		inner = "0" + inner
	}
	t.out.WriteString("{" + inner + "}")
	switch {
	case t.accept("?"):
		t.out.WriteByte('?')
	case t.accept("+"): // once or more often, not possessive
		s := t.out.String()
		t.out.Reset()
		t.out.WriteString(s[:t.atom] + "(?:" + s[t.atom:] + ")+")
	}
	return nil
}

// group reads what follows a '('. started: it is the first thing of a group.
func (t *onigReader) group(started bool) error {
	begin := t.out.Len()
	if t.accept("?#") {
		_, rest, ok := strings.Cut(t.in, ")")
		if t.in = rest; !ok {
			return errors.New("a comment without end")
		}
		t.start = started
		return nil
	}
	prefix := "("
	if t.accept("?") {
		prefix = "(?"
		end := strings.IndexFunc(t.in, func(r rune) bool { return r != 'i' && r != 'm' && r != '-' })
		switch {
		case end < 0:
			return errors.New("a group without end")
		case end > 0 && (t.in[end] == ':' || t.in[end] == ')'):
			prefix += strings.ReplaceAll(t.in[:end], "m", "s") + t.in[end:end+1] // m: the dot matches a newline
			inline := t.in[end] == ')'
			t.in = t.in[end+1:]
			if inline {
				if !started { // would take the alternatives that follow into a group
					return refuse("(?i) that is not first")
				}
				t.out.WriteString(prefix)
				t.start = true
				return nil
			}
		default:
			known := false
			for _, s := range []string{":", "=", "!", ">", "<=", "<!"} {
				if known = t.accept(s); known {
					prefix += s
					break
				}
			}
			if !known {
				return refuse("(?" + t.in[:min(len(t.in), 1)])
			}
		}
	}
	t.groups = append(t.groups, begin)
	t.out.WriteString(prefix)
	t.start = true
	return nil
}

// escape reads what follows a '\' outside a class.
func (t *onigReader) escape() error {
	for _, k := range []struct{ have, want string }{
		{"A", `\A`}, {"z", `\z`}, {"Z", `\Z`}, {"O", `(?s:.)`}, {"N", `[^\n]`}, {"R", `(?>\r\n|[\n-\r\x85\u2028\u2029])`},
		{"b", `(?:(?<=[` + aloneItems + `])(?![` + aloneItems + `])|(?<![` + aloneItems + `])(?=[` + aloneItems + `]))`},
		{"B", `(?:(?<=[` + aloneItems + `])(?=[` + aloneItems + `])|(?<![` + aloneItems + `])(?![` + aloneItems + `]))`},
	} {
		if t.accept(k.have) {
			t.out.WriteString(k.want)
			return nil
		}
	}
	if t.in != "" && t.in[0] >= '1' && t.in[0] <= '9' {
		return refuse(`\` + t.in[:1])
	}
	item, err := t.classEscape()
	switch {
	case err != nil:
		return err
	case item.single:
		t.out.WriteString(item.text)
		return nil
	case item.text == wordItems:
		item.text = aloneItems
	}
	t.out.WriteString(item.class().expression())
	return nil
}

// classItem is a part of a class.
type classItem struct {
	text    string // the inside of a class
	single  bool   // it is one character
	negated bool   // it is what the text is not
}

func (c classItem) class() *charClass {
	return &charClass{negated: c.negated, operands: []union{{items: c.text}}}
}

// classEscape reads what follows a '\' and is a character or a set of them.
func (t *onigReader) classEscape() (classItem, error) {
	if t.in == "" {
		return classItem{}, errors.New(`it ends with "\"`)
	}
	switch r := t.read(); r {
	case 'w', 'W':
		return classItem{text: wordItems, negated: r == 'W'}, nil
	case 'd', 'D':
		return classItem{text: `\p{Nd}`, negated: r == 'D'}, nil
	case 's', 'S':
		return classItem{text: spaceItems, negated: r == 'S'}, nil
	case 'h', 'H':
		return classItem{text: hexItems, negated: r == 'H'}, nil
	case 'p', 'P':
		name, rest, ok := strings.Cut(t.in, "}")
		if !ok || name == "" || name[0] != '{' {
			return classItem{}, refuse(`\` + string(r))
		}
		t.in = rest
		name, not := strings.CutPrefix(name[1:], "^")
		items, err := property(name)
		return classItem{text: items, negated: not != (r == 'P')}, err
	case 't', 'n', 'r', 'f', 'v', 'a', 'e':
		return classItem{text: `\` + string(r), single: true}, nil
	case 'x', 'u':
		return t.hexEscape(r)
	default:
		if r >= utf8.RuneSelf || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return classItem{}, refuse(`\` + string(r))
		}
		return classItem{text: `\` + string(r), single: true}, nil
	}
}

// hexEscape reads the number of \x41, \x{1F600} or \u0041.
func (t *onigReader) hexEscape(kind rune) (classItem, error) {
	var digits string
	ok, byByte := true, false
	switch {
	case kind == 'x' && t.accept("{"):
		digits, t.in, ok = strings.Cut(t.in, "}")
	case kind == 'x' && len(t.in) >= 2:
		digits, t.in, byByte = t.in[:2], t.in[2:], true
	case kind == 'u' && len(t.in) >= 4:
		digits, t.in = t.in[:4], t.in[4:]
	}
	n, err := strconv.ParseUint(digits, 16, 32)
	if !ok || err != nil || !utf8.ValidRune(rune(n)) || byByte && n >= utf8.RuneSelf {
		return classItem{}, refuse(`\` + string(kind) + digits)
	}
	return classItem{text: literalItem(rune(n)), single: true}, nil
}

// literalItem writes a character that stands for itself, in a class and outside one.
func literalItem(r rune) string {
	if strings.ContainsRune(`\[]{}()^$.|?*+-#&~/ `, r) {
		return `\` + string(r)
	}
	return string(r)
}
