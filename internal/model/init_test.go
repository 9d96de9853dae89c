package model

import (
	"math"
	"slices"
	"testing"
)

// TestInitialise compares a fresh model with a fresh one of transformers, parameter by parameter.
func TestInitialise(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range readGolden(t).Initial {
		m, err := New(g.Config)
		if err != nil {
			t.Fatal(err)
		}
		seen[m.Info().Type] = true
		specs, err := Parameters(m)
		if err != nil {
			t.Fatal(err)
		}
		flat := NewFlat[float64](specs)
		flat.Initialise(7)
		checked := 0
		for i, s := range specs {
			want, ok := g.Parameters[s.Name]
			if !ok {
				continue // of a later layer
			}
			checked++
			v := flat.View(i)
			width := len(v) / s.Shape[0]
			var zero []int
			var rest []float64
			for r := range s.Shape[0] {
				row := v[r*width : (r+1)*width]
				if len(s.Shape) > 1 && !slices.ContainsFunc(row, func(x float64) bool { return x != 0 }) {
					zero = append(zero, r)
					continue
				}
				rest = append(rest, row...)
			}
			if !slices.Equal(zero, want.ZeroRows) {
				t.Errorf("%s: have zero rows %v, want %v", s.Name, zero, want.ZeroRows)
			}
			mean, std := moments(rest)
			// five standard errors of the difference of two samples
			n, rounding := float64(len(rest)), 1e-7
			if d := math.Abs(mean - want.Mean); d > 5*want.Std*math.Sqrt(2/n)+rounding {
				t.Errorf("%s: have mean %.6f, want %.6f", s.Name, mean, want.Mean)
			}
			if d := math.Abs(std - want.Std); d > 5*want.Std/math.Sqrt(n)+rounding {
				t.Errorf("%s: have standard deviation %.6f, want %.6f", s.Name, std, want.Std)
			}
		}
		if checked != len(g.Parameters) {
			t.Errorf("%s: have %d of transformers' %d parameters", g.Config, checked, len(g.Parameters))
		}
	}
	for _, name := range Types() {
		if !seen[name] {
			t.Errorf("%s: no golden for its initial weights: add it to scripts/golden/model_configs.py", name)
		}
	}
}

func moments(x []float64) (mean, std float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		std += (v - mean) * (v - mean) / float64(len(x))
	}
	return mean, math.Sqrt(std)
}

// TestInitialiseSeed: the seed and the parameter's name alone decide, not its place among the others.
func TestInitialiseSeed(t *testing.T) {
	m, err := New(tiny("llama", ""))
	if err != nil {
		t.Fatal(err)
	}
	specs, err := Parameters(m)
	if err != nil {
		t.Fatal(err)
	}
	draw := func(specs []Spec, seed uint64) map[string][]float32 {
		f := NewFlat[float32](specs)
		f.Initialise(seed)
		out := map[string][]float32{}
		for i, s := range specs {
			out[s.Name] = f.View(i)
		}
		return out
	}
	one := draw(specs, 1)
	backwards := slices.Clone(specs)
	slices.Reverse(backwards)
	again, other := draw(backwards[:len(backwards)-2], 1), draw(specs, 2)
	for _, s := range specs {
		if a, ok := again[s.Name]; ok && !slices.Equal(a, one[s.Name]) {
			t.Errorf("%s depends on the other parameters", s.Name)
		}
		if len(s.Shape) > 1 && slices.Equal(other[s.Name], one[s.Name]) {
			t.Errorf("%s is the same for two seeds", s.Name)
		}
	}
	if slices.Equal(one["model.layers.0.self_attn.k_proj.weight"], one["model.layers.1.self_attn.k_proj.weight"]) {
		t.Error("two layers begin with the same weights")
	}
}

// TestFlat: views lie in one buffer, in the order of the parameters, and a frozen copy sees every change.
func TestFlat(t *testing.T) {
	m, err := New(tiny("gpt2", ""))
	if err != nil {
		t.Fatal(err)
	}
	specs, err := Parameters(m)
	if err != nil {
		t.Fatal(err)
	}
	f := NewFlat[float32](specs)
	for i := range f.Values {
		f.Values[i], f.Gradients[i] = float32(i), -float32(i)
	}
	frozen := f.Frozen()
	at := 0
	for i, s := range specs {
		p := f.Get(s.Name)
		n := p.Shape.TotalSize()
		from, to := f.Range(i)
		if from != at || to != at+n || &f.View(i)[0] != &f.Values[at] {
			t.Errorf("%s: have range %d to %d, want %d to %d", s.Name, from, to, at, at+n)
		}
		if v, g := p.Value.Float32s(), p.Grad.Float32s(); v[0] != float32(at) || g[n-1] != -float32(at+n-1) {
			t.Errorf("%s: value and gradient are not views of the buffers", s.Name)
		}
		if q := frozen.Get(s.Name); q.Grad != nil || &q.Value.Float32s()[0] != &f.Values[at] {
			t.Errorf("%s: the frozen parameter has a gradient or values of its own", s.Name)
		}
		at += n
	}
	if at != len(f.Values) || f.Count() != at || f.Bytes() != 4*at {
		t.Errorf("have %d values, count %d, %d bytes, want %d", len(f.Values), f.Count(), f.Bytes(), at)
	}
	if _, err := f.Param(specs[0].Name, specs[0].Init, 1, 2); err == nil || err.Error() != "transformer.wte.weight: have shape (20, 16), want [1 2]" {
		t.Errorf("have error %v", err)
	}
	if _, err := f.Param("transformer.other", specs[0].Init, 1, 2); err == nil || err.Error() != "transformer.other is missing" {
		t.Errorf("have error %v", err)
	}
}
