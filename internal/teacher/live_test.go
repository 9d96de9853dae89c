package teacher

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"gorgonia.org/tensor"
	"kdistill/internal/checkpoint"
	"kdistill/internal/data"
	"kdistill/internal/graph"
	"kdistill/internal/loss"
	"kdistill/internal/model"
	"kdistill/internal/nn"
	"kdistill/internal/objective"
	"kdistill/internal/testutil"
)

func tiny(t *testing.T, config string) *Live {
	t.Helper()
	m, err := model.New([]byte(config))
	if err != nil {
		t.Fatal(err)
	}
	specs, err := model.Parameters(m)
	if err != nil {
		t.Fatal(err)
	}
	flat := model.NewFlat[float32](specs)
	flat.Initialise(1)
	l := &Live{Model: m, Weights: flat.Frozen(), Arena: &graph.Arena{}}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func batch(rows, length int) *data.Batch {
	b := &data.Batch{B: rows, T: length}
	for i := range rows * length {
		b.Tokens, b.Labels = append(b.Tokens, int32(i*i%20)), append(b.Labels, data.Ignore)
		b.Segments, b.Positions = append(b.Segments, 0), append(b.Positions, int32(i%length))
	}
	return b
}

// TestLive compares hidden states with a graph of our own, at shapes that take turns in one arena.
func TestLive(t *testing.T) {
	for name, config := range map[string]string{
		"llama": `{"model_type": "llama", "num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 20, "max_position_embeddings": 16, "initializer_range": 0.4}`,
		"opt":   `{"model_type": "opt", "num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "ffn_dim": 24, "vocab_size": 20, "word_embed_proj_dim": 12, "max_position_embeddings": 16, "init_std": 0.4}`,
	} {
		l := tiny(t, config)
		head, width, err := l.Head()
		if err != nil {
			t.Fatal(err)
		}
		if want := l.Weights.(*model.Store).Get(head.Weight.Name); head.Weight.Value != want.Value || width != head.Weight.Shape[1] || head.Weight.Grad != nil {
			t.Errorf("%s: have head %s, width %d, want the model's own, frozen", name, head.Weight.Name, width)
		}
		for _, shape := range []graph.Shape{{B: 1, T: 4}, {B: 3, T: 16}, {B: 1, T: 4}} {
			b := batch(shape.B, shape.T)
			have, err := l.Hidden(context.Background(), b)
			if err != nil {
				t.Fatal(err)
			}
			own := &nn.Builder{Graph: graph.New(tensor.Float32, shape.B, shape.T), Weights: l.Weights}
			out := l.Model.Forward(own)
			p, err := own.Compile(&graph.Arena{}, nil, out.Final())
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Run(context.Background(), objective.FeedOf(b, l.Model.Info())); err != nil {
				t.Fatal(err)
			}
			if want := p.Value(out.Final()).Float32s(); len(have) != shape.B*shape.T*width || !slices.Equal(have, want) {
				t.Errorf("%s, %v: the hidden states are not the model's", name, shape)
			}
			p.Close()
		}
		_, err = l.Hidden(context.Background(), batch(1, 17))
		if err == nil || err.Error() != "sequence of 17 tokens: it has 16 positions" {
			t.Errorf("have error %v", err)
		}
		wrong := batch(1, 4)
		wrong.Tokens[2] = 20
		if _, err := l.Hidden(context.Background(), wrong); err == nil || !strings.HasPrefix(err.Error(), "embedding: ") {
			t.Errorf("have error %v", err)
		}
	}
}

// TestMappedFile: weights are read where the file is mapped, so that it may go away, but not be cut short. That is an error, on whichever thread it is met.
func TestMappedFile(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other systems refuse to cut a mapped file, or tell in other ways")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	dir := filepath.Join(t.TempDir(), "teacher")
	if err := os.CopyFS(dir, os.DirFS(testutil.Testdata(t, "golden/distill/teacher"))); err != nil {
		t.Fatal(err)
	}
	m, err := checkpoint.OpenModel(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	weights, err := checkpoint.ReadFrozen(m, m.Model, checkpoint.Auto)
	if err != nil {
		t.Fatal(err)
	}
	l := &Live{Model: m.Model, Weights: weights, Arena: &graph.Arena{}}
	defer l.Close()
	file := filepath.Join(dir, "model.safetensors")
	cut, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer cut.Close()
	b := batch(2, 8)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Hidden(context.Background(), b); err != nil {
		t.Errorf("removed: have error %v, want none", err)
	}
	if err := cut.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Hidden(context.Background(), b); err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("cut short: have error %v", err)
	}
	if _, err := l.Pack(true, func() {}); err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("cut short: packing has error %v", err)
	}
}

// TestPack: with its weights packed, and the memory of their file let go, a teacher says the same.
func TestPack(t *testing.T) {
	m, err := checkpoint.OpenModel(testutil.Testdata(t, "golden/distill/teacher"))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	weights, err := checkpoint.ReadFrozen(m, m.Model, checkpoint.Auto)
	if err != nil {
		t.Fatal(err)
	}
	say := func() []float32 {
		l := &Live{Model: m.Model, Weights: weights, Arena: &graph.Arena{}}
		defer l.Close()
		hidden, err := l.Hidden(context.Background(), batch(2, 8))
		if err != nil {
			t.Fatal(err)
		}
		return slices.Clone(hidden)
	}
	want := say()
	l := &Live{Model: m.Model, Weights: weights}
	all, err := l.Pack(false, m.Release)
	if err != nil {
		t.Fatal(err)
	}
	if all.Unread < weights.Bytes()/2 || all.Taken < all.Unread || all.Taken > all.Unread*9/8 {
		t.Errorf("have %+v of %d bytes", all, weights.Bytes())
	}
	if !slices.Equal(say(), want) {
		t.Error("a packed teacher says something else")
	}
	if again, err := l.Pack(true, func() {}); err != nil || again.Taken == 0 || again.Taken > all.Taken/4 {
		t.Errorf("have %+v, %v, want the head alone", again, err)
	}
}

// TestFeatures asks for values of layers, and looks that no more is computed than these need.
func TestFeatures(t *testing.T) {
	l := tiny(t, `{"model_type": "llama", "num_hidden_layers": 3, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 20, "max_position_embeddings": 16, "initializer_range": 0.4}`)
	b := batch(2, 8)
	own := &nn.Builder{Graph: graph.New(tensor.Float32, 2, 8), Weights: l.Weights}
	out := l.Model.Forward(own)
	p, err := own.Compile(&graph.Arena{}, nil, append([]*graph.Node{out.Attention[0].Projected, out.Attention[1].Rotated}, out.Hidden...)...)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Run(context.Background(), objective.FeedOf(b, l.Model.Info())); err != nil {
		t.Fatal(err)
	}
	operations := func(want ...model.Feature) float64 {
		times := graph.Times{}
		have, err := l.Features(graph.Measured(context.Background(), times), b, want)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range want {
			n, err := out.Feature(f)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(have[i], p.Value(n).Float32s()) {
				t.Errorf("%v is not the model's", f)
			}
		}
		return times["linear"].Operations
	}
	last := model.Feature{}
	all := operations(last)
	third := operations(model.Feature{Rows: loss.Hidden, Layer: 1})
	operations(model.Feature{Rows: loss.Relations, Layer: 1}, last, model.Feature{Rows: loss.Scores, Layer: 2}, model.Feature{Rows: loss.Hidden})
	if third*3 != all {
		t.Errorf("the first layer takes %v operations, all three %v", third, all)
	}
	if _, err := l.Features(context.Background(), b, []model.Feature{{Rows: loss.Hidden, Layer: 4}}); err == nil || err.Error() != "have layer 4, want 0 to 3" {
		t.Errorf("have %v", err)
	}
}
