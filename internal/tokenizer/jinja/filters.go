package jinja

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// filters are the filters of jinja2, with transformers' tojson. A nil one is known and not supported.
var filters map[string]func(r *render, v any, a *arguments) any

func init() {
	filters = map[string]func(r *render, v any, a *arguments) any{
		"abs": filterAbs, "attr": filterAttr, "capitalize": textFilter(func(s string) string { return capitalize(s) }), "center": filterCenter,
		"count": filterLength, "d": filterDefault, "default": filterDefault, "dictsort": filterDictsort, "e": filterEscape, "escape": filterEscape,
		"first": filterFirst, "float": filterFloat, "format": filterFormat, "indent": filterIndent, "int": filterInt, "items": filterItems,
		"join": filterJoin, "last": filterLast, "length": filterLength, "list": filterList, "lower": textFilter(lower), "map": filterMap,
		"max": extreme(1), "min": extreme(-1), "reject": picker(false, false), "rejectattr": picker(true, false), "replace": filterReplace,
		"reverse": filterReverse, "round": filterRound, "safe": filterSafe, "select": picker(false, true), "selectattr": picker(true, true),
		"sort": filterSort, "string": filterString, "sum": filterSum, "title": textFilter(filterTitle), "tojson": filterJSON, "trim": filterTrim,
		"unique": filterUnique, "upper": textFilter(upper),
		"batch": nil, "filesizeformat": nil, "forceescape": nil, "groupby": nil, "pprint": nil, "random": nil, "slice": nil, "striptags": nil,
		"truncate": nil, "urlencode": nil, "urlize": nil, "wordcount": nil, "wordwrap": nil, "xmlattr": nil,
	}
}

func (r *render) filter(name string, v any, a *arguments) any {
	f, ok := filters[name]
	switch {
	case !ok:
		fail("no filter is named %s", name)
	case f == nil:
		unsupported("the filter %s", name)
	}
	r.chargeValue(v)
	return f(r, v, a)
}

// soft is what jinja2's filters of texts make of a value: its text. A text that is marked as safe is refused, since what
// they return would be one too.
func (r *render) soft(v any) string {
	if s, ok := plain(v); ok {
		return s
	}
	return r.str(v)
}

func textFilter(f func(string) string) func(r *render, v any, a *arguments) any {
	return func(r *render, v any, a *arguments) any {
		a.bind("the filter", 0)
		return f(r.soft(v))
	}
}

// filterTitle makes the first letter of each word upper case and the others lower case.
func filterTitle(s string) string {
	var b strings.Builder
	isMark := func(c rune) bool { return isSpace(c) || strings.ContainsRune("-({[<", c) }
	for s != "" {
		i := strings.IndexFunc(s, isMark)
		switch {
		case i < 0:
			i = len(s)
		case i == 0:
			if i = strings.IndexFunc(s, func(c rune) bool { return !isMark(c) }); i < 0 {
				i = len(s)
			}
		}
		_, n := utf8.DecodeRuneInString(s)
		b.WriteString(upper(s[:n]))
		b.WriteString(lower(s[n:i]))
		s = s[i:]
	}
	return b.String()
}

func filterAbs(_ *render, v any, a *arguments) any {
	a.bind("abs", 0)
	need(v)
	i, f, isFloat, ok := number(v)
	switch {
	case !ok:
		fail("abs wants a number, have a %s", typeName(v))
	case isFloat:
		return math.Abs(f)
	case i < 0:
		return intArithmetic("-", 0, i)
	}
	return i
}

func filterAttr(r *render, v any, a *arguments) any {
	name := wantText(a.bind("attr", 1, "name")[0])
	need(v)
	if found, ok := r.method(v, name); ok {
		return found
	}
	return r.missing(v, name)
}

func filterCenter(r *render, v any, a *arguments) any {
	width := a.bind("center", 0, "width")[0]
	if !given(width) {
		width = int64(80)
	}
	return stringMethods["center"](r, r.soft(v), &arguments{positional: []any{width}})
}

func filterLength(_ *render, v any, a *arguments) any {
	a.bind("length", 0)
	n, ok := length(v)
	if !ok {
		fail("a %s has no length", typeName(v))
	}
	return int64(n)
}

func filterDefault(_ *render, v any, a *arguments) any {
	x := a.bind("default", 0, "default_value", "boolean")
	if !given(x[0]) {
		x[0] = ""
	}
	if _, missing := v.(undefined); missing || given(x[1]) && truth(x[1]) && !truth(v) {
		return x[0]
	}
	return v
}

func filterEscape(r *render, v any, a *arguments) any {
	a.bind("escape", 0)
	if m, ok := v.(markup); ok {
		return m
	}
	return markup(escapeHTML(r.str(v)))
}

func filterSafe(r *render, v any, a *arguments) any {
	a.bind("safe", 0)
	return markup(r.str(v))
}

func filterString(r *render, v any, a *arguments) any {
	a.bind("string", 0)
	if m, ok := v.(markup); ok {
		return m
	}
	return r.str(v)
}

func filterFormat(r *render, v any, a *arguments) any {
	s := r.soft(v)
	if len(a.names) == 0 {
		return r.printf(s, Tuple(a.positional))
	}
	if len(a.positional) > 0 {
		fail("format: arguments with and without names")
	}
	return r.printf(s, r.entries(a))
}

func filterIndent(r *render, v any, a *arguments) any {
	x := a.bind("indent", 0, "width", "first", "blank")
	s, ok := plain(v)
	if !ok {
		fail("indent wants a text, have a %s", typeName(v))
	}
	indent := "    "
	if given(x[0]) {
		if indent, ok = plain(x[0]); !ok {
			indent = strings.Repeat(" ", r.times(1, int64(wantInt(x[0]))))
		}
	}
	p := &printer{r: r}
	if given(x[1]) && truth(x[1]) {
		p.add(indent)
	}
	blank := given(x[2]) && truth(x[2])
	for i, line := range splitLines(s+"\n", false) {
		if i > 0 {
			p.add("\n")
			if line != "" || blank {
				p.add(indent)
			}
		}
		p.add(line)
	}
	return p.String()
}

func filterInt(_ *render, v any, a *arguments) any {
	x := a.bind("int", 0, "default", "base")
	need(v)
	if !given(x[0]) {
		x[0] = int64(0)
	}
	base := wantIntOr(x[1], 10)
	fromFloat := func(f float64) any {
		if math.IsInf(f, 0) || f != f {
			return x[0]
		}
		if math.Abs(f) >= 1<<63 {
			unsupported("an integer of more than 64 bits")
		}
		return int64(f)
	}
	if s, ok := plain(v); ok {
		if i, ok := parseInt(s, base); ok {
			return i
		}
		if f, ok := parseFloat(s); ok {
			return fromFloat(f)
		}
		return x[0]
	}
	i, f, isFloat, ok := number(v)
	switch {
	case !ok:
		return x[0]
	case isFloat:
		return fromFloat(f)
	}
	return i
}

// digits returns the text of a number without the white space and the underscores that Python allows; false where it is
// no number.
func digits(s string) (string, bool) {
	s = strings.TrimFunc(s, isSpace)
	if !ascii(s) {
		unsupported("the number %s", quote(s))
	}
	isDigit := func(i int) bool {
		return i >= 0 && i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i]|0x20 >= 'a' && s[i]|0x20 <= 'z')
	}
	for i := range len(s) {
		if s[i] == '_' && !(isDigit(i-1) && isDigit(i+1)) {
			return "", false
		}
	}
	return strings.ReplaceAll(s, "_", ""), s != ""
}

func parseInt(s string, base int) (int64, bool) {
	if base != 0 && (base < 2 || base > 36) {
		return 0, false
	}
	s, ok := digits(s)
	if !ok {
		return 0, false
	}
	unsigned := strings.TrimLeft(s, "+-")
	if len(s)-len(unsigned) > 1 {
		return 0, false
	}
	if len(unsigned) > 1 && unsigned[0] == '0' {
		prefixBase := map[byte]int{'x': 16, 'o': 8, 'b': 2}[unsigned[1]|0x20]
		switch {
		case prefixBase != 0 && (base == 0 || base == prefixBase):
			s, base = s[:len(s)-len(unsigned)]+unsigned[2:], prefixBase
		case base == 0 && strings.Trim(unsigned, "0") != "":
			return 0, false
		}
	}
	if base == 0 {
		base = 10
	}
	i, err := strconv.ParseInt(s, base, 64)
	if e, ok := err.(*strconv.NumError); ok && e.Err == strconv.ErrRange {
		unsupported("an integer of more than 64 bits")
	}
	return i, err == nil
}

func parseFloat(s string) (float64, bool) {
	s, ok := digits(s)
	lower := strings.TrimLeft(strings.ToLower(s), "+-")
	isWord := lower == "inf" || lower == "infinity" || lower == "nan"
	if !ok || len(s)-len(lower) > 1 || !isWord && strings.Trim(lower, "0123456789.e+-") != "" {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	e, isNumError := err.(*strconv.NumError)
	return f, err == nil || isNumError && e.Err == strconv.ErrRange
}

func filterFloat(_ *render, v any, a *arguments) any {
	x := a.bind("float", 0, "default")
	need(v)
	if !given(x[0]) {
		x[0] = 0.0
	}
	if s, ok := plain(v); ok {
		if f, ok := parseFloat(s); ok {
			return f
		}
		return x[0]
	}
	if _, f, _, ok := number(v); ok {
		return f
	}
	return x[0]
}

func filterRound(_ *render, v any, a *arguments) any {
	x := a.bind("round", 0, "precision", "method")
	precision := wantIntOr(x[0], 0)
	method := "common"
	if given(x[1]) {
		method = wantText(x[1])
	}
	if !slices.Contains([]string{"common", "ceil", "floor"}, method) {
		fail("round: have the method %q, want common, ceil or floor", method)
	}
	need(v)
	i, f, isFloat, ok := number(v)
	if !ok {
		fail("round wants a number, have a %s", typeName(v))
	}
	if precision < 0 || precision > 15 {
		unsupported("round to %d digits", precision)
	}
	switch {
	case method != "common":
		power := float64(intArithmetic("**", 10, int64(precision)).(int64))
		up := math.Floor
		if method == "ceil" {
			up = math.Ceil
		}
		if f = up(f * power); math.Abs(f) > 1<<53 || f != f {
			unsupported("round of a large number")
		}
		return float64(int64(f)) / power // never -0
	case !isFloat:
		return i
	case math.IsInf(f, 0) || f != f:
		return f
	}
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(f, 'f', precision, 64), 64)
	return rounded
}

func filterReplace(r *render, v any, a *arguments) any {
	x := a.bind("replace", 2, "old", "new", "count")
	count := -1
	if given(x[2]) && x[2] != nil {
		count = wantInt(x[2])
	}
	return r.replace(r.str(v), r.str(x[0]), r.str(x[1]), count)
}

func filterTrim(r *render, v any, a *arguments) any {
	return stripped(strings.TrimFunc, r.soft(v), a.bind("trim", 0, "chars")[0])
}

func filterJSON(r *render, v any, a *arguments) any { return r.json(v, r.jsonStyleOf(a)) }
