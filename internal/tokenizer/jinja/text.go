package jinja

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// str is Python's str.
func (r *render) str(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case markup:
		return string(v)
	case undefined:
		return ""
	}
	return r.repr(v)
}

// repr is Python's repr.
func (r *render) repr(v any) string {
	p := &printer{r: r}
	p.repr(v, 0)
	return p.String()
}

// printer writes values; what it writes is charged.
type printer struct {
	strings.Builder
	r *render
}

func (p *printer) add(s string) {
	p.r.chargeText(len(s))
	p.WriteString(s)
}

func (p *printer) repr(v any, depth int) {
	if depth > maxNesting {
		unsupported("printing a value that is nested more than %d deep", maxNesting)
	}
	list := func(open, end string, n int, element func(i int)) {
		p.add(open)
		for i := range n {
			if i > 0 {
				p.add(", ")
			}
			element(i)
		}
		p.add(end)
	}
	switch v := v.(type) {
	case nil:
		p.add("None")
	case bool:
		p.add(map[bool]string{true: "True", false: "False"}[v])
	case int64:
		p.add(strconv.FormatInt(v, 10))
	case float64:
		p.add(floatText(v))
	case string:
		p.add(quote(v))
	case markup:
		p.add("Markup(" + quote(string(v)) + ")")
	case undefined:
		p.add("Undefined")
	case List:
		list("[", "]", len(v), func(i int) { p.repr(v[i], depth+1) })
	case Tuple:
		end := ")"
		if len(v) == 1 {
			end = ",)"
		}
		list("(", end, len(v), func(i int) { p.repr(v[i], depth+1) })
	case *Dict:
		list("{", "}", len(v.keys), func(i int) {
			p.repr(v.keys[i], depth+1)
			p.add(": ")
			p.repr(v.values[i], depth+1)
		})
	case *view:
		list("dict_"+v.kind+"([", "])", len(v.dict.keys), func(i int) { p.repr(v.at(i), depth+1) })
	case numbers:
		if v.step == 1 {
			p.add(fmt.Sprintf("range(%d, %d)", v.start, v.stop))
		} else {
			p.add(fmt.Sprintf("range(%d, %d, %d)", v.start, v.stop, v.step))
		}
	case *namespace:
		p.add("<Namespace ")
		p.repr(v.attributes, depth+1)
		p.add(">")
	case *loop:
		p.add(fmt.Sprintf("<LoopContext %d/%d>", v.index0+1, v.length()))
	case *macro:
		if v.name == "" {
			p.add("<Macro anonymous>")
		} else {
			p.add("<Macro " + quote(v.name) + ">")
		}
	default:
		unsupported("printing a %s", typeName(v))
	}
}

// floatText is the shortest text that gives the same float, in Python's form.
func floatText(f float64) string {
	switch {
	case math.IsInf(f, 0):
		return strings.TrimPrefix(strings.ToLower(strconv.FormatFloat(f, 'f', -1, 64)), "+")
	case f != f:
		return "nan"
	}
	scientific := strconv.FormatFloat(f, 'e', -1, 64)
	exponent, _ := strconv.Atoi(scientific[strings.IndexByte(scientific, 'e')+1:])
	if exponent < -4 || exponent >= 16 {
		return scientific
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// quote is Python's repr of a str.
func quote(s string) string {
	mark := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		mark = '"'
	}
	var b strings.Builder
	b.WriteByte(mark)
	for _, c := range s {
		switch {
		case c == rune(mark) || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case printable(c):
			b.WriteRune(c)
		default:
			b.WriteString(escaped(c))
		}
	}
	b.WriteByte(mark)
	return b.String()
}

func printable(c rune) bool {
	return c >= ' ' && c < 0x7F || c > 0x7F && unicode.In(c, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S)
}

// escaped is Python's backslash escape of a character.
func escaped(c rune) string {
	switch {
	case c < 0x100:
		return fmt.Sprintf(`\x%02x`, c)
	case c < 0x10000:
		return fmt.Sprintf(`\u%04x`, c)
	}
	return fmt.Sprintf(`\U%08x`, c)
}

// jsonStyle is how tojson writes.
type jsonStyle struct {
	ascii, sortKeys bool
	indented        bool
	indent          string
	comma, colon    string
}

// jsonStyleOf reads the arguments of transformers' tojson.
func (r *render) jsonStyleOf(a *arguments) jsonStyle {
	v := a.bind("tojson", 0, "ensure_ascii", "indent", "separators", "sort_keys")
	style := jsonStyle{comma: ", ", colon: ": "}
	style.ascii = v[0] != absent{} && truth(v[0])
	style.sortKeys = v[3] != absent{} && truth(v[3])
	if v[1] != (absent{}) && v[1] != nil {
		style.indented, style.comma = true, ","
		if s, ok := plain(v[1]); ok {
			style.indent = s
		} else {
			n, ok := index(v[1])
			if !ok {
				fail("tojson: indent: have a %s, want a number or a text", typeName(v[1]))
			}
			if n > 1000 {
				unsupported("tojson: an indent of %d", n)
			}
			style.indent = strings.Repeat(" ", max(n, 0))
		}
	}
	if v[2] != (absent{}) && v[2] != nil {
		pair := r.list(v[2])
		if len(pair) != 2 {
			fail("tojson: separators: have %d, want two", len(pair))
		}
		var ok0, ok1 bool
		style.comma, ok0 = plain(pair[0])
		style.colon, ok1 = plain(pair[1])
		if !ok0 || !ok1 {
			fail("tojson: separators: want two texts")
		}
	}
	return style
}

func (r *render) json(v any, style jsonStyle) string {
	p := &printer{r: r}
	p.json(v, style, 0)
	return p.String()
}

func (p *printer) json(v any, style jsonStyle, depth int) {
	if depth > maxNesting {
		unsupported("tojson of a value that is nested more than %d deep", maxNesting)
	}
	list := func(open, end string, n int, element func(i int)) {
		p.add(open)
		line := func(depth int) {
			if style.indented {
				p.add("\n")
				for range depth {
					p.add(style.indent)
				}
			}
		}
		for i := range n {
			if i > 0 {
				p.add(style.comma)
			}
			line(depth + 1)
			element(i)
		}
		if n > 0 {
			line(depth)
		}
		p.add(end)
	}
	array := func(items []any) {
		list("[", "]", len(items), func(i int) { p.json(items[i], style, depth+1) })
	}
	switch v := v.(type) {
	case nil:
		p.add("null")
	case bool:
		p.add(strconv.FormatBool(v))
	case int64:
		p.add(strconv.FormatInt(v, 10))
	case float64:
		p.add(jsonFloat(v))
	case string:
		p.add(jsonString(v, style.ascii))
	case markup:
		p.add(jsonString(string(v), style.ascii))
	case List:
		array(v)
	case Tuple:
		array(v)
	case *Dict:
		order := make([]int, len(v.keys))
		for i := range order {
			order[i] = i
		}
		if style.sortKeys {
			p.r.charge(len(order))
			slices.SortStableFunc(order, func(i, j int) int { return p.r.order(v.keys[i], v.keys[j]) })
		}
		list("{", "}", len(order), func(i int) {
			p.add(jsonString(jsonKey(v.keys[order[i]]), style.ascii))
			p.add(style.colon)
			p.json(v.values[order[i]], style, depth+1)
		})
	default:
		fail("tojson: a value of type %s is not JSON", typeName(v))
	}
}

func jsonKey(k any) string {
	switch k := k.(type) {
	case string:
		return k
	case markup:
		return string(k)
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(k)
	case int64:
		return strconv.FormatInt(k, 10)
	case float64:
		return jsonFloat(k)
	}
	fail("tojson: a key of type %s is not JSON", typeName(k))
	return ""
}

func jsonFloat(f float64) string {
	switch s := floatText(f); s {
	case "inf":
		return "Infinity"
	case "-inf":
		return "-Infinity"
	case "nan":
		return "NaN"
	default:
		return s
	}
}

func jsonString(s string, ascii bool) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		if at := strings.IndexRune("\"\\\n\r\t\f\b", c); at >= 0 {
			b.WriteByte('\\')
			b.WriteByte("\"\\nrtfb"[at])
			continue
		}
		switch {
		case c >= ' ' && c < 0x7F || c >= 0x7F && !ascii:
			b.WriteRune(c)
		case c < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xD800+(c-0x10000)>>10, 0xDC00+(c-0x10000)&0x3FF)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// isSpace tells whether a character is white space for Python.
func isSpace(c rune) bool {
	return c >= '\t' && c <= '\r' || c >= 0x1C && c <= ' ' || c == 0x85 || c == 0xA0 || c > 0xFF && unicode.IsSpace(c)
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
