package model_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"gorgonia.org/tensor"
	"kdistill/internal/checkpoint"
	"kdistill/internal/graph"
	"kdistill/internal/loss"
	"kdistill/internal/model"
	"kdistill/internal/nn"
	"kdistill/internal/safetensors"
	"kdistill/internal/testutil"
)

// golden is one folder of testdata/golden/models: a tiny random model and what transformers computes with it.
type golden struct {
	dir, config string
	model       model.Model
	tensors     tensors
	expected    *safetensors.File
}

// tensors are all shards of a folder.
type tensors []*safetensors.File

func (t tensors) Names() (names []string) {
	for _, f := range t {
		names = append(names, f.Names()...)
	}
	return names
}

func (t tensors) Tensor(name string) (safetensors.Tensor, bool) {
	for _, f := range t {
		if x, ok := f.Tensor(name); ok {
			return x, true
		}
	}
	return safetensors.Tensor{}, false
}

// eachGolden runs f for every golden folder and each style of its config.json.
func eachGolden(t *testing.T, f func(*testing.T, golden)) {
	dirs, err := filepath.Glob(testutil.Testdata(t, "golden/models/*"))
	if err != nil || len(dirs) == 0 {
		t.Fatal("no golden models", err)
	}
	for _, dir := range dirs {
		for _, config := range []string{"config.json", "config.v4.json"} {
			if _, err := os.Stat(filepath.Join(dir, config)); err != nil {
				continue
			}
			t.Run(filepath.Base(dir)+"/"+config, func(t *testing.T) { f(t, openGolden(t, dir, config)) })
		}
	}
}

func openGolden(t *testing.T, dir, config string) golden {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, config))
	if err != nil {
		t.Fatal(err)
	}
	g := golden{dir: dir, config: config}
	if g.model, err = model.New(text); err != nil {
		t.Fatal(err)
	}
	open := func(path string) *safetensors.File {
		f, err := safetensors.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	shards, _ := filepath.Glob(filepath.Join(dir, "model*.safetensors"))
	for _, s := range shards {
		g.tensors = append(g.tensors, open(s))
	}
	g.expected = open(filepath.Join(dir, "expected.safetensors"))
	return g
}

// floats returns an expected tensor as float64 and its shape.
func (g golden) floats(t *testing.T, name string) ([]float64, []int) {
	t.Helper()
	x, ok := g.expected.Tensor(name)
	if !ok {
		t.Fatalf("no %s in expected.safetensors", name)
	}
	single := make([]float32, x.Len())
	if err := x.Float32s(single); err != nil {
		t.Fatal(err)
	}
	out := make([]float64, len(single))
	for i, v := range single {
		out[i] = float64(v)
	}
	return out, x.Shape
}

func (g golden) ints(t *testing.T, name string) ([]int32, []int) {
	t.Helper()
	x, ok := g.expected.Tensor(name)
	if !ok {
		t.Fatalf("no %s in expected.safetensors", name)
	}
	out := make([]int32, x.Len())
	for i := range out {
		out[i] = int32(x.Data[8*i]) | int32(x.Data[8*i+1])<<8 | int32(x.Data[8*i+2])<<16 | int32(x.Data[8*i+3])<<24 // int64
	}
	return out, x.Shape
}

// feed turns transformers' ids, mask and labels into a graph's inputs; keep lists the real positions, and where a classifier's label is, those of it.
func feed(info model.Info, b, t int, ids, mask, labels []int32) (f graph.Feed, keep, first []int) {
	n := b * t
	f = graph.Feed{Tokens: ids, Positions: make([]int32, n), First: make([]int32, n), Last: make([]int32, n), Labels: make([]int32, n), Attended: mask}
	for r := range b {
		begin := -1
		for i := range t {
			at := r*t + i
			f.Labels[at] = -100
			if labels != nil && info.Task == model.Causal && i+1 < t {
				f.Labels[at] = labels[at+1]
			} else if labels != nil && info.Task == model.Masked {
				f.Labels[at] = labels[at]
			}
			if mask[at] == 0 {
				continue
			}
			if begin < 0 {
				begin = i
				first = append(first, at)
				if labels != nil && info.Task == model.Classification {
					f.Labels[at] = labels[r]
				}
			}
			f.Positions[at], f.First[at], f.Last[at] = int32(i-begin), int32(begin), int32(i+1)
			keep = append(keep, at)
			if info.Bidirectional {
				for j := r*t + begin; j < at; j++ {
					f.Last[j] = int32(i + 1)
				}
			}
		}
	}
	return f, keep, first
}

// compare fails where the listed rows of two [n, width] matrices differ by more than tolerance.
func compare(t *testing.T, what string, n int, have []float32, want []float64, rows []int, tolerance float64) {
	t.Helper()
	if len(have) != len(want) {
		t.Fatalf("%s: have %d values, want %d", what, len(have), len(want))
	}
	width, worst := len(have)/n, 0.0
	for _, r := range rows {
		for i := r * width; i < (r+1)*width; i++ {
			if d := math.Abs(float64(have[i]) - want[i]); !(d <= worst) {
				worst = d
			}
		}
	}
	if !(worst <= tolerance) {
		t.Errorf("%s: worst difference %.3g, want at most %.3g", what, worst, tolerance)
	}
}

func run(t *testing.T, b *nn.Builder, f graph.Feed, cost *graph.Node, keep ...*graph.Node) *graph.Program {
	t.Helper()
	p, err := b.Compile(&graph.Arena{}, cost, keep...)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(context.Background(), f); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func newLoss(t *testing.T, name string) *loss.Loss {
	t.Helper()
	l, err := loss.New(name, loss.Params{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// labels returns the labels of a golden batch, and those of a regression, which are no ids.
func (g golden) labels(t *testing.T) (ids []int32, targets []float64) {
	t.Helper()
	if g.model.Info().Problem == "regression" {
		targets, _ = g.floats(t, "labels")
		return make([]int32, len(targets)), targets
	}
	ids, _ = g.ints(t, "labels")
	return ids, nil
}

// TestGolden compares logits, hidden states, loss and every gradient with transformers, on right-padded rows.
func TestGolden(t *testing.T) {
	eachGolden(t, func(t *testing.T, g golden) {
		flat, _, err := checkpoint.ReadStudent(g.tensors, g.model, 0)
		if err != nil {
			t.Fatal(err)
		}
		info := g.model.Info()
		ids, shape := g.ints(t, "input_ids")
		mask, _ := g.ints(t, "attention_mask")
		labels, targets := g.labels(t)
		f, keep, first := feed(info, shape[0], shape[1], ids, mask, labels)
		if _, ok := g.expected.Tensor("token_type_ids"); ok {
			f.TokenTypes, _ = g.ints(t, "token_type_ids")
		}
		n, counted := shape[0]*shape[1], 0
		for _, y := range f.Labels {
			if y >= 0 {
				counted++
			}
		}

		b := &nn.Builder{Graph: graph.New(tensor.Float32, shape[0], shape[1]), Weights: flat}
		out := g.model.Forward(b)
		term := &graph.Term{Loss: newLoss(t, "cross_entropy"), Scale: 1 / float64(counted)}
		var teachers []*graph.Teacher
		if targets != nil { // a teacher whose logit is the target
			hidden := make([]float32, n)
			for r, at := range first {
				hidden[at] = float32(targets[r])
			}
			term.Loss = newLoss(t, "logit_mse")
			one := &graph.Param{Name: "one", Shape: tensor.Shape{1, 1}, Value: tensor.New(tensor.WithShape(1, 1), tensor.WithBacking([]float32{1}))}
			teachers = []*graph.Teacher{{Hidden: b.Leaf("targets", tensor.New(tensor.WithShape(n, 1), tensor.WithBacking(hidden))), Head: graph.Head{Weight: one}}}
		}
		cost, losses := b.Loss(out.Final(), out.Head, teachers, []*graph.Term{term})
		logits := b.Logits(out.Final(), out.Head)
		p := run(t, b, f, cost, append(slices.Clone(out.Hidden), logits)...)

		want, _ := g.floats(t, "logits")
		have := p.Value(logits).Float32s()
		if info.Task == model.Classification {
			width := info.Logits()
			for r, at := range first {
				compare(t, fmt.Sprintf("logits of row %d", r), 1, have[at*width:(at+1)*width], want[r*width:(r+1)*width], []int{0}, 1e-4)
			}
		} else {
			compare(t, "logits", n, have, want, keep, 1e-4)
		}
		for i, h := range out.Hidden {
			want, _ := g.floats(t, "hidden_states."+strconv.Itoa(i))
			compare(t, "hidden state "+strconv.Itoa(i), n, p.Value(h).Float32s(), want, keep, 1e-4)
		}
		wantLoss, _ := g.floats(t, "loss")
		if have := losses.Sum(0) / float64(counted); math.Abs(have-wantLoss[0]) > 1e-5 {
			t.Errorf("loss: have %.7f, want %.7f", have, wantLoss[0])
		}
		checked := 0
		for _, name := range g.tensors.Names() {
			if _, ok := g.expected.Tensor("grad." + name); !ok {
				continue // transformers' own model leaves it out
			}
			want, _ := g.floats(t, "grad."+name)
			largest := 0.0
			for _, v := range want {
				largest = max(largest, math.Abs(v))
			}
			param := flat.Get(name)
			if param == nil {
				t.Errorf("no parameter %s", name)
				continue
			}
			checked++
			compare(t, "gradient of "+name, 1, param.Grad.Float32s(), want, []int{0}, 1e-4+1e-4*largest)
		}
		if checked != len(flat.Specs) {
			t.Errorf("have %d gradients to compare with, want %d", checked, len(flat.Specs))
		}
	})
}

// TestGoldenLeftPadded compares logits on rows that are padded on the left, with frozen weights in their own storage.
func TestGoldenLeftPadded(t *testing.T) {
	eachGolden(t, func(t *testing.T, g golden) {
		if g.model.Info().Task != model.Causal {
			t.Skip("transformers' encoders take no position ids from the mask")
		}
		store, err := checkpoint.ReadFrozen(g.tensors, g.model, checkpoint.Auto)
		if err != nil {
			t.Fatal(err)
		}
		ids, shape := g.ints(t, "left.input_ids")
		mask, _ := g.ints(t, "left.attention_mask")
		f, keep, _ := feed(g.model.Info(), shape[0], shape[1], ids, mask, nil)
		b := &nn.Builder{Graph: graph.New(tensor.Float32, shape[0], shape[1]), Weights: store}
		out := g.model.Forward(b)
		logits := b.Logits(out.Final(), out.Head)
		p := run(t, b, f, nil, logits)
		want, _ := g.floats(t, "left.logits")
		compare(t, "logits", shape[0]*shape[1], p.Value(logits).Float32s(), want, keep, 1e-4)
	})
}

// TestEveryTypeHasGolden keeps the registry honest: an architecture without reference numbers fails.
func TestEveryTypeHasGolden(t *testing.T) {
	have := map[string]bool{}
	eachGolden(t, func(t *testing.T, g golden) { have[g.model.Info().Type] = true })
	for _, name := range model.Types() {
		if !have[name] {
			t.Errorf("model type %s has no golden folder in testdata/golden/models", name)
		}
	}
}

// greedyCases reads the greedy continuations of expected.json.
func (g golden) greedyCases(t *testing.T) (cases []struct {
	Prompt []int32 `json:"prompt_ids"`
	New    []int32 `json:"new_ids"`
}) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(g.dir, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Greedy struct{ Cases json.RawMessage }
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(doc.Greedy.Cases, &cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// TestGreedy decodes with a cache and compares the ids with transformers'; each step's logits must have the bits of the full pass.
func TestGreedy(t *testing.T) {
	eachGolden(t, func(t *testing.T, g golden) {
		if g.model.Info().Task != model.Causal {
			t.Skip("it does not generate")
		}
		store, err := checkpoint.ReadFrozen(g.tensors, g.model, checkpoint.Auto)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range g.greedyCases(t) {
			cache := graph.NewCache(1)
			cache.Reserve(0, len(c.Prompt)+len(c.New))
			var have []int32
			step := func(ids []int32, from int) []float32 {
				b := &nn.Builder{Graph: graph.NewCached(cache, len(ids)), Weights: store}
				out := g.model.Forward(b)
				logits := b.Logits(out.Final(), out.Head)
				f := graph.Feed{Tokens: ids}
				for i := range ids {
					f.Positions, f.First, f.Last = append(f.Positions, int32(from+i)), append(f.First, 0), append(f.Last, int32(from+i+1))
				}
				v := p32(run(t, b, f, nil, logits).Value(logits))
				return v[len(v)-g.model.Info().Vocab:]
			}
			last := step(c.Prompt, 0)
			for i := range c.New {
				id := argmax(last)
				have = append(have, id)
				last = step([]int32{id}, len(c.Prompt)+i)
			}
			if !slices.Equal(have, c.New) {
				t.Errorf("greedy ids: have %v, want %v", have, c.New)
			}
			all := append(slices.Clone(c.Prompt), have...)
			b := &nn.Builder{Graph: graph.New(tensor.Float32, 1, len(all)), Weights: store}
			out := g.model.Forward(b)
			logits := b.Logits(out.Final(), out.Head)
			mask := make([]int32, len(all))
			for i := range mask {
				mask[i] = 1
			}
			f, _, _ := feed(g.model.Info(), 1, len(all), all, mask, nil)
			full := p32(run(t, b, f, nil, logits).Value(logits))
			if !slices.Equal(full[len(full)-len(last):], last) {
				t.Error("the last decoded logits differ from the full pass")
			}
		}
	})
}

func p32(v *tensor.Dense) []float32 { return slices.Clone(v.Float32s()) }

func argmax(x []float32) int32 {
	best := 0
	for i, v := range x {
		if v > x[best] {
			best = i
		}
	}
	return int32(best)
}
