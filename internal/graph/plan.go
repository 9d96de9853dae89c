package graph

import (
	"fmt"
	"runtime/debug"
	"slices"
	"sort"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"kdistill/internal/kernel"
)

// Arena is the memory of intermediate values, shared by all programs that never run at the same time. The zero value is ready.
type Arena struct {
	single []float32
	double []float64
	want   int
	bound  map[*Program]bool // whose values lie here
}

func (a *Arena) reserve(n int) { a.want = max(a.want, n) }

// grow makes room for every program that was compiled so far. All values move then: programs that held on to the old memory,
// one for each shape, would together take several times the largest one's.
func (a *Arena) grow(dtype tensor.Dtype) {
	have := len(a.single)
	if dtype == tensor.Float64 {
		have = len(a.double)
	}
	if a.want <= have {
		return
	}
	for p := range a.bound {
		p.unbind()
	}
	a.single, a.double = nil, nil
	if have > 0 {
		debug.FreeOSMemory() // or the process would hold the old memory beside the new
	}
	if dtype == tensor.Float64 {
		a.double = kernel.Make[float64](a.want)
	} else {
		a.single = kernel.Make[float32](a.want)
	}
}

func (a *Arena) slice(dtype tensor.Dtype, from, n int) any {
	if dtype == tensor.Float64 {
		return a.double[from : from+n : from+n]
	}
	return a.single[from : from+n : from+n]
}

// plan says where in the arena each op's result lies.
type plan struct {
	order  []*Node
	offset map[*Node]int // of results, in elements
	memory map[*op]int   // of working memory, in elements
	size   int           // elements
}

// align rounds a size up to a cache line of float32.
func align(n int) int { return (n + 15) / 16 * 16 }

// layout gives each result a place by its life: from the op that writes it to the last that reads it, in the order in which the tape machine runs.
// Results take over an operand's place where the op allows it and nobody reads the operand later.
func (g *Graph) layout(keep []*Node) (*plan, error) {
	sorted, err := gorgonia.Sort(g.expr)
	if err != nil {
		return nil, fmt.Errorf("sort: %w", err)
	}
	p := &plan{offset: map[*Node]int{}, memory: map[*op]int{}}
	for i := len(sorted) - 1; i >= 0; i-- { // gorgonia sorts from results to leaves
		p.order = append(p.order, sorted[i])
	}
	children := func(n *Node) []*Node { return childrenOf(g.expr, n) }
	last, place := map[*Node]int{}, map[*Node]int{}
	for i, n := range p.order {
		last[n], place[n] = max(last[n], i), i
		for _, c := range children(n) {
			last[c] = i
		}
	}
	for _, n := range p.order {
		if g.byNode[n] == nil && len(children(n)) > 0 {
			return nil, fmt.Errorf("gorgonia added %v, whose memory is not ours to plan", n)
		}
	}
	for _, n := range keep {
		last[n] = len(p.order)
	}

	home, work := map[*Node]*buffer{}, map[*op]*buffer{}
	var buffers []*buffer
	for i, n := range p.order {
		o := g.byNode[n]
		if o == nil {
			continue
		}
		if o.scratch > 0 {
			b := &buffer{n: align(o.scratch), from: i, to: i}
			if o.until != nil {
				b.to = place[o.until]
			}
			buffers, work[o] = append(buffers, b), b
		}
		if o.fixed {
			continue
		}
		size := align(o.shape.TotalSize())
		if o.inPlace >= 0 {
			if b := home[children(n)[o.inPlace]]; b != nil && b.to == i && b.n == size {
				b.to, home[n] = last[n], b
				continue
			}
		}
		b := &buffer{n: size, from: i, to: last[n]}
		buffers, home[n] = append(buffers, b), b
	}

	p.size = fit(buffers)
	for n, b := range home {
		p.offset[n] = b.offset
	}
	for o, b := range work {
		p.memory[o] = b.offset
	}
	return p, nil
}

// buffer is memory that is needed while the ops from and to, and those between them, run.
type buffer struct{ n, from, to, offset int } // n and offset in elements

// fit gives each buffer an offset, largest first the lowest that is free through its life, and returns the size of the whole.
func fit(buffers []*buffer) (size int) {
	bySize := append([]*buffer(nil), buffers...)
	sort.SliceStable(bySize, func(i, j int) bool { return bySize[i].n > bySize[j].n })
	var placed []*buffer // by offset
	for _, b := range bySize {
		at := 0
		for _, q := range placed {
			if q.to < b.from || b.to < q.from {
				continue
			}
			if at+b.n <= q.offset {
				break
			}
			at = max(at, q.offset+q.n)
		}
		b.offset = at
		size = max(size, at+b.n)
		k := sort.Search(len(placed), func(k int) bool { return placed[k].offset > at })
		placed = append(placed, nil)
		copy(placed[k+1:], placed[k:])
		placed[k] = b
	}
	return size
}

// bind makes the tensors of all results over the arena.
func (p *Program) bind() {
	if p.arena.bound[p] {
		return
	}
	for n, at := range p.plan.offset {
		o := p.g.byNode[n]
		o.out = tensor.New(tensor.WithShape(o.shape...), tensor.WithBacking(p.arena.slice(p.g.dtype, at, o.shape.TotalSize())))
	}
	for o, at := range p.plan.memory {
		o.memory = p.arena.slice(p.g.dtype, at, o.scratch)
	}
	if p.g.cache != nil {
		p.bindSteps()
	}
	if p.arena.bound == nil {
		p.arena.bound = map[*Program]bool{}
	}
	p.arena.bound[p] = true
}

// bindSteps lists the ops in their order, with their operands' values.
func (p *Program) bindSteps() {
	for _, n := range p.plan.order {
		o := p.g.byNode[n]
		if o == nil {
			continue
		}
		in := make([]gorgonia.Value, len(o.in))
		for i, operand := range o.in {
			in[i] = p.Value(operand)
		}
		p.steps = append(p.steps, step{o, in})
	}
}

// unbind lets go of the arena's memory: ops, gorgonia's nodes, the machine's registers or the steps hold the tensors.
func (p *Program) unbind() {
	for n := range p.plan.offset {
		o := p.g.byNode[n]
		o.out = nil
		gorgonia.WithValue(tensor.New(tensor.Of(p.g.dtype), tensor.WithShape(slices.Repeat([]int{1}, len(o.shape))...)))(n)
	}
	for o := range p.plan.memory {
		o.memory = nil
	}
	if p.steps = nil; p.machine != nil {
		p.machine.Reset()
	}
	delete(p.arena.bound, p)
}

// childrenOf lists a node's operands in order.
func childrenOf(expr *gorgonia.ExprGraph, n *Node) []*Node {
	var c []*Node
	for it := expr.From(n.ID()); it.Next(); {
		c = append(c, it.Node().(*Node))
	}
	return c
}
