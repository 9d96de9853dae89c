package jinja

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var directive = regexp.MustCompile(`^%(?:\(([^()]*)\))?([-+ 0]*)(\d{0,3})(?:\.(\d{1,3}))?([sdifr%])`)

// printf is Python's format % values.
func (r *render) printf(format string, values any) any {
	positional, isTuple := values.(Tuple)
	if !isTuple {
		positional = Tuple{values}
	}
	used, named := 0, false
	p := &printer{r: r}
	for format != "" {
		i := strings.IndexByte(format, '%')
		if i < 0 {
			p.add(format)
			break
		}
		p.add(format[:i])
		m := directive.FindStringSubmatch(format[i:])
		if m == nil {
			unsupported("the format %s", quote(format[i:min(i+10, len(format))]))
		}
		format = format[i+len(m[0]):]
		if m[5] == "%" {
			if m[0] != "%%" {
				unsupported("the format %s", quote(m[0]))
			}
			p.add("%")
			continue
		}
		var v any
		if strings.HasPrefix(m[0], "%(") {
			d, ok := values.(*Dict)
			if !ok {
				fail("a format with names wants a dict, have a %s", typeName(values))
			}
			if v, ok = d.get(m[1]); !ok {
				fail("a format wants %s", m[1])
			}
			named = true
		} else {
			if used == len(positional) || named {
				fail("too few values for a format")
			}
			v = positional[used]
			used++
		}
		p.add(r.directive(m, v))
	}
	if used < len(positional) && !named {
		switch values.(type) {
		case List, *Dict, numbers, undefined: // Python takes these for mappings
		default:
			fail("too many values for a format")
		}
	}
	return p.String()
}

// directive formats one value; m is a match of the directive.
func (r *render) directive(m []string, v any) string {
	flags, verb := m[2], m[5]
	precision := ""
	if m[4] != "" {
		precision = "." + m[4]
	}
	with := func(verb string, v any) string { return fmt.Sprintf("%"+flags+m[3]+precision+verb, v) }
	if verb == "s" || verb == "r" {
		if strings.Trim(flags, "-") != "" {
			unsupported("the format %s", quote(m[0]))
		}
		if _, ok := v.(markup); ok {
			unsupported("formatting a text that is marked as safe")
		}
		if verb == "r" {
			return with("s", r.repr(v))
		}
		return with("s", r.str(v))
	}
	need(v)
	i, f, isFloat, ok := number(v)
	switch {
	case !ok:
		fail("the format %s wants a number, have a %s", m[0], typeName(v))
	case math.IsInf(f, 0) || f != f || math.Abs(f) >= 1<<62:
		unsupported("formatting a large number")
	case verb == "f":
		return with("f", f)
	case precision != "" || strings.Contains(flags, "-") && strings.Contains(flags, "0"):
		unsupported("the format %s", quote(m[0]))
	case isFloat:
		return with("d", int64(f))
	}
	return with("d", i)
}

// formatMethod is str.format, for fields without a format.
func formatMethod(r *render, s string, a *arguments) any {
	p := &printer{r: r}
	automatic, numbered := 0, false
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			p.add(s)
			break
		}
		p.add(s[:i])
		if strings.HasPrefix(s[i:], "{{") || strings.HasPrefix(s[i:], "}}") {
			p.add(s[i : i+1])
			s = s[i+2:]
			continue
		}
		end := strings.IndexAny(s[i+1:], "{}")
		if s[i] == '}' || end < 0 {
			fail("format: a single brace")
		}
		if s[i+1+end] == '{' {
			unsupported("a format within a format")
		}
		field := s[i+1 : i+1+end]
		s = s[i+end+2:]
		conversion := ""
		if name, after, ok := strings.Cut(field, "!"); ok {
			if field, conversion = name, after; conversion != "r" && conversion != "s" {
				unsupported("the format %s", quote("!"+after))
			}
		}
		if strings.Contains(field, ":") {
			unsupported("the format %s", quote(field))
		}
		first := field
		if at := strings.IndexAny(field, ".["); at >= 0 {
			first = field[:at]
		}
		var v any
		number, err := strconv.Atoi(first)
		switch {
		case first == "":
			number = automatic
			automatic++
		case err == nil:
			numbered = true
		}
		switch {
		case automatic > 0 && numbered:
			fail("format: fields with and without numbers")
		case first != "" && err != nil:
			v = a.named0(first)
		case number < 0 || number >= len(a.positional):
			fail("format: no value for field %d", number)
		default:
			v = a.positional[number]
		}
		v = r.path(v, field[len(first):])
		if _, ok := v.(markup); ok {
			unsupported("formatting a text that is marked as safe")
		}
		if conversion == "r" {
			p.add(r.repr(v))
		} else {
			p.add(r.str(v))
		}
	}
	return p.String()
}

// named0 returns the argument of a name.
func (a *arguments) named0(name string) any {
	for i, n := range a.names {
		if n == name {
			return a.named[i]
		}
	}
	fail("format: no value for field %s", name)
	return nil
}

// path follows .name and [key] of a format's field.
func (r *render) path(v any, path string) any {
	for path != "" {
		if path[0] == '.' {
			end := strings.IndexAny(path[1:], ".[") + 1
			if end == 0 {
				end = len(path)
			}
			v, path = r.attribute(v, path[1:end]), path[end:]
			continue
		}
		end := strings.IndexByte(path, ']')
		if path[0] != '[' || end < 2 {
			fail("format: a field that is not closed")
		}
		var key any = path[1:end]
		if i, err := strconv.ParseInt(path[1:end], 10, 64); err == nil && i >= 0 {
			key = i
		}
		v, path = r.item(v, key), path[end+1:]
	}
	return v
}

// layouts are the directives of strftime, for the locale C.
var layouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'd': "02", 'e': "_2", 'H': "15", 'I': "03", 'm': "01", 'M': "04", 'p': "PM", 'S': "05",
	'y': "06", 'Y': "2006", 'F': "2006-01-02", 'T': "15:04:05", 'D': "01/02/06", 'R': "15:04", 'h': "Jan", 'j': "002",
}

func strftimeNow(r *render, a *arguments) any {
	format := wantText(a.bind("strftime_now", 1, "format")[0])
	return strftime(r.now(), format)
}

func strftime(now time.Time, format string) string {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		layout, ok := layouts[format[i]]
		switch {
		case ok:
			b.WriteString(now.Format(layout))
		case format[i] == '%':
			b.WriteByte('%')
		default:
			unsupported("strftime_now with %%%c", format[i])
		}
	}
	return b.String()
}
