package graph

import (
	"slices"
	"sync"
	"testing"

	"gorgonia.org/tensor"
)

// TestEachRow wants the logits of Logits, at the wanted positions that are attended to and at no other, whatever the chunks.
func TestEachRow(t *testing.T) {
	const b, n, vocab = 2, 150, 40_000 // 300 positions: two chunks
	for _, softcap := range []float64{0, 1.5} {
		f := newFixture(tensor.Float32, b, n)
		f.feed.Attended[7] = 0
		head := Head{Weight: f.param("head", vocab, headWidth), Softcap: softcap}
		if softcap != 0 {
			head.Bias = f.param("bias", vocab)
		}
		g := New(f.dtype, b, n)
		hidden := f.matrix(g, (*Param).Frozen, "hidden", headWidth)
		all := g.Logits(hidden, head)
		wanted := func(i int) bool { return i%3 != 0 }
		var mutex sync.Mutex
		have := map[int][]float32{}
		each := g.EachRow(hidden, head, func(i int) bool { return wanted(i) }, func(i int, z []float32) {
			mutex.Lock()
			defer mutex.Unlock()
			have[i] = slices.Clone(z)
		})
		p, err := g.Compile(&Arena{}, nil, all, each)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range []func(i int) bool{wanted, func(i int) bool { return i == 299 || i == 7 }} {
			wanted = w
			clear(have)
			p.poison()
			f.run(t, p)
			for i := range b * n {
				row, ok := have[i]
				if ok != (wanted(i) && i != 7) {
					t.Fatalf("position %d: visited %v", i, ok)
				}
				if ok && !slices.Equal(row, p.Value(all).Float32s()[i*vocab:(i+1)*vocab]) {
					t.Fatalf("position %d: other logits", i)
				}
			}
		}
		p.Close()
	}
}
