// Package jinja renders chat templates exactly as Python's jinja2 does in the sandbox that transformers sets up for them.
//
// It knows the language of chat templates only: no inheritance, includes, imports or HTML escaping. What it cannot
// render exactly is an error, never another text. It is an interpreter of its own because no Go engine keeps apart what
// Python does (undefined and none, tuples and lists, integers and floats, a generator's single pass, jinja2's scopes).
package jinja

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// Template is safe for concurrent use.
type Template struct {
	body      []stmt
	frame     *frame
	generates bool
}

// Generates tells whether the template has a {% generation %} block.
func (t *Template) Generates() bool { return t.generates }

// Span is a range of bytes of the rendered text, [Start, End).
type Span struct{ Start, End int }

// Result is a rendered template.
type Result struct {
	Text string
	// Generated holds what stood in {% generation %} blocks, in order.
	Generated []Span
	// Untracked is set where a {% generation %} block stood in a macro, a set block or another block whose text goes
	// elsewhere, so that Generated lacks it.
	Untracked bool
}

// Error is the error of Parse and Render.
type Error struct {
	Line   int // of the template, from 1; 0: not known
	Reason string
	// Raised is set where the template itself refused its input, by raise_exception.
	Raised bool
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Reason
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Reason)
}

// failure is what the code of this package panics with; Parse and Render return it as an error.
type failure struct{ *Error }

// fail ends parsing or rendering.
func fail(format string, args ...any) {
	panic(failure{&Error{Reason: fmt.Sprintf(format, args...)}})
}

// unsupported ends rendering at something that Python knows and this package does not.
func unsupported(format string, args ...any) {
	fail("not supported: "+format, args...)
}

func recovered(err *error) {
	switch p := recover().(type) {
	case nil:
	case failure:
		*err = p.Error
	default:
		panic(p)
	}
}

// Parse reads a template.
func Parse(source string) (t *Template, err error) {
	defer recovered(&err)
	p := &parser{tokens: lex(source)}
	body := p.template()
	return &Template{body, analyze(body), p.generates}, nil
}

// Options are the settings of a rendering. The zero value is ready for use.
type Options struct {
	Now func() time.Time // what strftime_now sees; nil: time.Now

	steps int // instead of baseSteps, in tests
}

// Limits of a rendering, so that no template can hang or exhaust the memory.
const (
	baseSteps   = 20_000_000 // evaluations and elements; text costs a step for each 16 bytes
	stepsInByte = 64         // more steps for each byte of the variables
	maxMacros   = 150        // calls within calls
	maxNesting  = 200        // of values and of expressions
	maxChain    = 2000       // of operators, filters and the like in a row
	maxDepth    = 20_000     // of evaluations within each other
	maxRange    = 100_000    // the sandbox's own limit
)

// Render renders the template with variables, which are nil (none), bool, int64, float64, string, List, Tuple and *Dict.
func (t *Template) Render(variables map[string]any, o Options) (result Result, err error) {
	r := &render{variables: variables, out: new(strings.Builder), now: o.Now, result: &result, steps: cmp.Or(o.steps, baseSteps)}
	defer func() {
		if e, ok := err.(*Error); ok && e.Line == 0 {
			e.Line = r.line
		}
	}()
	defer recovered(&err)
	for _, v := range variables {
		r.steps += stepsInByte * size(v, 0)
	}
	if r.now == nil {
		r.now = time.Now
	}
	root := &scope{}
	r.enter(t.frame, root)
	r.run(t.body, root)
	result.Text = r.out.String()
	return result, nil
}

// size is about the number of bytes of a value.
func size(v any, depth int) int {
	if depth > maxNesting {
		fail("a variable is nested more than %d deep", maxNesting)
	}
	n := 8
	switch v := v.(type) {
	case string:
		n += len(v)
	case List:
		for _, x := range v {
			n += size(x, depth+1)
		}
	case Tuple:
		for _, x := range v {
			n += size(x, depth+1)
		}
	case *Dict:
		for i, k := range v.keys {
			n += size(k, depth+1) + size(v.values[i], depth+1)
		}
	}
	return n
}

// render is the state of one rendering.
type render struct {
	variables map[string]any
	out       *strings.Builder // where text goes now
	captures  int              // how many texts are being captured: 0 where out is the result's
	result    *Result
	now       func() time.Time
	steps     int
	depth     int // evaluations within each other
	macros    int // calls within each other
	line      int // of the statement that runs
}

// charge takes n steps off the budget.
func (r *render) charge(n int) {
	if r.steps -= n; r.steps < 0 || n < 0 {
		fail("the template takes too many steps")
	}
}

// chargeText takes the steps of n bytes off the budget.
func (r *render) chargeText(n int) { r.charge(n/16 + 1) }

func (r *render) write(s string) {
	r.chargeText(len(s))
	r.out.WriteString(s)
}

// capture returns the text that f writes.
func (r *render) capture(f func()) string {
	outer := r.out
	r.out = new(strings.Builder)
	r.captures++
	f()
	text := r.out.String()
	r.out = outer
	r.captures--
	return text
}

// scope holds the variables of one frame while it runs.
type scope struct {
	variables map[string]any
	parent    *scope
}

// absent is the value of a variable or an argument that is not set.
type absent struct{}

// lookup returns the value of a name: every name that the frame or those around it mention is there.
func (s *scope) lookup(name string) any {
	for ; s != nil; s = s.parent {
		if v, ok := s.variables[name]; ok {
			return v
		}
	}
	return absent{}
}

// set assigns a name of this frame.
func (s *scope) set(name string, v any) { s.variables[name] = v }

// resolve looks a name up outside of the template.
func (r *render) resolve(name string) any {
	if v, ok := r.variables[name]; ok {
		return v
	}
	if v, ok := globals[name]; ok {
		return v
	}
	return absent{}
}

// enter gives the names of a frame their first values.
func (r *render) enter(f *frame, s *scope) {
	if s.variables == nil {
		s.variables = make(map[string]any, len(f.loads))
	}
	clear(s.variables)
	for _, l := range f.loads {
		switch l.from {
		case fromContext:
			s.variables[l.name] = r.resolve(l.name)
		case fromOuter:
			s.variables[l.name] = s.parent.lookup(l.name)
		case fromNowhere:
			s.variables[l.name] = absent{}
		}
	}
}
