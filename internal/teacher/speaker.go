package teacher

import (
	"context"

	"kdistill/internal/data"
	"kdistill/internal/graph"
	"kdistill/internal/objective"
)

// Speaker hands out a live teacher's logits one row at a time: they are never held as a whole.
type Speaker struct {
	Teacher *Live

	programs graph.ByShape[*graph.Program]
	wanted   func(position int) bool
	visit    graph.Visit
}

// Speak runs the teacher on the batch and calls visit with the logits at every position with a token that is wanted.
func (s *Speaker) Speak(ctx context.Context, batch *data.Batch, wanted func(position int) bool, visit graph.Visit) error {
	shape := graph.Shape{B: batch.B, T: batch.T}
	p, err := s.programs.At(shape, func() (*graph.Program, error) { return s.compile(shape) })
	if err != nil {
		return err
	}
	s.wanted, s.visit = wanted, visit
	return p.Run(ctx, objective.FeedOf(batch, s.Teacher.Model.Info()))
}

func (s *Speaker) compile(shape graph.Shape) (*graph.Program, error) {
	b, out, err := s.Teacher.forward(shape)
	if err != nil {
		return nil, err
	}
	rows := b.EachRow(out.Final(), out.Head, func(i int) bool { return s.wanted(i) }, func(i int, logits []float32) { s.visit(i, logits) })
	return b.Compile(s.Teacher.Arena, nil, rows)
}

// Close frees the programs.
func (s *Speaker) Close() error { return s.programs.Close() }
