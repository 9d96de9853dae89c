package model

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"gorgonia.org/tensor"
	"kdistill/internal/graph"
	"kdistill/internal/kernel"
	"kdistill/internal/loss"
	"kdistill/internal/nn"
)

// settings are config.json keys that change a model type's arithmetic.
var settings = map[string][]string{
	"llama": {
		`"attention_bias": true, "mlp_bias": true`,
		`"tie_word_embeddings": true, "num_key_value_heads": 2`,
		`"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8}`,
	},
	"mistral": {`"sliding_window": 3`},
	"qwen2":   {`"use_sliding_window": true, "sliding_window": 2, "max_window_layers": 1`},
	"qwen3":   {`"head_dim": 4, "attention_bias": true, "tie_word_embeddings": true`},
	"gpt2":    {`"scale_attn_by_inverse_layer_idx": true, "tie_word_embeddings": false, "activation_function": "relu"`},
	"bert": {
		`"architectures": ["BertForSequenceClassification"], "num_labels": 3`,
		`"tie_word_embeddings": false, "hidden_act": "relu"`,
	},
	"gemma2": {
		`"head_dim": 4, "attn_logit_softcapping": 2.5, "final_logit_softcapping": 3.0, "sliding_window": 2, "query_pre_attn_scalar": 9, "attention_bias": true`,
		`"tie_word_embeddings": false, "attn_logit_softcapping": null, "hidden_activation": "gelu"`,
	},
	"gemma3_text": {`"sliding_window": 3, "sliding_window_pattern": 2, "final_logit_softcapping": 3.0, "rope_scaling": {"rope_type": "linear", "factor": 8.0}`},
	"phi3":        {`"partial_rotary_factor": 0.5, "sliding_window": 3`, `"rope_scaling": {"type": "longrope", "short_factor": [1, 1.5, 2, 3], "long_factor": [1, 2, 3, 4]}`},
	"olmo2":       {`"attention_bias": true, "num_key_value_heads": 2`},
	"smollm3":     {`"no_rope_layers": [0, 1], "attention_bias": true, "mlp_bias": true, "use_sliding_window": true, "sliding_window": 2`},
	"gpt_neox":    {`"use_parallel_residual": false, "rotary_pct": 0.5, "attention_bias": false, "tie_word_embeddings": true`},
	"distilbert":  {`"architectures": ["DistilBertForSequenceClassification"]`},
	"roberta":     {`"architectures": ["RobertaForSequenceClassification"], "pad_token_id": 0`},
	"opt": {
		`"do_layer_norm_before": false, "word_embed_proj_dim": 12, "activation_function": "gelu"`,
		`"enable_bias": false, "_remove_final_layer_norm": true, "tie_word_embeddings": false`,
	},
}

// eachModel runs f for every registered type with its defaults and with other settings.
func eachModel(t *testing.T, f func(t *testing.T, m Model)) {
	for _, name := range Types() {
		for i, more := range append([]string{""}, settings[name]...) {
			t.Run(fmt.Sprintf("%s %d", name, i), func(t *testing.T) {
				m, err := New(tiny(name, more))
				if err != nil {
					t.Fatal(err)
				}
				f(t, m)
			})
		}
	}
}

// randomWeights are large enough that nothing is nearly linear.
func randomWeights[F kernel.Float](t *testing.T, m Model, seed uint64) *Flat[F] {
	t.Helper()
	specs, err := Parameters(m)
	if err != nil {
		t.Fatal(err)
	}
	flat := NewFlat[F](specs)
	r := rand.New(rand.NewPCG(seed, 0))
	for i, s := range specs {
		for j := range flat.View(i) {
			flat.View(i)[j] = F(s.Init.Const + 0.4*r.NormFloat64())
		}
	}
	return flat
}

// piece is a document of ids, and of labels where these are not the next ids, that its seed gives.
type piece struct{ seed, length int }

// feedOf packs documents into rows, which end in padding.
func feedOf(info Info, length int, rows ...[]piece) graph.Feed {
	n := len(rows) * length
	f := graph.Feed{
		Tokens: make([]int32, n), Positions: make([]int32, n), First: make([]int32, n), Last: make([]int32, n),
		Labels: slices.Repeat([]int32{-100}, n), Attended: make([]int32, n), TokenTypes: make([]int32, n),
	}
	for r, row := range rows {
		begin := 0
		for _, p := range row {
			random := rand.New(rand.NewPCG(uint64(p.seed), 9))
			for i := range p.length {
				at := r*length + begin + i
				f.Tokens[at] = int32(4 + random.IntN(info.Vocab-4))
				f.Positions[at], f.First[at], f.Last[at], f.Attended[at] = int32(i), int32(begin), int32(begin+i+1), 1
				if info.Bidirectional {
					f.Last[at] = int32(begin + p.length)
				}
				if info.TokenTypes > 1 {
					f.TokenTypes[at] = int32(2 * i / p.length)
				}
				switch {
				case info.Task == Causal && i > 0:
					f.Labels[at-1] = f.Tokens[at]
				case info.Task == Masked && i%2 == 1, info.Task == Classification && i == 0:
					f.Labels[at] = int32(random.IntN(info.Logits()))
				}
			}
			begin += p.length
		}
	}
	return f
}

// TestModelGradients compares gradients of the mean cross-entropy with central differences in float64, on packed and padded rows.
func TestModelGradients(t *testing.T) {
	ce, err := loss.New("cross_entropy", loss.Params{})
	if err != nil {
		t.Fatal(err)
	}
	eachModel(t, func(t *testing.T, m Model) {
		flat := randomWeights[float64](t, m, 1)
		const rows, length = 2, 6
		f := feedOf(m.Info(), length, []piece{{1, 2}, {2, 4}}, []piece{{3, 4}})
		open := func(w nn.Weights) (*graph.Program, *graph.Losses) {
			b := &nn.Builder{Graph: graph.New(tensor.Float64, rows, length), Weights: w}
			out := m.Forward(b)
			cost, l := b.Loss(out.Final(), out.Head, nil, []*graph.Term{{Loss: ce, Scale: 1. / 7}})
			p, err := b.Compile(&graph.Arena{}, cost)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { p.Close() })
			return p, l
		}
		run := func(p *graph.Program) {
			if err := p.Run(context.Background(), f); err != nil {
				t.Fatal(err)
			}
		}
		train, l := open(flat)
		run(train)
		value, e := open(flat.Frozen())
		run(value)
		if l.Sum(0) != e.Sum(0) || l.Sum(0) == 0 {
			t.Errorf("have loss %v with gradients, %v without", l.Sum(0), e.Sum(0))
		}
		r := rand.New(rand.NewPCG(3, 3))
		const h = 1e-5
		for i, s := range flat.Specs {
			from, to := flat.Range(i)
			v := flat.View(i)
			for range 8 {
				j := r.IntN(to - from)
				at := v[j]
				v[j] = at + h
				run(value)
				up := e.Sum(0) / 7
				v[j] = at - h
				run(value)
				want := (up - e.Sum(0)/7) / (2 * h)
				v[j] = at
				have := flat.Gradients[from+j]
				if !(math.Abs(have-want) <= 1e-7*max(1, math.Abs(want))) {
					t.Errorf("%s[%d]: have gradient %.9g, want %.9g by central differences", s.Name, j, have, want)
				}
			}
			// The softmax does not see what is added to all keys: without a rotary embedding their bias has no gradient.
			blind := m.Info().Type == "opt" && strings.HasSuffix(s.Name, "k_proj.bias") || strings.HasSuffix(s.Name, "key.bias") || strings.HasSuffix(s.Name, "k_lin.bias")
			if !blind && !slices.ContainsFunc(flat.Gradients[from:to], func(x float64) bool { return x != 0 }) {
				t.Errorf("%s: its gradient is zero everywhere", s.Name)
			}
		}
	})
}

// TestPaddingRow: the row of the padding id gets no gradient as an embedding, though it stands among real tokens; as a tied head's row it does.
func TestPaddingRow(t *testing.T) {
	ce, err := loss.New("cross_entropy", loss.Params{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "olmo2", "smollm3", "opt", "bert", "distilbert", "roberta"} {
		for _, tied := range []bool{false, true} {
			m, err := New(tiny(name, fmt.Sprintf(`"pad_token_id": 5, "tie_word_embeddings": %v`, tied)))
			if err != nil {
				t.Fatal(err)
			}
			flat := randomWeights[float32](t, m, 1)
			f := feedOf(m.Info(), 8, []piece{{1, 8}})
			f.Tokens[3] = 5
			b := &nn.Builder{Graph: graph.New(tensor.Float32, 1, 8), Weights: flat}
			out := m.Forward(b)
			cost, _ := b.Loss(out.Final(), out.Head, nil, []*graph.Term{{Loss: ce, Scale: 1}})
			p, err := b.Compile(&graph.Arena{}, cost)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Run(context.Background(), f); err != nil {
				t.Fatal(err)
			}
			p.Close()
			from, _ := flat.Range(0) // the embedding is asked for first
			row := flat.Gradients[from+5*16 : from+6*16]
			if some := slices.ContainsFunc(row, func(x float32) bool { return x != 0 }); some != tied {
				t.Errorf("%s, tied %v: the padding row has a gradient: %v", name, tied, some)
			}
		}
	}
}

// logitsOf runs a model without gradients.
func logitsOf(t *testing.T, m Model, w nn.Weights, rows, length int, f graph.Feed) []float32 {
	t.Helper()
	b := &nn.Builder{Graph: graph.New(tensor.Float32, rows, length), Weights: w}
	out := m.Forward(b)
	y := b.Logits(out.Final(), out.Head)
	p, err := b.Compile(&graph.Arena{}, nil, y)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Run(context.Background(), f); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(p.Value(y).Float32s())
}

// TestRowsAreIndependent: a document's logits have the same bits alone, in a batch, packed behind others, and on any number of threads.
func TestRowsAreIndependent(t *testing.T) {
	eachModel(t, func(t *testing.T, m Model) {
		w := randomWeights[float32](t, m, 2).Frozen()
		info := m.Info()
		width := info.Logits()
		for _, length := range []int{1, 9, 21} {
			doc := piece{5, length}
			alone := logitsOf(t, m, w, 1, length, feedOf(info, length, []piece{doc}))
			same := func(what string, have []float32) {
				t.Helper()
				if !slices.Equal(have, alone) {
					t.Errorf("%d tokens: other bits %s", length, what)
				}
			}
			for _, threads := range []int{1, 2} {
				before := runtime.GOMAXPROCS(threads)
				batch := logitsOf(t, m, w, 3, 31, feedOf(info, 31, []piece{{6, 31}}, []piece{doc}, []piece{{7, 4}}))
				same(fmt.Sprintf("in a batch on %d threads", threads), batch[31*width:(31+length)*width])
				packed := logitsOf(t, m, w, 2, 31, feedOf(info, 31, []piece{{8, 3}, {9, 7}, doc}, []piece{{6, 31}}))
				same(fmt.Sprintf("packed on %d threads", threads), packed[10*width:(10+length)*width])
				same(fmt.Sprintf("alone on %d threads", threads), logitsOf(t, m, w, 1, length, feedOf(info, length, []piece{doc})))
				runtime.GOMAXPROCS(before)
			}
		}
	})
}

// TestLongRowsAreIndependent goes beyond the blocks in which attention and matrix products are cut.
func TestLongRowsAreIndependent(t *testing.T) {
	for _, name := range Types() {
		key := Key(name, "max_position_embeddings")
		m, err := New(tiny(name, fmt.Sprintf(`%q: 700`, key)))
		if err != nil {
			t.Fatal(err)
		}
		w := randomWeights[float32](t, m, 2).Frozen()
		doc := piece{5, 300}
		alone := logitsOf(t, m, w, 1, 300, feedOf(m.Info(), 300, []piece{doc}))
		packed := logitsOf(t, m, w, 2, 437, feedOf(m.Info(), 437, []piece{{6, 437}}, []piece{{8, 137}, doc}))
		if !slices.Equal(packed[(437+137)*20:], alone) {
			t.Errorf("%s: other bits behind another document", name)
		}
	}
}

// TestRecomputeChangesNothing: what the backward pass computes again has the bits that the forward pass had.
func TestRecomputeChangesNothing(t *testing.T) {
	ce, err := loss.New("cross_entropy", loss.Params{})
	if err != nil {
		t.Fatal(err)
	}
	eachModel(t, func(t *testing.T, m Model) {
		f := feedOf(m.Info(), 6, []piece{{1, 2}, {2, 4}}, []piece{{3, 4}})
		var gradients [2][]float32
		for i := range gradients {
			flat := randomWeights[float32](t, m, 1)
			b := &nn.Builder{Graph: graph.New(tensor.Float32, 2, 6), Weights: flat}
			out := m.Forward(b)
			if i == 1 {
				b.Recompute(out.Hidden...)
			}
			cost, _ := b.Loss(out.Final(), out.Head, nil, []*graph.Term{{Loss: ce, Scale: 0.1}})
			p, err := b.Compile(&graph.Arena{}, cost)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Run(context.Background(), f); err != nil {
				t.Fatal(err)
			}
			gradients[i] = flat.Gradients
			p.Close()
		}
		if !slices.Equal(gradients[0], gradients[1]) {
			t.Error("gradients differ")
		}
	})
}

// TestThreadsChangeNothing: gradients have the same bits on one and on two threads, at sizes that the kernels share out.
func TestThreadsChangeNothing(t *testing.T) {
	ce, err := loss.New("cross_entropy", loss.Params{})
	if err != nil {
		t.Fatal(err)
	}
	const length = 128
	var rows [][]piece
	for i := range 6 {
		rows = append(rows, []piece{{i, 50 + i}, {i + 20, 60}})
	}
	for _, name := range Types() {
		m, err := New(tiny(name, fmt.Sprintf(`"vocab_size": 300, %q: 64, %q: %d`, Key(name, "hidden_size"), Key(name, "max_position_embeddings"), length)))
		if err != nil {
			t.Fatal(err)
		}
		f := feedOf(m.Info(), length, rows...)
		var results [2][]float32
		for i := range results {
			before := runtime.GOMAXPROCS(i + 1)
			flat := randomWeights[float32](t, m, 3)
			b := &nn.Builder{Graph: graph.New(tensor.Float32, len(rows), length), Weights: flat}
			out := m.Forward(b)
			cost, _ := b.Loss(out.Final(), out.Head, nil, []*graph.Term{{Loss: ce, Scale: 0.01}})
			p, err := b.Compile(&graph.Arena{}, cost)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Run(context.Background(), f); err != nil {
				t.Fatal(err)
			}
			p.Close()
			results[i] = flat.Gradients
			runtime.GOMAXPROCS(before)
		}
		if !slices.Equal(results[0], results[1]) {
			t.Errorf("%s: gradients differ between one thread and two", name)
		}
		if !slices.ContainsFunc(results[0], func(x float32) bool { return x != 0 }) {
			t.Errorf("%s: every gradient is zero", name)
		}
	}
}
