package graph

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Param is a named weight. Its name and shape are the checkpoint's.
type Param struct {
	Name  string
	Shape tensor.Shape
	Value *tensor.Dense // float32 or float64; uint16 holds bfloat16 bits of a frozen weight; nil while a model only declares what it needs
	Grad  *tensor.Dense // gradients are added here; nil: frozen

	InFile bool    // Value lies in a mapped file, and never changes
	packed *packed // as products read it; nil: they pack it themselves
}

// Frozen returns a view of p that takes no gradient.
func (p *Param) Frozen() *Param {
	frozen := *p
	frozen.Grad = nil
	return &frozen
}

// Graph is one model's computation at one shape: B rows of T positions. Build it with its methods, then Compile.
// The first error sticks: later calls do nothing, Compile returns it.
type Graph struct {
	B, T int
	BF16 bool // matrix products round their operands to bfloat16: kernel.GemmBF16
	// HeadBudget is how many bytes the logits that Loss works on at a time may take; 0: what is fastest, some 110 MB or those of 192 positions.
	// Where fewer than 32 positions fit, the vocabulary is taken in blocks if the losses allow that.
	HeadBudget int

	Inputs Inputs

	expr   *gorgonia.ExprGraph
	dtype  tensor.Dtype
	ctx    context.Context
	times  Times // of the run, nil: not wanted
	ops    []*op
	byNode map[*Node]*op
	params map[*Node]*Param
	taken  map[uint32]bool // hashes of all nodes
	cache  *Cache          // nil: every run stands alone
	layers int             // attention layers so far, for the cache

	linears []linearWeight // of linear layers

	gradient map[*Node]*Node   // of a node, the first that its readers gave
	more     map[*Node][]*Node // and the others

	recompute map[*Node]bool  // whose values the backward pass computes again
	again     map[*Node]*Node // where it does; nil: the forward pass is being built

	err    error // of building
	failed error // of the op that ended the last run
}

// Inputs are the leaves that a batch fills, each [B*T].
type Inputs struct {
	Tokens, Positions *Node
	First, Last       *Node // position i of a row sees the row's keys First[i] <= j < Last[i]
	Labels            *Node // what the logits at i predict, kernel-side: -100 is nothing
	Attended          *Node // 1 where there is a real token
	TokenTypes        *Node // which sentence of a pair a token is of, for encoders that tell them apart
	CacheRows         *Node // the row of the cache that a position belongs to; nil: there is none
}

// New returns an empty graph for B rows of T positions in float32, or float64 for gradient tests.
func New(dtype tensor.Dtype, b, t int) *Graph {
	g := &Graph{
		B: b, T: t, expr: gorgonia.NewGraph(), dtype: dtype, ctx: context.Background(),
		byNode: map[*Node]*op{}, params: map[*Node]*Param{}, taken: map[uint32]bool{},
	}
	g.Inputs = Inputs{
		Tokens: g.input("tokens"), Positions: g.input("positions"), First: g.input("first"), Last: g.input("last"), Labels: g.input("labels"),
		Attended: g.input("attended"), TokenTypes: g.input("token types"),
	}
	return g
}

func (g *Graph) input(name string) *Node {
	return g.Leaf(name, tensor.New(tensor.WithShape(g.Rows()), tensor.WithBacking(make([]int32, g.Rows()))))
}

// Fail records the first error.
func (g *Graph) Fail(err error) {
	if g.err == nil {
		g.err = err
	}
}

// Err returns the first error.
func (g *Graph) Err() error { return g.err }

// Rows is the number of positions, B*T.
func (g *Graph) Rows() int { return g.B * g.T }

// Weight adds a leaf for p. A weight that is used twice (a tied embedding) becomes two leaves over one value and one gradient.
func (g *Graph) Weight(p *Param) *Node {
	if g.err != nil {
		return nil
	}
	dtype, value := g.dtype, gorgonia.Value(nil)
	if p.Value != nil {
		dtype, value = p.Value.Dtype(), p.Value
	}
	n := g.leaf(p.Name, dtype, p.Shape, value)
	g.params[n] = p
	return n
}

// Leaf adds an input over a buffer that somebody else fills, such as another graph's result.
func (g *Graph) Leaf(name string, value *tensor.Dense) *Node {
	return g.leaf(name, value.Dtype(), value.Shape(), value)
}

// trained reports whether n is a weight that takes gradients.
func (g *Graph) trained(n *Node) bool {
	p := g.params[n]
	return p != nil && p.Grad != nil
}

// width is the last dimension of a node.
func width(n *Node) int { s := n.Shape(); return s[len(s)-1] }

// Program is a compiled graph.
type Program struct {
	Trained []*Param // the weights that get a gradient, those of the cost

	g       *Graph
	machine gorgonia.VM // nil: steps, or it has not run
	steps   []step      // of a graph over a cache, while it is bound
	plan    *plan
	arena   *Arena
}

// step is an op with its operands.
type step struct {
	op *op
	in []gorgonia.Value
}

// Compile differentiates cost (nil: forward only) with respect to every trained weight that it hangs on, lays out memory, and compiles the tape.
// Values of kept nodes survive a run; those of others are garbage afterwards. What neither cost nor a kept node needs is not computed.
func (g *Graph) Compile(arena *Arena, cost *Node, keep ...*Node) (*Program, error) {
	if g.err != nil {
		return nil, g.err
	}
	program := &Program{g: g, arena: arena}
	unused := g.unused(cost, keep)
	if cost != nil {
		var wrt gorgonia.Nodes
		seen := map[*Param]bool{}
		for _, n := range g.expr.AllNodes() {
			if !g.trained(n) || unused[n] {
				continue
			}
			wrt = append(wrt, n)
			if p := g.params[n]; !seen[p] && g.reached(n, unused) {
				program.Trained, seen[p] = append(program.Trained, p), true
			}
		}
		if len(wrt) > 0 {
			g.beginBackward(keep)
			if _, err := gorgonia.Grad(cost, wrt...); err != nil {
				return nil, fmt.Errorf("differentiate: %w", err)
			}
			if g.err != nil {
				return nil, g.err
			}
		}
	}
	if len(unused) > 0 {
		g.expr = g.expr.Subgraph(slices.DeleteFunc(slices.Clone(g.expr.AllNodes()), func(n *Node) bool { return unused[n] })...)
	}
	seen := map[uint32]*Node{}
	for _, n := range g.expr.AllNodes() {
		if other := seen[n.Hashcode()]; other != nil {
			return nil, fmt.Errorf("nodes %v and %v have the same hash: gorgonia would merge them", other, n)
		}
		seen[n.Hashcode()] = n
	}
	var err error
	if program.plan, err = g.layout(keep); err != nil {
		return nil, err
	}
	arena.reserve(program.plan.size)
	return program, nil
}

// unused returns the ops and weights that neither cost nor a kept node is made from; none where there is neither.
func (g *Graph) unused(cost *Node, keep []*Node) map[*Node]bool {
	unused := map[*Node]bool{}
	if cost == nil && len(keep) == 0 {
		return unused
	}
	for _, n := range g.expr.AllNodes() {
		unused[n] = g.byNode[n] != nil || g.params[n] != nil
	}
	maps.DeleteFunc(unused, func(_ *Node, is bool) bool { return !is })
	var use func(n *Node)
	use = func(n *Node) {
		delete(unused, n)
		if o := g.byNode[n]; o != nil {
			for _, operand := range o.in {
				if unused[operand] {
					use(operand)
				}
			}
		}
	}
	for _, n := range append([]*Node{cost}, keep...) {
		if n != nil {
			use(n)
		}
	}
	return unused
}

// Run executes the program once on a batch. The error names the op; a cancelled context ends it between two ops.
func (p *Program) Run(ctx context.Context, f Feed) error {
	if err := p.g.feed(f); err != nil {
		return err
	}
	if p.machine == nil && p.g.cache == nil { // made late: many programs are compiled to learn what they would take
		p.machine = gorgonia.NewTapeMachine(p.g.expr)
	}
	p.arena.grow(p.g.dtype)
	p.bind()
	p.g.ctx = ctx
	p.g.times, _ = ctx.Value(timesKey{}).(Times)
	p.g.failed = nil
	if p.machine == nil {
		return p.runSteps()
	}
	p.machine.Reset()
	if err := p.machine.RunAll(); p.g.failed != nil {
		return p.g.failed // our own words, without the tape machine's registers
	} else if err != nil {
		return err
	}
	return nil
}

// runSteps does what the tape machine does, which for a single position of a small model takes longer than all its ops.
func (p *Program) runSteps() error {
	for _, s := range p.steps {
		if _, err := s.op.Do(s.in...); err != nil {
			return err
		}
	}
	return nil
}

// Bytes is the memory that the program's intermediate values take.
func (p *Program) Bytes() int { return p.plan.size * int(p.g.dtype.Size()) }

// Close frees the machine, and lets go of the arena's memory at once: gorgonia's machine has a finalizer, which keeps it for a while.
func (p *Program) Close() error {
	p.unbind()
	if p.machine == nil {
		return nil
	}
	return p.machine.Close()
}

// Value returns the value of a kept node (or a leaf) after a run.
func (p *Program) Value(n *Node) *tensor.Dense {
	if o := p.g.byNode[n]; o != nil {
		return o.out.(*tensor.Dense)
	}
	return n.Value().(*tensor.Dense)
}

// Feed is a batch as a graph takes it; each slice is [B*T], or nil to leave an input as it is.
type Feed struct{ Tokens, Positions, First, Last, Labels, Attended, TokenTypes, CacheRows []int32 }

// feed copies a batch into the inputs.
func (g *Graph) feed(f Feed) error {
	for _, x := range []struct {
		n   *Node
		src []int32
	}{{g.Inputs.Tokens, f.Tokens}, {g.Inputs.Positions, f.Positions}, {g.Inputs.First, f.First}, {g.Inputs.Last, f.Last}, {g.Inputs.Labels, f.Labels},
		{g.Inputs.Attended, f.Attended}, {g.Inputs.TokenTypes, f.TokenTypes}, {g.Inputs.CacheRows, f.CacheRows}} {
		if x.src == nil {
			continue
		}
		if len(x.src) != g.Rows() {
			return fmt.Errorf("%s: have %d values, want %d x %d", x.n.Name(), len(x.src), g.B, g.T)
		}
		copy(ints(x.n.Value()), x.src)
	}
	return nil
}

// dispatch picks the element type once per op.
func dispatch(g *Graph, single, double func() *Node) *Node {
	if g.err != nil {
		return nil
	}
	if g.dtype == tensor.Float64 {
		return double()
	}
	return single()
}

// save returns a buffer that lives as long as the op: small things that a forward pass keeps for the backward one.
func save[E any](n int) []E { return make([]E, n) }
