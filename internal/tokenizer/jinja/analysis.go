package jinja

import "slices"

// analysis goes through the inner frames of a frame.
type analysis struct {
	symbols *symbols
	soft    bool // within an if: unknown filters and tests are errors only when they run
	inLoop  bool // break and continue are allowed
	loop    bool // within the body of a loop: the name loop cannot be set
	macro   bool // within a macro
}

func (a analysis) inner(body []stmt) {
	for _, n := range body {
		switch n := n.(type) {
		case *printStmt:
			a.check(n.value)
		case *ifStmt:
			b := a
			b.soft = true
			for i, test := range n.tests {
				b.check(test)
				b.inner(n.bodies[i])
			}
			b.inner(n.otherwise)
		case *forStmt:
			a.forFrames(n)
		case *setStmt:
			a.checkStores(n.target, n.line)
			a.check(n.value)
		case *setBlock:
			a.checkStores(n.target, n.line)
			n.frame = a.frame(func(s *symbols) {
				s.visit(n.body)
				walk(n.filter, func(e expr) {
					if name, ok := e.(*nameExpr); ok && !s.knows(name.name) {
						failAt(n.line, "not supported: the name %s in the filter of a set block", name.name)
					}
				})
			}, n.body)
			a.hard().check(n.filter)
		case *filterBlock:
			n.frame = a.frame(func(s *symbols) { s.visit(n.body); s.expr(n.filter) }, n.body)
			a.hard().check(n.filter)
		case *withStmt:
			for _, v := range n.values {
				a.check(v)
			}
			n.frame = a.frame(func(s *symbols) {
				for _, name := range n.names {
					s.parameter(name)
				}
				s.visit(n.body)
			}, n.body)
		case *macroStmt:
			a.macroFrame(n.macroCode)
		case *callBlock:
			a.check(n.call)
			a.macroFrame(n.macroCode)
		case *generation:
			a.macroFrame(n.macroCode)
		case *loopStmt:
			if !a.inLoop {
				fail("break and continue stand in loops only")
			}
		}
	}
}

// hard returns a for what is in a new frame.
func (a analysis) hard() analysis {
	a.soft = false
	return a
}

// frame analyses a body that is a frame of its own.
func (a analysis) frame(visit func(*symbols), body []stmt) *frame {
	a = a.hard()
	a.symbols = newSymbols(a.symbols)
	visit(a.symbols)
	a.inner(body)
	return a.symbols.frame()
}

func (a analysis) forFrames(n *forStmt) {
	a.check(n.sequence)
	b := a
	b.loop, b.inLoop = true, true
	b.checkStores(n.target, n.line)
	n.frame = b.frame(func(s *symbols) {
		s.parameter("loop")
		s.target(n.target, true)
		s.visit(n.body)
	}, n.body)
	b.inLoop = a.inLoop && !n.recursive
	n.otherwiseFrame = b.frame(func(s *symbols) { s.visit(n.otherwise) }, n.otherwise)
	if n.test != nil {
		n.testFrame = b.frame(func(s *symbols) {
			s.target(n.target, true)
			s.expr(n.test)
		}, nil)
		a.hard().check(n.test)
	}
}

// specials are the names that a macro has without naming them as parameters.
var specials = []string{"caller", "kwargs", "varargs"}

func (a analysis) macroFrame(m *macroCode) {
	used := map[string]bool{}
	mentioned(m.body, used)
	a.inLoop, a.macro = false, true
	for i, name := range m.parameters {
		if name == "caller" && used[name] && i < len(m.parameters)-len(m.defaults) {
			failAt(m.line, "the parameter caller wants a default")
		}
	}
	special := func(name string) bool { return used[name] && !slices.Contains(m.parameters, name) }
	m.caller, m.kwargs, m.varargs = special("caller"), special("kwargs"), special("varargs")
	m.frame = a.frame(func(s *symbols) {
		for _, name := range m.parameters {
			s.parameter(name)
		}
		s.exprs(m.defaults)
		s.visit(m.body)
		for _, name := range specials {
			if special(name) {
				s.parameter(name)
			}
		}
		for _, d := range m.defaults {
			a.hard().check(d)
		}
	}, m.body)
}

// mentioned notes the specials that a body reads anywhere.
func mentioned(body []stmt, used map[string]bool) {
	note := func(list ...expr) {
		for _, e := range list {
			walk(e, func(e expr) {
				if n, ok := e.(*nameExpr); ok {
					used[n.name] = true
				}
			})
		}
	}
	for _, n := range body {
		switch n := n.(type) {
		case *printStmt:
			note(n.value)
		case *ifStmt:
			note(n.tests...)
			for _, b := range n.bodies {
				mentioned(b, used)
			}
			mentioned(n.otherwise, used)
		case *forStmt:
			note(n.sequence, n.test)
			mentioned(n.body, used)
			mentioned(n.otherwise, used)
		case *setStmt:
			note(n.value)
		case *setBlock:
			note(n.filter)
			mentioned(n.body, used)
		case *filterBlock:
			note(n.filter)
			mentioned(n.body, used)
		case *withStmt:
			note(n.values...)
			mentioned(n.body, used)
		case *macroStmt:
			note(n.defaults...)
			mentioned(n.body, used)
		case *callBlock:
			note(n.call)
			note(n.defaults...)
			mentioned(n.body, used)
		case *generation:
			mentioned(n.body, used)
		}
	}
}

// checkStores refuses targets that cannot be set here.
func (a analysis) checkStores(target expr, line int) {
	walk(target, func(e expr) {
		n, ok := e.(*nameExpr)
		switch {
		case !ok:
		case a.loop && n.name == "loop":
			failAt(line, "the name loop cannot be set in a loop")
		case a.macro && slices.Contains(specials, n.name):
			failAt(line, "not supported: the name %s is set in a macro", n.name)
		}
	})
}

// check refuses unknown filters and tests, except in branches that may not run.
func (a analysis) check(e expr) {
	switch e := e.(type) {
	case nil:
		return
	case *conditional:
		a.soft = true
	case *filterExpr:
		if _, ok := filters[e.name]; !ok && !a.soft {
			failAt(e.line, "no filter is named %s", e.name)
		}
	case *testExpr:
		if _, ok := tests[e.name]; !ok && !a.soft {
			failAt(e.line, "no test is named %s", e.name)
		}
	}
	for _, x := range children(e) {
		a.check(x)
	}
}
