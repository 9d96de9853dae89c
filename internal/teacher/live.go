// Package teacher gives what a teacher says about a batch: a live model here.
// A teacher is frozen; nothing here computes gradients.
package teacher

import (
	"context"
	"fmt"

	"gorgonia.org/tensor"
	"kdistill/internal/data"
	"kdistill/internal/graph"
	"kdistill/internal/model"
	"kdistill/internal/nn"
	"kdistill/internal/objective"
)

// Live runs a frozen model in a graph of its own. It implements objective.Teacher.
type Live struct {
	Model   model.Model
	Weights nn.Weights
	Arena   *graph.Arena // may be the student's: they never run at the same time
	BF16    bool         // as graph.Graph's

	programs graph.ByShape[*compiled]
}

type compiled struct {
	*graph.Program
	out model.Outputs
}

var _ objective.Teacher = (*Live)(nil)

// Head returns the model's output head and the width of what it reads.
func (l *Live) Head() (graph.Head, int, error) {
	c, err := l.at(graph.Shape{B: 1, T: 1})
	if err != nil {
		return graph.Head{}, 0, err
	}
	return c.out.Head, c.out.Head.Weight.Shape[1], nil
}

// Hidden runs the model on the batch. The hidden states lie in the arena and are valid until the next program runs there.
func (l *Live) Hidden(ctx context.Context, batch *data.Batch) ([]float32, error) {
	c, err := l.at(graph.Shape{B: batch.B, T: batch.T})
	if err != nil {
		return nil, err
	}
	if err := c.Run(ctx, objective.FeedOf(batch, l.Model.Info())); err != nil {
		return nil, err
	}
	return c.Value(c.out.Final()).Float32s(), nil
}

func (l *Live) at(s graph.Shape) (*compiled, error) {
	return l.programs.At(s, func() (*compiled, error) { return l.compile(s) })
}

func (l *Live) compile(s graph.Shape) (*compiled, error) {
	if want := l.Model.Info().Positions; s.T > want {
		return nil, fmt.Errorf("sequence of %d tokens: it has %d positions", s.T, want)
	}
	b := &nn.Builder{Graph: graph.New(tensor.Float32, s.B, s.T), Weights: l.Weights}
	b.BF16 = l.BF16
	out := l.Model.Forward(b)
	if b.Err() != nil {
		return nil, b.Err()
	}
	p, err := b.Compile(l.Arena, nil, out.Final())
	return &compiled{p, out}, err
}

// Close frees the programs.
func (l *Live) Close() error { return l.programs.Close() }
