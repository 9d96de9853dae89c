package model_test

import (
	"fmt"
	"math"
	"strconv"
	"testing"

	"gorgonia.org/tensor"
	"kdistill/internal/checkpoint"
	"kdistill/internal/graph"
	"kdistill/internal/loss"
	"kdistill/internal/model"
	"kdistill/internal/nn"
)

// TestGoldenAttention computes every layer's attention from what a model says its scores are made from, and compares with transformers.
func TestGoldenAttention(t *testing.T) {
	eachGolden(t, func(t *testing.T, g golden) {
		if _, ok := g.expected.Tensor("attentions.0"); !ok {
			t.Skip("a variant, without attentions")
		}
		store, err := checkpoint.ReadFrozen(g.tensors, g.model, checkpoint.Auto)
		if err != nil {
			t.Fatal(err)
		}
		ids, shape := g.ints(t, "input_ids")
		mask, _ := g.ints(t, "attention_mask")
		rows, length := shape[0], shape[1]
		f, keep, _ := feed(g.model.Info(), rows, length, ids, mask, nil)
		if _, ok := g.expected.Tensor("token_type_ids"); ok {
			f.TokenTypes, _ = g.ints(t, "token_type_ids")
		}
		b := &nn.Builder{Graph: graph.New(tensor.Float32, rows, length), Weights: store}
		out := g.model.Forward(b)
		if len(out.Attention) != g.model.Info().Layers {
			t.Fatalf("have attention of %d layers, want %d", len(out.Attention), g.model.Info().Layers)
		}
		var nodes []*graph.Node
		for _, a := range out.Attention {
			nodes = append(nodes, a.Rotated, a.Projected)
		}
		p := run(t, b, f, nil, nodes...)
		for layer, a := range out.Attention {
			want, _ := g.floats(t, "attentions."+strconv.Itoa(layer))
			h, stride := a.Heads, a.Heads.Width()
			if have := p.Value(a.Projected).Shape()[1]; have != stride {
				t.Fatalf("layer %d: projections have width %d, want %d", layer, have, stride)
			}
			if h.Scale == 0 {
				h.Scale = 1 / math.Sqrt(float64(h.D))
			}
			x, worst := p.Value(a.Rotated).Float32s(), 0.0
			for _, at := range keep {
				first, last := int(f.First[at]), int(f.Last[at])
				if h.Window > 0 {
					first = max(first, last-h.Window)
				}
				for head := range h.H {
					var scores []float64
					sum := 0.0
					for j := first; j < last; j++ {
						s := 0.0
						for d := range h.D {
							s += float64(x[at*stride+head*h.D+d]) * float64(x[(at/length*length+j)*stride+(h.H+head/(h.H/h.KV))*h.D+d])
						}
						if s *= h.Scale; h.Softcap > 0 {
							s = h.Softcap * math.Tanh(s/h.Softcap)
						}
						scores = append(scores, math.Exp(s))
						sum += scores[len(scores)-1]
					}
					row := want[((at/length*h.H+head)*length+at%length)*length:][:length]
					for j, p := range row {
						have := 0.0
						if j >= first && j < last {
							have = scores[j-first] / sum
						}
						worst = max(worst, math.Abs(have-p))
					}
				}
			}
			if !(worst <= 1e-5) {
				t.Errorf("attention of layer %d: worst difference %.3g, want at most 1e-5", layer, worst)
			}
		}
	})
}

// TestFeature looks features up, and refuses layers that aren't there.
func TestFeature(t *testing.T) {
	m, err := model.New([]byte(`{"model_type": "gpt2", "n_layer": 2, "n_embd": 8, "n_head": 2, "vocab_size": 9, "n_positions": 4}`))
	if err != nil {
		t.Fatal(err)
	}
	out, err := model.Shapes(m)
	if err != nil {
		t.Fatal(err)
	}
	for f, want := range map[model.Feature]*graph.Node{
		{Rows: loss.Logits}: out.Hidden[2], {Rows: loss.Hidden}: out.Hidden[0], {Rows: loss.Hidden, Layer: 2}: out.Hidden[2],
		{Rows: loss.Scores, Layer: 1}: out.Attention[0].Rotated, {Rows: loss.Relations, Layer: 2}: out.Attention[1].Projected,
	} {
		if have, err := out.Feature(f); err != nil || have != want {
			t.Errorf("%+v: have %v, %v", f, have, err)
		}
	}
	for f, want := range map[model.Feature]string{
		{Rows: loss.Hidden, Layer: 3}: "have layer 3, want 0 to 2", {Rows: loss.Hidden, Layer: -1}: "have layer -1, want 0 to 2",
		{Rows: loss.Scores}: "have layer 0, want 1 to 2", {Rows: loss.Relations, Layer: 3}: "have layer 3, want 1 to 2",
	} {
		if _, err := out.Feature(f); fmt.Sprint(err) != want {
			t.Errorf("%+v: have %v, want %s", f, err, want)
		}
	}
	out.Attention = nil
	if _, err := out.Feature(model.Feature{Rows: loss.Scores, Layer: 1}); err == nil {
		t.Error("attention of an architecture that shows none")
	}
}
