package distill

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"kdistill/internal/config"
	"kdistill/internal/graph"
	"kdistill/internal/loss"
	"kdistill/internal/objective"
	"kdistill/internal/optim"
)

// stage is a part of the run with losses and a schedule of its own, which begins with cleared moments.
type stage struct {
	config.Stage
	first, last int // its steps, from 1
	terms       []*graph.Term
	features    []objective.Feature // what the terms on features compare
	objective   *objective.Objective
	schedule    func(step int) float64
	decay       []optim.Range // the weights that get a gradient, and decay
}

// makeStages makes the losses of every stage.
func (r *run) makeStages() error {
	for _, c := range r.config.Course() {
		s := &stage{Stage: c}
		for _, t := range c.Loss {
			l, err := loss.New(t.Name, loss.Params{Temperature: t.Temperature, T2Scaling: t.T2Scaling, Values: t.Values, Choices: choices(t)})
			if err == nil {
				err = lossKeys(t, l.Rows)
			}
			teacher := 0
			if err == nil {
				teacher, err = r.hears(t, l)
			}
			if err != nil {
				return s.wrong(err)
			}
			s.terms = append(s.terms, &graph.Term{Loss: l, Attended: t.Positions == "attended" || l.Rows != loss.Logits, Tokens: tokens[t.Tokens], Teacher: teacher})
		}
		r.stages = append(r.stages, s)
	}
	return nil
}

// tokens are the settings of a loss on hidden states by their names; not given: all.
var tokens = map[string]graph.Tokens{"first": graph.FirstToken, "mean": graph.MeanOfTokens}

// choices are a loss's settings that are words.
func choices(t config.Loss) map[string]string {
	all := map[string]string{}
	if t.Normalize {
		all["normalize"] = "true"
	}
	if t.Compare != "" {
		all["compare"] = t.Compare
	}
	return all
}

// wrong is an error of the configuration that lies in a stage.
func (s *stage) wrong(err error) error {
	if s.Name != "" {
		err = fmt.Errorf("stage %s: %w", s.Name, err)
	}
	return &config.Error{Problems: []string{err.Error()}}
}

// terms are the losses of all stages.
func (r *run) terms() iter.Seq2[config.Loss, *graph.Term] {
	return func(yield func(config.Loss, *graph.Term) bool) {
		for _, s := range r.stages {
			for i, t := range s.terms {
				if !yield(s.Loss[i], t) {
					return
				}
			}
		}
	}
}

// needsTeacher says whether a loss compares with the teacher: if not, it is opened only to make the student from.
func (r *run) needsTeacher() bool { return slices.ContainsFunc(r.stages, (*stage).needsTeacher) }

func (s *stage) needsTeacher() bool {
	return slices.ContainsFunc(s.terms, func(t *graph.Term) bool { return t.Loss.Teacher })
}

// makeFeatures settles what the losses on features compare, and adds their projections to the student.
func (r *run) makeFeatures() error {
	var projections []projection
	for _, s := range r.stages {
		for i, t := range s.Loss {
			rows := s.terms[i].Loss.Rows
			if rows == loss.Logits {
				continue
			}
			student, err := sideOf(r.student.model)
			if err != nil {
				return err
			}
			teacher, err := sideOf(r.heard(s.terms[i])[0].Model)
			if err != nil {
				return err
			}
			f, more, err := featureOf(t, rows, student, teacher, r.config.Data.SequenceLength)
			if err == nil {
				projections, err = join(projections, more)
			}
			if err != nil {
				return s.wrong(err)
			}
			f.Term = i
			s.features = append(s.features, f)
		}
	}
	return r.student.project(projections, uint64(r.config.Train.Seed))
}

// planStages fixes the steps, objective and schedule of every stage.
func (r *run) planStages() error {
	c := r.config.Train
	for _, s := range r.stages {
		if s.Epochs > 0 {
			s.Steps = r.source.Steps(s.Epochs, c.BatchSize)
		}
		s.first = r.steps() + 1
		s.last = r.steps() + s.Steps
		s.objective = &objective.Objective{Model: r.student.model, Weights: r.student.flat, Terms: s.terms, Features: s.features, Arena: &r.arena, BF16: r.bf16(), Weighted: true}
		switch {
		case !s.needsTeacher():
		case r.cached != nil:
			s.objective.Recorded = r.cached
		default:
			s.objective.Teachers = r.weighted()
		}
		var err error
		if s.schedule, err = optim.NewSchedule(scheduleOptions(s.Schedule, s.Steps)); err != nil {
			if s.Name == "" {
				err = fmt.Errorf("train.%w", err)
			}
			return s.wrong(err)
		}
		if s.decay, err = r.decaying(s.objective); err != nil {
			return err
		}
	}
	return nil
}

func scheduleOptions(s config.Schedule, steps int) optim.ScheduleOptions {
	return optim.ScheduleOptions{Name: s.Name, Steps: steps, WarmupSteps: s.WarmupSteps, MinLRRatio: s.MinLRRatio, DecaySteps: s.DecaySteps}
}

// decaying lists the weights that decay: as in PyTorch, one that gets no gradient stays what it is.
func (r *run) decaying(o *objective.Objective) (decay []optim.Range, err error) {
	reached, err := o.Trained()
	if err != nil {
		return nil, err
	}
	flat := r.student.flat
	for i, spec := range flat.Specs {
		if reached[spec.Name] && (r.config.Train.Optimizer.Decay == "all" || len(spec.Shape) > 1) {
			from, to := flat.Range(i)
			decay = append(decay, optim.Range{From: from, To: to})
		}
	}
	return decay, nil
}

// steps is the number of the last step.
func (r *run) steps() (last int) {
	for _, s := range r.stages {
		last = max(last, s.last)
	}
	return last
}

// stageOf is the stage of a step.
func (r *run) stageOf(step int) *stage {
	return r.stages[slices.IndexFunc(r.stages, func(s *stage) bool { return step <= s.last })]
}

// due says whether something that is done every so many steps, and at the end of each stage, is due after a step.
func (r *run) due(every, step int) bool {
	return every > 0 && step%every == 0 || slices.ContainsFunc(r.stages, func(s *stage) bool { return step == s.last })
}

// begin clears the moments and frees the graphs of other stages: memory holds those of one.
func (r *run) begin(now *stage) error {
	for _, m := range r.optimizer.State() {
		clear(m.Values)
	}
	var errs []error
	for _, s := range r.stages {
		if s != now {
			errs = append(errs, s.objective.Close())
		}
	}
	return errors.Join(errs...)
}

// bytes is the memory that intermediate values take at b rows of t positions, in the stage that needs most.
func (r *run) bytes(b, t int) (most int, err error) {
	for _, s := range r.stages {
		n, err := s.objective.Bytes(b, t)
		if err != nil {
			return 0, err
		}
		most = max(most, n)
	}
	return most, nil
}

// String describes a stage for people.
func (s *stage) String() string {
	var labels []string
	for _, t := range s.Loss {
		labels = append(labels, t.Label())
	}
	return fmt.Sprintf("stage %s, steps %d to %d: %s", s.Name, s.first, s.last, strings.Join(labels, " + "))
}
