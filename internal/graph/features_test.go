package graph

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"gorgonia.org/tensor"
	"kdistill/internal/loss"
)

// featureCase is an objective of features on random numbers. Every row but the first holds two documents and a padded position.
type featureCase struct {
	*fixture
	terms    []*Term
	teachers map[string]*Param
	features func(g *Graph, view func(*Param) *Param) []*Feature
	losses   *Losses // of the graph built last
}

func newFeatureCase(b, t int, terms ...*Term) *featureCase {
	c := &featureCase{fixture: newFixture(tensor.Float64, b, t), terms: terms, teachers: map[string]*Param{}}
	for i := range b * t {
		switch at := i % t; {
		case i/t > 0 && at == t-1:
			c.feed.First[i], c.feed.Last[i], c.feed.Attended[i], c.feed.Positions[i] = 0, 0, 0, 0
		case i/t > 0 && at >= t/2:
			c.feed.First[i], c.feed.Positions[i] = int32(t/2), int32(at-t/2)
		}
	}
	return c
}

// build adds the features, and a head where a term is on logits.
func (c *featureCase) build(g *Graph, view func(*Param) *Param) (cost *Node) {
	var final *Node
	var head Head
	if slices.ContainsFunc(c.terms, func(t *Term) bool { return t.Loss.Rows == loss.Logits }) {
		final, head = c.matrix(g, view, "final", 4), Head{Weight: view(c.param("head", 5, 4))}
	}
	cost, c.losses = g.Loss(final, head, nil, c.terms, c.features(g, view)...)
	return cost
}

// teacher is a frozen matrix [B*T, d] as a leaf.
func (c *featureCase) teacher(g *Graph, name string, d int) *Node {
	if c.teachers[name] == nil {
		c.teachers[name] = c.frozen(name, c.b*c.t, d)
	}
	return g.Leaf(name, c.teachers[name].Value)
}

// choices are the settings of a loss that are words: the defaults, and each other one.
func choices(d loss.Definition) []loss.Params {
	all := []loss.Params{{}}
	for _, c := range d.Choices {
		for _, v := range c.Values[1:] {
			all = append(all, loss.Params{Choices: map[string]string{c.Name: v}})
		}
	}
	return all
}

// eachFeatureLoss runs f for every registered loss on such rows, in every setting.
func eachFeatureLoss(t *testing.T, rows []loss.Rows, f func(t *testing.T, l *loss.Loss)) {
	t.Helper()
	for _, name := range loss.Names() {
		d, _ := loss.Lookup(name)
		if !slices.Contains(rows, d.Rows) {
			continue
		}
		for _, p := range choices(d) {
			l, err := loss.New(name, p)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(fmt.Sprint(name, p.Choices), func(t *testing.T) { f(t, l) })
		}
	}
}

// hidden compares two hidden states, one of them through a projection.
func (c *featureCase) hidden(g *Graph, view func(*Param) *Param) []*Feature {
	x := g.Linear(c.matrix(g, view, "narrow", 2), []*Node{c.weight(g, view, "projection", 3, 2)}, []*Node{nil}, false, nil)
	return []*Feature{
		{Student: c.matrix(g, view, "wide", 3), Teacher: c.teacher(g, "teacher 1", 3)},
		{Student: x, Teacher: c.teacher(g, "teacher 2", 3)},
	}
}

// TestHiddenLoss compares values with the row function, position by position, and gradients with central differences.
func TestHiddenLoss(t *testing.T) {
	eachFeatureLoss(t, []loss.Rows{loss.Hidden}, func(t *testing.T, l *loss.Loss) {
		for _, tokens := range []Tokens{AllTokens, FirstToken, MeanOfTokens} {
			c := newFeatureCase(2, 6, &Term{Loss: l, Tokens: tokens, Scale: 0.3})
			c.features = c.hidden
			c.checkGradients(t, c.build)

			student, teacher := c.param("wide").Value.Float64s(), c.teachers["teacher 1"].Value.Float64s()
			narrow, projection, other := c.param("narrow").Value.Float64s(), c.param("projection").Value.Float64s(), c.teachers["teacher 2"].Value.Float64s()
			for i := range c.b * c.t {
				want := 0.0
				if c.feed.Attended[i] == 1 && (tokens == AllTokens || c.feed.Positions[i] == 0) {
					end := i + 1
					for tokens == MeanOfTokens && end%c.t != 0 && c.feed.Attended[end] == 1 && c.feed.Positions[end] > 0 {
						end++
					}
					mean := func(x []float64, d int) []float64 {
						y := make([]float64, d)
						for j := range x[i*d : end*d] {
							y[j%d] += x[i*d+j] / float64(end-i)
						}
						return y
					}
					x, y := make([]float64, 3), mean(narrow, 2)
					for j := range x {
						x[j] = projection[2*j]*y[0] + projection[2*j+1]*y[1]
					}
					want = l.Row64(nil, 0, mean(student, 3), mean(teacher, 3), 0) + l.Row64(nil, 0, x, mean(other, 3), 0)
				}
				if have := c.losses.Values[0][i]; math.Abs(have-want) > 1e-12 {
					t.Errorf("tokens %v: position %d: have %v, want %v", tokens, i, have, want)
				}
			}
		}
	})
}

// TestFeaturesBesideLogits: terms of both kinds, in any order, keep their values apart.
func TestFeaturesBesideLogits(t *testing.T) {
	c := newFeatureCase(2, 4, &Term{Loss: newLoss(t, "hidden_mse"), Scale: 0.5}, &Term{Loss: newLoss(t, "cross_entropy"), Scale: 0.25}, &Term{Loss: newLoss(t, "hidden_cosine"), Scale: 2})
	c.feed.Labels[1], c.feed.Labels[5] = 3, 0
	c.features = func(g *Graph, view func(*Param) *Param) []*Feature {
		f := c.hidden(g, view)
		f[1].Term = 2
		return f
	}
	c.checkGradients(t, c.build)
	p, cost := c.compile(t, c.build, true)
	c.run(t, p)
	want := 0.5*c.losses.Sum(0) + 0.25*c.losses.Sum(1) + 2*c.losses.Sum(2)
	if have := scalarOf(p.g, cost); math.Abs(have-want) > 1e-12 || c.losses.Sum(0) == 0 || c.losses.Sum(1) == 0 || c.losses.Sum(2) == 0 {
		t.Errorf("have %v, want %v of %v, %v, %v", have, want, c.losses.Sum(0), c.losses.Sum(1), c.losses.Sum(2))
	}
}

// TestUnused: what no loss needs is not computed, and its weights get no gradient.
func TestUnused(t *testing.T) {
	c := newFeatureCase(1, 4, &Term{Loss: newLoss(t, "hidden_mse"), Scale: 1})
	c.features = func(g *Graph, view func(*Param) *Param) []*Feature {
		x := c.matrix(g, view, "x", 3)
		g.RMSNorm(g.Linear(x, []*Node{c.weight(g, view, "later", 3, 3)}, []*Node{nil}, false, nil), c.weight(g, view, "norm", 3), 1e-5, 0, nil)
		return []*Feature{{Student: x, Teacher: c.teacher(g, "teacher", 3)}}
	}
	for _, train := range []bool{true, false} {
		g, view := New(c.dtype, c.b, c.t), trained
		if !train {
			view = (*Param).Frozen
		}
		p, err := g.Compile(&Arena{}, c.build(g, view))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		ran := record(g)
		c.run(t, p)
		for _, o := range *ran {
			if strings.HasPrefix(o.name, "linear") || strings.HasPrefix(o.name, "rms_norm") {
				t.Errorf("training %v: %s ran", train, o.name)
			}
		}
		if train && (len(p.Trained) != 1 || p.Trained[0].Name != "x") {
			t.Errorf("have %d trained weights, want x alone", len(p.Trained))
		}
	}
	if nothing(c.gradients()["x"]) || !nothing(c.gradients()["later"]) {
		t.Error("x must get a gradient, later none")
	}
}

// TestReached: of projections side by side, those whose columns nobody reads are not trained, whatever lies between.
func TestReached(t *testing.T) {
	h := Heads{H: 2, KV: 1, D: 4}
	for what, want := range map[string][]string{
		"scores":         {"x", "q", "k", "bias of q", "norm of q"},
		"values":         {"x", "v"},
		"scores, output": {"x", "q", "k", "v", "bias of q", "norm of q"},
	} {
		c := newFeatureCase(1, 4, &Term{Loss: newLoss(t, "relation_kl"), Scale: 1}, &Term{Loss: newLoss(t, "hidden_mse"), Scale: 1})
		c.features = func(g *Graph, view func(*Param) *Param) []*Feature {
			weights := []*Node{c.weight(g, view, "q", 8, 3), c.weight(g, view, "k", 4, 3), c.weight(g, view, "v", 4, 3)}
			qkv := g.Linear(c.matrix(g, view, "x", 3), weights, []*Node{c.weight(g, view, "bias of q", 8), nil, nil}, false, nil)
			qkv = g.Rotary(g.HeadNorm(qkv, c.weight(g, view, "norm of q", 4), 0, 2, 1e-5, 0), h, &RotaryTable{Frequencies: []float32{1, 0.1}, Factor: 1})
			pair := ScorePair{Student: ScoresOf(h), Teacher: ScoresOf(h)}
			if what == "values" {
				pair = ScorePair{Student: Scores{X: 12, Y: 12, Heads: 1, Groups: 1, D: 4, Scale: 1}, Teacher: Scores{Heads: 1, Groups: 1, D: 4, Scale: 1}}
			}
			features := []*Feature{{Student: qkv, Teacher: c.teacher(g, "teacher", 16), Scores: pair}}
			if what == "scores, output" {
				return append(features, &Feature{Term: 1, Student: g.Attention(qkv, h), Teacher: c.teacher(g, "hidden", 8)})
			}
			return features
		}
		if what != "scores, output" {
			c.terms = c.terms[:1]
		}
		p, _ := c.compile(t, c.build, true)
		c.run(t, p)
		var have []string
		for _, w := range p.Trained {
			have = append(have, w.Name)
		}
		slices.Sort(have)
		slices.Sort(want)
		if !slices.Equal(have, want) {
			t.Errorf("%s: have %q, want %q", what, have, want)
		}
		for _, name := range []string{"q", "k", "v", "bias of q", "norm of q"} {
			if nothing(c.param(name).Grad.Float64s()) == slices.Contains(want, name) {
				t.Errorf("%s: %s is trained: %v, and its gradient is %v", what, name, slices.Contains(want, name), c.param(name).Grad)
			}
		}
	}
}

func TestFeaturesRefused(t *testing.T) {
	for want, features := range map[string]func(c *featureCase, g *Graph) []*Feature{
		"loss hidden_mse: it compares features, and none are given": func(*featureCase, *Graph) []*Feature { return nil },
		"loss hidden_mse: the student's hidden state has width 3, the teacher's 4": func(c *featureCase, g *Graph) []*Feature {
			return []*Feature{{Student: c.matrix(g, trained, "x", 3), Teacher: c.teacher(g, "teacher", 4)}}
		},
	} {
		c := newFeatureCase(1, 2, &Term{Loss: newLoss(t, "hidden_mse")})
		c.features = func(g *Graph, _ func(*Param) *Param) []*Feature { return features(c, g) }
		g := New(c.dtype, c.b, c.t)
		if c.build(g, trained); fmt.Sprint(g.Err()) != want {
			t.Errorf("have %v, want %s", g.Err(), want)
		}
	}
}
