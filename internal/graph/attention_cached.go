package graph

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"kdistill/internal/kernel"
)

// Cache keeps the keys and values that a decoding model has computed: a number of rows, each a text with room of its own.
type Cache struct {
	slots   []int // of each row
	longest int   // the most slots that a row has had
	layers  []cacheLayer
}

// cacheLayer is an attention layer's part: by row, as kernel.AttentionCached takes it.
type cacheLayer struct {
	width int
	k, v  [][]float32
}

// NewCache returns a cache of so many rows without room.
func NewCache(rows int) *Cache { return &Cache{slots: make([]int, rows)} }

// Reserve gives a row so many slots, 0 to free its memory. What it holds is lost where that changes.
func (c *Cache) Reserve(row, slots int) {
	if slots == c.slots[row] {
		return
	}
	c.slots[row], c.longest = slots, max(c.longest, slots)
	for _, l := range c.layers {
		l.k[row], l.v[row] = nil, nil
	}
}

// Slots is what was reserved for a row.
func (c *Cache) Slots(row int) int { return c.slots[row] }

// SlotBytes is what a slot takes; it is known once a graph over the cache has been built.
func (c *Cache) SlotBytes() (bytes int) {
	for _, l := range c.layers {
		bytes += 2 * 4 * l.width
	}
	return bytes
}

// layer returns the i-th attention layer.
func (c *Cache) layer(i, width int) *cacheLayer {
	for len(c.layers) <= i {
		c.layers = append(c.layers, cacheLayer{width, make([][]float32, len(c.slots)), make([][]float32, len(c.slots))})
	}
	return &c.layers[i]
}

// room allocates a layer's part of a row.
func (c *Cache) room(l *cacheLayer, row int) {
	if l.k[row] == nil {
		l.k[row], l.v[row] = make([]float32, l.width*kernel.KeyStride(c.slots[row])), make([]float32, c.slots[row]*l.width+16)
	}
}

// store takes a layer's key and value for a slot of a row.
func (c *Cache) store(l *cacheLayer, row, slot int, k, v []float32) {
	if slot >= c.slots[row] {
		panic(fmt.Sprintf("slot %d of row %d of the cache: it has %d", slot, row, c.slots[row]))
	}
	step := kernel.KeyStride(c.slots[row])
	for i, x := range k[:l.width] {
		l.k[row][i*step+slot] = x
	}
	copy(l.v[row][slot*l.width:(slot+1)*l.width], v)
}

// NewCached returns a float32 graph of n positions that reads and extends a cache. Position i belongs to row CacheRows[i], where its key goes to slot
// Last[i]-1; First and Last count slots. A padding position has Last 0 and any row.
func NewCached(cache *Cache, n int) *Graph {
	g := New(tensor.Float32, 1, n)
	g.cache, g.Inputs.CacheRows = cache, g.input("cache rows")
	return g
}

func cachedAttention(g *Graph, qkv *Node, h Heads) *Node {
	c, stride, w := g.cache, width(qkv), h.KV*h.D
	layer := g.layers
	c.layer(layer, w)
	g.layers++
	a := kernel.Attention{T: g.Rows(), H: h.H, KV: h.KV, D: h.D, Scale: h.Scale, Softcap: h.Softcap, Window: h.Window,
		StrideQ: stride, StrideK: w, StrideV: w, StrideOut: h.H * h.D}
	lse := save[float32](g.Rows() * h.H)
	k, v := h.H*h.D, (h.H+h.KV)*h.D
	return g.apply(&op{
		name: "cached attention", shape: tensor.Shape{g.Rows(), h.H * h.D}, inPlace: -1,
		run: func(out gorgonia.Value, in []gorgonia.Value) {
			x, first, last, rows := floats[float32](in[0]), ints(in[1]), ints(in[2]), ints(in[3])
			l := &c.layers[layer]
			for _, row := range rows {
				c.room(l, int(row))
			}
			kernel.Parallel(len(last), func(i int) {
				if last[i] > 0 {
					c.store(l, int(rows[i]), int(last[i])-1, x[i*stride+k:], x[i*stride+v:])
				}
			})
			kernel.AttentionCached(a, floats[float32](out), lse, x, l.k, l.v, rows, first, last)
		},
	}, qkv, g.Inputs.First, g.Inputs.Last, g.Inputs.CacheRows)
}
