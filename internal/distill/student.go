package distill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"kdistill/internal/checkpoint"
	"kdistill/internal/config"
	"kdistill/internal/model"
	"kdistill/internal/safetensors"
	"kdistill/internal/tokenizer"
)

// student is the model in training and what is written with it.
type student struct {
	model     model.Model
	flat      *model.Flat[float32] // its parameters, and behind them the projections of losses on hidden states
	own       int                  // how many are the model's
	kept      []int                // the projections that are written beside the model
	config    []byte               // its config.json
	tokenizer *tokenizer.Tokenizer
	files     []string // tokenizer and generation files
	base      string   // what it was made from
	fresh     []string // tensors of the task head that were drawn, because base has none
}

// project adds projections to the parameters, each at its start.
func (s *student) project(projections []projection, seed uint64) error {
	if len(projections) == 0 {
		return nil
	}
	var specs []model.Spec
	for _, p := range projections {
		specs = append(specs, p.Spec)
	}
	s.flat = s.flat.With(specs...)
	for i, p := range projections {
		if err := p.start(s.flat, s.own+i, seed); err != nil {
			return err
		}
		if p.keep {
			s.kept = append(s.kept, s.own+i)
		}
	}
	return nil
}

// count is the number of the model's weights.
func (s *student) count() int {
	from, _ := s.flat.Range(s.own - 1)
	return from + len(s.flat.View(s.own-1))
}

// parameter is one of the parameters, to be written.
func (s *student) parameter(i int) checkpoint.Parameter {
	return checkpoint.Parameter{Name: s.flat.Specs[i].Name, Shape: s.flat.Specs[i].Shape, Data: s.flat.View(i)}
}

// newStudent makes the student as the configuration says. teacher is nil where there is none.
func newStudent(ctx context.Context, c *config.Config, teacher *checkpoint.Pretrained) (*student, error) {
	s, err := makeStudent(ctx, c, teacher)
	if err == nil {
		s.own = len(s.flat.Specs)
	}
	return s, err
}

func makeStudent(ctx context.Context, c *config.Config, teacher *checkpoint.Pretrained) (*student, error) {
	if c.Student.Init == "checkpoint" {
		return fromCheckpoint(ctx, c, teacher)
	}
	var s *student
	var err error
	if c.Student.Init == "random" {
		s, err = random(ctx, c, teacher)
	} else {
		s, err = fromLayers(ctx, c, teacher)
	}
	if err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	if teacher != nil {
		s.tokenizer, s.files, s.base = teacher.Tokenizer, teacher.TokenizerFiles(), c.Teacher.Base()
	}
	return s, nil
}

func fromCheckpoint(ctx context.Context, c *config.Config, teacher *checkpoint.Pretrained) (*student, error) {
	path := c.Student.Path
	p, err := checkpoint.OpenModel(path)
	if err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	defer p.Close() // the weights are copied
	s, err := withTask(ctx, c, p.Config, teacher)
	if err != nil {
		return nil, fmt.Errorf("student %s: %w", p.Dir, err)
	}
	flat, fresh, err := checkpoint.ReadStudent(p, s.model, uint64(c.Train.Seed))
	if err != nil {
		return nil, fmt.Errorf("student %s: %w", p.Dir, err)
	}
	return &student{model: s.model, flat: flat, config: s.config, tokenizer: p.Tokenizer, files: p.TokenizerFiles(), base: path, fresh: fresh}, nil
}

// random draws a fresh model whose config.json is the teacher's with student.config over it; without a teacher, student.config alone.
func random(ctx context.Context, c *config.Config, teacher *checkpoint.Pretrained) (*student, error) {
	s, err := shaped(ctx, c, teacher, nil)
	if err != nil {
		return nil, err
	}
	s.flat.Initialise(uint64(c.Train.Seed))
	return s, nil
}

// fromLayers copies some of the teacher's layers, and everything outside of layers: the start of DistilBERT (Sanh et al. 2019) and of Minitron's
// depth pruning (Muralidharan et al. 2024).
func fromLayers(ctx context.Context, c *config.Config, teacher *checkpoint.Pretrained) (*student, error) {
	info := teacher.Model.Info()
	keep, err := keptLayers(c.Student, info)
	if err != nil {
		return nil, err
	}
	s, err := shaped(ctx, c, teacher, keep)
	if err != nil {
		return nil, err
	}
	wanted := map[string]int{} // the teacher's names of the student's parameters
	for i, spec := range s.flat.Specs {
		wanted[teacherName(spec.Name, info.LayerName, keep)] = i
	}
	err = checkpoint.Read(teacher, teacher.Model, func(from model.Spec, x safetensors.Tensor) error {
		i, ok := wanted[from.Name]
		if !ok {
			return nil
		}
		delete(wanted, from.Name)
		if spec := s.flat.Specs[i]; !slices.Equal(from.Shape, spec.Shape) {
			return fmt.Errorf("%s: have shape %v, the teacher's is %v: with teacher_layers, student.config may change the number of layers only",
				spec.Name, spec.Shape, from.Shape)
		}
		return x.Float32s(s.flat.View(i))
	})
	if err != nil {
		return nil, err
	}
	for _, i := range slices.Sorted(maps.Values(wanted)) {
		name := s.flat.Specs[i].Name
		if !slices.Contains(s.model.Info().HeadTensors, name) {
			return nil, fmt.Errorf("%s: the teacher has no such tensor: with teacher_layers, student.config may change the number of layers only", name)
		}
		s.flat.InitialiseOne(i, uint64(c.Train.Seed))
		s.fresh = append(s.fresh, name)
	}
	return s, nil
}

// keptLayers lists the teacher's layers that the student gets.
func keptLayers(s config.Student, info model.Info) ([]int, error) {
	if s.Layers.List != nil {
		for i, l := range s.Layers.List {
			if l < 0 || l >= info.Layers {
				return nil, fmt.Errorf("student.layers: have %d, the teacher has layers 0 to %d", l, info.Layers-1)
			}
			if i > 0 && l <= s.Layers.List[i-1] {
				return nil, fmt.Errorf("student.layers: have %v, want ascending numbers", s.Layers.List)
			}
		}
		if len(s.Layers.List) == 0 {
			return nil, errors.New("student.layers: want at least one layer")
		}
		return s.Layers.List, nil
	}
	var want any
	for key, value := range s.Config {
		if model.Key(info.Type, key) == info.LayersKey {
			want = value
		}
	}
	n, err := wholeNumber(want)
	if err != nil || n < 1 || n > info.Layers {
		return nil, fmt.Errorf("student.config.num_hidden_layers: have %v, want 1 to %d for student.layers: %s", want, info.Layers, s.Layers.Rule)
	}
	keep := make([]int, n)
	for i := range keep {
		switch s.Layers.Rule {
		case "first":
			keep[i] = i
		case "last":
			keep[i] = info.Layers - n + i
		default: // uniform: the first and the last, and between them evenly
			if n > 1 {
				keep[i] = int(math.Round(float64(i*(info.Layers-1)) / float64(n-1)))
			}
		}
	}
	return keep, nil
}

func wholeNumber(v any) (int, error) { return strconv.Atoi(fmt.Sprint(v)) }

// teacherName is the teacher's name of a student's tensor.
func teacherName(name, layer string, keep []int) string {
	rest, ok := strings.CutPrefix(name, layer)
	if !ok {
		return name
	}
	number, tail, _ := strings.Cut(rest, ".")
	i, err := strconv.Atoi(number)
	if err != nil || i >= len(keep) {
		return name
	}
	return fmt.Sprintf("%s%d.%s", layer, keep[i], tail)
}

// shaped makes a student with empty weights from the teacher's config.json, if there is a teacher, with student.config over it. keep lists the
// teacher's layers that it will have, nil: its own.
func shaped(ctx context.Context, c *config.Config, teacher *checkpoint.Pretrained, keep []int) (*student, error) {
	info, base := model.Info{}, []byte("{}")
	if teacher != nil {
		info, base = teacher.Model.Info(), teacher.Config
	}
	set := map[string]any{}
	modelType := info.Type
	if t, ok := c.Student.Config["model_type"].(string); ok {
		modelType = t
	}
	for key, value := range c.Student.Config {
		set[model.Key(modelType, key)] = value
	}
	if keep != nil {
		set[info.LayersKey] = len(keep)
	}
	if err := cutLayers(set, base, info, keep); err != nil {
		return nil, err
	}
	remove, err := replaced(base, modelType, set)
	if err != nil {
		return nil, err
	}
	text, err := checkpoint.EditObject(base, set, remove...)
	if err != nil {
		return nil, err
	}
	s, err := withTask(ctx, c, text, teacher)
	if err != nil {
		return nil, err
	}
	if class := s.model.Info().Class; class != "" {
		if s.config, err = checkpoint.EditObject(s.config, map[string]any{"architectures": []string{class}}); err != nil {
			return nil, err
		}
	}
	specs, err := model.Parameters(s.model)
	if err != nil {
		return nil, err
	}
	s.flat = model.NewFlat[float32](specs)
	return s, nil
}

// replaced lists the keys of a config.json that mean the same as one that is set, under another name.
func replaced(text []byte, modelType string, set map[string]any) ([]string, error) {
	var c map[string]json.RawMessage
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, err
	}
	var names []string
	for name := range c {
		if key := model.Key(modelType, name); key != name && set[key] != nil {
			names = append(names, name)
		}
	}
	return names, nil
}

// cutLayers lets settings of single layers follow them: those of the layers that the student keeps, or of the first ones where config.json lists them.
func cutLayers(set map[string]any, text []byte, info model.Info, keep []int) error {
	var c map[string]json.RawMessage
	if err := json.Unmarshal(text, &c); err != nil {
		return err
	}
	for key, values := range info.PerLayer {
		_, listed := c[key]
		differ := slices.ContainsFunc(values, func(v any) bool { return v != values[0] })
		switch {
		case set[key] != nil || !listed && (keep == nil || !differ):
		case keep != nil:
			var kept []any
			for _, l := range keep {
				kept = append(kept, values[l])
			}
			set[key] = kept
		default:
			if n, err := wholeNumber(set[info.LayersKey]); err == nil && n >= 0 && n <= len(values) { // otherwise the model says what is wrong
				set[key] = values[:n]
			}
		}
	}
	return nil
}
