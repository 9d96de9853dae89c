package graph

import (
	"fmt"
	"testing"

	"gorgonia.org/tensor"
)

// BenchmarkHead is head and forward KL with both gradients against a live teacher, as in scripts/bench-torch.
func BenchmarkHead(b *testing.B) {
	for _, c := range []struct {
		rows, width, teacherWidth, vocab int
		bf16                             bool
	}{
		{2048, 288, 288, 32000, false},
		{2048, 288, 288, 32000, true},
		{512, 288, 768, 151936, false},
	} {
		b.Run(fmt.Sprintf("%dx%d,%dx%d,bf16=%v", c.rows, c.width, c.teacherWidth, c.vocab, c.bf16), func(b *testing.B) {
			f := newFixture(tensor.Float32, 1, c.rows)
			f.std = 0.05
			for i := range f.feed.Labels {
				f.feed.Labels[i] = int32(i)
			}
			g := New(f.dtype, 1, c.rows)
			g.BF16 = c.bf16
			teacher := &Teacher{
				Hidden: g.Leaf("teacher's hidden states", f.frozen("teacher", c.rows, c.teacherWidth).Value),
				Head:   Head{Weight: f.frozen("teacher's head", c.vocab, c.teacherWidth)},
			}
			cost, _ := g.Loss(f.matrix(g, trained, "hidden", c.width), Head{Weight: f.param("head", c.vocab, c.width)}, []*Teacher{teacher},
				[]*Term{{Loss: newLoss(b, "forward_kl"), Scale: 1 / float64(c.rows)}})
			p, err := g.Compile(&Arena{}, cost)
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			f.run(b, p)
			for b.Loop() {
				f.run(b, p)
			}
			operations := float64(2*c.rows*c.vocab) * float64(3*c.width+c.teacherWidth)
			b.ReportMetric(operations*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			b.ReportMetric(float64(p.Bytes())/1e6, "MB")
		})
	}
}
