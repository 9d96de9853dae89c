// Package nn builds transformer layers as graph nodes.
//
// A parameter's name is its name in the checkpoint, and a model's Forward is the only list of its parameters: weights are asked for where they are used.
//
// Shapes: B batch, T time, N = B·T positions, D width, H query heads, K key-value heads, d head width, F feed-forward width, V vocabulary.
package nn

import (
	"kdistill/internal/graph"
)

// Node is a value in the graph.
type Node = graph.Node

// Init says how a weight of a fresh model begins.
type Init struct {
	Std   float64 // normal with this standard deviation around 0
	Const float64 // or this constant where Std is 0
	Zero  int     // row that is zero (torch's padding_idx), -1: none
}

// Usual starts.
var (
	Zeros = Init{Zero: -1}
	Ones  = Init{Const: 1, Zero: -1}
)

// Normal is a normal distribution around 0.
func Normal(std float64) Init { return Init{Std: std, Zero: -1} }

// Weights gives a model its parameters; a name that is missing or of another shape is an error.
type Weights interface {
	Param(name string, init Init, shape ...int) (*graph.Param, error)
}

// Builder is a graph under construction together with the weights that it uses.
type Builder struct {
	*graph.Graph
	Weights Weights
}

// Param asks for a weight; a failure sticks to the graph.
func (b *Builder) Param(name string, init Init, shape ...int) *graph.Param {
	if b.Err() != nil {
		return nil
	}
	p, err := b.Weights.Param(name, init, shape...)
	if err != nil {
		b.Fail(err)
		return nil
	}
	return p
}

// Weight asks for a weight and adds it to the graph.
func (b *Builder) Weight(name string, init Init, shape ...int) *Node {
	p := b.Param(name, init, shape...)
	if p == nil {
		return nil
	}
	return b.Graph.Weight(p)
}

// Projection is one linear layer: name + ".weight" [Out, D], and name + ".bias" [Out] where Bias.
type Projection struct {
	Name string
	Out  int
	Bias bool
	Init Init
}

// Project applies several linear layers to x [N, in], side by side: [N, Σ Out]. skip may be nil.
func (b *Builder) Project(x *Node, in int, skip *graph.Skip, ps ...Projection) *Node {
	var weights, biases []*Node
	for _, p := range ps {
		weights = append(weights, b.Weight(p.Name+".weight", p.Init, p.Out, in))
		biases = append(biases, b.bias(p))
	}
	return b.Linear(x, weights, biases, false, skip)
}

// Conv1D is GPT-2's linear layer: its weight is [in, Out].
func (b *Builder) Conv1D(x *Node, in int, p Projection) *Node {
	w := b.Weight(p.Name+".weight", p.Init, in, p.Out)
	return b.Linear(x, []*Node{w}, []*Node{b.bias(p)}, true, nil)
}

func (b *Builder) bias(p Projection) *Node {
	if !p.Bias {
		return nil
	}
	return b.Weight(p.Name+".bias", Zeros, p.Out)
}

// RMS is RMSNorm with weight name + ".weight" [d], to which offset is added: 1 for Gemma, whose weights begin at 0.
func (b *Builder) RMS(x *Node, name string, d int, eps, offset float64, skip *graph.Skip) *Node {
	return b.RMSNorm(x, b.Weight(name+".weight", Init{Const: 1 - offset, Zero: -1}, d), eps, offset, skip)
}

// RMSOfHeads is RMS over each of the heads of d columns that begin at column from of x; other columns pass unchanged.
func (b *Builder) RMSOfHeads(x *Node, name string, from, heads, d int, eps, offset float64) *Node {
	return b.HeadNorm(x, b.Weight(name+".weight", Init{Const: 1 - offset, Zero: -1}, d), from, heads, eps, offset)
}

// Layer is LayerNorm with weight and bias [d].
func (b *Builder) Layer(x *Node, name string, d int, eps float64, skip *graph.Skip) *Node {
	return b.LayerNorm(x, b.Weight(name+".weight", Ones, d), b.Weight(name+".bias", Zeros, d), eps, skip)
}
