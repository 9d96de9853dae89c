package model

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"

	"gorgonia.org/tensor"
	"kdistill/internal/graph"
	"kdistill/internal/kernel"
	"kdistill/internal/nn"
)

// Store holds a model's parameters by name. It implements nn.Weights.
type Store struct {
	Specs  []Spec
	params map[string]*graph.Param
}

var _ nn.Weights = (*Store)(nil)

// Param returns a parameter of the given shape.
func (s *Store) Param(name string, _ nn.Init, shape ...int) (*graph.Param, error) {
	p := s.params[name]
	if p == nil {
		return nil, fmt.Errorf("%s is missing", name)
	}
	if !p.Shape.Eq(tensor.Shape(shape)) {
		return nil, fmt.Errorf("%s: have shape %v, want %v", name, p.Shape, shape)
	}
	return p, nil
}

// Get returns a parameter by name, nil where there is none.
func (s *Store) Get(name string) *graph.Param { return s.params[name] }

// Count is the number of weights.
func (s *Store) Count() int {
	n := 0
	for _, spec := range s.Specs {
		n += tensor.Shape(spec.Shape).TotalSize()
	}
	return n
}

// Bytes is the memory that the values take.
func (s *Store) Bytes() int {
	n := 0
	for _, p := range s.params {
		n += p.Value.DataSize() * int(p.Value.Dtype().Size())
	}
	return n
}

// Flat holds the parameters of a model in training: one buffer of values and one of gradients, cut into named views in the order of Specs.
type Flat[F kernel.Float] struct {
	Store
	Values, Gradients []F
}

// NewFlat makes trainable parameters, all zero.
func NewFlat[F kernel.Float](specs []Spec) *Flat[F] {
	f := &Flat[F]{Store: Store{Specs: specs, params: map[string]*graph.Param{}}}
	n := f.Count()
	f.Values, f.Gradients = kernel.Make[F](n), kernel.Make[F](n)
	at := 0
	for _, spec := range specs {
		shape := tensor.Shape(spec.Shape)
		end := at + shape.TotalSize()
		f.params[spec.Name] = &graph.Param{
			Name: spec.Name, Shape: shape,
			Value: tensor.New(tensor.WithShape(shape...), tensor.WithBacking(f.Values[at:end:end])),
			Grad:  tensor.New(tensor.WithShape(shape...), tensor.WithBacking(f.Gradients[at:end:end])),
		}
		at = end
	}
	return f
}

// Frozen returns the same parameters without gradients: for evaluation, which then sees every update.
func (f *Flat[F]) Frozen() *Store {
	s := &Store{Specs: f.Specs, params: map[string]*graph.Param{}}
	for name, p := range f.params {
		s.params[name] = p.Frozen()
	}
	return s
}

// View returns the values of the i-th parameter.
func (f *Flat[F]) View(i int) []F {
	from, to := f.Range(i)
	return f.Values[from:to]
}

// Range returns where the i-th parameter lies in the flat buffers.
func (f *Flat[F]) Range(i int) (from, to int) {
	for j := range i {
		from += tensor.Shape(f.Specs[j].Shape).TotalSize()
	}
	return from, from + tensor.Shape(f.Specs[i].Shape).TotalSize()
}

// With returns parameters with the same values and further ones, all zero, behind them.
func (f *Flat[F]) With(specs ...Spec) *Flat[F] {
	more := NewFlat[F](append(slices.Clone(f.Specs), specs...))
	copy(more.Values, f.Values)
	return more
}

// Initialise draws a fresh model as transformers does (normal weights, unit norms, zero biases). Each parameter has a generator of its own,
// seeded by the seed and its name.
func (f *Flat[F]) Initialise(seed uint64) {
	for i := range f.Specs {
		f.InitialiseOne(i, seed)
	}
}

// InitialiseOne draws the i-th parameter as Initialise does.
func (f *Flat[F]) InitialiseOne(i int, seed uint64) {
	spec := f.Specs[i]
	h := fnv.New64a()
	_, _ = h.Write([]byte(spec.Name))
	r := rand.New(rand.NewPCG(seed, h.Sum64()))
	v := f.View(i)
	for j := range v {
		v[j] = F(spec.Init.Const)
		if spec.Init.Std > 0 {
			v[j] = F(r.NormFloat64() * spec.Init.Std)
		}
	}
	if z := spec.Init.Zero; z >= 0 && z < spec.Shape[0] {
		width := len(v) / spec.Shape[0]
		clear(v[z*width : (z+1)*width])
	}
}

// NewFrozen makes parameters that take no gradient, from values that somebody else holds: []float32, or []uint16 of bfloat16 bits.
func NewFrozen(specs []Spec, value func(Spec) (any, error)) (*Store, error) {
	s := &Store{Specs: specs, params: map[string]*graph.Param{}}
	for _, spec := range specs {
		v, err := value(spec)
		if err != nil {
			return nil, err
		}
		shape := tensor.Shape(spec.Shape)
		s.params[spec.Name] = &graph.Param{Name: spec.Name, Shape: shape, Value: tensor.New(tensor.WithShape(shape...), tensor.WithBacking(v))}
	}
	return s, nil
}
