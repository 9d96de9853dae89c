package jinja

import "strings"

func (r *render) eval(e expr, s *scope) any {
	r.charge(1)
	if r.depth++; r.depth > maxDepth {
		unsupported("more than %d evaluations within each other", maxDepth)
	}
	v := e.eval(r, s)
	r.depth--
	return v
}

func (e *constant) eval(*render, *scope) any { return e.value }

func (e *nameExpr) eval(_ *render, s *scope) any {
	v := s.lookup(e.name)
	if v == (any)(absent{}) {
		return undefined(e.name + " is undefined")
	}
	return v
}

func (e *namespaceTarget) eval(*render, *scope) any { return nil } // it is assigned to only

func (e *attribute) eval(r *render, s *scope) any { return r.attribute(r.eval(e.object, s), e.name) }

func (e *item) eval(r *render, s *scope) any {
	object := r.eval(e.object, s)
	return r.item(object, r.eval(e.key, s))
}

func (e *slice) eval(r *render, s *scope) any {
	object := r.eval(e.object, s)
	bound := func(e expr) any {
		if e == nil {
			return nil
		}
		return r.eval(e, s)
	}
	return r.slice(object, bound(e.from), bound(e.to), bound(e.step))
}

func (e *call) eval(r *render, s *scope) any {
	function := r.eval(e.function, s)
	return r.call(function, r.arguments(e.arguments, s))
}

func (e *filterExpr) eval(r *render, s *scope) any {
	v := r.eval(e.value, s)
	return r.filter(e.name, v, r.arguments(e.arguments, s))
}

func (e *testExpr) eval(r *render, s *scope) any {
	v := r.eval(e.value, s)
	return r.test(e.name, v, r.arguments(e.arguments, s))
}

func (e *unary) eval(r *render, s *scope) any {
	v := r.eval(e.value, s)
	if e.operator == "not" {
		return !truth(v)
	}
	need(v)
	i, f, isFloat, ok := number(v)
	switch {
	case !ok:
		fail("unsupported operand type for unary %s: %s", e.operator, typeName(v))
	case e.operator == "+" && isFloat:
		return f
	case e.operator == "+":
		return i
	case isFloat:
		return -f
	}
	return intArithmetic("-", 0, i)
}

func (e *binary) eval(r *render, s *scope) any {
	left := r.eval(e.left, s)
	switch e.operator {
	case "and":
		if !truth(left) {
			return left
		}
		return r.eval(e.right, s)
	case "or":
		if truth(left) {
			return left
		}
		return r.eval(e.right, s)
	}
	return r.arithmetic(e.operator, left, r.eval(e.right, s))
}

func (e *comparison) eval(r *render, s *scope) any {
	left := r.eval(e.first, s)
	for i, op := range e.operators {
		right := r.eval(e.operands[i], s)
		if !r.compare(op, left, right) {
			return false
		}
		left = right
	}
	return true
}

// compare is a comparison operator of Python.
func (r *render) compare(op string, a, b any) bool {
	switch op {
	case "==":
		return r.equal(a, b)
	case "!=":
		return !r.equal(a, b)
	case "in":
		return r.contains(b, a)
	case "not in":
		return !r.contains(b, a)
	case "<":
		return r.order(a, b) < 0
	case "<=":
		return r.order(a, b) <= 0
	case ">":
		return r.order(a, b) > 0
	}
	return r.order(a, b) >= 0
}

func (e *concat) eval(r *render, s *scope) any {
	var b strings.Builder
	for _, part := range e.parts {
		text := r.str(r.eval(part, s))
		r.chargeText(len(text))
		b.WriteString(text)
	}
	return b.String()
}

func (e *conditional) eval(r *render, s *scope) any {
	switch {
	case truth(r.eval(e.test, s)):
		return r.eval(e.then, s)
	case e.otherwise != nil:
		return r.eval(e.otherwise, s)
	}
	return undefined("the inline if-expression is false and has no else")
}

func (e *listExpr) eval(r *render, s *scope) any { return List(r.all(e.items, s)) }

func (e *tupleExpr) eval(r *render, s *scope) any { return Tuple(r.all(e.items, s)) }

func (r *render) all(list []expr, s *scope) []any {
	values := make([]any, len(list))
	for i, e := range list {
		values[i] = r.eval(e, s)
	}
	return values
}

func (e *dictExpr) eval(r *render, s *scope) any {
	d := NewDict()
	for i := range e.keys {
		k := r.eval(e.keys[i], s)
		d.put(k, r.eval(e.values[i], s))
	}
	return d
}

// arguments are the values of a call's arguments.
type arguments struct {
	positional []any
	names      []string
	named      []any
}

func (r *render) arguments(e *argumentExprs, s *scope) *arguments {
	a := &arguments{positional: r.all(e.positional, s), names: e.names, named: r.all(e.named, s)}
	if e.morePositional != nil {
		a.positional = append(a.positional, r.list(r.eval(e.morePositional, s))...)
	}
	if e.more != nil {
		more, ok := r.eval(e.more, s).(*Dict)
		if !ok {
			fail("** wants a dict")
		}
		a.names = append([]string{}, a.names...)
		for i, k := range more.keys {
			name, ok := plain(k)
			if !ok {
				fail("** wants keys that are texts")
			}
			a.name(name, more.values[i])
		}
	}
	return a
}

func (a *arguments) name(name string, v any) {
	for _, n := range a.names {
		if n == name {
			fail("two arguments are named %s", name)
		}
	}
	a.names = append(a.names, name)
	a.named = append(a.named, v)
}

// bind gives the arguments to the parameters of a function of Python, of which the first required ones must be there. A
// name that begins with / can only be given by position. What is not given is absent.
func (a *arguments) bind(function string, required int, parameters ...string) []any {
	if len(a.positional) > len(parameters) {
		fail("%s takes at most %d arguments, have %d", function, len(parameters), len(a.positional))
	}
	values := make([]any, len(parameters))
	for i := range values {
		values[i] = absent{}
	}
	copy(values, a.positional)
named:
	for j, name := range a.names {
		for i, p := range parameters {
			if p == name && values[i] == (any)(absent{}) {
				values[i] = a.named[j]
				continue named
			}
		}
		fail("%s takes no argument %s here", function, name)
	}
	for i := range required {
		if values[i] == (any)(absent{}) {
			fail("%s wants %d arguments", function, required)
		}
	}
	return values
}

func given(v any) bool {
	_, missing := v.(absent)
	return !missing
}

// call calls a value.
func (r *render) call(f any, a *arguments) any {
	need(f)
	switch f := f.(type) {
	case *function:
		return f.call(r, a)
	case *macro:
		return r.callMacro(f, a)
	case *loop:
		return r.recurse(f, a)
	}
	fail("a %s cannot be called", typeName(f))
	return nil
}

// item is what jinja2's sandbox gives for object[key].
func (r *render) item(object, key any) any {
	need(object)
	r.chargeValue(object)
	if d, ok := object.(*Dict); ok {
		if _, ok := hashable(key); ok {
			if v, ok := d.get(key); ok {
				return v
			}
		}
	} else if n, at, ok := sequence(object); ok {
		if i, ok := index(key); ok {
			if i < 0 {
				i += n
			}
			if i >= 0 && i < n {
				return at(i)
			}
		}
	}
	if name, ok := plain(key); ok {
		if v, ok := r.method(object, name); ok {
			return v
		}
	}
	return r.missing(object, key)
}

// attribute is what jinja2's sandbox gives for object.name.
func (r *render) attribute(object any, name string) any {
	if !strings.HasPrefix(name, "__") {
		need(object)
	}
	if v, ok := r.method(object, name); ok {
		return v
	}
	if d, ok := object.(*Dict); ok {
		if v, ok := d.get(name); ok {
			return v
		}
	}
	return r.missing(object, name)
}

func (r *render) missing(object, key any) any {
	if name, ok := key.(string); ok && len(name) < 100 {
		return undefined("a " + typeName(object) + " has no " + name)
	}
	return undefined("a " + typeName(object) + " has no such element")
}

// slice is Python's object[from:to:step].
func (r *render) slice(object, from, to, step any) any {
	need(object)
	r.chargeValue(object)
	n, at, ok := sequence(object)
	if !ok {
		fail("a %s cannot be sliced", typeName(object))
	}
	bound := func(v any, missing int) int {
		if v == nil {
			return missing
		}
		need(v)
		i, ok := index(v)
		if !ok {
			fail("a slice wants integers, have a %s", typeName(v))
		}
		return i
	}
	by := bound(step, 1)
	if by == 0 {
		fail("the step of a slice is 0")
	}
	lowest, highest := 0, n
	if by < 0 {
		lowest, highest = -1, n-1
	}
	clip := func(v any, missing int) int {
		i := bound(v, missing)
		if v != nil && i < 0 {
			i += n
		}
		return max(lowest, min(i, highest))
	}
	var start, stop int
	if by > 0 {
		start, stop = clip(from, 0), clip(to, n)
	} else {
		start, stop = clip(from, n-1), clip(to, -1)
	}
	indices := numbers{int64(start), int64(stop), int64(max(-n-1, min(by, n+1)))}
	if v, ok := object.(numbers); ok {
		return numbers{v.start + int64(start)*v.step, v.start + int64(stop)*v.step, v.step * int64(by)}
	}
	r.charge(indices.len())
	var picked []any
	var text strings.Builder
	for k := range indices.len() {
		switch x := at(int(indices.at(k))).(type) {
		case string:
			if _, ok := object.(string); ok {
				text.WriteString(x)
				continue
			}
			picked = append(picked, x)
		case markup:
			if _, ok := object.(markup); ok {
				text.WriteString(string(x))
				continue
			}
			picked = append(picked, x)
		default:
			picked = append(picked, x)
		}
	}
	switch object.(type) {
	case string:
		return text.String()
	case markup:
		return markup(text.String())
	case Tuple:
		return Tuple(picked)
	}
	return append(List{}, picked...)
}
