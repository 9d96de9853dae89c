package jinja

import "slices"

// An expr is an expression. Its value is found by render.eval.
type expr interface {
	eval(r *render, s *scope) any
}

type (
	constant  struct{ value any }
	nameExpr  struct{ name string }
	attribute struct {
		object expr
		name   string
	}
	item  struct{ object, key expr }
	slice struct{ object, from, to, step expr } // nil: left out
	call  struct {
		function  expr
		arguments *argumentExprs
	}
	filterExpr struct {
		value     expr // nil: the text of the block around it
		name      string
		arguments *argumentExprs
		line      int
	}
	testExpr struct {
		value     expr
		name      string
		arguments *argumentExprs
		line      int
	}
	unary struct {
		operator string
		value    expr
	}
	binary struct {
		operator    string
		left, right expr
	}
	comparison struct {
		first     expr
		operators []string
		operands  []expr
	}
	concat      struct{ parts []expr }
	conditional struct{ test, then, otherwise expr } // otherwise may be nil
	listExpr    struct{ items []expr }
	tupleExpr   struct{ items []expr }
	dictExpr    struct{ keys, values []expr }
	// namespaceTarget is what {% set ns.name = … %} assigns to.
	namespaceTarget struct{ name, attribute string }
)

type argumentExprs struct {
	positional           []expr
	names                []string
	named                []expr
	morePositional, more expr // *x and **x, or nil
}

// A stmt is a part of a template.
type stmt interface {
	exec(r *render, s *scope) control
}

// control tells how the execution goes on.
type control int

const (
	goOn control = iota
	breakLoop
	continueLoop
)

type (
	textStmt  struct{ text string }
	printStmt struct {
		value expr
		line  int
	}
	ifStmt struct {
		tests     []expr
		bodies    [][]stmt
		otherwise []stmt
		line      int
	}
	forStmt struct {
		target                           expr
		sequence, test                   expr // test may be nil
		body, otherwise                  []stmt
		recursive                        bool
		frame, testFrame, otherwiseFrame *frame
		line                             int
	}
	setStmt struct {
		target, value expr
		line          int
	}
	setBlock struct {
		target expr
		filter expr // or nil
		body   []stmt
		frame  *frame
		line   int
	}
	filterBlock struct {
		filter expr
		body   []stmt
		frame  *frame
		line   int
	}
	withStmt struct {
		names  []string
		values []expr
		body   []stmt
		frame  *frame
		line   int
	}
	macroStmt struct {
		name string
		*macroCode
	}
	callBlock struct {
		call expr
		*macroCode
	}
	generation struct{ *macroCode }
	loopStmt   struct{ control control }
)

// macroCode is what a macro, a call block and a generation block share.
type macroCode struct {
	parameters              []string
	defaults                []expr // of the last parameters
	body                    []stmt
	frame                   *frame
	caller, kwargs, varargs bool // the body uses them
	line                    int
}

// walk calls f with e and all expressions in it.
func walk(e expr, f func(expr)) {
	if e == nil {
		return
	}
	f(e)
	for _, x := range children(e) {
		walk(x, f)
	}
}

// children returns the expressions that e is made of; some may be nil.
func children(e expr) []expr {
	arguments := func(before []expr, a *argumentExprs) []expr {
		return append(slices.Concat(before, a.positional, a.named), a.morePositional, a.more)
	}
	switch e := e.(type) {
	case *attribute:
		return []expr{e.object}
	case *item:
		return []expr{e.object, e.key}
	case *slice:
		return []expr{e.object, e.from, e.to, e.step}
	case *call:
		return arguments([]expr{e.function}, e.arguments)
	case *filterExpr:
		return arguments([]expr{e.value}, e.arguments)
	case *testExpr:
		return arguments([]expr{e.value}, e.arguments)
	case *unary:
		return []expr{e.value}
	case *binary:
		return []expr{e.left, e.right}
	case *comparison:
		return append([]expr{e.first}, e.operands...)
	case *concat:
		return e.parts
	case *conditional:
		return []expr{e.test, e.then, e.otherwise}
	case *listExpr:
		return e.items
	case *tupleExpr:
		return e.items
	case *dictExpr:
		return slices.Concat(e.keys, e.values)
	}
	return nil
}
