// Package objective evaluates weighted losses of a student against a teacher's signal, batch by batch, and adds up the student's gradients.
//
// It knows shapes and graphs, so that the training loop and the evaluation need not; it does not know optimizers or files.
package objective

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gorgonia.org/tensor"
	"kdistill/internal/data"
	"kdistill/internal/graph"
	"kdistill/internal/loss"
	"kdistill/internal/model"
	"kdistill/internal/nn"
)

// Teacher says what it makes of a batch: final hidden states, from which its head makes logits a chunk at a time.
type Teacher interface {
	// Head returns the output head and the width of the hidden states.
	Head() (graph.Head, int, error)
	// Hidden returns the final hidden states [B*T, width], valid until the next call.
	Hidden(ctx context.Context, batch *data.Batch) ([]float32, error)
}

// Weighted is one of several teachers with its share of their average, in proportion to the others'.
type Weighted struct {
	Teacher Teacher
	Share   float64
}

// Alone is a teacher that is the only one.
func Alone(t Teacher) []Weighted { return []Weighted{{t, 1}} }

// Recorded is a teacher that spoke before: it gives the rows that were kept.
type Recorded interface {
	graph.Recording
	// Load finds the rows of a batch, which are given until the next call. A position where a loss may compare, and that has none, is an error.
	Load(batch *data.Batch) error
}

// Objective is a student with its loss terms. With trained weights every Run adds to their gradients.
type Objective struct {
	Model    model.Model
	Weights  nn.Weights // of the model, and the projections of Features
	Teachers []Weighted // by their numbers in Terms; nil: no term compares with one
	Recorded Recorded   // in place of Teachers, for terms on logits; nil: none
	Terms    []*graph.Term
	Features []Feature // what the terms on features compare
	Arena    *graph.Arena
	// Recompute keeps only the hidden states between layers for the backward pass, which computes the rest again.
	Recompute  bool
	BF16       bool // as graph.Graph's
	HeadBudget int  // as graph.Graph's
	Weighted   bool // batches' weights count

	programs graph.ByShape[*compiled]
}

// compiled is the objective at one shape.
type compiled struct {
	*graph.Program
	losses *graph.Losses
	heard  []*heard // of each teacher
	loads  bool     // it reads Recorded
}

// Run evaluates the terms on a batch: the result holds each term's value at each position until the next Run.
func (o *Objective) Run(ctx context.Context, batch *data.Batch) (*graph.Losses, error) {
	s := graph.Shape{B: batch.B, T: batch.T}
	c, err := o.programs.At(s, func() (*compiled, error) { return o.compile(s, o.Arena) })
	if err != nil {
		return nil, err
	}
	for i, h := range c.heard {
		if err := h.listen(ctx, o.Teachers[i].Teacher, batch); err != nil {
			return nil, fmt.Errorf("teacher: %w", err)
		}
	}
	for _, t := range o.Terms {
		if t.Loss.Target && batch.Targets == nil {
			return nil, fmt.Errorf("loss %s: the documents come with no numbers to predict", t.Loss.Name)
		}
		t.Targets = batch.Targets
	}
	if o.Weighted {
		c.losses.Weights = batch.Weights
	}
	if c.loads {
		if err := o.Recorded.Load(batch); err != nil {
			return nil, err
		}
	}
	if err := c.Run(ctx, FeedOf(batch, o.Model.Info())); err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	return c.losses, nil
}

// Bytes is the memory that intermediate values take at b rows of t positions in one arena for student and teacher, and the teacher's that are copied.
func (o *Objective) Bytes(b, t int) (int, error) {
	c, err := o.compile(graph.Shape{B: b, T: t}, &graph.Arena{})
	if err != nil {
		return 0, err
	}
	most, copied := c.Bytes(), 0
	for i, h := range c.heard {
		copied += h.bytes()
		if teacher, ok := o.Teachers[i].Teacher.(Featured); ok && len(h.want) > 0 {
			n, err := teacher.Bytes(b, t, h.want)
			if err != nil {
				return 0, errors.Join(fmt.Errorf("teacher: %w", err), c.Close())
			}
			most = max(most, n)
		}
	}
	return most + copied, c.Close()
}

// Trained names the weights that the terms hang on: others get no gradient.
func (o *Objective) Trained() (map[string]bool, error) {
	c, err := o.compile(graph.Shape{B: 1, T: 1}, &graph.Arena{})
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, p := range c.Program.Trained {
		names[p.Name] = true
	}
	return names, c.Close()
}

func (o *Objective) compile(s graph.Shape, arena *graph.Arena) (*compiled, error) {
	if have, want := s.T, o.Model.Info().Positions; have > want {
		return nil, fmt.Errorf("sequence of %d tokens: the student has %d positions", have, want)
	}
	b := &nn.Builder{Graph: graph.New(tensor.Float32, s.B, s.T), Weights: o.Weights}
	b.BF16, b.HeadBudget = o.BF16, o.HeadBudget
	out := o.Model.Forward(b)
	if o.Recompute {
		b.Recompute(out.Hidden...)
	}
	c := &compiled{}
	for i := range o.Teachers {
		c.heard = append(c.heard, &heard{teacher: i + 1})
	}
	var teachers []*graph.Teacher
	switch compares := slices.ContainsFunc(o.Terms, comparesLogits); {
	case compares && o.Recorded != nil:
		c.loads = true
		teachers = []*graph.Teacher{{Recording: o.Recorded}}
	case compares:
		for i, t := range o.Teachers {
			if !slices.ContainsFunc(o.Terms, func(x *graph.Term) bool { return comparesLogits(x) && x.Hears(i, len(o.Teachers), t.Share) }) {
				teachers = append(teachers, nil)
				continue
			}
			head, width, err := t.Teacher.Head()
			if err != nil {
				return nil, fmt.Errorf("teacher: %w", err)
			}
			teachers = append(teachers, &graph.Teacher{Head: head, Hidden: c.heard[i].leaf(b, model.Feature{}, 0, width), Share: t.Share})
		}
	}
	features, err := o.features(b, out, c.heard)
	if err != nil {
		return nil, err
	}
	if b.Err() != nil {
		return nil, b.Err()
	}
	var cost *graph.Node
	cost, c.losses = b.Loss(out.Final(), out.Head, teachers, o.Terms, features...)
	c.Program, err = b.Compile(arena, cost)
	return c, err
}

// comparesLogits reports whether a term may read the teacher's logits.
func comparesLogits(t *graph.Term) bool {
	return t.Loss.Rows == loss.Logits && (t.Loss.Teacher || t.Loss.Metric)
}

// Close frees the programs.
func (o *Objective) Close() error { return o.programs.Close() }

// FeedOf turns a batch into a model's inputs: a position sees the positions of its own document, up to itself or all where the model is bidirectional;
// padding sees nothing.
func FeedOf(b *data.Batch, info model.Info) graph.Feed {
	n := len(b.Tokens)
	f := graph.Feed{
		Tokens: b.Tokens, Positions: b.Positions, Labels: b.Labels, TokenTypes: b.TokenTypes,
		First: make([]int32, n), Last: make([]int32, n), Attended: make([]int32, n),
	}
	if f.TokenTypes == nil || info.TokenTypes < 2 {
		f.TokenTypes = make([]int32, n)
	}
	end := int32(0)
	for i := n - 1; i >= 0; i-- {
		segment := b.Segments[i]
		if segment < 0 {
			continue
		}
		at := int32(i % b.T)
		if !info.Bidirectional || int(at)+1 == b.T || b.Segments[i+1] != segment {
			end = at + 1
		}
		f.Attended[i] = 1
		f.First[i], f.Last[i] = at-b.Positions[i], end
	}
	return f
}
