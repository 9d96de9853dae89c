package distill

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"kdistill/internal/checkpoint"
	"kdistill/internal/config"
	"kdistill/internal/data"
	"kdistill/internal/eval"
	"kdistill/internal/graph"
	"kdistill/internal/loss"
	"kdistill/internal/model"
	"kdistill/internal/objective"
	"kdistill/internal/report"
	"kdistill/internal/safetensors"
)

// checkTeacher warns of a teacher that knows nothing of these documents: its nll on a few should lie below the entropy of single tokens, or of the classes.
// A teacher with another head than the student's has nothing to say about what is predicted.
func (r *run) checkTeacher(ctx context.Context, t *tutor) error {
	const rows = 8
	info := t.Model.Info()
	if SameOutputs(info, r.student.model.Info()) != nil || info.Problem == "regression" {
		return nil
	}
	ce, err := loss.New("cross_entropy", loss.Params{})
	if err != nil {
		return err
	}
	term := &graph.Term{Loss: ce}
	o := &objective.Objective{Model: t.Model, Weights: t.weights, Terms: []*graph.Term{term}, Arena: &r.arena}
	defer o.Close()
	options := r.order
	options.Truncate, options.Shuffle, options.Epochs = false, false, 1
	source, err := data.NewSource(r.dataset, options)
	if err != nil {
		return err
	}
	batch, err := source.Next(rows)
	if err != nil {
		return err
	}
	nll := 0.0
	for from := 0; from < batch.B; from += r.micro {
		losses, err := o.Run(ctx, batch.Rows(from, min(from+r.micro, batch.B)))
		if err != nil {
			return fmt.Errorf("%s: %w", t.who, err)
		}
		nll += losses.Sum(0)
	}
	nll /= float64(max(1, batch.Labelled()))
	entropy := labelEntropy(r.dataset)
	if name, x := broken(t.weights); math.IsNaN(nll) && name != "" {
		return fmt.Errorf("%s: %s holds %v: the model is broken", t.who, name, x)
	}
	label := "token"
	if info.Task == model.Classification {
		label = "class"
	}
	r.say("%s: %.4f nats per %s on the first %d rows (single %[3]ss' entropy: %.4[5]f)", t.who, nll, label, batch.B, entropy)
	if !(nll < entropy) {
		r.say("warning: the %s predicts these documents no better than %s frequencies do: is it the right tokenizer, template, or language?", t.who, label)
	}
	return nil
}

// labelEntropy is the entropy of the labels' frequencies, in nats.
func labelEntropy(d *data.Dataset) float64 {
	counts := map[int32]float64{}
	n := 0.0
	for i := range d.Len() {
		for _, y := range d.Labels(i) {
			if y >= 0 {
				counts[y]++
				n++
			}
		}
	}
	h := 0.0
	for _, id := range sortedKeys(counts) { // in a fixed order: the sum is printed
		h -= counts[id] / n * math.Log(counts[id]/n)
	}
	return h
}

// evaluate measures the student after s.Step, and keeps its weights where it is the best so far.
func (r *run) evaluate(ctx context.Context, s *session, progress *report.Progress) error {
	if r.evaluator == nil {
		s.Evaluated = s.Step
		return nil
	}
	if err := r.measured.Seek(r.measuredStart); err != nil {
		return err
	}
	result, err := r.evaluator.Run(ctx, r.measured, r.micro, nil)
	if err != nil {
		return err
	}
	figures := result.JSON()
	if err := s.log.Eval(s.Step, figures); err != nil {
		return err
	}
	line := ""
	for _, m := range eval.Metrics() {
		if f, ok := result.Figures[m]; ok {
			line += fmt.Sprintf("  %s %.4f", m, f.Value)
		}
	}
	progress.Printf("step %d/%d  evaluation on %s:%s", s.Step, r.steps(), r.measuring, line)
	if s.Step == 0 {
		s.Before = figures
	}
	s.Last, s.Evaluated = figures, s.Step
	name := r.bestMetric()
	if value := result.Figures[name].Value; s.Step > 0 && !math.IsNaN(value) && (s.Best == nil || eval.Better(name, value, s.Best.Value)) {
		if err := r.write(s, bestDir, figures); err != nil {
			return err
		}
		s.Best = &checkpoint.Best{Step: s.Step, Metric: name, Value: value}
	}
	return nil
}

// write writes the student as a Hugging Face folder.
func (r *run) write(s *session, name string, figures map[string]any) error {
	if err := r.sound(s.Step); err != nil {
		return err
	}
	c := r.config
	card := checkpoint.Card{Name: "distilled " + r.student.model.Info().Type, BaseModel: r.student.base, Columns: []string{"figure", "value"}}
	hashes := strings.Fields(s.TeacherHash)
	for i, t := range r.teachers {
		card.Teachers = append(card.Teachers, checkpoint.CardTeacher{Path: t.Path, Note: strings.TrimPrefix(r.share(t), ", "), Hash: hashes[i]})
	}
	if r.cached != nil {
		h := r.cached.Reader.Header()
		card.Teachers = []checkpoint.CardTeacher{{Path: h.Teacher.Path, Note: "kept on disk: " + h.Describe(), Hash: h.Teacher.Hash}}
	}
	for _, f := range c.Data.Train {
		card.Data = append(card.Data, f.Path)
	}
	for _, stage := range r.stages {
		for i, t := range stage.terms {
			text := describeLoss(stage.Loss[i], t)
			if stage.Name != "" {
				text += fmt.Sprintf(", in the stage %s of %d steps", stage.Name, stage.Steps)
			}
			card.Losses = append(card.Losses, text)
		}
	}
	for _, key := range append([]string{"perplexity", "bits_per_byte"}, eval.Metrics()...) {
		if v, ok := figures[key].(float64); ok {
			card.Figures = append(card.Figures, []string{key, fmt.Sprintf("%.6g", v)})
		}
	}
	m := checkpoint.Model{Config: r.student.config, DType: dtypes[c.Output.DType], Files: r.student.files, Card: card.Text()}
	for i := range r.student.own {
		m.Parameters = append(m.Parameters, r.student.parameter(i))
	}
	for _, i := range r.student.kept {
		m.Beside = append(m.Beside, r.student.parameter(i))
	}
	return checkpoint.WriteModel(s.dir.join(name), m)
}

var dtypes = map[string]safetensors.DType{"float32": safetensors.F32, "bfloat16": safetensors.BF16, "float16": safetensors.F16}

func describeLoss(c config.Loss, t *graph.Term) string {
	text := fmt.Sprintf("%g × %s", c.Weight.From, c.Name)
	if c.Weight.Schedule != "" && c.Weight.From != c.Weight.To {
		text = fmt.Sprintf("%g to %g (%s) × %s", c.Weight.From, c.Weight.To, c.Weight.Schedule, c.Name)
	}
	var settings []string
	if c.Teacher != "" {
		settings = append(settings, "of the teacher "+c.Teacher)
	}
	if t.Loss.Temperature && t.Loss.Params.Temperature != 1 {
		settings = append(settings, fmt.Sprintf("temperature %g", c.Temperature))
		if c.T2Scaling {
			settings = append(settings, "times temperature squared")
		}
	}
	for _, key := range sortedKeys(t.Loss.Params.Values) {
		settings = append(settings, fmt.Sprintf("%s %g", key, t.Loss.Params.Values[key]))
	}
	if c.Tail != "" {
		settings = append(settings, "tail "+c.Tail)
	}
	if t.Attended {
		settings = append(settings, "at every token")
	}
	if len(settings) > 0 {
		text += " (" + strings.Join(settings, ", ") + ")"
	}
	return text
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
