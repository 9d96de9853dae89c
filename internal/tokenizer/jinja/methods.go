package jinja

import "strings"

// method is Python's getattr: a method, or another attribute, of a value; false where it has none of that name. What the
// sandbox forbids is undefined, as there.
func (r *render) method(object any, name string) (any, bool) {
	if strings.HasPrefix(name, "__") {
		unsupported("the attribute %s", name)
	}
	switch v := object.(type) {
	case *namespace:
		return v.attributes.get(name)
	case string:
		if m, ok := stringMethods[name]; ok {
			return &function{name, func(r *render, a *arguments) any {
				r.chargeText(len(v))
				for _, x := range a.positional {
					r.chargeValue(x)
				}
				return m(r, v, a)
			}}, true
		}
		if unsupportedStringMethods[name] {
			return &function{name, func(*render, *arguments) any { unsupported("str.%s", name); return nil }}, true
		}
	case markup:
		if _, ok := stringMethods[name]; ok || unsupportedStringMethods[name] || name == "striptags" || name == "unescape" || name == "escape" {
			unsupported("%s of a text that is marked as safe", name)
		}
	case *Dict:
		return r.dictMethod(v, name)
	case List:
		switch name {
		case "append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove":
			return forbidden(v, name), true
		case "copy":
			return &function{name, func(_ *render, a *arguments) any { a.bind(name, 0); return v }}, true
		}
		return r.sequenceMethod(v, v, name)
	case Tuple:
		return r.sequenceMethod(v, v, name)
	case numbers:
		switch name {
		case "start":
			return v.start, true
		case "stop":
			return v.stop, true
		case "step":
			return v.step, true
		}
		return r.sequenceMethod(v, nil, name)
	case bool, int64, float64:
		return numberMethod(v, name)
	case *view:
		if name == "mapping" || name == "isdisjoint" && v.kind != "values" {
			unsupported("dict_%s.%s", v.kind, name)
		}
	case *loop:
		return v.attribute(r, name)
	case *macro:
		return v.attribute(name)
	case *iterator, *function:
		unsupported("attributes of a %s", typeName(v))
	}
	return nil, false
}

func forbidden(v any, name string) any {
	return undefined("the attribute " + name + " of a " + typeName(v) + " is unsafe")
}

func (r *render) dictMethod(d *Dict, name string) (any, bool) {
	var call func(r *render, a *arguments) any
	switch name {
	case "clear", "pop", "popitem", "setdefault", "update":
		return forbidden(d, name), true
	case "get":
		call = func(_ *render, a *arguments) any {
			v := a.bind(name, 1, "/key", "/default")
			if found, ok := d.get(v[0]); ok {
				return found
			}
			if given(v[1]) {
				return v[1]
			}
			return nil
		}
	case "keys", "values", "items":
		call = func(_ *render, a *arguments) any {
			a.bind(name, 0)
			return &view{d, name}
		}
	case "copy":
		call = func(r *render, a *arguments) any {
			a.bind(name, 0)
			r.charge(len(d.keys))
			return d.Copy()
		}
	case "fromkeys":
		call = func(*render, *arguments) any { unsupported("dict.fromkeys"); return nil }
	default:
		return nil, false
	}
	return &function{name, call}, true
}

// sequenceMethod has the methods of lists, tuples and ranges; items is nil for a range.
func (r *render) sequenceMethod(v any, items []any, name string) (any, bool) {
	if name != "count" && name != "index" {
		return nil, false
	}
	return &function{name, func(r *render, a *arguments) any {
		if _, isRange := v.(numbers); isRange {
			unsupported("range.%s", name)
		}
		x := a.bind(name, 1, "/value", "/start", "/stop")
		if given(x[1]) {
			unsupported("%s with a start", name)
		}
		n := int64(0)
		for i, item := range items {
			if r.equalDepth(item, x[0], 1) {
				if name == "index" {
					return int64(i)
				}
				n++
			}
		}
		if name == "index" {
			fail("the value is not in the %s", typeName(v))
		}
		return n
	}}, true
}

func numberMethod(v any, name string) (any, bool) {
	i, f, isFloat, _ := number(v)
	same := any(i)
	zero := any(int64(0))
	if isFloat {
		same, zero = f, 0.0
	}
	switch name {
	case "real":
		return same, true
	case "imag":
		return zero, true
	case "conjugate":
		return &function{name, func(_ *render, a *arguments) any { a.bind(name, 0); return same }}, true
	case "as_integer_ratio", "is_integer", "hex", "fromhex", "bit_length", "bit_count", "to_bytes", "from_bytes", "numerator", "denominator":
		unsupported("%s.%s", typeName(v), name)
	}
	return nil, false
}

func (l *loop) attribute(r *render, name string) (any, bool) {
	integer := func(i int) (any, bool) { return int64(i), true }
	switch name {
	case "index":
		return integer(l.index0 + 1)
	case "index0":
		return integer(l.index0)
	case "revindex":
		return integer(l.length() - l.index0)
	case "revindex0":
		return integer(l.length() - l.index0 - 1)
	case "length":
		return integer(l.length())
	case "depth":
		return integer(l.depth0 + 1)
	case "depth0":
		return integer(l.depth0)
	case "first":
		return l.index0 == 0, true
	case "last":
		return !given(l.peek()), true
	case "previtem":
		if l.index0 == 0 {
			return undefined("there is no previous item"), true
		}
		return l.before, true
	case "nextitem":
		if v := l.peek(); given(v) {
			return v, true
		}
		return undefined("there is no next item"), true
	case "cycle":
		return &function{name, func(_ *render, a *arguments) any {
			if len(a.positional) == 0 || len(a.names) > 0 {
				fail("loop.cycle wants values")
			}
			return a.positional[l.index0%len(a.positional)]
		}}, true
	case "changed":
		return &function{name, func(r *render, a *arguments) any {
			if len(a.names) > 0 {
				fail("loop.changed takes values only")
			}
			now := Tuple(a.positional)
			if l.changed != nil && r.equal(*l.changed, now) {
				return false
			}
			l.changed = &now
			return true
		}}, true
	}
	if strings.HasPrefix(name, "_") {
		unsupported("the attribute %s", name)
	}
	return nil, false
}

func (m *macro) attribute(name string) (any, bool) {
	switch name {
	case "name":
		if m.name == "" {
			return nil, true
		}
		return m.name, true
	case "arguments":
		parameters := Tuple{}
		for _, p := range m.parameters {
			parameters = append(parameters, p)
		}
		return parameters, true
	case "catch_kwargs":
		return m.kwargs, true
	case "catch_varargs":
		return m.varargs, true
	case "caller":
		return m.caller, true
	}
	if strings.HasPrefix(name, "_") || name == "explicit_caller" {
		unsupported("the attribute %s", name)
	}
	return nil, false
}

// globals are the names that a template knows besides its variables.
var globals map[string]any

func init() {
	globals = map[string]any{
		"range":           &function{"range", newRange},
		"dict":            &function{"dict", newDict},
		"namespace":       &function{"namespace", func(r *render, a *arguments) any { return newNamespace(r, a) }},
		"raise_exception": &function{"raise_exception", raise},
		"strftime_now":    &function{"strftime_now", strftimeNow},
	}
	for _, name := range []string{"lipsum", "cycler", "joiner"} {
		globals[name] = &function{name, func(*render, *arguments) any { unsupported("%s", name); return nil }}
	}
}

func newRange(_ *render, a *arguments) any {
	v := a.bind("range", 1, "/start", "/stop", "/step")
	var n [3]int
	for i, x := range v {
		if given(x) {
			need(x)
			var ok bool
			if n[i], ok = index(x); !ok {
				fail("range wants integers, have a %s", typeName(x))
			}
		}
	}
	rng := numbers{int64(n[0]), int64(n[1]), 1}
	if !given(v[1]) {
		rng.start, rng.stop = 0, rng.start
	}
	if given(v[2]) {
		rng.step = int64(n[2])
	}
	const limit = 1 << 60
	if rng.step == 0 {
		fail("the step of a range is 0")
	}
	if max(rng.start, rng.stop, rng.step) > limit || min(rng.start, rng.stop, rng.step) < -limit || rng.len() > maxRange {
		fail("a range has more than %d elements", maxRange)
	}
	return rng
}

// entries returns the entries that Python's dict takes from its arguments.
func (r *render) entries(a *arguments) *Dict {
	d := NewDict()
	if len(a.positional) > 1 {
		fail("dict takes at most one argument, have %d", len(a.positional))
	}
	if len(a.positional) == 1 {
		if from, ok := a.positional[0].(*Dict); ok {
			r.charge(len(from.keys))
			d = from.Copy()
		} else {
			for _, pair := range r.list(a.positional[0]) {
				kv := r.list(pair)
				if len(kv) != 2 {
					fail("dict wants pairs, have %d values", len(kv))
				}
				d.put(kv[0], kv[1])
			}
		}
	}
	for i, name := range a.names {
		d.Set(name, a.named[i])
	}
	return d
}

func newDict(r *render, a *arguments) any { return r.entries(a) }

func newNamespace(r *render, a *arguments) any {
	n := &namespace{NewDict()}
	d := r.entries(a)
	for i, k := range d.keys {
		if name, ok := k.(string); ok {
			n.set(name, d.values[i])
		} else {
			unsupported("an attribute that is no text")
		}
	}
	return n
}

func raise(r *render, a *arguments) any {
	message := a.bind("raise_exception", 1, "message")[0]
	panic(failure{&Error{Reason: r.str(message), Raised: true}})
}
