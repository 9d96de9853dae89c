package jinja

import "strings"

// run executes statements.
func (r *render) run(body []stmt, s *scope) control {
	for _, n := range body {
		r.charge(1)
		if c := n.exec(r, s); c != goOn {
			return c
		}
	}
	return goOn
}

func (n *textStmt) exec(r *render, _ *scope) control {
	r.write(n.text)
	return goOn
}

func (n *printStmt) exec(r *render, s *scope) control {
	r.line = n.line
	r.write(r.str(r.eval(n.value, s)))
	return goOn
}

func (n *ifStmt) exec(r *render, s *scope) control {
	r.line = n.line
	for i, test := range n.tests {
		if truth(r.eval(test, s)) {
			return r.run(n.bodies[i], s)
		}
	}
	return r.run(n.otherwise, s)
}

func (n *setStmt) exec(r *render, s *scope) control {
	r.line = n.line
	r.checkNamespaces(n.target, s)
	r.assign(n.target, r.eval(n.value, s), s)
	return goOn
}

// checkNamespaces fails where a target is an attribute of something that is no namespace.
func (r *render) checkNamespaces(target expr, s *scope) {
	walk(target, func(e expr) {
		if t, ok := e.(*namespaceTarget); ok {
			if _, ok := s.lookup(t.name).(*namespace); !ok {
				fail("%s.%s cannot be set: %s is no namespace", t.name, t.attribute, t.name)
			}
		}
	})
}

// assign gives a value to a target; a tuple takes as many values as it has targets.
func (r *render) assign(target expr, v any, s *scope) {
	switch t := target.(type) {
	case *nameExpr:
		s.set(t.name, v)
	case *namespaceTarget:
		s.lookup(t.name).(*namespace).set(t.attribute, v)
	case *tupleExpr:
		next := r.iterate(v)
		for _, x := range t.items {
			v, ok := next()
			if !ok {
				fail("too few values for %d names", len(t.items))
			}
			r.assign(x, v, s)
		}
		if _, ok := next(); ok {
			fail("too many values for %d names", len(t.items))
		}
	}
}

func (n *namespace) set(name string, v any) {
	if strings.HasPrefix(name, "_") {
		fail("the attribute %s of a namespace begins with an underscore", name)
	}
	n.attributes.put(name, v)
}

// captureBody runs a body as a frame of its own and returns its text.
func (r *render) captureBody(body []stmt, s *scope) (text string, c control) {
	text = r.capture(func() { c = r.run(body, s) })
	return text, c
}

func (n *setBlock) exec(r *render, s *scope) control {
	r.line = n.line
	r.checkNamespaces(n.target, s)
	inner := &scope{parent: s}
	r.enter(n.frame, inner)
	text, c := r.captureBody(n.body, inner)
	if c != goOn {
		return c
	}
	r.assign(n.target, r.filtered(n.filter, text, inner), s)
	return goOn
}

func (n *filterBlock) exec(r *render, s *scope) control {
	r.line = n.line
	inner := &scope{parent: s}
	r.enter(n.frame, inner)
	text, c := r.captureBody(n.body, inner)
	if c != goOn {
		return c
	}
	r.write(r.str(r.filtered(n.filter, text, inner)))
	return goOn
}

// filtered applies a chain of filters to a text.
func (r *render) filtered(e expr, text string, s *scope) any {
	f, ok := e.(*filterExpr)
	if !ok {
		return text
	}
	return r.filter(f.name, r.filtered(f.value, text, s), r.arguments(f.arguments, s))
}

func (n *withStmt) exec(r *render, s *scope) control {
	r.line = n.line
	inner := &scope{parent: s}
	r.enter(n.frame, inner)
	for i, name := range n.names {
		inner.set(name, r.eval(n.values[i], s))
	}
	return r.run(n.body, inner)
}

func (n *loopStmt) exec(*render, *scope) control { return n.control }

func (n *macroStmt) exec(_ *render, s *scope) control {
	s.set(n.name, &macro{n.name, n.macroCode, s})
	return goOn
}

func (n *callBlock) exec(r *render, s *scope) control {
	r.line = n.line
	c := n.call.(*call)
	function := r.eval(c.function, s)
	a := r.arguments(c.arguments, s)
	a.names = append([]string{}, a.names...)
	a.name("caller", &macro{"", n.macroCode, s})
	r.write(r.str(r.call(function, a)))
	return goOn
}

func (n *generation) exec(r *render, s *scope) control {
	start := r.out.Len()
	tracked := r.captures == 0
	text := r.callMacro(&macro{"", n.macroCode, s}, &arguments{}).(string)
	r.write(text)
	if tracked {
		r.result.Generated = append(r.result.Generated, Span{start, start + len(text)})
	} else {
		r.result.Untracked = true
	}
	return goOn
}

// macro is a macro with the scope that it was defined in.
type macro struct {
	name string
	*macroCode
	outer *scope
}

func (r *render) callMacro(m *macro, a *arguments) any {
	if r.macros++; r.macros > maxMacros {
		unsupported("more than %d macro calls within each other", maxMacros)
	}
	defer func() { r.macros-- }()
	s := &scope{parent: m.outer}
	r.enter(m.frame, s)
	named := NewDict()
	for i, name := range a.names {
		named.Set(name, a.named[i])
	}
	for i, name := range m.parameters {
		s.set(name, absent{})
		if i < len(a.positional) {
			s.set(name, a.positional[i])
		} else if v, ok := named.Get(name); ok {
			s.set(name, v)
			named.Delete(name)
		}
	}
	if m.caller {
		caller, ok := named.Get("caller")
		if named.Delete("caller"); !ok || caller == nil {
			caller = undefined("no caller is defined")
		}
		s.set("caller", caller)
	}
	extra := a.positional[min(len(m.parameters), len(a.positional)):]
	switch {
	case !m.kwargs && len(named.keys) > 0:
		fail("macro %s takes no argument %s here", m.name, named.keys[0])
	case !m.varargs && len(extra) > 0:
		fail("macro %s takes at most %d arguments", m.name, len(m.parameters))
	}
	if m.kwargs {
		s.set("kwargs", named)
	}
	if m.varargs {
		s.set("varargs", append(Tuple{}, extra...))
	}
	return r.capture(func() {
		first := len(m.parameters) - len(m.defaults)
		for i, name := range m.parameters {
			switch {
			case given(s.variables[name]):
			case i >= first:
				s.set(name, r.eval(m.defaults[i-first], s))
			default:
				s.set(name, undefined("parameter "+name+" was not provided"))
			}
		}
		r.run(m.body, s)
	})
}

// loop is the variable loop of a for loop.
type loop struct {
	sequence        any // what is gone through; nil where a condition picks from it
	next            func() (any, bool)
	known           int // the length, -1 until it is known
	index0, depth0  int
	before, current any
	ahead           any // the next element where peeked is set, absent at the end
	peeked          bool
	changed         *Tuple
	statement       *forStmt
	scope           *scope // around the loop
}

func (n *forStmt) exec(r *render, s *scope) control {
	r.line = n.line
	v := r.eval(n.sequence, s)
	if n.recursive {
		r.write(r.capture(func() { n.loop(r, v, s, 0) }))
		return goOn
	}
	return n.loop(r, v, s, 0)
}

// loop runs the loop over v. jinja2 runs the else branch where no iteration came to its end.
func (n *forStmt) loop(r *render, v any, s *scope, depth int) control {
	l := &loop{sequence: v, next: r.iterate(v), known: -1, index0: -1, depth0: depth, before: absent{}, current: absent{}, statement: n, scope: s}
	if n.test != nil {
		l.pick(r, n, s)
	}
	inner := &scope{parent: s}
	complete := false
	for x, ok := l.advance(); ok; x, ok = l.advance() {
		r.charge(1)
		r.enter(n.frame, inner)
		inner.set("loop", l)
		r.assign(n.target, x, inner)
		c := r.run(n.body, inner)
		if c == breakLoop {
			break
		}
		complete = complete || c == goOn
	}
	for name := range inner.variables { // a macro that was defined in the loop sees them no longer
		inner.variables[name] = absent{}
	}
	if complete || len(n.otherwise) == 0 {
		return goOn
	}
	otherwise := &scope{parent: s}
	r.enter(n.otherwiseFrame, otherwise)
	return r.run(n.otherwise, otherwise)
}

// pick makes l go through the elements that fulfil the loop's condition.
func (l *loop) pick(r *render, n *forStmt, s *scope) {
	all := l.next
	l.sequence = nil
	test := &scope{parent: s}
	r.enter(n.testFrame, test)
	l.next = func() (any, bool) {
		for x, ok := all(); ok; x, ok = all() {
			r.assign(n.target, x, test)
			if truth(r.eval(n.test, test)) {
				return x, true
			}
		}
		return nil, false
	}
}

func (l *loop) advance() (any, bool) {
	x := l.peek()
	l.peeked = false
	if !given(x) {
		return nil, false
	}
	l.index0++
	l.before, l.current = l.current, x
	return x, true
}

// peek returns the next element, absent at the end.
func (l *loop) peek() any {
	if !l.peeked {
		l.peeked, l.ahead = true, absent{}
		if x, ok := l.next(); ok {
			l.ahead = x
		}
	}
	return l.ahead
}

// length is the number of iterations. Where the sequence does not know it, the rest of it is read.
func (l *loop) length() int {
	if l.known >= 0 {
		return l.known
	}
	if _, isIterator := l.sequence.(*iterator); l.sequence != nil && !isIterator {
		l.known, _ = length(l.sequence)
		return l.known
	}
	var rest []any
	for x, ok := l.next(); ok; x, ok = l.next() {
		rest = append(rest, x)
	}
	l.known = len(rest) + l.index0 + 1
	if l.peeked && given(l.ahead) {
		l.known++
	}
	l.next = func() (any, bool) {
		if len(rest) == 0 {
			return nil, false
		}
		x := rest[0]
		rest = rest[1:]
		return x, true
	}
	return l.known
}

// recurse is loop(sequence) in a recursive loop.
func (r *render) recurse(l *loop, a *arguments) any {
	v := a.bind("loop", 1, "iterable")[0]
	if !l.statement.recursive {
		fail("a loop that calls itself wants the word recursive")
	}
	if r.macros++; r.macros > maxMacros {
		unsupported("more than %d loops within each other", maxMacros)
	}
	defer func() { r.macros-- }()
	return r.capture(func() { l.statement.loop(r, v, l.scope, l.depth0+1) })
}
