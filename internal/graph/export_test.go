package graph

import "gorgonia.org/gorgonia"

// Wrap lets f run each op of a program from now on.
func (p *Program) Wrap(f func(op string, run func())) {
	for _, o := range p.g.ops {
		run := o.run
		o.run = func(out gorgonia.Value, in []gorgonia.Value) { f(o.name, func() { run(out, in) }) }
	}
}

// Allocated is for tests outside.
var Allocated = allocated
