package graph

import (
	"context"
	"testing"

	"gorgonia.org/tensor"
)

// Every run adds its products, counted by hand here, and its time; a run without the context adds nothing.
func TestMeasured(t *testing.T) {
	const rows, length, width, vocab = 2, 5, 6, 11
	heads := Heads{H: 2, KV: 1, D: 4, Window: 3}
	f := newFixture(tensor.Float64, rows, length)
	labels := 0
	for i := range f.feed.Labels {
		if i%3 == 0 {
			f.feed.Labels[i] = 1
			labels++
		}
	}
	f.feed.First[2], f.feed.First[3], f.feed.First[4] = 2, 2, 2 // a second document
	pairs := (1 + 2 + 1 + 2 + 3) + (1 + 2 + 3 + 3 + 3)
	p, _ := f.compile(t, func(g *Graph, view func(*Param) *Param) *Node {
		x := f.matrix(g, view, "x", width)
		qkv := g.Linear(x, []*Node{g.Weight(f.param("frozen", 8, width).Frozen()), f.weight(g, view, "trained", 8, width)}, []*Node{nil, nil}, false, nil)
		cost, _ := g.Loss(g.Attention(qkv, heads), Head{Weight: view(f.param("head", vocab, heads.H*heads.D))}, nil, []*Term{{Loss: newLoss(t, "cross_entropy"), Scale: 1}})
		return cost
	}, true)
	want := map[string]float64{
		"linear":             2 * rows * length * width * 16,
		"linear backward":    2 * rows * length * width * (16 + 8),
		"attention":          2 * 2 * float64(pairs*heads.H*heads.D),
		"attention backward": 2 * 4 * float64(pairs*heads.H*heads.D),
		"head and losses":    2 * 3 * float64(labels*vocab*heads.H*heads.D),
		"embedding":          0,
	}
	times := Times{}
	for n := 1; n <= 2; n++ {
		if err := p.Run(Measured(context.Background(), times), f.feed); err != nil {
			t.Fatal(err)
		}
		for name, operations := range want {
			if s := times[name]; s.Operations != float64(n)*operations || s.Time <= 0 {
				t.Errorf("%s after %d runs: have %v, want %v operations", name, n, s, float64(n)*operations)
			}
		}
	}
	if rows, all := times[LossRows].Time, times["head and losses"].Time; rows <= 0 || rows >= all {
		t.Errorf("losses took %v of the head's %v", rows, all)
	}
	before := times["linear"]
	f.run(t, p)
	if times["linear"] != before {
		t.Error("a run that nobody measures was counted")
	}
}
