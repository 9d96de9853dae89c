// Package teacher gives what a teacher says about a batch: a live model, or one that spoke before and whose words are on disk.
// A teacher is frozen; nothing here computes gradients.
package teacher

import (
	"context"
	"errors"
	"fmt"

	"gorgonia.org/tensor"
	"kdistill/internal/data"
	"kdistill/internal/graph"
	"kdistill/internal/model"
	"kdistill/internal/nn"
	"kdistill/internal/objective"
)

// Live runs a frozen model in a graph of its own. It implements objective.Featured.
type Live struct {
	Model   model.Model
	Weights nn.Weights
	Arena   *graph.Arena // may be the student's: they never run at the same time
	BF16    bool         // as graph.Graph's

	programs map[string]*graph.ByShape[*compiled] // by what is wanted of them
}

type compiled struct {
	*graph.Program
	wanted []*graph.Node
}

var _ objective.Featured = (*Live)(nil)

// Head returns the model's output head and the width of what it reads.
func (l *Live) Head() (graph.Head, int, error) {
	b := &nn.Builder{Graph: graph.New(tensor.Float32, 1, 1), Weights: l.Weights}
	out := l.Model.Forward(b)
	if b.Err() != nil {
		return graph.Head{}, 0, b.Err()
	}
	return out.Head, out.Head.Weight.Shape[1], nil
}

// Shapes returns the model's outputs for a single position, without values.
func (l *Live) Shapes() (model.Outputs, error) { return model.Shapes(l.Model) }

// Hidden runs the model on the batch. The hidden states lie in the arena and are valid until the next program runs there.
func (l *Live) Hidden(ctx context.Context, batch *data.Batch) ([]float32, error) {
	values, err := l.Features(ctx, batch, []model.Feature{{}})
	if err != nil {
		return nil, err
	}
	return values[0], nil
}

// Features runs the model on the batch, as far as what is wanted needs it. The values lie in the arena as those of Hidden.
func (l *Live) Features(ctx context.Context, batch *data.Batch, want []model.Feature) ([][]float32, error) {
	key := fmt.Sprint(want)
	if l.programs[key] == nil {
		if l.programs == nil {
			l.programs = map[string]*graph.ByShape[*compiled]{}
		}
		l.programs[key] = &graph.ByShape[*compiled]{}
	}
	s := graph.Shape{B: batch.B, T: batch.T}
	c, err := l.programs[key].At(s, func() (*compiled, error) { return l.compile(s, want, l.Arena) })
	if err != nil {
		return nil, err
	}
	if err := c.Run(ctx, objective.FeedOf(batch, l.Model.Info())); err != nil {
		return nil, err
	}
	values := make([][]float32, len(want))
	for i, n := range c.wanted {
		values[i] = c.Value(n).Float32s()
	}
	return values, nil
}

// Bytes is the memory that intermediate values of Features take at b rows of t positions.
func (l *Live) Bytes(b, t int, want []model.Feature) (int, error) {
	c, err := l.compile(graph.Shape{B: b, T: t}, want, &graph.Arena{})
	if err != nil {
		return 0, err
	}
	return c.Bytes(), c.Close()
}

// Pack lays the model's weights out for products once, those of its head where head says so, as graph.Graph.Pack does.
func (l *Live) Pack(head bool, done func()) (graph.Packing, error) {
	b, out, err := l.forward(graph.Shape{B: 1, T: 1})
	if err != nil {
		return graph.Packing{}, err
	}
	if !head {
		out.Head = graph.Head{}
	}
	return b.Pack(out.Head, done)
}

// forward begins a graph with the model.
func (l *Live) forward(s graph.Shape) (*nn.Builder, model.Outputs, error) {
	if want := l.Model.Info().Positions; s.T > want {
		return nil, model.Outputs{}, fmt.Errorf("sequence of %d tokens: it has %d positions", s.T, want)
	}
	b := &nn.Builder{Graph: graph.New(tensor.Float32, s.B, s.T), Weights: l.Weights}
	b.BF16 = l.BF16
	out := l.Model.Forward(b)
	return b, out, b.Err()
}

func (l *Live) compile(s graph.Shape, want []model.Feature, arena *graph.Arena) (*compiled, error) {
	b, out, err := l.forward(s)
	if err != nil {
		return nil, err
	}
	c := &compiled{}
	for _, f := range want {
		n, err := out.Feature(f)
		if err != nil {
			return nil, err
		}
		c.wanted = append(c.wanted, n)
	}
	c.Program, err = b.Compile(arena, nil, c.wanted...)
	return c, err
}

// Close frees the programs.
func (l *Live) Close() error {
	var errs []error
	for _, p := range l.programs {
		errs = append(errs, p.Close())
	}
	l.programs = nil
	return errors.Join(errs...)
}
