package objective

import (
	"context"
	"errors"
	"fmt"

	"kdistill/internal/data"
	"kdistill/internal/graph"
	"kdistill/internal/loss"
	"kdistill/internal/model"
	"kdistill/internal/nn"
)

// Featured is a teacher that also gives values of its layers.
type Featured interface {
	Teacher
	// Shapes returns the model's outputs for a single position: what there is, and how wide.
	Shapes() (model.Outputs, error)
	// Features returns values on the batch, [B*T, width] each, valid until the next call.
	Features(ctx context.Context, batch *data.Batch, want []model.Feature) ([][]float32, error)
}

// Feature is what a term on features compares: pairs of layers, whose values are added.
type Feature struct {
	Term  int // in Objective.Terms
	Pairs []Pair
}

// Pair is a layer of the student's and the teacher's that it is compared with, counted as in model.Feature.
type Pair struct {
	Student, Teacher int
	Projection       string // of hidden states, a trained weight [teacher's width, student's width] in between; "": none
}

// features adds what the terms on features compare.
func (o *Objective) features(b *nn.Builder, out model.Outputs, c *compiled) ([]*graph.Feature, error) {
	if len(o.Features) == 0 || b.Err() != nil {
		return nil, nil
	}
	teacher, ok := o.Teacher.(Featured)
	if !ok {
		return nil, errors.New("the teacher gives no hidden states and no attention: losses on logits are possible")
	}
	shapes, err := teacher.Shapes()
	if err != nil {
		return nil, fmt.Errorf("teacher: %w", err)
	}
	var all []*graph.Feature
	for _, f := range o.Features {
		l := o.Terms[f.Term].Loss
		for _, p := range f.Pairs {
			student, err := out.Feature(model.Feature{Rows: l.Rows, Layer: p.Student})
			if err != nil {
				return nil, fmt.Errorf("loss %s: student: %w", l.Name, err)
			}
			want := model.Feature{Rows: l.Rows, Layer: p.Teacher}
			node, err := shapes.Feature(want)
			if err != nil {
				return nil, fmt.Errorf("loss %s: teacher: %w", l.Name, err)
			}
			width := node.Shape()[1]
			if l.Rows == loss.Hidden && p.Projection != "" {
				student = b.Linear(student, []*graph.Node{b.Weight(p.Projection, nn.Init{}, width, student.Shape()[1])}, []*graph.Node{nil}, false, nil)
			}
			all = append(all, &graph.Feature{Term: f.Term, Student: student, Teacher: c.leaf(b, want, width)})
		}
	}
	return all, nil
}
