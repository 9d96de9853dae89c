package jinja

import (
	"math"
	"strings"
)

// equal is Python's ==.
func (r *render) equal(a, b any) bool { return r.equalDepth(a, b, 0) }

func (r *render) equalDepth(a, b any, depth int) bool {
	if depth > maxNesting {
		unsupported("comparing values that are nested more than %d deep", maxNesting)
	}
	r.charge(1)
	if _, f, isFloat, ok := number(a); ok {
		_, g, otherFloat, ok := number(b)
		if depth > 0 && (isFloat && f != f || otherFloat && g != g) {
			unsupported("comparing nan in a list or dict")
		}
		return ok && compareNumbers(a, b) == 0 && f == f && g == g
	}
	elements := func(n, m int, x, y func(i int) any) bool {
		if n != m {
			return false
		}
		for i := range n {
			if !r.equalDepth(x(i), y(i), depth+1) {
				return false
			}
		}
		return true
	}
	switch x := a.(type) {
	case nil:
		return b == nil
	case undefined:
		_, ok := b.(undefined)
		return ok
	case string, markup:
		switch b.(type) {
		case string, markup:
			r.chargeValue(a)
			return r.str(a) == r.str(b)
		}
		return false
	case List:
		y, ok := b.(List)
		return ok && elements(len(x), len(y), func(i int) any { return x[i] }, func(i int) any { return y[i] })
	case Tuple:
		y, ok := b.(Tuple)
		return ok && elements(len(x), len(y), func(i int) any { return x[i] }, func(i int) any { return y[i] })
	case *Dict:
		y, ok := b.(*Dict)
		if !ok || len(x.keys) != len(y.keys) {
			return false
		}
		for i, k := range x.keys {
			v, ok := y.get(k)
			if !ok || !r.equalDepth(x.values[i], v, depth+1) {
				return false
			}
		}
		return true
	case numbers:
		y, ok := b.(numbers)
		n := x.len()
		return ok && n == y.len() && (n == 0 || x.start == y.start && (n == 1 || x.step == y.step))
	case *view:
		y, ok := b.(*view)
		if ok && x != y {
			unsupported("comparing dict_%s and dict_%s", x.kind, y.kind)
		}
		return ok
	case *namespace, *macro, *iterator, *loop:
		return a == b
	}
	switch b.(type) {
	case *function:
		unsupported("comparing functions")
	}
	return false
}

// compareNumbers orders an int and a float exactly; nan is taken as equal.
func compareNumbers(a, b any) int {
	i, f, iFloat, _ := number(a)
	j, g, jFloat, _ := number(b)
	switch {
	case iFloat == jFloat && !iFloat:
		return sign(i < j, i > j)
	case iFloat == jFloat:
		return sign(f < g, f > g)
	case jFloat:
		return -compareNumbers(b, a)
	case f != f:
		return 0
	case f >= 1<<63:
		return 1
	case f < -1<<63:
		return -1
	}
	whole := math.Trunc(f)
	if int64(whole) != j {
		return sign(int64(whole) < j, int64(whole) > j)
	}
	return sign(f < whole, f > whole)
}

func sign(less, more bool) int {
	switch {
	case less:
		return -1
	case more:
		return 1
	}
	return 0
}

// order compares values as Python's <, and fails where that does.
func (r *render) order(a, b any) int { return r.orderDepth(a, b, 0) }

func (r *render) orderDepth(a, b any, depth int) int {
	if depth > maxNesting {
		unsupported("comparing values that are nested more than %d deep", maxNesting)
	}
	r.charge(1)
	need(a)
	need(b)
	_, f, _, ok1 := number(a)
	_, g, _, ok2 := number(b)
	if ok1 && ok2 {
		if f != f || g != g {
			unsupported("ordering nan")
		}
		return compareNumbers(a, b)
	}
	elements := func(x, y []any) int {
		for i := range min(len(x), len(y)) {
			if !r.equalDepth(x[i], y[i], depth+1) {
				return r.orderDepth(x[i], y[i], depth+1)
			}
		}
		return sign(len(x) < len(y), len(x) > len(y))
	}
	switch x := a.(type) {
	case string, markup:
		switch b.(type) {
		case string, markup:
			r.chargeValue(a)
			return strings.Compare(r.str(a), r.str(b))
		}
	case List:
		if y, ok := b.(List); ok {
			return elements(x, y)
		}
	case Tuple:
		if y, ok := b.(Tuple); ok {
			return elements(x, y)
		}
	case *view:
		unsupported("ordering dict_%s", x.kind)
	}
	fail("%s and %s cannot be ordered", typeName(a), typeName(b))
	return 0
}

// contains is Python's "item in container".
func (r *render) contains(container, item any) bool {
	r.chargeValue(container)
	switch c := container.(type) {
	case string, markup:
		switch item.(type) {
		case string, markup:
			return strings.Contains(r.str(c), r.str(item))
		}
		fail("'in' a text wants a text, have %s", typeName(item))
	case *Dict:
		_, ok := c.get(item)
		return ok
	case *view:
		if c.kind == "keys" {
			_, ok := c.dict.get(item)
			return ok
		}
		if pair, ok := item.(Tuple); c.kind == "items" {
			if !ok || len(pair) != 2 {
				return false
			}
			v, ok := c.dict.get(pair[0])
			return ok && r.equalDepth(v, pair[1], 1)
		}
	}
	next := r.iterate(container)
	for x, ok := next(); ok; x, ok = next() {
		if r.equalDepth(x, item, 1) {
			return true
		}
	}
	return false
}
