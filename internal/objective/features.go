package objective

import (
	"context"
	"errors"
	"fmt"
	"math"

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
	// Bytes is the memory that its intermediate values take then at b rows of t positions.
	Bytes(b, t int, want []model.Feature) (int, error)
}

// Feature is what a term on features compares: pairs of layers, whose values are added.
type Feature struct {
	Term  int // in Objective.Terms
	Pairs []Pair

	Heads   []int // of attention: the teacher's head for each of the student's; nil: of the same number
	Average bool  // of attention: the mean of all heads with the mean of all heads

	Relations     []string // pairs of projections, whose values are added: qk, qq, kk, vv
	RelationHeads int      // into which both models' projections are cut
}

// Pair is a layer of the student's and the teacher's that it is compared with, counted as in model.Feature.
type Pair struct {
	Student, Teacher int
	Projection       string // of hidden states, a trained weight [teacher's width, student's width] in between; "": none
}

// features adds what the terms on features compare.
func (o *Objective) features(b *nn.Builder, out model.Outputs, h []*heard) ([]*graph.Feature, error) {
	if len(o.Features) == 0 || b.Err() != nil {
		return nil, nil
	}
	var all []*graph.Feature
	for _, f := range o.Features {
		l, of := o.Terms[f.Term].Loss, max(0, o.Terms[f.Term].Teacher-1)
		if of >= len(o.Teachers) {
			return nil, fmt.Errorf("loss %s: it compares with teacher %d, and there are %d", l.Name, of+1, len(o.Teachers))
		}
		teacher, ok := o.Teachers[of].Teacher.(Featured)
		if !ok {
			return nil, errors.New("the teacher gives no hidden states and no attention: losses on logits are possible")
		}
		shapes, err := teacher.Shapes()
		if err != nil {
			return nil, fmt.Errorf("teacher: %w", err)
		}
		for _, p := range f.Pairs {
			parts, err := f.parts(l.Rows, p, out, shapes, b.T)
			if err != nil {
				return nil, fmt.Errorf("loss %s: %w", l.Name, err)
			}
			for _, part := range parts {
				student, err := out.Feature(model.Feature{Rows: l.Rows, Layer: p.Student})
				if err != nil {
					return nil, fmt.Errorf("loss %s: student: %w", l.Name, err)
				}
				if p.Projection != "" {
					student = b.Linear(student, []*graph.Node{b.Weight(p.Projection, nn.Init{}, part.width, student.Shape()[1])}, []*graph.Node{nil}, false, nil)
				}
				node := h[of].leaf(b, model.Feature{Rows: l.Rows, Layer: p.Teacher}, part.from, part.width)
				all = append(all, &graph.Feature{Term: f.Term, Student: student, Teacher: node, Scores: part.scores})
			}
		}
	}
	return all, nil
}

// part is what an op compares of a pair of layers.
type part struct {
	from, width int // columns of the teacher's
	scores      graph.ScorePair
}

// Check refuses what cannot be compared in models of these outputs on sequences of a length.
func (f Feature) Check(rows loss.Rows, student, teacher model.Outputs, length int) error {
	for _, p := range f.Pairs {
		if _, err := f.parts(rows, p, student, teacher, length); err != nil {
			return err
		}
	}
	return nil
}

func (f Feature) parts(rows loss.Rows, p Pair, student, teacher model.Outputs, length int) ([]part, error) {
	if _, err := student.Feature(model.Feature{Rows: rows, Layer: p.Student}); err != nil {
		return nil, fmt.Errorf("layers: of the student: %w", err)
	}
	node, err := teacher.Feature(model.Feature{Rows: rows, Layer: p.Teacher})
	if err != nil {
		return nil, fmt.Errorf("layers: of the teacher: %w", err)
	}
	if rows == loss.Hidden {
		return []part{{width: node.Shape()[1]}}, nil
	}
	s, t := student.Attention[p.Student-1].Heads, teacher.Attention[p.Teacher-1].Heads
	for _, h := range []*graph.Heads{&s, &t} {
		if h.Window >= length {
			h.Window = 0 // it leaves nothing out
		}
	}
	if rows == loss.Scores { // values are not needed
		x := part{width: (t.H + t.KV) * t.D, scores: graph.ScorePair{Student: graph.ScoresOf(s), Teacher: graph.ScoresOf(t), Heads: f.Heads, Average: f.Average}}
		return []part{x}, x.scores.Check()
	}
	var all []part
	for _, relation := range f.Relations {
		var x part
		if x.scores.Student, _, _, err = f.relation(relation, s); err != nil {
			return nil, fmt.Errorf("relations: %s: layer %d of the student: %w", relation, p.Student, err)
		}
		if x.scores.Teacher, x.from, x.width, err = f.relation(relation, t); err != nil {
			return nil, fmt.Errorf("relations: %s: layer %d of the teacher: %w", relation, p.Teacher, err)
		}
		x.scores.Teacher.X -= x.from
		x.scores.Teacher.Y -= x.from
		all = append(all, x)
	}
	return all, nil
}

// relation says how the scores between two of a layer's projections are made, and which columns they read.
func (f Feature) relation(relation string, h graph.Heads) (s graph.Scores, from, width int, err error) {
	columns := map[byte][2]int{'q': {0, h.H * h.D}, 'k': {h.H * h.D, h.KV * h.D}, 'v': {(h.H + h.KV) * h.D, h.KV * h.D}} // the first, how many
	x, y := columns[relation[0]], columns[relation[1]]
	if x[1] != y[1] {
		return s, 0, 0, fmt.Errorf("queries have width %d, keys %d (its heads are grouped): relations of a projection with itself (qq, kk, vv) are possible", x[1], y[1])
	}
	if x[1]%f.RelationHeads != 0 {
		return s, 0, 0, fmt.Errorf("its width %d does not divide by relation_heads %d", x[1], f.RelationHeads)
	}
	d := x[1] / f.RelationHeads
	s = graph.Scores{X: x[0], Y: y[0], Heads: f.RelationHeads, Groups: f.RelationHeads, D: d, Scale: 1 / math.Sqrt(float64(d))}
	return s, x[0], y[0] + y[1] - x[0], nil
}
