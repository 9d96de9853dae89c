package graph

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"kdistill/internal/kernel"
)

// fixture is a batch and weights, which several graphs of the same shape use.
type fixture struct {
	dtype  tensor.Dtype
	b, t   int
	feed   Feed
	std    float64 // of weights
	random *rand.Rand
	params []*Param
}

// newFixture has full causal rows whose tokens count up, so that an embedding of b*t rows is any matrix.
func newFixture(dtype tensor.Dtype, b, t int) *fixture {
	f := &fixture{dtype: dtype, b: b, t: t, std: 1, random: rand.New(rand.NewPCG(uint64(b), uint64(t)))}
	for i := range b * t {
		f.feed.Tokens = append(f.feed.Tokens, int32(i))
		f.feed.Positions = append(f.feed.Positions, int32(i%t))
		f.feed.First = append(f.feed.First, 0)
		f.feed.Last = append(f.feed.Last, int32(i%t+1))
		f.feed.Labels = append(f.feed.Labels, -100)
		f.feed.Attended = append(f.feed.Attended, 1)
	}
	return f
}

// param makes a trained weight of normal numbers, or returns the one of that name.
func (f *fixture) param(name string, shape ...int) *Param {
	for _, p := range f.params {
		if p.Name == name {
			return p
		}
	}
	s := tensor.Shape(shape)
	p := &Param{Name: name, Shape: s, Value: newDense(f.dtype, s), Grad: newDense(f.dtype, s)}
	for i := range s.TotalSize() {
		set(p.Value, i, f.std*f.random.NormFloat64())
	}
	f.params = append(f.params, p)
	return p
}

// frozen makes a weight that takes no gradient.
func (f *fixture) frozen(name string, shape ...int) *Param {
	p := f.param(name, shape...)
	f.params = f.params[:len(f.params)-1]
	return p.Frozen()
}

func newDense(dtype tensor.Dtype, s tensor.Shape) *tensor.Dense {
	if dtype == tensor.Float64 {
		return tensor.New(tensor.WithShape(s...), tensor.WithBacking(make([]float64, s.TotalSize())))
	}
	return tensor.New(tensor.WithShape(s...), tensor.WithBacking(make([]float32, s.TotalSize())))
}

func set(d *tensor.Dense, i int, x float64) {
	if d.Dtype() == tensor.Float64 {
		d.Float64s()[i] = x
	} else {
		d.Float32s()[i] = float32(x)
	}
}

// wide copies a tensor's elements to float64.
func wide(d *tensor.Dense) []float64 {
	if d.Dtype() == tensor.Float64 {
		return slices.Clone(d.Float64s())
	}
	var out []float64
	for _, x := range d.Float32s() {
		out = append(out, float64(x))
	}
	return out
}

func (f *fixture) clearGradients() {
	for _, p := range f.params {
		p.Grad.Zero()
	}
}

// gradients copies the gradients of all weights, by name.
func (f *fixture) gradients() map[string][]float64 {
	out := map[string][]float64{}
	for _, p := range f.params {
		out[p.Name] = wide(p.Grad)
	}
	return out
}

// sameBits fails where two sets of numbers differ in a bit.
func sameBits(t *testing.T, what string, have, want map[string][]float64) {
	t.Helper()
	if len(have) != len(want) {
		t.Errorf("%s: have %d tensors, want %d", what, len(have), len(want))
	}
	for name, w := range want {
		if !slices.EqualFunc(have[name], w, func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) }) {
			t.Errorf("%s: %s differs", what, name)
		}
	}
}

// builder adds nodes for the weights of a fixture, as they are or frozen.
type builder func(g *Graph, view func(*Param) *Param) (cost *Node)

func trained(p *Param) *Param { return p }

// compile builds and compiles a graph over the fixture's weights, with gradients or without.
func (f *fixture) compile(t testing.TB, build builder, train bool) (p *Program, cost *Node) {
	t.Helper()
	g := New(f.dtype, f.b, f.t)
	view := trained
	if !train {
		view = (*Param).Frozen
	}
	cost = build(g, view)
	var err error
	if train {
		p, err = g.Compile(&Arena{}, cost)
	} else {
		p, err = g.Compile(&Arena{}, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p, cost
}

func (f *fixture) run(t testing.TB, p *Program) {
	t.Helper()
	if err := p.Run(context.Background(), f.feed); err != nil {
		t.Fatal(err)
	}
}

// scalarOf returns the value of a cost node after a run.
func scalarOf(g *Graph, n *Node) float64 {
	switch v := g.byNode[n].out.(type) {
	case *gorgonia.F64:
		return float64(*v)
	case *gorgonia.F32:
		return float64(*v)
	}
	panic("not a scalar")
}

// checkGradients compares the gradient of every weight with central differences.
func (f *fixture) checkGradients(t *testing.T, build builder) {
	t.Helper()
	if f.dtype != tensor.Float64 {
		t.Fatal("gradients are checked in float64")
	}
	p, cost := f.compile(t, build, true)
	e, value := f.compile(t, build, false)
	f.clearGradients()
	f.run(t, p)
	f.run(t, e)
	if have, want := scalarOf(p.g, cost), scalarOf(e.g, value); have != want {
		t.Errorf("value with gradients %v, without %v", have, want)
	}
	const h, tolerance = 1e-5, 1e-7
	for _, w := range f.params {
		x, grad := w.Value.Float64s(), w.Grad.Float64s()
		largest := 0.0
		for i := range x {
			at := x[i]
			x[i] = at + h
			f.run(t, e)
			up := scalarOf(e.g, value)
			x[i] = at - h
			f.run(t, e)
			want := (up - scalarOf(e.g, value)) / (2 * h)
			x[i] = at
			largest = max(largest, math.Abs(want))
			if d := math.Abs(grad[i] - want); !(d <= tolerance*max(1, math.Abs(want))) {
				t.Fatalf("%s[%d]: have gradient %.10g, want %.10g by central differences", w.Name, i, grad[i], want)
			}
		}
		if largest == 0 {
			t.Errorf("%s: its gradient is zero everywhere, which checks nothing", w.Name)
		}
	}
}

// dot is a cost for any node: Σ c·x with fixed random c.
func dot(g *Graph, x *Node) *Node {
	return dispatch(g, func() *Node { return dotOf[float32](g, x) }, func() *Node { return dotOf[float64](g, x) })
}

func dotOf[F kernel.Float](g *Graph, x *Node) *Node {
	random := rand.New(rand.NewPCG(7, 7))
	c := make([]F, x.Shape().TotalSize())
	for i := range c {
		c[i] = F(random.NormFloat64())
	}
	return g.apply(&op{
		name: "dot", result: g.dtype, shape: tensor.ScalarShape(), fixed: true, out: scalar(g.dtype), inPlace: -1, diff: []bool{true},
		run: func(out gorgonia.Value, in []gorgonia.Value) {
			sum := 0.0
			for i, v := range floats[F](in[0]) {
				sum += float64(c[i]) * float64(v)
			}
			setScalar(out, sum)
		},
		back: func(in gorgonia.Nodes, out, _ *Node) (gorgonia.Nodes, error) {
			dx := g.apply(&op{name: "dot backward", shape: in[0].Shape(), inPlace: -1, run: func(out gorgonia.Value, _ []gorgonia.Value) { copy(floats[F](out), c) }}, out)
			return gorgonia.Nodes{dx}, g.err
		},
	}, x)
}

// matrix is a trained matrix [B*T, d] as a node: an embedding of ids that count up.
func (f *fixture) matrix(g *Graph, view func(*Param) *Param, name string, d int) *Node {
	return g.Embedding(g.Weight(view(f.param(name, f.b*f.t, d))), g.Inputs.Tokens, 0, -1)
}

// weight is a trained weight as a node.
func (f *fixture) weight(g *Graph, view func(*Param) *Param, name string, shape ...int) *Node {
	return g.Weight(view(f.param(name, shape...)))
}

// poison fills the memory with NaN, so that what a program reads without having written it shows.
func (a *Arena) poison() {
	for i := range a.single {
		a.single[i] = float32(math.NaN())
	}
	for i := range a.double {
		a.double[i] = math.NaN()
	}
}

// poison fills a program's memory before its first run.
func (p *Program) poison() {
	p.arena.grow(p.g.dtype)
	p.bind()
	p.arena.poison()
}
