package jinja

// jinja2 decides before rendering what each name refers to: a template, a loop, a macro and a block that captures text
// are frames, and a frame that stores or reads a name which no frame around it knows gives the name its first value when
// it is entered. This file finds those names, and makes the checks that need to know the frames.

// source tells where a name of a frame has its first value from.
type source int

const (
	fromContext source = iota // the variables of the rendering
	fromOuter                 // the frame around
	fromNowhere               // it is undefined until it is set
	fromCaller                // it is a parameter
)

type load struct {
	name string
	from source
}

type frame struct{ loads []load }

// symbols are the names of a frame while it is analysed.
type symbols struct {
	parent *symbols
	loads  map[string]source
	stores map[string]bool
}

func newSymbols(parent *symbols) *symbols {
	return &symbols{parent, map[string]source{}, map[string]bool{}}
}

func (s *symbols) knows(name string) bool {
	for ; s != nil; s = s.parent {
		if _, ok := s.loads[name]; ok {
			return true
		}
	}
	return false
}

func (s *symbols) parameter(name string) {
	s.stores[name] = true
	s.loads[name] = fromCaller
}

func (s *symbols) store(name string) {
	s.stores[name] = true
	if _, ok := s.loads[name]; ok {
		return
	}
	s.loads[name] = fromNowhere
	if s.parent.knows(name) {
		s.loads[name] = fromOuter
	}
}

func (s *symbols) load(name string) {
	if name == "self" {
		fail("not supported: the name self")
	}
	if !s.knows(name) {
		s.loads[name] = fromContext
	}
}

func (s *symbols) copy() *symbols {
	c := newSymbols(s.parent)
	for k, v := range s.loads {
		c.loads[k] = v
	}
	for k := range s.stores {
		c.stores[k] = true
	}
	return c
}

// merge joins the branches of an if: what only some of them store has its value from outside in the others.
func (s *symbols) merge(branches []*symbols) {
	fresh := map[string]bool{}
	for _, b := range branches {
		for name := range b.stores {
			if !s.stores[name] {
				fresh[name] = true
			}
		}
	}
	for _, b := range branches {
		for k, v := range b.loads {
			s.loads[k] = v
		}
		for k := range b.stores {
			s.stores[k] = true
		}
	}
	for name := range fresh {
		s.loads[name] = fromContext
		if s.parent.knows(name) {
			s.loads[name] = fromOuter
		}
	}
}

func (s *symbols) frame() *frame {
	f := &frame{}
	for name, from := range s.loads {
		f.loads = append(f.loads, load{name, from})
	}
	return f
}

// analyze finds the frames of a template, sets them in its statements and returns the outermost.
func analyze(body []stmt) *frame {
	s := newSymbols(nil)
	s.visit(body)
	a := analysis{symbols: s}
	a.inner(body)
	return s.frame()
}

// visit notes the names that statements mention, but those of inner frames.
func (s *symbols) visit(body []stmt) {
	for _, n := range body {
		switch n := n.(type) {
		case *printStmt:
			s.expr(n.value)
		case *ifStmt:
			s.visitIf(n)
		case *forStmt:
			s.expr(n.sequence)
		case *setStmt:
			s.expr(n.value)
			s.target(n.target, false)
		case *setBlock:
			s.target(n.target, false)
		case *filterBlock:
			s.expr(n.filter)
		case *withStmt:
			s.exprs(n.values)
		case *macroStmt:
			s.store(n.name)
		case *callBlock:
			s.expr(n.call)
		}
	}
}

func (s *symbols) visitIf(n *ifStmt) {
	s.expr(n.tests[0])
	first, elifs, otherwise := s.copy(), s.copy(), s.copy()
	first.visit(n.bodies[0])
	for i := range n.tests[1:] { // jinja2 has each as an if of its own, one after the other
		elifs.visitIf(&ifStmt{tests: n.tests[i+1 : i+2], bodies: n.bodies[i+1 : i+2]})
	}
	otherwise.visit(n.otherwise)
	s.merge([]*symbols{first, elifs, otherwise})
}

func (s *symbols) target(e expr, parameter bool) {
	switch e := e.(type) {
	case *nameExpr:
		if parameter {
			s.parameter(e.name)
		} else {
			s.store(e.name)
		}
	case *namespaceTarget:
		s.load(e.name)
	case *tupleExpr:
		for _, x := range e.items {
			s.target(x, parameter)
		}
	}
}

func (s *symbols) expr(e expr) {
	walk(e, func(e expr) {
		if n, ok := e.(*nameExpr); ok {
			s.load(n.name)
		}
	})
}

func (s *symbols) exprs(list []expr) {
	for _, e := range list {
		s.expr(e)
	}
}
