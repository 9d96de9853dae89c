package objective_test

import (
	"context"
	"math"
	"slices"
	"testing"

	"kdistill/internal/data"
	"kdistill/internal/graph"
	"kdistill/internal/loss"
	"kdistill/internal/model"
	"kdistill/internal/nn"
	"kdistill/internal/objective"
	"kdistill/internal/teacher"
)

// features compares both layers in every way that needs no projection.
func features(t *testing.T) (all []objective.Feature, terms []*graph.Term) {
	t.Helper()
	for _, name := range loss.Names() {
		d, _ := loss.Lookup(name)
		if d.Rows == loss.Logits {
			continue
		}
		l, err := loss.New(name, loss.Params{})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, objective.Feature{Term: len(terms), Pairs: []objective.Pair{{Student: 1, Teacher: 1}, {Student: 2, Teacher: 2}}, Relations: []string{"vv", "kk"}, RelationHeads: 2})
		terms = append(terms, &graph.Term{Loss: l, Attended: true, Scale: 0.1 * float64(len(terms)+1)})
	}
	if len(terms) < 5 {
		t.Fatalf("have %d losses on features", len(terms))
	}
	return all, terms
}

// TestFeaturesOfOneself: a model's layers do not differ from themselves.
func TestFeaturesOfOneself(t *testing.T) {
	m, w := open(t, 1, 16, 20)
	live := &teacher.Live{Model: m, Weights: w.Frozen(), Arena: &graph.Arena{}}
	f, terms := features(t)
	o := &objective.Objective{Model: m, Weights: w, Teachers: objective.Alone(live), Terms: terms, Features: f, Arena: live.Arena}
	closing(t, live)
	closing(t, o)
	l := run(t, o, batch([][]int32{{5, 6, 7}, {8, 9, 3, 4}}))
	for i, term := range o.Terms {
		if s := l.Sum(i); math.Abs(s) > 1e-6 {
			t.Errorf("%s: have %v against itself", term.Loss.Name, s)
		}
	}
	for i, g := range w.Gradients {
		if math.Abs(float64(g)) > 1e-5 {
			t.Fatalf("have gradient %v at %d", g, i)
		}
	}
}

// TestFeaturesPackedAndSplit: documents packed into one row give the values that they give in rows of their own, and the gradients of the parts of a batch add up.
func TestFeaturesPackedAndSplit(t *testing.T) {
	docs := [][]int32{{5, 6, 7}, {8, 9, 3, 4}}
	alone := batch(docs[:1], docs[1:])
	var sums [][]float64
	var gradients [][]float32
	for _, parts := range [][]*data.Batch{{batch(docs)}, {alone}, {alone.Rows(0, 1), alone.Rows(1, 2)}} {
		m, w := open(t, 1, 16, 20)
		tm, tw := open(t, 2, 16, 20)
		live := &teacher.Live{Model: tm, Weights: tw.Frozen(), Arena: &graph.Arena{}}
		f, terms := features(t)
		o := &objective.Objective{Model: m, Weights: w, Teachers: objective.Alone(live), Terms: terms, Features: f, Arena: live.Arena}
		closing(t, live)
		closing(t, o)
		sum := make([]float64, len(terms))
		for _, b := range parts {
			l := run(t, o, b)
			for i := range sum {
				sum[i] += l.Sum(i)
			}
			for at, segment := range b.Segments {
				for i, term := range terms {
					alone := b.Positions[at] == 0 && term.Loss.Rows != loss.Hidden // it sees itself only: its attention is 1 in every model
					if have := l.Values[i][at]; (have != 0) != (segment >= 0 && !alone) {
						t.Errorf("%s: have %v at position %d of segment %d", term.Loss.Name, have, at, segment)
					}
				}
			}
		}
		sums, gradients = append(sums, sum), append(gradients, w.Gradients)
	}
	for i := 1; i < len(sums); i++ {
		near(t, gradients[i], gradients[0])
		for j, s := range sums[i] {
			if math.Abs(s-sums[0][j]) > 1e-6*math.Abs(s) || s == 0 {
				t.Errorf("have %v, want %v", sums[i], sums[0])
			}
		}
	}
}

// plain shows nothing of a model but what its head reads.
type plain struct{ model.Model }

func (p plain) Forward(b *nn.Builder) model.Outputs {
	out := p.Model.Forward(b)
	return model.Outputs{Hidden: []*graph.Node{out.Final()}, Head: out.Head}
}

// TestFeaturesCostNothing: without losses on features an objective takes the memory, and the time of no other ops, that it takes with a model that has none.
func TestFeaturesCostNothing(t *testing.T) {
	var bytes []int
	var ran []graph.Times
	for _, hide := range []bool{false, true} {
		m, w := open(t, 1, 16, 20)
		tm, tw := open(t, 2, 24, 20)
		if hide {
			m, tm = plain{m}, plain{tm}
		}
		live := &teacher.Live{Model: tm, Weights: tw.Frozen(), Arena: &graph.Arena{}}
		o := &objective.Objective{Model: m, Weights: w, Teachers: objective.Alone(live), Terms: terms(t, "forward_kl", "cross_entropy"), Arena: live.Arena}
		closing(t, live)
		closing(t, o)
		n, err := o.Bytes(2, 8)
		if err != nil {
			t.Fatal(err)
		}
		bytes = append(bytes, n)
		times := graph.Times{}
		if _, err := o.Run(graph.Measured(context.Background(), times), batch([][]int32{{5, 6, 7}})); err != nil {
			t.Fatal(err)
		}
		ran = append(ran, times)
	}
	if bytes[0] != bytes[1] {
		t.Errorf("takes %d bytes, with a model that shows nothing %d", bytes[0], bytes[1])
	}
	if len(ran[0]) != len(ran[1]) {
		t.Errorf("runs %v, with a model that shows nothing %v", ran[0], ran[1])
	}
	for name, spent := range ran[1] {
		if have, ok := ran[0][name]; !ok || have.Operations != spent.Operations {
			t.Errorf("%s: have %v, want %v operations", name, have.Operations, spent.Operations)
		}
	}
}

// deaf is a teacher that gives logits only.
type deaf struct{ objective.Teacher }

func TestFeaturesRefused(t *testing.T) {
	m, w := open(t, 1, 16, 20)
	live := &teacher.Live{Model: m, Weights: w.Frozen(), Arena: &graph.Arena{}}
	closing(t, live)
	for want, change := range map[string]func(o *objective.Objective){
		"the teacher gives no hidden states and no attention: losses on logits are possible": func(o *objective.Objective) { o.Teachers = objective.Alone(deaf{live}) },
		"loss attention_kl: layers: of the student: have layer 3, want 1 to 2":               func(o *objective.Objective) { o.Features[0].Pairs[0].Student = 3 },
		"loss relation_kl: relations: qk: layer 1 of the student: queries have width 16, keys 8 (its heads are grouped): relations of a projection with itself (qq, kk, vv) are possible": func(o *objective.Objective) {
			o.Features[slices.IndexFunc(o.Features, func(f objective.Feature) bool { return o.Terms[f.Term].Loss.Rows == loss.Relations })].Relations = []string{"qk"}
		},
		"loss relation_kl: relations: vv: layer 1 of the student: its width 8 does not divide by relation_heads 3": func(o *objective.Objective) {
			for i := range o.Features {
				o.Features[i].RelationHeads = 3
			}
		},
	} {
		f, terms := features(t)
		o := &objective.Objective{Model: m, Weights: w, Teachers: objective.Alone(live), Terms: terms, Features: f, Arena: &graph.Arena{}}
		change(o)
		if _, err := o.Bytes(1, 8); err == nil || err.Error() != want {
			t.Errorf("have %v, want %s", err, want)
		}
	}
}
