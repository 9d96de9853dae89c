package objective_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"gorgonia.org/tensor"
	"kdistill/internal/data"
	"kdistill/internal/graph"
	"kdistill/internal/loss"
	"kdistill/internal/model"
	"kdistill/internal/nn"
	"kdistill/internal/objective"
	"kdistill/internal/teacher"
)

// open makes a tiny model with random weights.
func open(t *testing.T, seed uint64, width, vocab int) (model.Model, *model.Flat[float32]) {
	t.Helper()
	m, err := model.New(fmt.Appendf(nil, `{"model_type": "llama", "num_hidden_layers": 2, "hidden_size": %d, "num_attention_heads": 2, "num_key_value_heads": 1,
		"intermediate_size": 24, "vocab_size": %d, "max_position_embeddings": 16, "initializer_range": 0.4}`, width, vocab))
	if err != nil {
		t.Fatal(err)
	}
	specs, err := model.Parameters(m)
	if err != nil {
		t.Fatal(err)
	}
	flat := model.NewFlat[float32](specs)
	flat.Initialise(seed)
	return m, flat
}

// batch packs documents into rows of 8 positions; a document's first label is at its first position, its last position predicts nothing.
func batch(rows ...[][]int32) *data.Batch {
	const length = 8
	n := len(rows) * length
	b := &data.Batch{
		B: len(rows), T: length, Tokens: make([]int32, n), Labels: slices.Repeat([]int32{data.Ignore}, n),
		Segments: slices.Repeat([]int32{-1}, n), Positions: make([]int32, n), Documents: slices.Repeat([]int32{-1}, n),
	}
	for r, row := range rows {
		at := r * length
		for s, ids := range row {
			for i, id := range ids {
				b.Tokens[at], b.Segments[at], b.Positions[at], b.Documents[at] = id, int32(s), int32(i), int32(s)
				if i+1 < len(ids) {
					b.Labels[at] = ids[i+1]
				}
				at++
			}
		}
	}
	return b
}

func terms(t *testing.T, names ...string) (terms []*graph.Term) {
	t.Helper()
	for i, name := range names {
		l, err := loss.New(name, loss.Params{})
		if err != nil {
			t.Fatal(err)
		}
		terms = append(terms, &graph.Term{Loss: l, Scale: 0.1 * float64(i+1)})
	}
	return terms
}

func run(t *testing.T, o *objective.Objective, b *data.Batch) *graph.Losses {
	t.Helper()
	l, err := o.Run(context.Background(), b)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func closing(t *testing.T, c interface{ Close() error }) {
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestFeedOf(t *testing.T) {
	b := batch([][]int32{{5, 6, 7}, {8, 9}}, [][]int32{{1}})
	f := objective.FeedOf(b, model.Info{})
	for what, x := range map[string][2][]int32{
		"tokens":    {f.Tokens, {5, 6, 7, 8, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}},
		"positions": {f.Positions, {0, 1, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		"first":     {f.First, {0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		"last":      {f.Last, {1, 2, 3, 4, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}},
		"attended":  {f.Attended, {1, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}},
		"labels":    {f.Labels, {6, 7, -100, 9, -100, -100, -100, -100, -100, -100, -100, -100, -100, -100, -100, -100}},
		"types":     {f.TokenTypes, make([]int32, 16)},
	} {
		if !slices.Equal(x[0], x[1]) {
			t.Errorf("%s: have %v, want %v", what, x[0], x[1])
		}
	}
	b.TokenTypes = slices.Repeat([]int32{1}, 16)
	f = objective.FeedOf(b, model.Info{Bidirectional: true, TokenTypes: 2})
	for what, x := range map[string][2][]int32{
		"first of an encoder":                    {f.First, {0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
		"last of an encoder":                     {f.Last, {3, 3, 3, 5, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0}},
		"types of an encoder":                    {f.TokenTypes, b.TokenTypes},
		"types that a model does not tell apart": {objective.FeedOf(b, model.Info{TokenTypes: 1}).TokenTypes, make([]int32, 16)},
	} {
		if !slices.Equal(x[0], x[1]) {
			t.Errorf("%s: have %v, want %v", what, x[0], x[1])
		}
	}
}

// TestTeacherInTheSameArena: the teacher's result is out of the way before the student writes over it.
func TestTeacherInTheSameArena(t *testing.T) {
	b := batch([][]int32{{5, 6, 7}, {8, 9, 3, 4}}, [][]int32{{1, 2, 3, 4, 5, 6, 7, 8}})
	var values [2][][]float64
	var gradients [2][]float32
	for i, shared := range []bool{true, false} {
		m, w := open(t, 1, 16, 20)
		tm, tw := open(t, 2, 24, 23)
		arena, teachers := &graph.Arena{}, &graph.Arena{}
		if shared {
			teachers = arena
		}
		live := &teacher.Live{Model: tm, Weights: tw.Frozen(), Arena: teachers}
		o := &objective.Objective{Model: m, Weights: w, Teachers: objective.Alone(live), Terms: terms(t, "forward_kl", "cross_entropy"), Arena: arena}
		closing(t, live)
		closing(t, o)
		for range 2 { // the second time in memory that both have used
			clear(w.Gradients)
			l := run(t, o, b)
			values[i] = [][]float64{slices.Clone(l.Values[0]), slices.Clone(l.Values[1])}
		}
		gradients[i] = w.Gradients
	}
	if !slices.Equal(values[0][0], values[1][0]) || !slices.Equal(values[0][1], values[1][1]) || !slices.Equal(gradients[0], gradients[1]) {
		t.Error("one arena for both gives other numbers than two")
	}
	if values[0][0][0] == 0 {
		t.Error("the divergence is zero, which checks nothing")
	}
}

// TestOwnTeacher: a model does not diverge from itself, and learns nothing from itself.
func TestOwnTeacher(t *testing.T) {
	m, w := open(t, 1, 16, 20)
	live := &teacher.Live{Model: m, Weights: w.Frozen(), Arena: &graph.Arena{}}
	o := &objective.Objective{Model: m, Weights: w, Teachers: objective.Alone(live), Terms: terms(t, "forward_kl", "reverse_kl", "total_variation"), Arena: live.Arena}
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

// TestPacking: documents packed into one row give the values that they give in rows of their own, bit by bit, and the same gradients.
func TestPacking(t *testing.T) {
	docs := [][]int32{{5, 6, 7}, {8, 9, 3, 4}}
	var values [2][]float64
	var gradients [2][]float32
	for i, b := range []*data.Batch{batch(docs), batch(docs[:1], docs[1:])} {
		m, w := open(t, 1, 16, 20)
		o := &objective.Objective{Model: m, Weights: w, Terms: terms(t, "cross_entropy"), Arena: &graph.Arena{}}
		closing(t, o)
		l := run(t, o, b)
		for at, label := range b.Labels {
			if label != data.Ignore {
				values[i] = append(values[i], l.Values[0][at])
			} else if l.Values[0][at] != 0 {
				t.Errorf("have a value at position %d, which predicts nothing", at)
			}
		}
		gradients[i] = w.Gradients
	}
	if len(values[0]) != 5 || !slices.Equal(values[0], values[1]) {
		t.Errorf("have %v packed, %v alone", values[0], values[1])
	}
	near(t, gradients[0], gradients[1])
}

// TestMicroBatches: gradients of the parts of a batch add up to the whole's.
func TestMicroBatches(t *testing.T) {
	whole := batch([][]int32{{5, 6, 7}}, [][]int32{{8, 9, 3, 4}}, [][]int32{{1, 2}, {3, 4}})
	m, w := open(t, 1, 16, 20)
	o := &objective.Objective{Model: m, Weights: w, Terms: terms(t, "cross_entropy"), Arena: &graph.Arena{}}
	closing(t, o)
	want := run(t, o, whole).Sum(0)
	gradients := slices.Clone(w.Gradients)
	clear(w.Gradients)
	sum := 0.0
	for _, part := range []*data.Batch{whole.Rows(0, 2), whole.Rows(2, 3)} {
		sum += run(t, o, part).Sum(0)
	}
	if math.Abs(sum-want) > 1e-9 {
		t.Errorf("have loss %v in parts, %v at once", sum, want)
	}
	near(t, w.Gradients, gradients)
}

// TestHeadBudget: less memory for logits changes nothing but rounding.
func TestHeadBudget(t *testing.T) {
	const vocabulary = 2500
	var rows [][][]int32
	for i := range int32(6) {
		rows = append(rows, [][]int32{{5, 6, 7, 900 * (i % 3), 9, 1000 + i, 2499, 11}})
	}
	b := batch(rows...)
	var sums, sizes [2]float64
	var gradients [2][]float32
	for i, budget := range []int{0, 1} {
		m, w := open(t, 1, 16, vocabulary)
		o := &objective.Objective{Model: m, Weights: w, Terms: terms(t, "cross_entropy"), Arena: &graph.Arena{}, HeadBudget: budget}
		closing(t, o)
		sums[i], gradients[i] = run(t, o, b).Sum(0), w.Gradients
		bytes, err := o.Bytes(b.B, b.T)
		if err != nil {
			t.Fatal(err)
		}
		sizes[i] = float64(bytes)
	}
	if sums[0] != sums[1] || sizes[1] > 0.7*sizes[0] {
		t.Errorf("have sum %v in %v bytes, want %v in much less than %v", sums[1], sizes[1], sums[0], sizes[0])
	}
	near(t, gradients[1], gradients[0])
}

func near(t *testing.T, have, want []float32) {
	t.Helper()
	largest := 0.0
	for _, x := range want {
		largest = max(largest, math.Abs(float64(x)))
	}
	if largest == 0 {
		t.Error("every gradient is zero, which checks nothing")
	}
	for i := range want {
		if d := math.Abs(float64(have[i] - want[i])); !(d <= 1e-5*largest) {
			t.Fatalf("gradient %d: have %v, want %v", i, have[i], want[i])
		}
	}
}

// TestFrozenWeights: with weights that take no gradient a run only evaluates.
func TestFrozenWeights(t *testing.T) {
	m, w := open(t, 1, 16, 20)
	b := batch([][]int32{{5, 6, 7}})
	trained := &objective.Objective{Model: m, Weights: w, Terms: terms(t, "cross_entropy"), Arena: &graph.Arena{}}
	frozen := &objective.Objective{Model: m, Weights: w.Frozen(), Terms: terms(t, "cross_entropy"), Arena: &graph.Arena{}}
	closing(t, trained)
	closing(t, frozen)
	want := slices.Clone(run(t, trained, b).Values[0])
	clear(w.Gradients)
	if have := run(t, frozen, b).Values[0]; !slices.Equal(have, want) {
		t.Errorf("have %v, want %v", have, want)
	}
	if slices.ContainsFunc(w.Gradients, func(x float32) bool { return x != 0 }) {
		t.Error("an evaluation changed gradients")
	}
	few, err := frozen.Bytes(1, 8)
	if err != nil {
		t.Fatal(err)
	}
	many, err := trained.Bytes(1, 8)
	if err != nil {
		t.Fatal(err)
	}
	if few <= 0 || few >= many {
		t.Errorf("have %d bytes to evaluate, %d to train", few, many)
	}
}

// TestBytesOfTeacher: a teacher that is much wider than the student needs more of the arena that they share.
func TestBytesOfTeacher(t *testing.T) {
	m, w := open(t, 1, 16, 20)
	tm, tw := open(t, 2, 1024, 20)
	live := &teacher.Live{Model: tm, Weights: tw.Frozen(), Arena: &graph.Arena{}}
	o := &objective.Objective{Model: m, Weights: w, Teachers: objective.Alone(live), Terms: terms(t, "forward_kl"), Arena: live.Arena}
	alone, err := (&objective.Objective{Model: m, Weights: w, Terms: terms(t, "cross_entropy")}).Bytes(2, 8)
	if err != nil {
		t.Fatal(err)
	}
	heard, err := live.Bytes(2, 8, []model.Feature{{}})
	if err != nil {
		t.Fatal(err)
	}
	both, err := o.Bytes(2, 8)
	if err != nil {
		t.Fatal(err)
	}
	if copied := 4 * 2 * 8 * 1024; heard <= alone+copied || both != heard+copied {
		t.Errorf("have %d bytes, want the teacher's %d and %d that are copied; the student alone takes %d", both, heard, copied, alone)
	}
}

// broken is a teacher that has nothing to say.
type broken struct{ err error }

func (b broken) Head() (graph.Head, int, error) {
	return graph.Head{Weight: &graph.Param{Name: "head", Shape: tensor.Shape{20, 4}, Value: tensor.New(tensor.WithShape(20, 4), tensor.WithBacking(make([]float32, 80)))}}, 4, nil
}
func (b broken) Hidden(context.Context, *data.Batch) ([]float32, error) { return nil, b.err }

// lacking are weights without one of them.
type lacking struct{ nn.Weights }

func (l lacking) Param(name string, init nn.Init, shape ...int) (*graph.Param, error) {
	if name == "model.norm.weight" {
		return nil, errors.New(name + " is missing")
	}
	return l.Weights.Param(name, init, shape...)
}

func TestErrors(t *testing.T) {
	m, w := open(t, 1, 16, 20)
	b := batch([][]int32{{5, 6, 7}})
	failure := errors.New("no signal")
	long := &data.Batch{B: 1, T: 17, Tokens: make([]int32, 17), Labels: make([]int32, 17), Segments: make([]int32, 17), Positions: make([]int32, 17)}
	strange := batch([][]int32{{5, 20, 7}})
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for want, test := range map[string]struct {
		ctx context.Context
		o   *objective.Objective
		b   *data.Batch
		is  error
	}{
		"sequence of 17 tokens: the student has 16 positions": {o: &objective.Objective{Model: m, Weights: w, Terms: terms(t, "cross_entropy")}, b: long},
		"teacher: no signal":                          {o: &objective.Objective{Model: m, Weights: w, Terms: terms(t, "forward_kl"), Teachers: objective.Alone(broken{failure})}, b: b, is: failure},
		"model.norm.weight is missing":                {o: &objective.Objective{Model: m, Weights: lacking{w}, Terms: terms(t, "cross_entropy")}, b: b},
		"loss forward_kl: it compares with a teacher": {o: &objective.Objective{Model: m, Weights: w, Terms: terms(t, "forward_kl")}, b: b},
		"student: embedding: ":                        {o: &objective.Objective{Model: m, Weights: w, Terms: terms(t, "cross_entropy")}, b: strange},
		"student: context canceled":                   {ctx: cancelled, o: &objective.Objective{Model: m, Weights: w, Terms: terms(t, "cross_entropy")}, b: b, is: context.Canceled},
	} {
		test.o.Arena = &graph.Arena{}
		if test.ctx == nil {
			test.ctx = context.Background()
		}
		_, err := test.o.Run(test.ctx, test.b)
		if err == nil || !strings.HasPrefix(err.Error(), want) || test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("have error %v\nwant %s", err, want)
		}
		closing(t, test.o)
	}
}
