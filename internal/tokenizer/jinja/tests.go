package jinja

// tests are the tests of jinja2; the first argument is the value that is tested.
var tests map[string]func(r *render, v any, a *arguments) bool

func init() {
	compared := func(op string) func(r *render, v any, a *arguments) bool {
		return func(r *render, v any, a *arguments) bool { return r.compare(op, v, a.bind("the test", 1, "/other")[0]) }
	}
	equals, differs, less, lessEqual, greater, greaterEqual := compared("=="), compared("!="), compared("<"), compared("<="), compared(">"), compared(">=")
	remainder := func(want int64) func(r *render, v any, a *arguments) bool {
		return property(func(r *render, v any) bool { return r.equal(r.arithmetic("%", v, int64(2)), want) })
	}
	tests = map[string]func(r *render, v any, a *arguments) bool{
		"==": equals, "eq": equals, "equalto": equals, "!=": differs, "ne": differs, "<": less, "lt": less, "lessthan": less, "<=": lessEqual,
		"le": lessEqual, ">": greater, "gt": greater, "greaterthan": greater, ">=": greaterEqual, "ge": greaterEqual,
		"in": func(r *render, v any, a *arguments) bool { return r.contains(a.bind("in", 1, "seq")[0], v) },
		"divisibleby": func(r *render, v any, a *arguments) bool {
			return r.equal(r.arithmetic("%", v, a.bind("divisibleby", 1, "num")[0]), int64(0))
		},
		"odd": remainder(1), "even": remainder(0),
		"defined":   property(func(_ *render, v any) bool { _, ok := v.(undefined); return !ok }),
		"undefined": property(func(_ *render, v any) bool { _, ok := v.(undefined); return ok }),
		"none":      property(func(_ *render, v any) bool { return v == nil }),
		"boolean":   property(func(_ *render, v any) bool { _, ok := v.(bool); return ok }),
		"true":      property(func(_ *render, v any) bool { b, _ := v.(bool); return b }),
		"false":     property(func(_ *render, v any) bool { b, ok := v.(bool); return ok && !b }),
		"integer":   property(func(_ *render, v any) bool { _, ok := v.(int64); return ok }),
		"float":     property(func(_ *render, v any) bool { _, ok := v.(float64); return ok }),
		"number":    property(func(_ *render, v any) bool { _, _, _, ok := number(v); return ok }),
		"lower":     property(func(r *render, v any) bool { return allCase(r.str(v), isLower, isUpper) }),
		"upper":     property(func(r *render, v any) bool { return allCase(r.str(v), isUpper, isLower) }),
		"mapping":   property(func(_ *render, v any) bool { _, ok := v.(*Dict); return ok }),
		"iterable":  property(func(_ *render, v any) bool { return iterable(v) }),
		"escaped":   property(func(_ *render, v any) bool { _, ok := v.(markup); return ok }),
		"string": property(func(_ *render, v any) bool {
			switch v.(type) {
			case string, markup:
				return true
			}
			return false
		}),
		"sequence": property(func(_ *render, v any) bool {
			switch v.(type) {
			case *Dict, undefined:
				return true
			}
			_, _, ok := sequence(v)
			return ok
		}),
		"callable": property(func(_ *render, v any) bool {
			switch v.(type) {
			case *function, *macro, *loop, undefined:
				return true
			}
			return false
		}),
		"filter": property(func(_ *render, v any) bool { _, ok := filters[nameOf(v)]; return ok }),
		"test":   property(func(_ *render, v any) bool { _, ok := tests[nameOf(v)]; return ok }),
		"sameas": sameAs,
	}
}

// property is a test without arguments.
func property(f func(r *render, v any) bool) func(r *render, v any, a *arguments) bool {
	return func(r *render, v any, a *arguments) bool {
		a.bind("the test", 0)
		return f(r, v)
	}
}

func (r *render) test(name string, v any, a *arguments) any {
	f, ok := tests[name]
	if !ok {
		fail("no test is named %s", name)
	}
	return f(r, v, a)
}

// nameOf is the text of v, "" where it is none.
func nameOf(v any) string {
	hash(v) // what cannot be a key is an error
	s, _ := plain(v)
	return s
}

// sameAs is Python's "is", as far as it does not depend on how Python keeps its values.
func sameAs(_ *render, v any, a *arguments) bool {
	other := a.bind("sameas", 1, "other")[0]
	single := func(v any) bool {
		switch v.(type) {
		case nil, bool:
			return true
		}
		return false
	}
	switch {
	case single(v) || single(other):
		return single(v) && single(other) && v == other
	case typeName(v) != typeName(other):
		return false
	}
	unsupported("sameas with a %s", typeName(v))
	return false
}
