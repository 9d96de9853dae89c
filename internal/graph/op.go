// Package graph carries transformer computations in gorgonia: coarse differentiable ops over package kernel, a static memory plan, and compiled programs.
//
// One Graph is one model at one batch shape, runs on one goroutine at a time, and owns no weights: those are Params shared by all graphs of a model.
package graph

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/fnv"
	"runtime/debug"
	"slices"
	"time"
	"unsafe"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"kdistill/internal/kernel"
)

// Node is a value in the graph.
type Node = gorgonia.Node

// op is the one implementation of gorgonia.Op and gorgonia.SDOp: its arithmetic is a closure over package kernel, its derivative a closure that adds nodes.
// An op belongs to exactly one node, because it holds that node's result buffer and whatever its forward pass saves for the backward one.
type op struct {
	g        *Graph
	name     string
	id       uint32
	operands []hm.Type
	in       []*Node
	result   hm.Type
	shape    tensor.Shape
	diff     []bool         // operands that get a gradient
	cheap    bool           // computed again in the backward pass rather than kept; its operands are kept anyway
	inPlace  int            // operand whose buffer the result may take over when nobody reads it later; -1: none
	fixed    bool           // out is not the memory plan's to give: a gradient sink, a scalar
	out      gorgonia.Value // bound by the memory plan before the first run
	scratch  int            // elements of working memory beside the result
	until    *Node          // the node up to which the working memory must survive; nil: this one
	memory   any            // bound by the memory plan
	run      func(out gorgonia.Value, in []gorgonia.Value)
	back     func(in gorgonia.Nodes, out, dout *Node) (gorgonia.Nodes, error)

	makes     map[int]span // by operand, the columns of the result that it makes alone; nil: every operand makes all
	reads     []span       // the columns of the first operand that are read; nil: all
	inColumns bool         // the columns of a head hang on the same ones of the first operand

	operations func(in []gorgonia.Value) float64 // of its products in the last run; nil: none worth counting
}

func (o *op) Arity() int { return len(o.operands) }

// Type builds a fresh function type at each call, because gorgonia hands it back to a pool.
func (o *op) Type() hm.Type {
	return hm.NewFnType(append(append([]hm.Type(nil), o.operands...), o.result)...)
}

func (o *op) InferShape(...gorgonia.DimSizer) (tensor.Shape, error) { return o.shape.Clone(), nil }
func (o *op) ReturnsPtr() bool                                      { return false }
func (o *op) CallsExtern() bool                                     { return false }
func (o *op) OverwritesInput() int                                  { return -1 }
func (o *op) String() string                                        { return o.name }

// WriteHash includes the id: the tape machine silently runs one of two nodes whose hashes are equal.
func (o *op) WriteHash(h hash.Hash) {
	fmt.Fprint(h, o.name)
	_ = binary.Write(h, binary.LittleEndian, o.id)
}

func (o *op) Hashcode() uint32 {
	h := fnv.New32a()
	o.WriteHash(h)
	return h.Sum32()
}

// Do runs the op. The tape machine calls it on a goroutine of its own, where a panic would end the process: it becomes an error here.
func (o *op) Do(in ...gorgonia.Value) (out gorgonia.Value, err error) {
	debug.SetPanicOnFault(true) // weights may lie in a mapped file that somebody cuts short
	defer func() {
		if r := recover(); r != nil {
			err = recovered(o.name, r)
		}
		if err != nil {
			o.g.failed = err
		}
	}()
	if err := context.Cause(o.g.ctx); err != nil {
		return nil, err
	}
	if o.g.times != nil {
		defer o.g.times.add(o, in, time.Now())
	}
	o.run(o.out, in)
	return o.out, nil
}

// recovered turns a panic while something was done into an error.
func recovered(what string, r any) error {
	if r, ok := r.(interface{ Addr() uintptr }); ok {
		return fmt.Errorf("%s: memory at %#x cannot be read: was a model's file cut short, or its disk lost, while in use? Restore it and run again", what, r.Addr())
	}
	return fmt.Errorf("%s: %v", what, r)
}

func (o *op) DiffWRT(int) []bool { return o.diff }

func (o *op) SymDiff(in gorgonia.Nodes, out, dout *Node) (gorgonia.Nodes, error) {
	if o.back == nil {
		return nil, fmt.Errorf("%s has no derivative", o.name)
	}
	for _, more := range o.g.more[out] {
		dout = o.g.sumGradients(dout, more)
	}
	grads, err := o.back(in, out, dout)
	if err != nil {
		return nil, err
	}
	for i, n := range in {
		switch {
		case !o.diff[i]:
		case o.g.gradient[n] == nil:
			o.g.gradient[n] = grads[i]
		default:
			o.g.more[n] = append(o.g.more[n], grads[i])
			o.diff[i], grads[i] = false, nil // not gorgonia's to sum: its own op would allocate the result at every run
		}
	}
	return grads, nil
}

// sumGradients adds up two gradients of a node.
func (g *Graph) sumGradients(x, y *Node) *Node {
	return dispatch(g, func() *Node { return sumGradients[float32](g, x, y) }, func() *Node { return sumGradients[float64](g, x, y) })
}

func sumGradients[F kernel.Float](g *Graph, x, y *Node) *Node {
	return g.apply(&op{
		name: "sum of gradients", shape: x.Shape(), inPlace: 1,
		run: func(out gorgonia.Value, in []gorgonia.Value) {
			kernel.Add(floats[F](out), floats[F](in[0]), floats[F](in[1]))
		},
	}, x, y)
}

// apply adds a node for o over the operands; o.operands, o.id and o.diff (all false where absent) are filled in.
func (g *Graph) apply(o *op, in ...*Node) *Node {
	if g.err != nil {
		return nil
	}
	in = slices.Clone(in)
	for i, n := range in {
		if n == nil {
			g.Fail(fmt.Errorf("%s: an operand is missing", o.name))
			return nil
		}
		in[i] = g.forBackward(n)
		o.operands = append(o.operands, n.Type())
	}
	o.g, o.in = g, in
	if o.result == nil {
		o.result = g.tensorType(len(o.shape))
	}
	if o.diff == nil {
		o.diff = make([]bool, len(in))
	}
	// Hashes have 32 bits: an id that leads to another node's hash is skipped.
	for o.id = uint32(len(g.ops)); g.taken[nodeHash(o.result, o.shape, o.WriteHash, in)]; o.id += 1 << 20 {
	}
	g.ops = append(g.ops, o)
	n, err := gorgonia.ApplyOp(o, in...)
	if err != nil {
		g.Fail(fmt.Errorf("%s: %w", o.name, err))
		return nil
	}
	g.byNode[n], g.taken[n.Hashcode()] = o, true
	return n
}

// leaf adds an input. Its name gets a number where another leaf would have the same hash: one weight used twice, two buffers of one name.
func (g *Graph) leaf(name string, dtype tensor.Dtype, shape tensor.Shape, value gorgonia.Value) *Node {
	if g.err != nil {
		return nil
	}
	unique := name
	write := func(h hash.Hash) { _, _ = h.Write([]byte(unique)) }
	for use := 2; g.taken[nodeHash(gorgonia.TensorType{Dims: shape.Dims(), Of: dtype}, shape, write, nil)]; use++ {
		unique = fmt.Sprintf("%s (use %d)", name, use)
	}
	options := []gorgonia.NodeConsOpt{gorgonia.WithName(unique), gorgonia.WithShape(shape...)}
	if value != nil {
		options = append(options, gorgonia.WithValue(value))
	}
	n := gorgonia.NewTensor(g.expr, dtype, shape.Dims(), options...)
	g.taken[n.Hashcode()] = true
	return n
}

// nodeHash is the hash that gorgonia's Node.WriteHash will give a node over the operands; write adds an op's part or a leaf's name.
func nodeHash(t hm.Type, shape tensor.Shape, write func(hash.Hash), in []*Node) uint32 {
	h := fnv.New32a()
	fmt.Fprintf(h, "%v%v", t, shape)
	write(h)
	_, _ = h.Write([]byte{byte(len(in))})
	for _, n := range in {
		_ = binary.Write(h, binary.LittleEndian, n.Hashcode())
	}
	return h.Sum32()
}

// sink adds the node that stands for a weight's gradient: the backward node has already added to the parameter's own buffer, which is the value.
func (g *Graph) sink(p *Param, back *Node) *Node {
	return g.apply(&op{
		name: "gradient of " + p.Name, shape: p.Shape, fixed: true, out: p.Grad, inPlace: -1,
		run: func(gorgonia.Value, []gorgonia.Value) {},
	}, back)
}

func (g *Graph) tensorType(dims int) hm.Type {
	if dims == 0 {
		return g.dtype
	}
	return gorgonia.TensorType{Dims: dims, Of: g.dtype}
}

// floats returns the elements of a tensor value without copying.
func floats[F kernel.Float](v gorgonia.Value) []F {
	d := v.(*tensor.Dense)
	if unsafe.Sizeof(F(0)) == 4 {
		s := d.Float32s()
		return *(*[]F)(unsafe.Pointer(&s))
	}
	s := d.Float64s()
	return *(*[]F)(unsafe.Pointer(&s))
}

// working returns an op's working memory.
func working[F kernel.Float](o *op) []F { return o.memory.([]F) }

func ints(v gorgonia.Value) []int32 { return v.(*tensor.Dense).Int32s() }

func bits(v gorgonia.Value) []uint16 { return v.(*tensor.Dense).Uint16s() }

func isBF16(v gorgonia.Value) bool { return v.Dtype() == tensor.Uint16 }
