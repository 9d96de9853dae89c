package jinja

import "slices"

// keywords are the names that are constants.
var keywords = map[string]any{"true": true, "True": true, "false": false, "False": false, "none": nil, "None": nil}

func (p *parser) expression() expr {
	defer p.nest()()
	e := p.or()
	for n := 0; p.skip(nameToken, "if"); n++ {
		p.limit(n)
		c := &conditional{test: p.or(), then: e}
		if p.skip(nameToken, "else") {
			c.otherwise = p.expression()
		}
		e = c
	}
	return e
}

func (p *parser) or() expr {
	e := p.and()
	for n := 0; p.skip(nameToken, "or"); n++ {
		p.limit(n)
		e = &binary{"or", e, p.and()}
	}
	return e
}

func (p *parser) and() expr {
	e := p.not()
	for n := 0; p.skip(nameToken, "and"); n++ {
		p.limit(n)
		e = &binary{"and", e, p.not()}
	}
	return e
}

func (p *parser) not() expr {
	if p.skip(nameToken, "not") {
		defer p.nest()()
		return &unary{"not", p.not()}
	}
	return p.compare()
}

func (p *parser) compare() expr {
	c := &comparison{first: p.sum()}
	for {
		t := p.current()
		switch {
		case t.kind == operator && slices.Contains([]string{"==", "!=", "<", "<=", ">", ">="}, t.text):
			p.i++
		case p.skip(nameToken, "in"):
			t.text = "in"
		case p.is(nameToken, "not") && p.tokens[p.i+1].kind == nameToken && p.tokens[p.i+1].text == "in":
			p.i += 2
			t.text = "not in"
		case len(c.operators) == 0:
			return c.first
		default:
			return c
		}
		c.operators = append(c.operators, t.text)
		c.operands = append(c.operands, p.sum())
	}
}

// limit guards the stack against chains, which make trees that are as deep as they are long.
func (p *parser) limit(n int) {
	if n > maxChain {
		p.fail("more than %d operators, filters or the like in a row", maxChain)
	}
}

// chain parses operands with left-associative operators between them.
func (p *parser) chain(operand func() expr, operators ...string) expr {
	e := operand()
	for n := 0; p.current().kind == operator && slices.Contains(operators, p.current().text); n++ {
		p.limit(n)
		e = &binary{p.next().text, e, operand()}
	}
	return e
}

func (p *parser) sum() expr { return p.chain(p.concat, "+", "-") }

func (p *parser) concat() expr {
	parts := []expr{p.product()}
	for p.skip(operator, "~") {
		parts = append(parts, p.product())
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return &concat{parts}
}

func (p *parser) product() expr { return p.chain(p.power, "*", "/", "//", "%") }

// power is left-associative, and weaker than a sign, as in jinja2.
func (p *parser) power() expr { return p.chain(func() expr { return p.unary(true) }, "**") }

func (p *parser) unary(filters bool) expr {
	defer p.nest()()
	var e expr
	switch {
	case p.skip(operator, "-"):
		e = &unary{"-", p.unary(false)}
	case p.skip(operator, "+"):
		e = &unary{"+", p.unary(false)}
	default:
		e = p.primary(false)
	}
	for n := 0; p.isOperator(".") || p.isOperator("[") || p.isOperator("("); n++ {
		p.limit(n)
		e = p.postfix(e)
	}
	for n := 0; filters; n++ {
		p.limit(n)
		switch {
		case p.isOperator("|"):
			e = p.filter(e, false)
		case p.is(nameToken, "is"):
			e = p.test(e)
		case p.isOperator("("):
			e = p.postfix(e)
		default:
			return e
		}
	}
	return e
}

func (p *parser) primary(namespaces bool) expr {
	t := p.next()
	switch t.kind {
	case nameToken:
		if v, ok := keywords[t.text]; ok {
			return &constant{v}
		}
		if namespaces && p.skip(operator, ".") {
			return &namespaceTarget{t.text, p.expectName()}
		}
		return &nameExpr{t.text}
	case stringToken:
		s := t.text
		for p.current().kind == stringToken {
			s += p.next().text
		}
		return &constant{s}
	case numberToken:
		return &constant{t.value}
	case operator:
		switch t.text {
		case "(":
			e := p.tuple(true, true)
			p.expect(operator, ")")
			return e
		case "[":
			return &listExpr{p.items("]")}
		case "{":
			return p.dict()
		}
	}
	p.i--
	p.fail("have %s, want an expression", t)
	return nil
}

// tuple parses an expression, or several with commas between them. conditions: with "a if b else c"; empty: nothing at
// all is a tuple too.
func (p *parser) tuple(conditions, empty bool) expr {
	element := p.or
	if conditions {
		element = p.expression
	}
	return p.tupleOf(element, empty)
}

func (p *parser) tupleOf(element func() expr, empty bool) expr {
	defer p.nest()()
	var items []expr
	comma := false
	for {
		t := p.current()
		if t.kind == variableEnd || t.kind == blockEnd || p.isOperator(")") {
			break
		}
		items = append(items, element())
		if !p.skip(operator, ",") {
			break
		}
		comma = true
	}
	if len(items) == 1 && !comma {
		return items[0]
	}
	if len(items) == 0 && !empty {
		p.fail("have %s, want an expression", p.current())
	}
	return &tupleExpr{items}
}

// items parses a list up to its end.
func (p *parser) items(end string) (items []expr) {
	for !p.isOperator(end) {
		if len(items) > 0 {
			p.expect(operator, ",")
			if p.isOperator(end) {
				break
			}
		}
		items = append(items, p.expression())
	}
	p.expect(operator, end)
	return items
}

func (p *parser) dict() expr {
	d := &dictExpr{}
	for !p.isOperator("}") {
		if len(d.keys) > 0 {
			p.expect(operator, ",")
			if p.isOperator("}") {
				break
			}
		}
		d.keys = append(d.keys, p.expression())
		p.expect(operator, ":")
		d.values = append(d.values, p.expression())
	}
	p.expect(operator, "}")
	return d
}

// postfix parses .name, .0, [key] or (arguments).
func (p *parser) postfix(e expr) expr {
	if p.isOperator("(") {
		return &call{e, p.arguments()}
	}
	if p.skip(operator, ".") {
		t := p.next()
		if _, ok := t.value.(int64); ok {
			return &item{e, &constant{t.value}}
		}
		if t.kind != nameToken {
			p.i--
			p.fail("have %s, want a name or a number", t)
		}
		return &attribute{e, t.text}
	}
	p.expect(operator, "[")
	var keys []expr
	var sliced *slice
	for !p.isOperator("]") {
		if len(keys) > 0 {
			p.expect(operator, ",")
		}
		key, isSlice := p.subscript()
		keys = append(keys, key)
		if isSlice != nil {
			sliced = isSlice
		}
	}
	p.expect(operator, "]")
	switch {
	case sliced != nil && len(keys) == 1:
		sliced.object = e
		return sliced
	case sliced != nil:
		p.fail("not supported: a slice among other keys")
	case len(keys) == 1:
		return &item{e, keys[0]}
	}
	return &item{e, &tupleExpr{keys}}
}

// subscript parses a key, or a slice.
func (p *parser) subscript() (key expr, s *slice) {
	if !p.isOperator(":") {
		key = p.expression()
		if !p.isOperator(":") {
			return key, nil
		}
	}
	p.expect(operator, ":")
	s = &slice{from: key}
	bound := func() expr {
		if p.isOperator(":") || p.isOperator("]") || p.isOperator(",") {
			return nil
		}
		return p.expression()
	}
	s.to = bound()
	if p.skip(operator, ":") {
		s.step = bound()
	}
	return nil, s
}

func (p *parser) arguments() *argumentExprs {
	p.expect(operator, "(")
	a := &argumentExprs{}
	first := true
	for !p.isOperator(")") {
		if !first {
			p.expect(operator, ",")
			if p.isOperator(")") {
				break
			}
		}
		first = false
		switch {
		case p.isOperator("*") && a.morePositional == nil && a.more == nil:
			p.i++
			a.morePositional = p.expression()
		case p.isOperator("**") && a.more == nil:
			p.i++
			a.more = p.expression()
		case p.current().kind == nameToken && p.tokens[p.i+1].kind == operator && p.tokens[p.i+1].text == "=" && a.more == nil:
			name := p.next().text
			if slices.Contains(a.names, name) {
				p.fail("two arguments are named %s", name)
			}
			p.i++
			a.names = append(a.names, name)
			a.named = append(a.named, p.expression())
		case a.morePositional == nil && a.more == nil && len(a.names) == 0:
			a.positional = append(a.positional, p.expression())
		default:
			p.fail("have %s, want an argument with a name", p.current())
		}
	}
	p.expect(operator, ")")
	return a
}

// filter parses "| name(arguments)" as often as it comes; inline: the first "|" is left out.
func (p *parser) filter(e expr, inline bool) expr {
	for n := 0; inline || p.skip(operator, "|"); n++ {
		p.limit(n)
		inline = false
		line := p.current().line
		f := &filterExpr{value: e, name: p.dotted(), arguments: &argumentExprs{}, line: line}
		if p.isOperator("(") {
			f.arguments = p.arguments()
		}
		e = f
	}
	return e
}

func (p *parser) dotted() string {
	name := p.expectName()
	for p.skip(operator, ".") {
		name += "." + p.expectName()
	}
	return name
}

func (p *parser) test(e expr) expr {
	p.expect(nameToken, "is")
	negated := p.skip(nameToken, "not")
	line := p.current().line
	t := &testExpr{value: e, name: p.dotted(), arguments: &argumentExprs{}, line: line}
	next := p.current()
	switch {
	case p.isOperator("("):
		t.arguments = p.arguments()
	case next.kind == stringToken, next.kind == numberToken, p.isOperator("["), p.isOperator("{"),
		next.kind == nameToken && !slices.Contains([]string{"else", "or", "and"}, next.text):
		if next.kind == nameToken && next.text == "is" {
			p.fail("a test cannot follow a test")
		}
		argument := p.primary(false)
		for n := 0; p.isOperator(".") || p.isOperator("[") || p.isOperator("("); n++ {
			p.limit(n)
			argument = p.postfix(argument)
		}
		t.arguments.positional = []expr{argument}
	}
	if negated {
		return &unary{"not", t}
	}
	return t
}
