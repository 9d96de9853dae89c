package graph

import (
	"runtime/debug"
	"slices"

	"gorgonia.org/tensor"
	"kdistill/internal/kernel"
)

// packed is a weight as products with it, or with its transpose, read it.
type packed struct {
	*kernel.Packed[float32]
	trans bool
}

// Packing is what Pack has done, in bytes.
type Packing struct {
	Taken  int // by packed weights
	Unread int // of these weights' own values, which nobody reads any more at this precision
}

// Pack lays out weights as the products of linear layers, and of head, read them, once for all graphs of the same weights and precision: those whose values
// lie in a file, and that take no more memory than there. They must never change. After each, done is called: the file's memory can be let go.
func (g *Graph) Pack(head Head, done func()) (all Packing, err error) {
	weights := slices.Clone(g.linears)
	if head.Weight != nil {
		weights = append(weights, linearWeight{head.Weight, true})
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	name := ""
	defer func() {
		if r := recover(); r != nil {
			err = recovered(name, r)
		}
	}()
	for _, w := range weights {
		p := w.Param
		if name = p.Name; !p.InFile || p.packed != nil || g.dtype != tensor.Float32 {
			continue
		}
		k, n := p.Shape[0], p.Shape[1]
		if w.trans {
			k, n = n, k
		}
		stored, size := p.Value.DataSize()*int(p.Value.Dtype().Size()), 4*kernel.PackedSize[float32](g.BF16, k, n)
		if size > stored+stored/8 { // beside what fills up panels
			continue
		}
		b := kernel.NewPacked[float32](g.BF16, k, n)
		if isBF16(p.Value) {
			kernel.Pack(b, w.trans, bits(p.Value), p.Shape[1])
		} else {
			kernel.Pack(b, w.trans, floats[float32](p.Value), p.Shape[1])
		}
		p.packed = &packed{b, w.trans}
		all.Taken += size
		if !g.table(p) {
			all.Unread += stored
		}
		done()
	}
	return all, nil
}

// linearWeight is the weight of a linear layer, transposed or not.
type linearWeight struct {
	*Param
	trans bool
}

// table reports whether something else than linear layers reads p.
func (g *Graph) table(p *Param) bool {
	uses := 0
	for _, other := range g.params {
		if other == p {
			uses++
		}
	}
	for _, w := range g.linears {
		if w.Param == p {
			uses--
		}
	}
	return uses > 0
}
