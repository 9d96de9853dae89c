package graph

import (
	"fmt"
	"math"
	"sync"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"kdistill/internal/kernel"
)

// Heads says how a fused projection [N, (H + 2·KV)·d] is cut: queries, keys, values, each head after head.
type Heads struct {
	H, KV, D int
	Scale    float64 // of the scores; 0: 1/sqrt(D)
	Window   int     // a query sees at most this many keys, itself included; 0: all
	Softcap  float64 // of the scaled scores: c·tanh(s/c); 0: none
}

// Width is the number of columns of the fused projection.
func (h Heads) Width() int { return (h.H + 2*h.KV) * h.D }

// RotaryTable makes the cos and sin of a rotary embedding (Su et al. 2021, RoFormer), shared by all layers and graphs of a model.
type RotaryTable struct {
	Frequencies []float32 // of the pairs (i, i + len) of each head, in radians per position
	Factor      float64   // of cos and sin

	mu     sync.Mutex
	single angles[float32]
	double angles[float64]
}

// angles are the cos and sin [positions, len(Frequencies)] that were asked for so far.
type angles[F kernel.Float] struct{ cos, sin []F }

// anglesOf returns cos and sin of at least the first positions. Angles are rounded to float32 as transformers does,
// because at position 10^5 the rounding of an angle shows in the logits.
func anglesOf[F kernel.Float](t *RotaryTable, positions int) angles[F] {
	t.mu.Lock()
	defer t.mu.Unlock()
	slot, ok := any(&t.single).(*angles[F])
	if !ok {
		slot = any(&t.double).(*angles[F])
	}
	if n := positions * len(t.Frequencies); n > len(slot.cos) {
		*slot = angles[F]{make([]F, n), make([]F, n)} // graphs that hold the shorter slices keep them
		for i := range n {
			p, f := i/len(t.Frequencies), t.Frequencies[i%len(t.Frequencies)]
			sin, cos := math.Sincos(float64(float32(p) * f))
			slot.cos[i], slot.sin[i] = F(cos*t.Factor), F(sin*t.Factor)
		}
	}
	return *slot
}

// Rotary rotates queries and keys of a fused projection by the inputs' positions, which are below T, or below the most slots of a cache's rows.
func (g *Graph) Rotary(qkv *Node, h Heads, table *RotaryTable) *Node {
	return dispatch(g, func() *Node { return rotary[float32](g, qkv, h, table) }, func() *Node { return rotary[float64](g, qkv, h, table) })
}

func rotary[F kernel.Float](g *Graph, qkv *Node, h Heads, table *RotaryTable) *Node {
	rows, stride := g.Rows(), width(qkv)
	a := anglesOf[F](table, g.T)
	rotate := func(inverse bool) func(gorgonia.Value, []gorgonia.Value) {
		return func(out gorgonia.Value, in []gorgonia.Value) {
			if g.cache != nil {
				a = anglesOf[F](table, g.cache.longest)
			}
			dst, src := floats[F](out), floats[F](in[0])
			if &dst[0] != &src[0] {
				copy(dst, src) // values pass unchanged
			}
			kernel.Rotary(dst, dst, stride, stride, a.cos, a.sin, ints(in[1]), rows, h.H+h.KV, h.D, 2*len(table.Frequencies), inverse)
		}
	}
	return g.apply(&op{
		name: "rotary", shape: qkv.Shape(), diff: []bool{true, false}, inPlace: 0, inColumns: true, run: rotate(false),
		back: func(in gorgonia.Nodes, _, dout *Node) (gorgonia.Nodes, error) {
			dx := g.apply(&op{name: "rotary backward", shape: qkv.Shape(), inPlace: 0, run: rotate(true)}, dout, in[1])
			return gorgonia.Nodes{dx, nil}, g.err
		},
	}, qkv, g.Inputs.Positions)
}

// Attention is softmax(scale · Q Kᵀ) V over the keys that each position sees: result [N, H·d]. In a graph with a cache the keys and values of
// earlier positions come from there, and those of this run are stored there.
func (g *Graph) Attention(qkv *Node, h Heads) *Node {
	if g.err == nil && width(qkv) != h.Width() {
		g.Fail(fmt.Errorf("attention: have a projection of width %d, want (%d + 2 x %d) heads x %d", width(qkv), h.H, h.KV, h.D))
	}
	if h.Scale == 0 {
		h.Scale = 1 / math.Sqrt(float64(h.D))
	}
	if g.cache != nil {
		return dispatch(g, func() *Node { return cachedAttention(g, qkv, h) }, func() *Node { g.Fail(fmt.Errorf("attention: a cache holds float32 only")); return nil })
	}
	return dispatch(g, func() *Node { return attention[float32](g, qkv, h) }, func() *Node { return attention[float64](g, qkv, h) })
}

func attention[F kernel.Float](g *Graph, qkv *Node, h Heads) *Node {
	rows, stride := g.Rows(), width(qkv)
	k, v := h.H*h.D, (h.H+h.KV)*h.D
	a := kernel.Attention{B: g.B, T: g.T, S: g.T, H: h.H, KV: h.KV, D: h.D, Scale: h.Scale, Softcap: h.Softcap, Window: h.Window,
		StrideQ: stride, StrideK: stride, StrideV: stride, StrideOut: h.H * h.D}
	lse := save[F](rows * h.H)
	// products counts the operations of n products between queries and the keys that they see.
	products := func(n int, first, last []int32) float64 {
		pairs := 0
		for i, end := range last {
			keys := int(end - first[i])
			if h.Window > 0 {
				keys = min(keys, h.Window)
			}
			pairs += keys
		}
		return float64(2*n*h.H*h.D) * float64(pairs)
	}
	return g.apply(&op{
		name: "attention", shape: tensor.Shape{rows, h.H * h.D}, diff: []bool{true, false, false}, inPlace: -1,
		run: func(out gorgonia.Value, in []gorgonia.Value) {
			x := floats[F](in[0])
			kernel.AttentionForward(a, floats[F](out), lse, x, x[k:], x[v:], ints(in[1]), ints(in[2]))
		},
		operations: func(in []gorgonia.Value) float64 { return products(2, ints(in[1]), ints(in[2])) },
		back: func(in gorgonia.Nodes, out, dout *Node) (gorgonia.Nodes, error) {
			dx := g.apply(&op{
				name: "attention backward", shape: qkv.Shape(), inPlace: -1,
				run: func(dst gorgonia.Value, in []gorgonia.Value) {
					dx, x := floats[F](dst), floats[F](in[2])
					kernel.AttentionBackward(a, dx, dx[k:], dx[v:], floats[F](in[0]), floats[F](in[1]), lse, x, x[k:], x[v:], ints(in[3]), ints(in[4]))
				},
				operations: func(in []gorgonia.Value) float64 { return products(4, ints(in[3]), ints(in[4])) },
			}, dout, out, in[0], in[1], in[2])
			return gorgonia.Nodes{dx, nil, nil}, g.err
		},
	}, qkv, g.Inputs.First, g.Inputs.Last)
}
