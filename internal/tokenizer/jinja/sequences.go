package jinja

import (
	"slices"
	"strconv"
	"strings"
)

// This file has the filters of sequences. Those that jinja2 writes as generators return iterators, which are gone through
// once, and fail when they are gone through.

func (r *render) iteratorOf(v any, start func() func() (any, bool)) *iterator {
	var next func() (any, bool)
	return &iterator{func() (any, bool) {
		if next == nil {
			next = start()
		}
		return next()
	}}
}

func nothing() (any, bool) { return nil, false }

func filterItems(r *render, v any, a *arguments) any {
	a.bind("items", 0)
	return r.iteratorOf(v, func() func() (any, bool) {
		if _, ok := v.(undefined); ok {
			return nothing
		}
		d, ok := v.(*Dict)
		if !ok {
			fail("items wants a dict, have a %s", typeName(v))
		}
		return r.iterate(&view{d, "items"})
	})
}

func filterFirst(r *render, v any, a *arguments) any {
	a.bind("first", 0)
	if x, ok := r.iterate(v)(); ok {
		return x
	}
	return undefined("there is no first item, the sequence was empty")
}

func filterLast(_ *render, v any, a *arguments) any {
	a.bind("last", 0)
	n, at, ok := reversible(v)
	if !ok {
		fail("last: a %s cannot be reversed", typeName(v))
	}
	if n == 0 {
		return undefined("there is no last item, the sequence was empty")
	}
	return at(n - 1)
}

func filterList(r *render, v any, a *arguments) any {
	a.bind("list", 0)
	return r.list(v)
}

func filterReverse(r *render, v any, a *arguments) any {
	a.bind("reverse", 0)
	if s, ok := plain(v); ok {
		return r.slice(s, nil, nil, int64(-1))
	}
	n, at, ok := reversible(v)
	if !ok {
		list := r.list(v)
		slices.Reverse(list)
		return list
	}
	return &iterator{func() (any, bool) {
		if n == 0 {
			return nil, false
		}
		r.charge(1)
		n--
		return at(n), true
	}}
}

// getter is jinja2's attribute getter: names and indices with dots between them; nil gives the value itself.
func (r *render) getter(path any) func(v any) any {
	var parts []any
	switch p := path.(type) {
	case nil, absent:
	case string:
		for _, part := range strings.Split(p, ".") {
			parts = append(parts, pathPart(part))
		}
	default:
		parts = []any{path}
	}
	return func(v any) any {
		for _, part := range parts {
			v = r.item(v, part)
		}
		return v
	}
}

func pathPart(s string) any {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		if !ascii(s) {
			unsupported("the attribute %s", quote(s))
		}
		return s
	}
	i, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		unsupported("the index %s", s)
	}
	return i
}

// folded returns v, a text in lower case.
func folded(v any) any {
	if s, ok := plain(v); ok {
		return lower(s)
	}
	return v
}

func caseOf(sensitive any) func(any) any {
	if given(sensitive) && truth(sensitive) {
		return func(v any) any { return v }
	}
	return folded
}

func filterJoin(r *render, v any, a *arguments) any {
	x := a.bind("join", 0, "d", "attribute")
	sep := ""
	if given(x[0]) {
		sep = r.str(x[0])
	}
	get := r.getter(x[1])
	p := &printer{r: r}
	next := r.iterate(v)
	for i := 0; ; i++ {
		item, ok := next()
		if !ok {
			return p.String()
		}
		if i > 0 {
			p.add(sep)
		}
		p.add(r.str(get(item)))
	}
}

func filterMap(r *render, v any, a *arguments) any {
	return r.iteratorOf(v, func() func() (any, bool) {
		if !truth(v) {
			return nothing
		}
		apply := r.mapper(a)
		next := r.iterate(v)
		return func() (any, bool) {
			x, ok := next()
			if !ok {
				return nil, false
			}
			return apply(x), true
		}
	})
}

// mapper is what map does with each element: take an attribute, or apply a filter.
func (r *render) mapper(a *arguments) func(any) any {
	if len(a.positional) == 0 && slices.Contains(a.names, "attribute") {
		x := a.bind("map", 0, "attribute", "default")
		var getters []func(any) any
		switch path := x[0].(type) {
		case string:
			for _, part := range strings.Split(path, ".") {
				getters = append(getters, r.getter(pathPart(part)))
			}
		default:
			getters = append(getters, r.getter(path))
		}
		return func(v any) any {
			for _, get := range getters {
				v = get(v)
				if _, missing := v.(undefined); missing && given(x[1]) && x[1] != nil {
					v = x[1]
				}
			}
			return v
		}
	}
	if len(a.positional) == 0 {
		fail("map wants a filter or an attribute")
	}
	name := filterName(a.positional[0])
	rest := &arguments{a.positional[1:], a.names, a.named}
	return func(v any) any { return r.filter(name, v, rest) }
}

func filterName(v any) string {
	name, ok := plain(v)
	if !ok {
		fail("have a %s, want the name of a filter or a test", typeName(v))
	}
	return name
}

// picker is select, reject, selectattr and rejectattr.
func picker(attribute, want bool) func(r *render, v any, a *arguments) any {
	return func(r *render, v any, a *arguments) any {
		return r.iteratorOf(v, func() func() (any, bool) {
			if !truth(v) {
				return nothing
			}
			get, rest := r.getter(nil), *a
			if attribute {
				if len(a.positional) == 0 {
					fail("want the name of an attribute")
				}
				get = r.getter(a.positional[0])
				rest.positional = a.positional[1:]
			}
			is := truth
			if len(rest.positional) > 0 {
				name := rest.positional[0]
				rest.positional = rest.positional[1:]
				is = func(v any) bool { return truth(r.test(filterName(name), v, &rest)) }
			}
			next := r.iterate(v)
			return func() (any, bool) {
				for x, ok := next(); ok; x, ok = next() {
					if is(get(x)) == want {
						return x, true
					}
				}
				return nil, false
			}
		})
	}
}

// sorted is Python's sorted, with the key of each element; descending keeps the order of equal elements too.
func (r *render) sorted(list List, key func(any) any, descending bool) List {
	type element struct{ value, key any }
	elements := make([]element, len(list))
	for i, v := range list {
		elements[i] = element{v, key(v)}
	}
	slices.SortStableFunc(elements, func(a, b element) int {
		if descending {
			a, b = b, a
		}
		return r.order(a.key, b.key)
	})
	out := make(List, len(list))
	for i, e := range elements {
		out[i] = e.value
	}
	return out
}

func filterSort(r *render, v any, a *arguments) any {
	x := a.bind("sort", 0, "reverse", "case_sensitive", "attribute")
	fold := caseOf(x[1])
	var getters []func(any) any
	if path, ok := x[2].(string); ok {
		for _, part := range strings.Split(path, ",") {
			getters = append(getters, r.getter(part))
		}
	} else {
		getters = append(getters, r.getter(x[2]))
	}
	key := func(v any) any {
		keys := make(List, len(getters))
		for i, get := range getters {
			keys[i] = fold(get(v))
		}
		return keys
	}
	return r.sorted(r.list(v), key, given(x[0]) && truth(x[0]))
}

func filterDictsort(r *render, v any, a *arguments) any {
	x := a.bind("dictsort", 0, "case_sensitive", "by", "reverse")
	position := 0
	switch {
	case !given(x[1]) || x[1] == any("key"):
	case x[1] == any("value"):
		position = 1
	default:
		fail("dictsort: by wants key or value")
	}
	d, ok := v.(*Dict)
	if !ok {
		fail("dictsort wants a dict, have a %s", typeName(v))
	}
	fold := caseOf(x[0])
	return r.sorted(r.list(&view{d, "items"}), func(v any) any { return fold(v.(Tuple)[position]) }, given(x[2]) && truth(x[2]))
}

func filterUnique(r *render, v any, a *arguments) any {
	x := a.bind("unique", 0, "case_sensitive", "attribute")
	fold, get := caseOf(x[0]), r.getter(x[1])
	return r.iteratorOf(v, func() func() (any, bool) {
		seen := map[any]bool{}
		next := r.iterate(v)
		return func() (any, bool) {
			for x, ok := next(); ok; x, ok = next() {
				if key := hash(fold(get(x))); !seen[key] {
					seen[key] = true
					return x, true
				}
			}
			return nil, false
		}
	})
}

// extreme is max and min.
func extreme(sign int) func(r *render, v any, a *arguments) any {
	return func(r *render, v any, a *arguments) any {
		x := a.bind("max and min", 0, "case_sensitive", "attribute")
		fold, get := caseOf(x[0]), r.getter(x[1])
		next := r.iterate(v)
		best, ok := next()
		if !ok {
			return undefined("there is no item, the sequence was empty")
		}
		key := fold(get(best))
		for v, ok := next(); ok; v, ok = next() {
			if k := fold(get(v)); r.order(k, key) == sign {
				best, key = v, k
			}
		}
		return best
	}
}

func filterSum(r *render, v any, a *arguments) any {
	x := a.bind("sum", 0, "attribute", "start")
	var sum any = int64(0)
	if given(x[1]) {
		sum = x[1]
	}
	switch sum.(type) {
	case string, markup:
		fail("sum wants no text to start with")
	}
	get := r.getter(x[0])
	next := r.iterate(v)
	for x, ok := next(); ok; x, ok = next() {
		sum = r.arithmetic("+", sum, get(x))
	}
	return sum
}
