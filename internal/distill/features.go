package distill

import (
	"errors"
	"fmt"
	"math"

	"kdistill/internal/config"
	"kdistill/internal/loss"
	"kdistill/internal/model"
	"kdistill/internal/nn"
	"kdistill/internal/objective"
	"kdistill/internal/safetensors"
)

// projection is a trained map between hidden states of different width: a parameter of the run, not of the student.
type projection struct {
	model.Spec
	init string // normal, identity, zero or a file
	file string // its name there, beside its own
	keep bool
}

// lossKeys refuses keys that a loss does not take.
func lossKeys(t config.Loss, rows loss.Rows) error {
	hidden, scores, relations := rows == loss.Hidden, rows == loss.Scores, rows == loss.Relations
	for _, key := range []struct {
		name         string
		given, taken bool
		who          string
	}{
		{"positions: labels", t.Positions == "labels", rows == loss.Logits, "losses on logits: this one counts every real token"},
		{"layers", t.Layers != nil, rows != loss.Logits, "losses on layers"},
		{"layer", t.Layer != 0, rows != loss.Logits, "losses on layers"},
		{"tokens", t.Tokens != "", hidden, "losses on hidden states"},
		{"projection", t.Projection != config.Projection{}, hidden, "losses on hidden states"},
		{"heads", !t.Heads.IsZero(), scores, "losses on attention"},
		{"relations", t.Relations != nil, relations, "relation_kl"},
		{"relation_heads", t.RelationHeads != 0, relations, "relation_kl"},
	} {
		if key.given && !key.taken {
			return fmt.Errorf("loss %s: %s belongs to %s", t.Label(), key.name, key.who)
		}
	}
	return nil
}

// featureOf resolves what a term on features compares in these two models, and the projections that it needs.
func featureOf(t config.Loss, rows loss.Rows, student, teacher side, length int) (objective.Feature, []projection, error) {
	f := objective.Feature{Heads: t.Heads.List, Average: t.Heads.Average, Relations: t.Relations, RelationHeads: t.RelationHeads}
	fail := func(err error) (objective.Feature, []projection, error) {
		return f, nil, fmt.Errorf("loss %s: %w", t.Label(), err)
	}
	if rows != loss.Hidden && student.info.Bidirectional != teacher.info.Bidirectional {
		return fail(errors.New("one of the models sees the whole document at each position, the other what comes before: losses on hidden states and logits are possible"))
	}
	if rows == loss.Relations {
		if f.Relations == nil {
			return fail(errors.New("relations is missing: [qk, vv] is MiniLM, [qq, kk, vv] MiniLM v2"))
		}
		if f.RelationHeads == 0 {
			f.RelationHeads = teacher.info.Heads.H
		}
	}
	pairs, err := layerPairs(t, rows, student.info.Layers, teacher.info.Layers)
	if err != nil {
		return fail(err)
	}
	for _, p := range pairs {
		f.Pairs = append(f.Pairs, objective.Pair{Student: p[0], Teacher: p[1]})
	}
	if err := f.Check(rows, student.Outputs, teacher.Outputs, length); err != nil || rows != loss.Hidden {
		if err != nil {
			return fail(err)
		}
		return f, nil, nil
	}
	var projections []projection
	for i := range f.Pairs {
		p := &f.Pairs[i]
		narrow, wide := student.Hidden[p.Student].Shape()[1], teacher.Hidden[p.Teacher].Shape()[1]
		if narrow == wide && t.Projection.Init == "" {
			continue
		}
		p.Projection = fmt.Sprintf("projection.%s.%d", t.Label(), i)
		projections = append(projections, projection{
			Spec: model.Spec{Name: p.Projection, Shape: []int{wide, narrow}, Init: nn.Normal(1 / math.Sqrt(float64(narrow)))},
			init: t.Projection.Init, file: fmt.Sprintf("projection.%d", i), keep: t.Projection.Keep,
		})
	}
	return f, projections, nil
}

// side is one of the models that are compared.
type side struct {
	model.Outputs // of a single position: what there is, and how wide
	info          model.Info
}

func sideOf(m model.Model) (side, error) {
	out, err := model.Shapes(m)
	return side{out, m.Info()}, err
}

// layerPairs lists pairs of the student's and the teacher's layers, of which there are so many.
func layerPairs(t config.Loss, rows loss.Rows, students, teachers int) ([][2]int, error) {
	if t.Layer != 0 || t.Layers == nil && rows == loss.Relations {
		if t.Layer > 0 {
			return [][2]int{{students, int(t.Layer)}}, nil
		}
		return [][2]int{{students, teachers}}, nil
	}
	entries := t.Layers
	if entries == nil {
		entries = config.LayerMap{{Rule: "uniform"}}
	}
	var pairs [][2]int
	for _, e := range entries {
		switch {
		case e.Rule == "":
			pairs = append(pairs, e.Pair)
			continue
		case e.Rule == "embedding":
			pairs = append(pairs, [2]int{0, 0})
			continue
		case e.Rule == "all" && students != teachers:
			return nil, fmt.Errorf("layers: all wants as many in both models, have %d of the student and %d of the teacher: use uniform, first, last or pairs", students, teachers)
		case students > teachers:
			return nil, fmt.Errorf("layers: %s wants no more of the student than of the teacher, have %d and %d: use pairs", e.Rule, students, teachers)
		}
		for i := 1; i <= students; i++ {
			with := i
			switch e.Rule {
			case "uniform":
				with = int(math.Round(float64(i*teachers) / float64(students)))
			case "last":
				with = teachers - students + i
			}
			pairs = append(pairs, [2]int{i, with})
		}
	}
	seen := map[[2]int]bool{}
	for _, p := range pairs {
		if seen[p] {
			return nil, fmt.Errorf("layers: the pair %v comes twice: give it once", p)
		}
		seen[p] = true
	}
	return pairs, nil
}

// join adds the projections of another loss. One of the same name goes on, if it has the same shape.
func join(all, more []projection) ([]projection, error) {
	for _, p := range more {
		known := false
		for _, q := range all {
			if q.Name == p.Name {
				known = true
				if q.Shape[0] != p.Shape[0] || q.Shape[1] != p.Shape[1] {
					return nil, fmt.Errorf("%s has shape %v in one stage and %v in another: give one of the losses another name with as", p.Name, q.Shape, p.Shape)
				}
			}
		}
		if !known {
			all = append(all, p)
		}
	}
	return all, nil
}

// start fills the projection's weights [teacher's width, student's width], the i-th parameter.
func (p projection) start(flat *model.Flat[float32], i int, seed uint64) error {
	switch values := flat.View(i); p.init {
	case "zero":
	case "identity":
		wide, narrow := p.Shape[0], p.Shape[1]
		for i := range min(wide, narrow) {
			values[i*narrow+i] = 1
		}
	case "", "normal":
		flat.InitialiseOne(i, seed)
	default:
		return p.read(values)
	}
	return nil
}

func (p projection) read(values []float32) error {
	f, err := safetensors.Open(p.init)
	if err != nil {
		return fmt.Errorf("projection.init: want normal, identity, zero or a safetensors file: %w", err)
	}
	defer f.Close()
	for _, name := range []string{p.Name, p.file} {
		x, ok := f.Tensor(name)
		if !ok {
			continue
		}
		if len(x.Shape) != 2 || x.Shape[0] != p.Shape[0] || x.Shape[1] != p.Shape[1] {
			return fmt.Errorf("projection.init: %s: %s has shape %v, want %v: the teacher's width, then the student's", p.init, name, x.Shape, p.Shape)
		}
		return x.Float32s(values)
	}
	return fmt.Errorf("projection.init: %s holds neither %s nor %s", p.init, p.Name, p.file)
}
