package graph_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gorgonia.org/tensor"
	"kdistill/internal/graph"
	"kdistill/internal/loss"
	"kdistill/internal/model"
	"kdistill/internal/nn"
	"kdistill/internal/testutil"
)

// TestArchitecturesAllocateNothing trains every golden model on all losses, its layers' among them, with itself for a teacher: no op allocates after the first run.
func TestArchitecturesAllocateNothing(t *testing.T) {
	configs, err := filepath.Glob(testutil.Testdata(t, "golden/models/*/config.json"))
	if err != nil || len(configs) == 0 {
		t.Fatal("no golden models", err)
	}
	for _, path := range configs {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			m, err := model.New(text)
			if err != nil {
				t.Fatal(err)
			}
			p, feed := everyLoss(t, m)
			defer p.Close()
			if err := p.Run(context.Background(), feed); err != nil {
				t.Fatal(err)
			}
			p.Wrap(func(op string, run func()) {
				objects, bytes := graph.Allocated(3, run)
				for try := 0; try < 5 && objects > 0; try++ { // scratch of a worker that had no turn before
					objects, bytes = graph.Allocated(3, run)
				}
				if objects > 0 {
					t.Errorf("%s: allocates %d bytes in %d objects", op, bytes, objects)
				}
			})
			if err := p.Run(context.Background(), feed); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// everyLoss compiles a model's training step with every loss that it can have, and makes a batch.
func everyLoss(t *testing.T, m model.Model) (*graph.Program, graph.Feed) {
	t.Helper()
	const rows, length = 3, 7
	specs, err := model.Parameters(m)
	if err != nil {
		t.Fatal(err)
	}
	w := model.NewFlat[float32](specs)
	for i := range w.Values {
		w.Values[i] = float32(i%7)/10 - 0.3
	}
	b := &nn.Builder{Graph: graph.New(tensor.Float32, rows, length), Weights: w}
	out := m.Forward(b)
	other := func(of *graph.Node) *graph.Node {
		return b.Leaf("teacher", tensor.New(tensor.WithShape(of.Shape()...), tensor.Of(tensor.Float32)))
	}
	head := out.Head
	head.Weight = head.Weight.Frozen()
	if head.Bias != nil {
		head.Bias = head.Bias.Frozen()
	}
	var terms []*graph.Term
	var features []*graph.Feature
	for _, name := range loss.Names() {
		l, err := loss.New(name, loss.Params{})
		if err != nil {
			t.Fatal(err)
		}
		switch info := m.Info(); {
		case l.Target != (info.Problem == "regression" && l.Rows == loss.Logits):
			continue
		case l.Rows != loss.Logits:
			node, err := out.Feature(model.Feature{Rows: l.Rows, Layer: 1})
			if err != nil {
				t.Fatal(err)
			}
			f := &graph.Feature{Term: len(terms), Student: node, Teacher: other(node)}
			if l.Rows != loss.Hidden {
				s := graph.ScoresOf(out.Attention[0].Heads)
				f.Scores = graph.ScorePair{Student: s, Teacher: s}
			}
			features = append(features, f)
		}
		terms = append(terms, &graph.Term{Loss: l, Scale: 0.1, Attended: l.Rows != loss.Logits || l.Teacher, Targets: make([]float32, rows*length)})
	}
	cost, _ := b.Loss(out.Final(), out.Head, []*graph.Teacher{{Hidden: other(out.Final()), Head: head}}, terms, features...)
	p, err := b.Compile(&graph.Arena{}, cost)
	if err != nil {
		t.Fatal(err)
	}
	n := rows * length
	feed := graph.Feed{Tokens: make([]int32, n), Positions: make([]int32, n), First: make([]int32, n), Last: make([]int32, n), Labels: slices.Repeat([]int32{-100}, n),
		Attended: slices.Repeat([]int32{1}, n), TokenTypes: make([]int32, n)}
	for i := range n {
		feed.Tokens[i], feed.Positions[i], feed.Last[i] = int32(i%5+2), int32(i%length), int32(i%length+1)
		if i%2 == 0 {
			feed.Labels[i] = 0
		}
	}
	return p, feed
}
