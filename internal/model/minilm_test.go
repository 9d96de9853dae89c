package model_test

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"gorgonia.org/tensor"
	"kdistill/internal/checkpoint"
	"kdistill/internal/graph"
	"kdistill/internal/nn"
	"kdistill/internal/testutil"
)

// TestMiniLM compares a real BERT, all-MiniLM-L6-v2, with transformers: ids, hidden states, and mean-pooled embeddings. scripts/minilm fetches it and runs this.
func TestMiniLM(t *testing.T) {
	dir := os.Getenv("KDISTILL_MINILM")
	if dir == "" {
		t.Skip("SKIPPED, KDISTILL_MINILM is not set: scripts/minilm fetches the model and runs this test")
	}
	text, err := os.ReadFile(testutil.Shared(t, "golden/minilm-l6.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Parameters int
		Cases      []struct {
			Text      string
			IDs       []int32
			CLS       []float64 `json:"cls_first8"`
			CLSNorm   float64   `json:"cls_l2"`
			Last      []float64 `json:"last_token_first8"`
			Mean      []float64 `json:"mean_first8"`
			MeanNorm  float64   `json:"mean_l2"`
			Embedding []float64 `json:"embedding_first8"`
		}
		Cosine [][]float64 `json:"cosine_similarity"` // of the first texts
	}
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	p, err := checkpoint.OpenModel(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	weights, err := checkpoint.ReadFrozen(p, p.Model, checkpoint.Auto)
	if err != nil {
		t.Fatal(err)
	}
	rows, length := len(golden.Cases), 0
	for _, c := range golden.Cases {
		length = max(length, len(c.IDs))
	}
	ids, mask := make([]int32, rows*length), make([]int32, rows*length)
	for r, c := range golden.Cases {
		e, err := p.Tokenizer.Encode(c.Text, true)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(e.IDs, c.IDs) {
			t.Fatalf("%q: have ids %v, want %v", c.Text, e.IDs, c.IDs)
		}
		copy(ids[r*length:], e.IDs)
		for i := range e.IDs {
			mask[r*length+i] = 1
		}
	}
	b := &nn.Builder{Graph: graph.New(tensor.Float32, rows, length), Weights: weights}
	out := p.Model.Forward(b)
	f, _, _ := feed(p.Model.Info(), rows, length, ids, mask, nil)
	hidden := run(t, b, f, nil, out.Final()).Value(out.Final()).Float32s()

	worst := 0.0
	near := func(what string, have, want float64) {
		worst = max(worst, math.Abs(have-want))
		if !(math.Abs(have-want) <= 1e-4) {
			t.Errorf("%s: have %v, want %v", what, have, want)
		}
	}
	width := p.Model.Info().Width
	embeddings := make([][]float64, rows)
	for r, c := range golden.Cases {
		mean, first := make([]float64, width), make([]float64, width)
		for i := range c.IDs {
			for d := range width {
				x := float64(hidden[(r*length+i)*width+d])
				mean[d] += x / float64(len(c.IDs))
				if i == 0 {
					first[d] = x
				}
				if i == len(c.IDs)-1 && d < len(c.Last) {
					near(c.Text+": last token", x, c.Last[d])
				}
			}
		}
		near(c.Text+": norm at [CLS]", norm(first), c.CLSNorm)
		near(c.Text+": norm of the mean", norm(mean), c.MeanNorm)
		for d := range mean {
			embeddings[r] = append(embeddings[r], mean[d]/norm(mean))
		}
		for d := range c.CLS {
			near(c.Text+": [CLS]", first[d], c.CLS[d])
			near(c.Text+": mean", mean[d], c.Mean[d])
			near(c.Text+": embedding", embeddings[r][d], c.Embedding[d])
		}
	}
	for i, row := range golden.Cosine {
		for j, want := range row {
			cosine := 0.0
			for d := range width {
				cosine += embeddings[i][d] * embeddings[j][d]
			}
			near("cosine", cosine, want)
		}
	}
	if have := weights.Count(); golden.Parameters-have != width*width+width {
		t.Errorf("have %d parameters, want %d without the pooler's", have, golden.Parameters)
	}
	t.Logf("%d texts, %d parameters: worst difference %.2g", rows, weights.Count(), worst)
}

func norm(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v * v
	}
	return math.Sqrt(sum)
}
