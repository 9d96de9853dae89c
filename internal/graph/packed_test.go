package graph

import (
	"slices"
	"testing"

	"gorgonia.org/tensor"
	"kdistill/internal/kernel"
)

// TestPack: packed weights give the bits that they give as stored, in graphs of the precision that they are packed for, and are what is read there.
func TestPack(t *testing.T) {
	const d, wide, vocab = 64, 96, 160
	for _, bf16 := range []bool{false, true} {
		for _, stored := range []tensor.Dtype{tensor.Float32, tensor.Uint16} {
			f := newFixture(tensor.Float32, 2, 7)
			weights := map[string]*Param{
				"table": f.frozen("table", vocab, d), "in": f.frozen("in", wide, d), "conv": f.frozen("conv", wide, d), "heap": f.frozen("heap", d, d),
			}
			for name, p := range weights {
				if p.InFile = name != "heap"; p.InFile && stored == tensor.Uint16 {
					bits := make([]uint16, p.Shape.TotalSize())
					for i, x := range p.Value.Float32s() {
						bits[i] = kernel.BF16(x)
					}
					p.Value = tensor.New(tensor.WithShape(p.Shape...), tensor.WithBacking(bits))
				}
			}
			forward := func(bf16 bool) (*Graph, *Node) {
				g := New(tensor.Float32, 2, 7)
				g.BF16 = bf16
				x := g.Embedding(g.Weight(weights["table"]), g.Inputs.Tokens, 0, -1)
				for _, name := range []string{"in", "conv", "heap"} {
					x = g.Linear(x, []*Node{g.Weight(weights[name])}, []*Node{nil}, name == "conv", nil)
				}
				return g, x
			}
			run := func(bf16 bool) []float32 {
				g, x := forward(bf16)
				z := g.Logits(x, Head{Weight: weights["table"]})
				p, err := g.Compile(&Arena{}, nil, z)
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				f.run(t, p)
				return slices.Clone(p.Value(z).Float32s())
			}
			want, other := run(bf16), run(!bf16)
			done := 0
			g, _ := forward(bf16)
			all, err := g.Pack(Head{Weight: weights["table"]}, func() { done++ })
			if err != nil {
				t.Fatal(err)
			}
			small := 4*kernel.PackedSize[float32](bf16, d, vocab) <= vocab*d*int(stored.Size())*9/8
			if small != (stored == tensor.Float32 || bf16 && kernel.Path() == "avx512_bf16") {
				t.Errorf("%v, bf16 %v: fits: %v", stored, bf16, small)
			}
			if size := int(stored.Size()); small && (done != 3 || all.Unread != 2*wide*d*size || all.Taken > (2*wide+vocab)*d*size*9/8) || !small && (all != Packing{} || done != 0) {
				t.Errorf("%v, bf16 %v: have %+v of %d weights", stored, bf16, all, done)
			}
			for name, p := range weights {
				if have := p.packed != nil; have != (small && name != "heap") {
					t.Errorf("%v, bf16 %v: %s: packed: %v", stored, bf16, name, have)
				}
			}
			if !slices.Equal(run(bf16), want) || !slices.Equal(run(!bf16), other) {
				t.Errorf("%v, bf16 %v: packed weights give other results", stored, bf16)
			}
			if !small {
				continue
			}
			kernel.Pack(weights["in"].packed.Packed, false, make([]float32, d*wide), wide) // what products read is the packed form, and only at its precision
			if slices.Equal(run(bf16), want) || !slices.Equal(run(!bf16), other) {
				t.Errorf("%v, bf16 %v: packed weights are not what products read", stored, bf16)
			}
		}
	}
}
