package graph

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"runtime"
	"slices"
	"strings"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"kdistill/internal/kernel"
)

// TestRunsThroughGorgonia looks at the nodes: forward and backward are ops of a gorgonia graph, gradients come from its Grad,
// and its tape machine runs each op once.
func TestRunsThroughGorgonia(t *testing.T) {
	f := newFixture(tensor.Float32, 2, 3)
	f.feed.Labels = []int32{1, 2, -100, 0, 3, 4}
	p, cost := f.compile(t, func(g *Graph, view func(*Param) *Param) *Node {
		x := f.matrix(g, view, "table", 4)
		skip := Fork(x)
		y := g.RMSNorm(x, f.weight(g, view, "norm", 4), 1e-5, 0, skip)
		y = g.Linear(y, []*Node{f.weight(g, view, "w", 4, 4)}, []*Node{f.weight(g, view, "b", 4)}, false, nil)
		y = g.Close(skip, g.Activate(kernel.SiLU, y))
		cost, _ := g.Loss(y, Head{Weight: view(f.param("head", 5, 4))}, nil, []*Term{{Loss: newLoss(t, "cross_entropy"), Scale: 1}})
		return cost
	}, true)
	if cost.Graph() != p.g.expr {
		t.Error("the cost is not a node of the gorgonia graph")
	}
	ops, weights := 0, 0
	for _, n := range p.g.expr.AllNodes() {
		if n.Op() == nil {
			if param := p.g.params[n]; param != nil {
				weights++
				back := n.Deriv()
				if back == nil || !slices.Contains(back.DerivOf(), n) {
					t.Errorf("%s has no gradient node from gorgonia.Grad", n.Name())
				} else if name := back.Op().String(); name != "gradient of "+param.Name {
					t.Errorf("%s: have gradient node %s", n.Name(), name)
				}
			}
			continue
		}
		if len(childrenOf(p.g.expr, n)) == 0 {
			continue // the constant 1, the cost's own gradient
		}
		ops++
		if _, ok := n.Op().(gorgonia.SDOp); !ok {
			t.Errorf("%s cannot be differentiated by gorgonia", n)
		}
		if p.g.byNode[n] != n.Op() {
			t.Errorf("%s is not known to the graph", n)
		}
	}
	if weights != len(f.params) {
		t.Errorf("have %d weights among the leaves, want %d", weights, len(f.params))
	}
	ran := record(p.g)
	inside := true
	for _, o := range p.g.ops {
		run := o.run
		o.run = func(out gorgonia.Value, in []gorgonia.Value) {
			inside = inside && calledBy("gorgonia.(*tapeMachine).runall")
			run(out, in)
		}
	}
	f.run(t, p)
	if name := fmt.Sprintf("%T", p.machine); name != "*gorgonia.tapeMachine" {
		t.Errorf("have machine %s, want gorgonia's tape machine", name)
	}
	if len(*ran) != ops || !inside {
		t.Errorf("have %d runs of %d ops, called by the tape machine: %v", len(*ran), ops, inside)
	}
}

// calledBy reports whether a function whose name ends so is on the stack.
func calledBy(name string) bool {
	callers := make([]uintptr, 50)
	frames := runtime.CallersFrames(callers[:runtime.Callers(1, callers)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, name) {
			return true
		}
		if !more {
			return false
		}
	}
}

// TestAgainstGorgoniasOwnOps computes a small network by hand from gorgonia's built-in ops, and its gradients by gorgonia's Grad.
func TestAgainstGorgoniasOwnOps(t *testing.T) {
	f := newFixture(tensor.Float64, 2, 3)
	p, cost := f.compile(t, func(g *Graph, view func(*Param) *Param) *Node {
		x := f.matrix(g, view, "x", 4)
		h := g.Activate(kernel.ReLU, g.Linear(x, []*Node{f.weight(g, view, "w", 5, 4)}, []*Node{f.weight(g, view, "b", 5)}, false, nil))
		y := g.Linear(h, []*Node{f.weight(g, view, "v", 4, 5)}, []*Node{nil}, false, nil)
		return dot(g, g.Add(x, y))
	}, true)
	f.run(t, p)

	expr := gorgonia.NewGraph()
	leaf := func(name string, value *tensor.Dense) *Node {
		return gorgonia.NewTensor(expr, tensor.Float64, value.Dims(), gorgonia.WithName(name), gorgonia.WithShape(value.Shape()...), gorgonia.WithValue(value.Clone()))
	}
	var leaves gorgonia.Nodes
	for _, w := range f.params { // x, w, b, v
		leaves = append(leaves, leaf(w.Name, w.Value))
	}
	x, w, b, v := leaves[0], leaves[1], leaves[2], leaves[3]
	// dot's c is what its backward op hands out
	var c *tensor.Dense
	for n, o := range p.g.byNode {
		if o.name == "dot backward" {
			c = tensor.New(tensor.WithShape(n.Shape()...), tensor.WithBacking(slices.Clone(o.out.(*tensor.Dense).Float64s())))
			o.run(c, nil)
		}
	}
	h := gorgonia.Must(gorgonia.Rectify(gorgonia.Must(gorgonia.BroadcastAdd(gorgonia.Must(gorgonia.Mul(x, gorgonia.Must(gorgonia.Transpose(w)))), b, nil, []byte{0}))))
	y := gorgonia.Must(gorgonia.Add(x, gorgonia.Must(gorgonia.Mul(h, gorgonia.Must(gorgonia.Transpose(v))))))
	sum := gorgonia.Must(gorgonia.Sum(gorgonia.Must(gorgonia.HadamardProd(y, leaf("c", c)))))
	grads, err := gorgonia.Grad(sum, leaves...)
	if err != nil {
		t.Fatal(err)
	}
	machine := gorgonia.NewTapeMachine(expr)
	defer machine.Close()
	if err := machine.RunAll(); err != nil {
		t.Fatal(err)
	}
	near(t, "cost", []float64{scalarOf(p.g, cost)}, []float64{sum.Value().Data().(float64)})
	for i, w := range f.params {
		near(t, "gradient of "+w.Name, w.Grad.Float64s(), grads[i].Value().Data().([]float64))
	}
}

// custom adds an op that does what run says.
func custom(g *Graph, name string, x *Node, run func(out, in *tensor.Dense)) *Node {
	return g.apply(&op{name: name, shape: x.Shape(), inPlace: -1, run: func(out gorgonia.Value, in []gorgonia.Value) { run(out.(*tensor.Dense), in[0].(*tensor.Dense)) }}, x)
}

// TestPanicIsAnError: a panic in an op, also on another goroutine of the kernels, ends the run with an error that names the op; the next run is as good as new.
func TestPanicIsAnError(t *testing.T) {
	f := newFixture(tensor.Float32, 1, 3)
	g := New(f.dtype, 1, 3)
	bad := 1
	x := custom(g, "first", f.matrix(g, (*Param).Frozen, "x", 4), func(out, in *tensor.Dense) { copy(out.Float32s(), in.Float32s()) })
	x = custom(g, "second", x, func(out, in *tensor.Dense) {
		kernel.Parallel(8, func(i int) {
			if bad == 1 && i == 5 {
				panic("out of paper")
			}
		})
		copy(out.Float32s(), in.Float32s())
	})
	after := 0
	x = custom(g, "third", x, func(out, in *tensor.Dense) { after++; copy(out.Float32s(), in.Float32s()) })
	p, err := g.Compile(&Arena{}, nil, x)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Run(context.Background(), f.feed); err == nil || err.Error() != "second: out of paper" || after > 0 {
		t.Errorf("have error %v and %d ops run after it, want second: out of paper", err, after)
	}
	bad = 0
	f.run(t, p)
	if !slices.Equal(p.Value(x).Float32s(), f.param("x").Value.Float32s()) {
		t.Error("the run after the failed one has another result")
	}
	f.feed.Tokens = []int32{0, 3, 1} // the table has rows 0 to 2
	if err := p.Run(context.Background(), f.feed); err == nil || !strings.HasPrefix(err.Error(), "embedding: ") {
		t.Errorf("have error %v, want one of the op embedding", err)
	}
}

// TestCancel: a context that ends stops the run before the next op.
func TestCancel(t *testing.T) {
	f := newFixture(tensor.Float32, 1, 3)
	g := New(f.dtype, 1, 3)
	reason := errors.New("the user went home")
	ctx, cancel := context.WithCancelCause(context.Background())
	x := custom(g, "first", f.matrix(g, (*Param).Frozen, "x", 4), func(_, _ *tensor.Dense) { cancel(reason) })
	ran := false
	x = custom(g, "second", x, func(_, _ *tensor.Dense) { ran = true })
	p, err := g.Compile(&Arena{}, nil, x)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for range 2 { // while it runs, and before it runs
		if err := p.Run(ctx, f.feed); !errors.Is(err, reason) || ran {
			t.Errorf("have error %v, second op run: %v; want %v and no more ops", err, ran, reason)
		}
	}
	if f.run(t, p); !ran {
		t.Error("a later run with another context did not run")
	}
}

// TestHashes: the formula by which ids are chosen is gorgonia's own, and every node has a hash of its own.
func TestHashes(t *testing.T) {
	eachRandomGraph(t, func(t *testing.T, f *fixture, seed uint64) {
		var nodes []*Node
		p, _ := f.compile(t, randomGraph(t, f, seed, &nodes), true)
		seen := map[uint32]bool{}
		for _, n := range p.g.expr.AllNodes() {
			h := n.Hashcode()
			if seen[h] {
				t.Errorf("%s has the hash of another node", n)
			}
			seen[h] = true
			o := p.g.byNode[n]
			if o == nil {
				continue
			}
			if have := nodeHash(n.Type(), n.Shape(), o.WriteHash, childrenOf(p.g.expr, n)); have != h {
				t.Errorf("%s: have hash %x, gorgonia says %x", n, have, h)
			}
		}
	})
}

// TestHashCollision: an op or leaf that would get the hash of another node gets another id or name.
func TestHashCollision(t *testing.T) {
	f := newFixture(tensor.Float32, 1, 3)
	build := func(taken ...uint32) (leaf, result *Node) {
		g := New(f.dtype, 1, 3)
		for _, h := range taken {
			g.taken[h] = true
		}
		leaf = f.weight(g, (*Param).Frozen, "x", 3, 4)
		return leaf, g.Activate(kernel.SiLU, leaf)
	}
	leaf, result := build()
	_, other := build(result.Hashcode())
	if other.Hashcode() == result.Hashcode() {
		t.Error("an op kept a hash that is taken")
	}
	if other, _ := build(leaf.Hashcode()); other.Hashcode() == leaf.Hashcode() || other.Name() != "x (use 2)" {
		t.Errorf("a leaf kept a hash that is taken: %s", other.Name())
	}
	g := New(f.dtype, 1, 3)
	a, b := newDense(tensor.Float32, tensor.Shape{3, 4}), newDense(tensor.Float32, tensor.Shape{3, 4})
	if x, y := g.Leaf("same", a), g.Leaf("same", b); x == y || x.Value() != gorgonia.Value(a) || y.Value() != gorgonia.Value(b) {
		t.Error("two leaves of one name became one")
	}
	// What comes past all that (gorgonia's own nodes) is refused rather than run wrong.
	x := f.weight(g, (*Param).Frozen, "x", 3, 4)
	n := g.Activate(kernel.SiLU, x)
	twin := &op{g: g, name: "activation", shape: n.Shape(), inPlace: -1, operands: g.byNode[n].operands, result: g.byNode[n].result, id: g.byNode[n].id, diff: []bool{false}}
	m, err := gorgonia.ApplyOp(&otherType{twin}, x)
	if err != nil {
		t.Fatal(err)
	}
	if m == n {
		t.Skip("gorgonia merged the nodes itself")
	}
	if _, err := g.Compile(&Arena{}, nil, n); err == nil || !strings.Contains(err.Error(), "same hash") {
		t.Errorf("have error %v, want one about the same hash", err)
	}
}

// otherType has an op's hash within a node's, but not alone: gorgonia then keeps both nodes.
type otherType struct{ *op }

func (o *otherType) Hashcode() uint32      { return o.op.Hashcode() + 1 }
func (o *otherType) WriteHash(h hash.Hash) { o.op.WriteHash(h) }

// TestBF16Weights: frozen weights kept as bfloat16 bits give what the same numbers in float32 give.
func TestBF16Weights(t *testing.T) {
	f := newFixture(tensor.Float32, 2, 3)
	f.feed.Labels = []int32{1, 2, 0, 0, 3, 4}
	half := func(p *Param) (asBits, asFloats *Param) {
		bits, floats := make([]uint16, p.Shape.TotalSize()), make([]float32, p.Shape.TotalSize())
		for i, x := range p.Value.Float32s() {
			bits[i] = kernel.BF16(x)
			floats[i] = kernel.FromBF16(bits[i])
		}
		return &Param{Name: p.Name, Shape: p.Shape, Value: tensor.New(tensor.WithShape(p.Shape...), tensor.WithBacking(bits))},
			&Param{Name: p.Name, Shape: p.Shape, Value: tensor.New(tensor.WithShape(p.Shape...), tensor.WithBacking(floats))}
	}
	results := map[bool]map[string][]float64{}
	for _, asBits := range []bool{true, false} {
		view := func(p *Param) *Param {
			if b, x := half(p); asBits {
				return b
			} else {
				return x
			}
		}
		g := New(f.dtype, f.b, f.t)
		x := f.matrix(g, view, "table", 4)
		x = g.Linear(x, []*Node{f.weight(g, view, "w", 5, 4)}, []*Node{nil}, false, nil)
		x = g.Linear(x, []*Node{f.weight(g, view, "conv", 5, 4)}, []*Node{nil}, true, nil)
		logits := g.Logits(x, Head{Weight: view(f.param("head", 6, 4))})
		term := &Term{Loss: newLoss(t, "reverse_kl"), Scale: 1}
		cost, l := g.Loss(x, Head{Weight: view(f.param("head", 6, 4))}, []*Teacher{{Hidden: x, Head: Head{Weight: view(f.param("teacher's head", 6, 4))}}}, []*Term{term})
		p, err := g.Compile(&Arena{}, cost, logits)
		if err != nil {
			t.Fatal(err)
		}
		f.run(t, p)
		results[asBits] = map[string][]float64{"logits": wide(p.Value(logits)), "values": l.Values[0]}
		p.Close()
	}
	sameBits(t, "bfloat16", results[true], results[false])
	if nothing(results[true]["values"]) {
		t.Error("every value is zero, which checks nothing")
	}
}

// TestCachedAttention decodes one position at a time against the whole sequence at once.
func TestCachedAttention(t *testing.T) {
	const slots = 7
	h := Heads{H: 4, KV: 2, D: 2, Window: 3}
	f := newFixture(tensor.Float32, 2, slots)
	for i := range slots { // the second row begins at slot 2
		f.feed.First[slots+i], f.feed.Positions[slots+i] = 2, int32(max(0, i-2))
		if i < 2 {
			f.feed.First[slots+i], f.feed.Last[slots+i] = 0, 0
		}
	}
	build := func(g *Graph) *Node {
		return g.Attention(g.Rotary(f.matrix(g, (*Param).Frozen, "qkv", h.Width()), h, turning(1)), h)
	}
	whole := New(f.dtype, 2, slots)
	y := build(whole)
	p, err := whole.Compile(&Arena{}, nil, y)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	f.run(t, p)
	want := p.Value(y).Float32s()

	cache := NewCache(2)
	cache.Reserve(0, slots)
	cache.Reserve(1, slots)
	steps := map[int]*Program{}
	out := map[int]*Node{}
	for at := 0; at < slots; {
		n := 1
		if at == 0 {
			n = 4 // the prompt
		}
		if steps[n] == nil {
			g := NewCached(cache, 2*n)
			out[n] = build(g)
			if steps[n], err = g.Compile(&Arena{}, nil, out[n]); err != nil {
				t.Fatal(err)
			}
			defer steps[n].Close()
		}
		cut := func(x []int32) []int32 { return append(slices.Clone(x[at:at+n]), x[slots+at:slots+at+n]...) }
		feed := Feed{Tokens: cut(f.feed.Tokens), Positions: cut(f.feed.Positions), First: cut(f.feed.First), Last: cut(f.feed.Last),
			CacheRows: append(make([]int32, n), slices.Repeat([]int32{1}, n)...)}
		if err := steps[n].Run(context.Background(), feed); err != nil {
			t.Fatal(err)
		}
		have, w := steps[n].Value(out[n]).Float32s(), h.H*h.D
		for r := range 2 {
			if !slices.Equal(have[r*n*w:(r+1)*n*w], want[(r*slots+at)*w:(r*slots+at+n)*w]) {
				t.Errorf("row %d, slots %d to %d: the decoded result differs from the whole sequence's", r, at, at+n-1)
			}
		}
		at += n
	}
}
