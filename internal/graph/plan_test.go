package graph

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"weak"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"kdistill/internal/kernel"
)

const randomWidth = 8

// randomGraph builds a graph of random ops over matrices [N, 8]: chains, residual blocks, nodes that several others read.
// The same seed builds the same graph over the same weights.
func randomGraph(t testing.TB, f *fixture, seed uint64, nodes *[]*Node) builder {
	return func(g *Graph, view func(*Param) *Param) *Node {
		r := rand.New(rand.NewPCG(seed, 1))
		w := func(kind string, shape ...int) *Node {
			return f.weight(g, view, fmt.Sprintf("%s %d", kind, len(g.ops)), shape...)
		}
		project := func(x *Node, out int, skip *Skip) *Node {
			return g.Linear(x, []*Node{w("weight", out, width(x))}, []*Node{w("bias", out)}, false, skip)
		}
		layer := func(x *Node, skip *Skip) *Node {
			switch r.IntN(3) {
			case 0:
				return g.RMSNorm(x, w("rms", randomWidth), 1e-5, 0, skip)
			case 1:
				return g.LayerNorm(x, w("layer", randomWidth), w("layer bias", randomWidth), 1e-5, skip)
			default:
				return project(x, randomWidth, skip)
			}
		}
		attend := func(x *Node) *Node {
			h := Heads{H: 4, KV: 2, D: 2, Window: r.IntN(3), Softcap: float64(r.IntN(3))}
			qkv := g.Linear(x, []*Node{w("q", 8, 8), w("k", 4, 8), w("v", 4, 8)}, []*Node{nil, w("k bias", 4), nil}, false, nil)
			if r.IntN(2) == 0 {
				qkv = g.HeadNorm(g.HeadNorm(qkv, w("q norm", 2), 0, 4, 1e-5, 0), w("k norm", 2), 8, 2, 1e-5, 1)
			}
			return g.Attention(g.Rotary(qkv, h, turning(1)), h)
		}
		feed := func(x *Node) *Node {
			if r.IntN(2) == 0 {
				return g.Activate(kernel.Activation(r.IntN(5)), x)
			}
			if r.IntN(4) == 0 {
				return g.Scale(x, 1.5)
			}
			return g.GLU(kernel.Activation(r.IntN(5)), project(x, 2*randomWidth, nil))
		}
		pool := []*Node{g.Embedding(w("table", f.b*f.t, randomWidth), g.Inputs.Tokens, 0, -1)}
		pick := func() *Node { return pool[max(r.IntN(len(pool)), r.IntN(len(pool)))] }
		for range 4 + r.IntN(8) {
			x := pick()
			switch r.IntN(6) {
			case 0:
				pool = append(pool, layer(x, nil))
			case 1:
				pool = append(pool, g.Add(x, pick()))
			case 2:
				pool = append(pool, attend(x))
			case 3:
				pool = append(pool, feed(x))
			default:
				skip := Fork(x)
				y := layer(x, skip)
				if r.IntN(2) == 0 {
					y = attend(y)
				}
				pool = append(pool, g.Close(skip, project(feed(y), randomWidth, nil)))
			}
		}
		x := pool[0]
		for _, y := range pool[1:] {
			x = g.Add(x, y)
		}
		*nodes = pool
		terms := []*Term{{Loss: newLoss(t, "cross_entropy"), Scale: 0.5}, {Loss: newLoss(t, "cross_entropy"), Attended: true, Scale: 0.25}}
		cost, _ := g.Loss(g.RMSNorm(x, w("final", randomWidth), 1e-5, 0, nil), Head{Weight: view(f.param("head", 11, randomWidth))}, nil, terms)
		return cost
	}
}

// record makes every op note when it runs.
func record(g *Graph) *[]*op {
	var ran []*op
	for _, o := range g.ops {
		run := o.run
		o.run = func(out gorgonia.Value, in []gorgonia.Value) {
			ran = append(ran, o)
			run(out, in)
		}
	}
	return &ran
}

// spread gives every result and working memory of a program a place of its own that nothing else uses.
func spread(p *Program) {
	at := 0
	for _, n := range p.plan.order {
		o := p.g.byNode[n]
		if o == nil {
			continue
		}
		if _, ok := p.plan.offset[n]; ok {
			p.plan.offset[n] = at
			at += align(o.shape.TotalSize())
		}
		if _, ok := p.plan.memory[o]; ok {
			p.plan.memory[o] = at
			at += align(o.scratch)
		}
	}
	p.plan.size = at
	p.arena.reserve(at)
}

const randomGraphs = 40

func eachRandomGraph(t *testing.T, f func(t *testing.T, x *fixture, seed uint64)) {
	for seed := range uint64(randomGraphs) {
		dtype := tensor.Float32
		if seed%4 == 0 {
			dtype = tensor.Float64
		}
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			x := newFixture(dtype, 2, 5)
			x.std = 0.4 // chains of any length stay in range
			for i := range x.feed.Labels {
				x.feed.Labels[i] = int32(i%11) - int32(i%2)*100
			}
			documentsOf5(x)
			f(t, x, seed)
		})
	}
}

// documentsOf5 cuts the first row after position 2 and pads the end of the second.
func documentsOf5(f *fixture) {
	for _, i := range []int{2, 3, 4} {
		f.feed.First[i], f.feed.Positions[i] = 2, int32(i-2)
	}
	for _, i := range []int{8, 9} {
		f.feed.First[i], f.feed.Last[i], f.feed.Attended[i], f.feed.Labels[i] = 0, 0, 0, -100
	}
}

// TestPlanOrder: the tape machine runs the ops in the order for which the plan laid out memory, each once.
func TestPlanOrder(t *testing.T) {
	eachRandomGraph(t, func(t *testing.T, f *fixture, seed uint64) {
		var nodes []*Node
		p, _ := f.compile(t, randomGraph(t, f, seed, &nodes), true)
		ran := record(p.g)
		f.run(t, p)
		var want []*op
		for _, n := range p.plan.order {
			if o := p.g.byNode[n]; o != nil {
				want = append(want, o)
			}
		}
		if len(want) != len(p.g.ops) || !slices.Equal(*ran, want) {
			t.Errorf("ran %d of %d ops, or in another order than planned", len(*ran), len(p.g.ops))
		}
	})
}

// TestPlanKeepsApart: what is needed at the same time never overlaps, counted from the order in which the ops really run.
func TestPlanKeepsApart(t *testing.T) {
	eachRandomGraph(t, func(t *testing.T, f *fixture, seed uint64) {
		var nodes []*Node
		p, _ := f.compile(t, randomGraph(t, f, seed, &nodes), true)
		g := p.g
		ran := record(g)
		f.run(t, p)
		when := map[*op]int{}
		for i, o := range *ran {
			when[o] = i
		}
		// Life: from the op that writes to the last that reads.
		type block struct {
			name               string
			from, to, at, size int
			owner, over        *op // over: the op that may take this memory for its result while it reads it
		}
		lastRead := func(n *Node) (last int, taker *op) {
			for _, reader := range g.expr.AllNodes() {
				for i, c := range childrenOf(g.expr, reader) {
					if c != n {
						continue
					}
					if o := g.byNode[reader]; when[o] >= last {
						last, taker = when[o], nil
						if o.inPlace == i {
							taker = o
						}
					}
				}
			}
			return last, taker
		}
		var blocks []block
		for n, o := range g.byNode {
			if at, ok := p.plan.offset[n]; ok {
				last, taker := lastRead(n)
				blocks = append(blocks, block{n.Name(), when[o], max(when[o], last), at, o.shape.TotalSize(), o, taker})
			}
			if at, ok := p.plan.memory[o]; ok {
				last := when[o]
				if o.until != nil {
					last = when[g.byNode[o.until]]
				}
				blocks = append(blocks, block{"memory of " + n.Name(), when[o], last, at, o.scratch, nil, nil})
			}
		}
		for i, a := range blocks {
			if a.at+a.size > p.plan.size {
				t.Errorf("%s: ends at %d, beyond the arena of %d", a.name, a.at+a.size, p.plan.size)
			}
			for _, b := range blocks[:i] {
				if a.at+a.size <= b.at || b.at+b.size <= a.at || a.to < b.from || b.to < a.from {
					continue
				}
				first, second := a, b
				if first.from > second.from {
					first, second = second, first
				}
				if second.owner != nil && first.to == second.from && first.over == second.owner {
					continue // in place
				}
				t.Errorf("%s [%d-%d] and %s [%d-%d] overlap in memory and in time", first.name, first.from, first.to, second.name, second.from, second.to)
			}
		}
	})
}

// TestPlanChangesNothing compares with a plan that never uses memory twice: gradients and kept values have the same bits, whatever the memory held before.
func TestPlanChangesNothing(t *testing.T) {
	smaller := 0
	eachRandomGraph(t, func(t *testing.T, f *fixture, seed uint64) {
		results := map[bool]map[string][]float64{}
		for _, wasteful := range []bool{false, true} {
			var nodes []*Node
			g := New(f.dtype, f.b, f.t)
			cost := randomGraph(t, f, seed, &nodes)(g, trained)
			keep := nodes[len(nodes)/2]
			p, err := g.Compile(&Arena{}, cost, keep)
			if err != nil {
				t.Fatal(err)
			}
			planned := p.plan.size
			if wasteful {
				spread(p)
				if planned < p.plan.size {
					smaller++
				}
			}
			f.clearGradients()
			p.poison()
			f.run(t, p)
			results[wasteful] = f.gradients()
			results[wasteful]["cost"] = []float64{scalarOf(g, cost)}
			results[wasteful]["kept node"] = wide(p.Value(keep))
			p.Close()
		}
		sameBits(t, "with the plan", results[false], results[true])
	})
	if smaller < randomGraphs/2 {
		t.Errorf("the plan saves memory on %d of %d graphs", smaller, randomGraphs)
	}
}

// TestPlanOfDepth: a forward pass of many layers takes no more memory than one of few.
func TestPlanOfDepth(t *testing.T) {
	size := func(layers int) int {
		f := newFixture(tensor.Float32, 2, 5)
		p, _ := f.compile(t, func(g *Graph, view func(*Param) *Param) *Node {
			x := f.matrix(g, view, "x", 8)
			for i := range layers {
				skip := Fork(x)
				y := g.RMSNorm(x, f.weight(g, view, fmt.Sprint("norm ", i), 8), 1e-5, 0, skip)
				y = g.GLU(kernel.SiLU, g.Linear(y, []*Node{f.weight(g, view, fmt.Sprint("up ", i), 32, 8)}, []*Node{nil}, false, nil))
				x = g.Close(skip, g.Linear(y, []*Node{f.weight(g, view, fmt.Sprint("down ", i), 8, 16)}, []*Node{nil}, false, nil))
			}
			return dot(g, x)
		}, false)
		return p.plan.size
	}
	if few, many := size(2), size(12); few != many {
		t.Errorf("forward: have %d elements for 2 layers and %d for 12, want the same", few, many)
	}
}

// TestArenaGrows runs a small program, then a larger one in the same arena, then the small one again.
func TestArenaGrows(t *testing.T) {
	for _, dtype := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
		arena := &Arena{}
		type program struct {
			*Program
			f    *fixture
			cost *Node
			keep *Node
		}
		open := func(b, length int, arena *Arena) program {
			f := newFixture(dtype, b, length)
			f.std = 0.4
			var nodes []*Node
			g := New(dtype, b, length)
			cost := randomGraph(t, f, 3, &nodes)(g, trained)
			p, err := g.Compile(arena, cost, nodes[1])
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { p.Close() })
			return program{p, f, cost, nodes[1]}
		}
		result := func(p program) map[string][]float64 {
			p.f.clearGradients()
			p.arena.poison()
			p.f.run(t, p.Program)
			out := p.f.gradients()
			out["cost"], out["kept"] = []float64{scalarOf(p.g, p.cost)}, wide(p.Value(p.keep))
			return out
		}
		small := open(1, 3, arena)
		first := result(small)
		large := open(2, 40, arena)
		if large.plan.size <= max(len(arena.single), len(arena.double)) {
			t.Fatal("the larger program fits in the memory of the small one: nothing is checked")
		}
		alone := result(open(2, 40, &Arena{}))
		for range 2 {
			sameBits(t, "the small program", result(small), first)
			sameBits(t, "the large program", result(large), alone)
		}
		if have := max(len(arena.single), len(arena.double)); have != large.plan.size {
			t.Errorf("have an arena of %d elements, want the larger program's %d", have, large.plan.size)
		}
	}
}

// TestArenaIsLetGo: when the arena grows nobody holds on to the old memory, neither programs that live on nor closed ones.
func TestArenaIsLetGo(t *testing.T) {
	for seed := range uint64(8) {
		arena := &Arena{}
		var last weak.Pointer[float32]
		for i := range 4 {
			f := newFixture(tensor.Float32, 2, 5*(i+1))
			f.std = 0.4
			g := New(f.dtype, f.b, f.t)
			var nodes []*Node
			p, err := g.Compile(arena, randomGraph(t, f, seed, &nodes)(g, trained), nodes[len(nodes)/2])
			if err != nil {
				t.Fatal(err)
			}
			f.run(t, p)
			runtime.GC()
			if i > 0 && last.Value() != nil {
				t.Fatalf("seed %d: the memory from before the arena grew is still held", seed)
			}
			last = weak.Make(&arena.single[0])
			if i%2 == 0 {
				p.Close()
			} else {
				defer p.Close()
			}
		}
	}
}

// TestAccumulation: a second run adds the same gradients once more.
func TestAccumulation(t *testing.T) {
	eachRandomGraph(t, func(t *testing.T, f *fixture, seed uint64) {
		var nodes []*Node
		p, _ := f.compile(t, randomGraph(t, f, seed, &nodes), true)
		f.run(t, p)
		once := f.gradients()
		f.run(t, p)
		tolerance := 1e-12
		if f.dtype == tensor.Float32 {
			tolerance = 1e-5
		}
		for name, twice := range f.gradients() {
			for i, x := range twice {
				if want := 2 * once[name][i]; !(abs(x-want) <= tolerance*(1+abs(want))) {
					t.Fatalf("%s[%d]: have %v after two runs, want %v", name, i, x, want)
				}
			}
		}
	})
}

func abs(x float64) float64 { return max(x, -x) }

// TestByShape keeps what was built, and closes what it drops.
func TestByShape(t *testing.T) {
	var open, built int
	var c ByShape[*closer]
	at := func(s Shape) *closer {
		x, err := c.At(s, func() (*closer, error) {
			built, open = built+1, open+1
			return &closer{&open, s}, nil
		})
		if err != nil || x.shape != s {
			t.Fatalf("shape %v: have %v, %v", s, x, err)
		}
		return x
	}
	for i := range maxShapes {
		first := at(Shape{1, i})
		if second := at(Shape{1, i}); second != first {
			t.Error("built twice")
		}
	}
	if built != maxShapes || open != maxShapes {
		t.Errorf("have %d built, %d open, want %d", built, open, maxShapes)
	}
	at(Shape{2, 1})
	if built != maxShapes+1 || open != maxShapes {
		t.Errorf("after one more: have %d built, %d open, want %d and %d", built, open, maxShapes+1, maxShapes)
	}
	at(Shape{1, 0}) // was dropped
	if built != maxShapes+2 {
		t.Errorf("the first shape was kept for ever")
	}
	failure := errors.New("no")
	if _, err := c.At(Shape{3, 3}, func() (*closer, error) { return nil, failure }); !errors.Is(err, failure) {
		t.Errorf("have error %v, want %v", err, failure)
	}
	if err := c.Close(); err != nil || open != 0 {
		t.Errorf("after Close: %d open, %v", open, err)
	}
}

type closer struct {
	open  *int
	shape Shape
}

func (c *closer) Close() error { *c.open--; return nil }

// TestFeedErrors: a batch of another shape is refused by the input's name.
func TestFeedErrors(t *testing.T) {
	f := newFixture(tensor.Float32, 1, 3)
	p, _ := f.compile(t, func(g *Graph, view func(*Param) *Param) *Node { return dot(g, f.matrix(g, view, "x", 2)) }, false)
	f.feed.Labels = f.feed.Labels[:2]
	if err := p.Run(context.Background(), f.feed); err == nil || err.Error() != "labels: have 2 values, want 1 x 3" {
		t.Errorf("have error %v", err)
	}
}
