package distill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"kdistill/internal/checkpoint"
	"kdistill/internal/config"
	"kdistill/internal/data"
	"kdistill/internal/eval"
	"kdistill/internal/graph"
	"kdistill/internal/optim"
	"kdistill/internal/report"
	"kdistill/internal/teacher"
	"kdistill/internal/tokenizer"
)

// run is everything that a training run needs, checked before the first step.
type run struct {
	config   *config.Config
	student  *student
	teachers []*tutor        // live ones
	cached   *teacher.Cached // in place of a live teacher; nil: none
	arena    graph.Arena

	dataset       *data.Dataset
	order         data.Options // of source
	source        *data.Source
	measured      *data.Source // documents of evaluation, once through from measuredStart
	measuredStart data.State
	measuring     string // what they are, for people

	stages    []*stage
	evaluator *eval.Evaluator
	optimizer optim.Optimizer
	micro     int // rows of a micro-batch
	loaded    int // bytes of Go's heap before the first step
	unsettle  func()
	log       io.Writer
}

// prepare opens models and data and checks everything that can be known before the first step.
func prepare(ctx context.Context, c *config.Config, log io.Writer) (r *run, err error) {
	r = &run{config: c, log: log}
	for _, w := range c.Warnings() {
		r.say("warning: %s", w)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if err := r.makeStages(); err != nil {
		return r, err
	}
	if err := r.openModels(ctx); err != nil {
		return r, err
	}
	if err := r.loadData(ctx); err != nil {
		return r, err
	}
	if err := r.findRows(); err != nil {
		return r, err
	}
	if err := r.plan(); err != nil {
		return r, err
	}
	return r, r.settle()
}

func (r *run) close() error {
	if r.unsettle != nil {
		r.unsettle()
	}
	var errs []error
	for _, s := range r.stages {
		if s.objective != nil {
			errs = append(errs, s.objective.Close())
		}
	}
	if r.evaluator != nil {
		errs = append(errs, r.evaluator.Close())
	}
	for _, t := range r.teachers {
		errs = append(errs, t.close())
	}
	if r.cached != nil {
		errs = append(errs, r.cached.Reader.Close())
	}
	return errors.Join(errs...)
}

// bf16 says whether matrix products of training are in bfloat16.
func (r *run) bf16() bool { return r.config.Train.Precision == "bfloat16" }

func (r *run) say(format string, args ...any) { fmt.Fprintf(r.log, format+"\n", args...) }

func (r *run) openModels(ctx context.Context) error {
	c := r.config
	var base *checkpoint.Pretrained // that the student may be made from
	if c.Teacher.Cache != "" {
		var err error
		if base, err = r.openCache(ctx); err != nil {
			return err
		}
		if base != nil {
			defer base.Close() // it is not needed any more
		}
	} else if err := r.openTeachers(); err != nil {
		return err
	}
	if len(r.teachers) > 0 {
		base = r.teachers[0].Pretrained
	}
	var err error
	if r.student, err = newStudent(ctx, c, base); err != nil {
		return err
	}
	if name, x := notFinite(r.student.flat, r.student.flat.Values); name != "" {
		return fmt.Errorf("student: %s holds %v: the model is broken", name, x)
	}
	if err := r.checkTasks(); err != nil {
		return &config.Error{Problems: []string{err.Error()}}
	}
	if err := r.makeFeatures(); err != nil {
		return err
	}
	if fresh := r.student.fresh; len(fresh) > 0 {
		r.say("warning: student: %s has no head for %s: it is drawn anew by train.seed (%s)", r.student.base, r.student.model.Info().Class, strings.Join(fresh, ", "))
	}
	for _, note := range r.student.model.Info().Notes {
		r.say("note: student: %s", note)
	}
	if r.cached != nil {
		if err := r.sameTokens(); err != nil {
			return err
		}
	}
	if err := r.sameTeachers(); err != nil {
		return err
	}
	who, positions := "student", r.student.model.Info().Positions
	for _, t := range r.teachers {
		if have := t.Model.Info().Positions; have < positions {
			who, positions = t.who, have
		}
	}
	if c.Data.SequenceLength > positions {
		return &config.Error{Problems: []string{fmt.Sprintf("data.sequence_length: have %d, the %s has %d positions", c.Data.SequenceLength, who, positions)}}
	}
	return nil
}

// Tokens are what a model's ids mean.
type Tokens struct {
	Vocab     int                  // of the model
	Tokenizer *tokenizer.Tokenizer // nil: the folder has none
}

// SameTokens refuses a teacher and a student whose token ids mean different things. The warning is for vocabularies of different size.
func SameTokens(teacher, student Tokens) (warning string, err error) {
	if teacher.Tokenizer == nil || student.Tokenizer == nil {
		if teacher.Vocab != student.Vocab {
			return "", fmt.Errorf("vocabularies differ: the teacher has %d ids, the student %d, and without tokenizers in both folders nothing tells that their ids mean the same",
				teacher.Vocab, student.Vocab)
		}
		return "", nil
	}
	if difference := tokenizer.Difference(teacher.Tokenizer, student.Tokenizer); difference != "" {
		return "", fmt.Errorf("teacher and student have different tokenizers: %s; losses that compare the two need the same one", difference)
	}
	if teacher.Vocab != student.Vocab {
		return fmt.Sprintf("the teacher's vocabulary has %d rows, the student's %d: what compares with the teacher uses the first %d ids",
			teacher.Vocab, student.Vocab, min(teacher.Vocab, student.Vocab)), nil
	}
	return "", nil
}

// plan fixes stages, micro-batches and optimizer.
func (r *run) plan() error {
	c := r.config.Train
	if err := r.planStages(); err != nil {
		return err
	}
	if err := r.makeEvaluator(); err != nil {
		return err
	}
	if err := r.packTeachers(); err != nil {
		return err
	}
	var err error
	if r.micro, err = r.microBatch(); err != nil {
		return err
	}
	for _, s := range r.stages { // micro_batch_size: auto takes no account of these, so that they change no result
		s.objective.HeadBudget, s.objective.Recompute = c.HeadMemory*1e6, c.Recompute
	}
	if r.evaluator != nil {
		r.evaluator.LimitHead(c.HeadMemory * 1e6)
	}
	if r.optimizer, err = optim.New(optimizerOptions(c.Optimizer), len(r.student.flat.Values)); err != nil {
		return &config.Error{Problems: []string{"train.optimizer: " + err.Error()}}
	}
	return nil
}

// autoMemory is what micro_batch_size: auto lets a micro-batch's intermediate values take. It is a constant and not the machine's memory,
// so that a run gives the same bytes elsewhere.
const autoMemory = 1 << 30

// microBatch resolves micro_batch_size.
func (r *run) microBatch() (int, error) {
	c := r.config.Train
	if c.MicroBatchSize > 0 {
		return min(int(c.MicroBatchSize), c.BatchSize), nil
	}
	rows := c.BatchSize
	for _, s := range r.stages {
		one, err := s.objective.Bytes(1, r.config.Data.SequenceLength)
		if err != nil {
			return 0, err
		}
		two, err := s.objective.Bytes(2, r.config.Data.SequenceLength)
		if err != nil {
			return 0, err
		}
		rows = min(rows, 1+int(max(0, float64(autoMemory-one))/math.Max(1, float64(two-one))))
	}
	return rows, nil
}

// describe says what will be run.
func (r *run) describe() {
	info, stats := r.student.model.Info(), r.source.Stats()
	r.say("student: %s, %d layers, width %d, %s parameters", info.Type, info.Layers, info.Width, report.Count(int64(r.student.count())))
	for _, t := range r.teachers {
		info := t.Model.Info()
		r.say("%s: %s, %d layers, width %d, %s parameters%s", t.who, info.Type, info.Layers, info.Width, report.Count(int64(t.weights.Count())), r.share(t))
	}
	if r.cached != nil {
		h := r.cached.Reader.Header()
		r.say("teacher: %s (%s) in the cache %s: %s", h.Teacher.Path, h.Teacher.Type, r.config.Teacher.Cache, h.Describe())
	}
	r.say("data: %d documents, %s tokens in %d rows of up to %d (%.0f %% filled)", stats.Documents, report.Count(int64(stats.Tokens)), stats.Rows,
		r.config.Data.SequenceLength, 100*stats.Fill)
	if stats.Dropped > 0 {
		r.say("note: %s tokens of long documents are cut off (data.long_documents: truncate)", report.Count(int64(stats.Dropped)))
	}
	r.say("training: %d steps of %d rows in micro-batches of %d", r.steps(), r.config.Train.BatchSize, r.micro)
	for _, s := range r.stages {
		if s.Name != "" {
			r.say("%v", s)
		}
	}
}

func optimizerOptions(o config.Optimizer) optim.Options {
	return optim.Options{
		Name: o.Name, Betas: o.Betas, Eps: o.Eps, WeightDecay: o.WeightDecay, Momentum: o.Momentum, Dampening: o.Dampening, Nesterov: o.Nesterov,
	}
}
