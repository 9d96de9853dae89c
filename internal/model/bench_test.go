package model_test

import (
	"context"
	"os"
	"testing"

	"gorgonia.org/tensor"
	"kdistill/internal/checkpoint"
	"kdistill/internal/graph"
	"kdistill/internal/model"
	"kdistill/internal/nn"
	"kdistill/internal/testutil"
)

// BenchmarkForward is a forward pass of the stories260k model on 8 x 512 tokens.
func BenchmarkForward(b *testing.B) {
	dir := testutil.Shared(b, "models/stories260k")
	text, err := os.ReadFile(dir + "/config.json")
	if err != nil {
		b.Fatal(err)
	}
	m, err := model.New(text)
	if err != nil {
		b.Fatal(err)
	}
	f, err := checkpoint.Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	w, err := checkpoint.ReadFrozen(f, m, checkpoint.Auto)
	if err != nil {
		b.Fatal(err)
	}
	const rows, length = 8, 512
	builder := &nn.Builder{Graph: graph.New(tensor.Float32, rows, length), Weights: w}
	out := m.Forward(builder)
	p, err := builder.Compile(&graph.Arena{}, nil, out.Final())
	if err != nil {
		b.Fatal(err)
	}
	ids, mask := make([]int32, rows*length), make([]int32, rows*length)
	for i := range mask {
		ids[i], mask[i] = int32(i*7%512), 1
	}
	feed, _, _ := feed(m.Info(), rows, length, ids, mask, nil)
	for b.Loop() {
		if err := p.Run(context.Background(), feed); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows*length)*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
}
