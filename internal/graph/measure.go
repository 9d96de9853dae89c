package graph

import (
	"context"
	"time"

	"gorgonia.org/gorgonia"
)

// Times collects what runs spend, by the ops' names, and under LossRows.
type Times map[string]Spent

// LossRows is the part of the head's op in which losses pass over rows of logits.
const LossRows = "loss rows"

// Spent is the time of an op's runs and the operations that its products count: two for each multiplication with its addition,
// those that a backward pass computes again left out.
type Spent struct {
	Time       time.Duration
	Operations float64
}

type timesKey struct{}

// Measured returns a context in which every run adds to t.
func Measured(ctx context.Context, t Times) context.Context {
	return context.WithValue(ctx, timesKey{}, t)
}

// addRows counts a chunk of LossRows that began at a time and is over.
func (t Times) addRows(began time.Time) {
	if t != nil {
		s := t[LossRows]
		s.Time += time.Since(began)
		t[LossRows] = s
	}
}

// add counts a run of an op that began at a time and is over.
func (t Times) add(o *op, in []gorgonia.Value, began time.Time) {
	s := t[o.name]
	s.Time += time.Since(began)
	if o.operations != nil {
		s.Operations += o.operations(in)
	}
	t[o.name] = s
}
