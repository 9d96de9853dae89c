package graph

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"gorgonia.org/tensor"
	"kdistill/internal/kernel"
)

// TestRecomputeChangesNothing compares with a backward pass that reads what the forward pass kept: the same bits, in less memory.
func TestRecomputeChangesNothing(t *testing.T) {
	smaller := map[string]int{}
	eachRandomGraph(t, func(t *testing.T, f *fixture, seed uint64) {
		var want map[string][]float64
		size := 0
		for _, mode := range []string{"everything kept", "cheap ops", "all but some nodes"} {
			var nodes []*Node
			g := New(f.dtype, f.b, f.t)
			cost := randomGraph(t, f, seed, &nodes)(g, trained)
			kept := nodes[len(nodes)/2]
			switch mode {
			case "everything kept":
				for _, o := range g.ops {
					o.cheap = false
				}
			case "all but some nodes":
				r := rand.New(rand.NewPCG(seed, 2))
				boundaries := []*Node{nodes[len(nodes)-1]}
				for range 3 {
					boundaries = append(boundaries, nodes[r.IntN(len(nodes))])
				}
				g.Recompute(boundaries...)
			}
			p, err := g.Compile(&Arena{}, cost, kept)
			if err != nil {
				t.Fatal(err)
			}
			f.clearGradients()
			p.poison()
			for range 2 { // the second run finds the first one's values
				f.run(t, p)
			}
			have := f.gradients()
			have["cost"], have["kept node"] = []float64{scalarOf(g, cost)}, wide(p.Value(kept))
			if want == nil {
				want, size = have, p.plan.size
			}
			sameBits(t, mode, have, want)
			if p.plan.size < size {
				smaller[mode]++
			}
			p.Close()
		}
	})
	for _, mode := range []string{"cheap ops", "all but some nodes"} {
		if smaller[mode] < randomGraphs/2 {
			t.Errorf("%s: saves memory on %d of %d graphs", mode, smaller[mode], randomGraphs)
		}
	}
}

// TestRecomputeOfDepth: each block more takes the memory of its input, and no more.
func TestRecomputeOfDepth(t *testing.T) {
	size := func(layers int) int {
		f := newFixture(tensor.Float32, 2, 8)
		p, _ := f.compile(t, func(g *Graph, view func(*Param) *Param) *Node {
			x := f.matrix(g, view, "x", 16)
			hidden := []*Node{x}
			for i := range layers {
				skip := Fork(x)
				y := g.RMSNorm(x, f.weight(g, view, fmt.Sprint("norm ", i), 16), 1e-5, 0, skip)
				y = g.GLU(kernel.SiLU, g.Linear(y, []*Node{f.weight(g, view, fmt.Sprint("up ", i), 64, 16)}, []*Node{nil}, false, nil))
				x = g.Close(skip, g.Linear(y, []*Node{f.weight(g, view, fmt.Sprint("down ", i), 16, 32)}, []*Node{nil}, false, nil))
				hidden = append(hidden, x)
			}
			g.Recompute(hidden...)
			return dot(g, x)
		}, true)
		return p.plan.size
	}
	if have, want := size(14)-size(4), 10*2*8*16; have != want {
		t.Errorf("10 layers more take %d elements more, want %d", have, want)
	}
}
