package nn

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"gorgonia.org/tensor"
	"kdistill/internal/graph"
)

// asked gives every parameter and notes what was asked for; one name is missing.
type asked struct {
	list    []string
	missing string
}

func (a *asked) Param(name string, init Init, shape ...int) (*graph.Param, error) {
	a.list = append(a.list, fmt.Sprint(name, shape, init))
	if name == a.missing {
		return nil, errors.New(name + " is missing")
	}
	return &graph.Param{Name: name, Shape: tensor.Shape(shape)}, nil
}

// layers builds one of each.
func layers(b *Builder) *Node {
	x := b.Embedding(b.Weight("embed", Normal(0.5), 9, 4), b.Inputs.Tokens, 0, -1)
	skip := graph.Fork(x)
	y := b.RMS(x, "rms", 4, 1e-6, 0, skip)
	y = b.Project(y, 4, nil, Projection{Name: "q", Out: 6, Bias: true, Init: Normal(0.1)}, Projection{Name: "k", Out: 2, Init: Zeros})
	y = b.Conv1D(y, 8, Projection{Name: "conv", Out: 4, Bias: true, Init: Normal(0.2)})
	return b.Layer(b.Close(skip, y), "layer", 4, 1e-5, nil)
}

// TestNames: layers ask for the names and shapes of a checkpoint.
func TestNames(t *testing.T) {
	a := &asked{}
	b := &Builder{Graph: graph.New(tensor.Float32, 1, 3), Weights: a}
	n := layers(b)
	if b.Err() != nil {
		t.Fatal(b.Err())
	}
	if !n.Shape().Eq(tensor.Shape{3, 4}) {
		t.Errorf("have shape %v, want (3, 4)", n.Shape())
	}
	want := []string{
		"embed[9 4] {0.5 0 -1}", "rms.weight[4] {0 1 -1}",
		"q.weight[6 4] {0.1 0 -1}", "q.bias[6] {0 0 -1}", "k.weight[2 4] {0 0 -1}",
		"conv.weight[8 4] {0.2 0 -1}", "conv.bias[4] {0 0 -1}", "layer.weight[4] {0 1 -1}", "layer.bias[4] {0 0 -1}",
	}
	slices.Sort(want)
	slices.Sort(a.list)
	if !slices.Equal(a.list, want) {
		t.Errorf("have %q\nwant %q", a.list, want)
	}
}

// TestMissing: the first weight that is missing is the error, whatever is built after it.
func TestMissing(t *testing.T) {
	for _, name := range []string{"embed", "rms.weight", "q.weight", "q.bias", "k.weight", "conv.weight", "conv.bias", "layer.weight", "layer.bias"} {
		b := &Builder{Graph: graph.New(tensor.Float32, 1, 3), Weights: &asked{missing: name}}
		layers(b)
		if b.Err() == nil || b.Err().Error() != name+" is missing" {
			t.Errorf("without %s: have error %v", name, b.Err())
		}
	}
}

// TestRope: what the goldens of package model do not reach.
func TestRope(t *testing.T) {
	if _, err := (Rope{Type: "dynamic", Theta: 1e4, Dim: 8}).Table(); err == nil || !strings.Contains(err.Error(), `have "dynamic", want default, linear, llama3, yarn or longrope`) {
		t.Errorf("have error %v", err)
	}
	// A ramp without length steps from the original frequencies to the interpolated ones.
	plain, err := Rope{Type: "default", Theta: 1e4, Dim: 8}.Table()
	if err != nil {
		t.Fatal(err)
	}
	step, err := Rope{Type: "yarn", Theta: 1e4, Dim: 8, Factor: 4, Original: 1 << 10, BetaFast: 16, BetaSlow: 16, NoTruncate: true}.Table()
	if err != nil {
		t.Fatal(err)
	}
	scaled := 0
	for i, f := range step.Frequencies {
		switch {
		case f == plain.Frequencies[i] && scaled == 0:
		case math.Abs(float64(4*f-plain.Frequencies[i])) < 1e-9:
			scaled++
		default:
			t.Errorf("pair %d: have frequency %v from %v, want it or a quarter", i, f, plain.Frequencies[i])
		}
	}
	if scaled == 0 || scaled == len(step.Frequencies) {
		t.Errorf("have %d of %d frequencies scaled", scaled, len(step.Frequencies))
	}
	// Up to a factor of 1 nothing is scaled.
	if one, err := (Rope{Type: "yarn", Theta: 1e4, Dim: 8, Factor: 1, Original: 64, BetaFast: 32, BetaSlow: 1}).Table(); err != nil || one.Factor != 1 || !slices.Equal(one.Frequencies, plain.Frequencies) {
		t.Errorf("factor 1: have %v, %v", one, err)
	}
}
