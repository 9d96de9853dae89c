package jinja

import (
	"slices"
	"strings"
)

// parser is a recursive-descent parser with jinja2's grammar.
type parser struct {
	tokens    []token
	i         int
	depth     int
	generates bool // there is a generation block
}

func (p *parser) current() token { return p.tokens[p.i] }

func (p *parser) next() token {
	t := p.tokens[p.i]
	if t.kind != eof {
		p.i++
	}
	return t
}

func (p *parser) fail(format string, args ...any) {
	failAt(p.current().line, format, args...)
}

func failAt(line int, format string, args ...any) {
	defer func() {
		f := recover().(failure)
		f.Line = line
		panic(f)
	}()
	fail(format, args...)
}

func (p *parser) is(k kind, text string) bool {
	t := p.current()
	return t.kind == k && t.text == text
}

func (p *parser) isOperator(text string) bool { return p.is(operator, text) }

func (p *parser) skip(k kind, text string) bool {
	if p.is(k, text) {
		p.i++
		return true
	}
	return false
}

func (p *parser) expect(k kind, text string) {
	if !p.skip(k, text) {
		p.fail("have %s, want %q", p.current(), text)
	}
}

func (p *parser) expectName() string {
	if p.current().kind != nameToken {
		p.fail("have %s, want a name", p.current())
	}
	return p.next().text
}

func (p *parser) expectEnd(k kind) {
	if p.current().kind != k {
		p.fail("have %s, want the end of the tag", p.current())
	}
	p.i++
}

// nest guards the stack; its result undoes it.
func (p *parser) nest() func() {
	if p.depth++; p.depth > maxNesting {
		p.fail("nested more than %d deep", maxNesting)
	}
	return func() { p.depth-- }
}

func (p *parser) template() []stmt {
	body, end := p.statements()
	if end != "" {
		p.fail("unexpected {%% %s %%}", end)
	}
	return body
}

// statements parses up to one of the tags ends and returns its name, or "" at the end of the template. The name of the
// tag is consumed, its end is not.
func (p *parser) statements(ends ...string) (body []stmt, end string) {
	defer p.nest()()
	for {
		t := p.next()
		switch t.kind {
		case eof:
			if len(ends) > 0 {
				p.fail("have the end of the template, want {%% %s %%}", strings.Join(ends, " %} or {% "))
			}
			return body, ""
		case data:
			body = append(body, &textStmt{t.text})
		case variableBegin:
			body = append(body, &printStmt{p.tuple(true, false), t.line})
			p.expectEnd(variableEnd)
		case blockBegin:
			if p.current().kind == nameToken && slices.Contains(ends, p.current().text) {
				return body, p.next().text
			}
			body = append(body, p.statement()...)
			p.expectEnd(blockEnd)
		}
	}
}

// block parses the body of a tag up to one of ends.
func (p *parser) block(ends ...string) (body []stmt, end string) {
	p.skip(operator, ":")
	p.expectEnd(blockEnd)
	return p.statements(ends...)
}

func (p *parser) statement() []stmt {
	line := p.current().line
	switch name := p.expectName(); name {
	case "if":
		return []stmt{p.ifStatement(line)}
	case "for":
		return []stmt{p.forStatement(line)}
	case "set":
		return []stmt{p.set(line)}
	case "with":
		return []stmt{p.with(line)}
	case "filter":
		filter := p.filter(nil, true)
		body, _ := p.block("endfilter")
		return []stmt{&filterBlock{filter: filter, body: body, line: line}}
	case "macro":
		macro := &macroStmt{name: p.assignableName(), macroCode: &macroCode{line: line}}
		p.signature(macro.macroCode)
		macro.body, _ = p.block("endmacro")
		return []stmt{macro}
	case "call":
		c := &callBlock{macroCode: &macroCode{line: line}}
		if p.isOperator("(") {
			p.signature(c.macroCode)
		}
		c.call = p.expression()
		if _, ok := c.call.(*call); !ok {
			p.fail("a call block wants a call")
		}
		c.body, _ = p.block("endcall")
		return []stmt{c}
	case "generation":
		p.generates = true
		g := &generation{&macroCode{line: line}}
		g.body, _ = p.block("endgeneration")
		return []stmt{g}
	case "print":
		var values []stmt
		for p.current().kind != blockEnd {
			if len(values) > 0 {
				p.expect(operator, ",")
			}
			values = append(values, &printStmt{p.expression(), line})
		}
		return values
	case "break":
		return []stmt{&loopStmt{breakLoop}}
	case "continue":
		return []stmt{&loopStmt{continueLoop}}
	case "block", "extends", "include", "import", "from", "autoescape":
		failAt(line, "not supported: {%% %s %%}", name)
	default:
		failAt(line, "unknown tag {%% %s %%}", name)
	}
	return nil
}

func (p *parser) ifStatement(line int) stmt {
	n := &ifStmt{line: line}
	for {
		n.tests = append(n.tests, p.tuple(false, false))
		body, end := p.block("elif", "else", "endif")
		n.bodies = append(n.bodies, body)
		switch end {
		case "elif":
			continue
		case "else":
			n.otherwise, _ = p.block("endif")
		}
		return n
	}
}

func (p *parser) forStatement(line int) stmt {
	n := &forStmt{line: line}
	n.target = p.target(false)
	p.expect(nameToken, "in")
	n.sequence = p.tuple(false, false)
	if p.skip(nameToken, "if") {
		n.test = p.expression()
	}
	n.recursive = p.skip(nameToken, "recursive")
	var end string
	n.body, end = p.block("endfor", "else")
	if end == "else" {
		n.otherwise, _ = p.block("endfor")
	}
	return n
}

func (p *parser) set(line int) stmt {
	target := p.target(true)
	if p.skip(operator, "=") {
		return &setStmt{target, p.tuple(true, false), line}
	}
	n := &setBlock{target: target, line: line}
	if p.isOperator("|") {
		n.filter = p.filter(nil, false)
	}
	n.body, _ = p.block("endset")
	return n
}

func (p *parser) with(line int) stmt {
	n := &withStmt{line: line}
	for p.current().kind != blockEnd {
		if len(n.names) > 0 {
			p.expect(operator, ",")
		}
		name, ok := p.target(false).(*nameExpr)
		if !ok {
			p.fail("not supported: {%% with %%} that assigns to anything but a name")
		}
		p.expect(operator, "=")
		n.names = append(n.names, name.name)
		n.values = append(n.values, p.expression())
	}
	n.body, _ = p.block("endwith")
	return n
}

func (p *parser) signature(m *macroCode) {
	p.expect(operator, "(")
	for !p.isOperator(")") {
		if len(m.parameters) > 0 {
			p.expect(operator, ",")
		}
		name := p.assignableName()
		if slices.Contains(m.parameters, name) {
			p.fail("two parameters are named %s", name)
		}
		if p.skip(operator, "=") {
			m.defaults = append(m.defaults, p.expression())
		} else if len(m.defaults) > 0 {
			p.fail("parameter %s: a parameter without a default follows one with a default", name)
		}
		m.parameters = append(m.parameters, name)
	}
	p.expect(operator, ")")
}

func (p *parser) assignableName() string {
	name := p.expectName()
	if _, ok := keywords[name]; ok {
		p.fail("%s cannot be assigned", name)
	}
	return name
}

// target parses what is assigned to: a name, a tuple of targets or, where namespaces is set, ns.name.
func (p *parser) target(namespaces bool) expr {
	target := p.tupleOf(func() expr { return p.primary(namespaces) }, false)
	p.checkTarget(target)
	return target
}

func (p *parser) checkTarget(e expr) {
	switch e := e.(type) {
	case *nameExpr, *namespaceTarget:
	case *tupleExpr:
		for _, x := range e.items {
			p.checkTarget(x)
		}
	default:
		p.fail("this cannot be assigned")
	}
}
