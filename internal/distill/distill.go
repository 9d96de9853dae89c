// Package distill is the training loop: data, teacher's signal, student's gradient, update, report.
//
// It reads top to bottom in train; everything that can be wrong at start is found in prepare, before the first step.
package distill

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"

	"kdistill/internal/config"
	"kdistill/internal/data"
	"kdistill/internal/graph"
	"kdistill/internal/kernel"
	"kdistill/internal/loss"
	"kdistill/internal/optim"
	"kdistill/internal/report"
)

// Options are what the command line adds to a configuration.
type Options struct {
	Resume    bool
	Overwrite bool
	Stage     string    // that a Bench measures; "": the first
	Log       io.Writer // progress and notes
	Out       io.Writer // the tables of a dry run
}

// Train runs a configuration to its end and returns what came of it, or to the end of ctx: then the state is saved and ctx's error returned.
func Train(ctx context.Context, c *config.Config, o Options) (*Result, error) {
	dir := folder{c.Output.Dir}
	if err := dir.claim(c, o); err != nil {
		return nil, err
	}
	r, err := prepare(ctx, c, o.Log)
	if err != nil {
		return nil, err
	}
	defer r.close()
	r.describe()
	s, err := dir.open(r, o)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if s.finished {
		r.say("%s is finished: %d steps are done and its model is written", c.Output.Dir, s.Step)
		return r.result(ctx, s)
	}
	if s.Step == 0 {
		for _, t := range r.teachers {
			if err := r.checkTeacher(ctx, t); err != nil {
				return nil, err
			}
		}
	}
	if err := r.train(ctx, s); err != nil {
		return nil, err
	}
	if err := r.write(s, modelDir, s.Last); err != nil {
		return nil, err
	}
	return r.result(ctx, s)
}

// train takes the steps that are left. Every pass begins by measuring and saving what the last one made, so that a run that was
// stopped between an update and its evaluation goes on with that evaluation.
func (r *run) train(ctx context.Context, s *session) error {
	c := r.config.Train
	progress := report.NewProgress(r.log, s.Step, r.steps())
	defer progress.Done()
	for {
		if s.Evaluated < s.Step && (s.Step == 0 || r.due(c.EvalEvery, s.Step)) {
			if err := r.evaluate(ctx, s, progress); err != nil {
				return s.interrupted(ctx, r, progress, r.source.State(), fmt.Errorf("step %d: evaluation: %w", s.Step, err))
			}
		}
		if s.saved < s.Step && r.due(c.SaveEvery, s.Step) {
			if err := s.save(r, r.source.State()); err != nil {
				return err
			}
		}
		if s.Step == r.steps() {
			return s.prune(r)
		}

		if now := r.stageOf(s.Step + 1); now.Name != "" && now.first == s.Step+1 {
			progress.Printf("%v", now)
			progress.Restart(s.Step)
		}
		position := r.source.State()
		batch, err := r.source.Next(c.BatchSize)
		if err != nil {
			return err
		}
		done, err := r.step(ctx, s.Step+1, batch)
		if err != nil {
			return s.interrupted(ctx, r, progress, position, err)
		}
		if err := s.prune(r); err != nil {
			return err
		}
		s.Step++
		if err := s.log.Step(done); err != nil {
			return err
		}
		progress.Step(s.Step, done.Loss, done.TokensPerSecond)
	}
}

// step makes the update of that number, from 1, by a batch. A stage counts its own steps: the first has cleared moments.
func (r *run) step(ctx context.Context, number int, batch *data.Batch) (report.Step, error) {
	begun, c, flat, s := time.Now(), r.config.Train, r.student.flat, r.stageOf(number)
	if number == s.first {
		if err := r.begin(s); err != nil {
			return report.Step{}, err
		}
	}
	done := number - s.first // of the stage
	for i, t := range s.terms {
		t.Scale = s.Loss[i].Weight.At(part(done, s.Steps)) / weighed(batch, t)
	}
	clear(flat.Gradients)
	values, err := r.accumulate(ctx, s, batch)
	if err != nil {
		return report.Step{}, fmt.Errorf("step %d: %w", number, err)
	}
	norm := math.Sqrt(kernel.SumSquares(flat.Gradients))
	if err := r.finite(number, norm, values, batch); err != nil {
		return report.Step{}, err
	}
	lr := s.LR * s.schedule(done)
	r.optimizer.Step(flat.Values, flat.Gradients, optim.Update{Step: done + 1, LR: lr, Scale: optim.ClipFactor(norm, c.MaxGradNorm), Decay: s.decay})
	return r.summary(number, values, batch, norm, lr, time.Since(begun)), nil
}

// accumulate runs the batch in micro-batches: losses are divided by the counts of the whole step, so the split doesn't matter.
// It returns each term's values, summed, and those positions' documents where a value is not finite.
func (r *run) accumulate(ctx context.Context, s *stage, batch *data.Batch) (stepValues, error) {
	v := stepValues{sums: make([]float64, len(s.terms))}
	for from := 0; from < batch.B; from += r.micro {
		micro := batch.Rows(from, min(from+r.micro, batch.B))
		losses, err := s.objective.Run(ctx, micro)
		if err != nil {
			return v, err
		}
		for i, p := range losses.TeacherTail {
			v.teacherTail += p
			v.studentTail += losses.StudentTail[i]
		}
		for i := range s.terms {
			sum := losses.Sum(i)
			v.sums[i] += sum
			if !finite(sum) {
				v.note(losses.Values[i], micro)
			}
		}
	}
	return v, nil
}

// stepValues are a step's sums of each term, and the documents where one was not finite.
type stepValues struct {
	sums                     []float64
	teacherTail, studentTail float64 // sums of the probability of ids that a cache has not kept
	bad                      []int32
}

// note lists the documents of the positions whose value is not finite, each once.
func (v *stepValues) note(values []float64, b *data.Batch) {
	seen := map[int32]bool{}
	for i, x := range values {
		if d := b.Documents[i]; !finite(x) && !seen[d] {
			seen[d] = true
			v.bad = append(v.bad, d)
		}
	}
}

// summary is what metrics.jsonl tells of a step.
func (r *run) summary(step int, v stepValues, batch *data.Batch, norm, lr float64, took time.Duration) report.Step {
	now := r.stageOf(step)
	s := report.Step{Step: step, Stage: now.Name, Losses: map[string]float64{}, GradNorm: norm, LR: lr}
	for i, t := range now.terms {
		s.Loss += t.Scale * v.sums[i]
		s.Losses[now.Loss[i].Label()] = v.sums[i] / weighed(batch, t)
		s.Tokens = max(s.Tokens, counted(batch, t))
	}
	if r.cached != nil && !r.cached.Complete() && now.needsTeacher() {
		n := float64(max(1, counted(batch, &graph.Term{Attended: r.cached.Attended})))
		p, q := v.teacherTail/n, v.studentTail/n
		s.TeacherTail, s.StudentTail = &p, &q
	}
	s.TokensPerSecond = float64(batch.Attended()) / max(took.Seconds(), 1e-9)
	return s
}

// counted is the number of positions that a term counts.
func counted(b *data.Batch, t *graph.Term) int {
	switch {
	case t.Tokens != graph.AllTokens:
		return b.Firsts()
	case t.Attended:
		return b.Attended()
	}
	return b.Labelled()
}

// weighed is what a term's values are divided by: the weights of the positions that it counts, where there are such, or their number; 1 where it is 0.
func weighed(b *data.Batch, t *graph.Term) float64 {
	sum := float64(counted(b, t))
	if b.Weights != nil && t.Loss.Rows == loss.Logits {
		for i, w := range b.Weights { // 1 where there is no label
			if b.Labels[i] != data.Ignore {
				sum += float64(w) - 1
			}
		}
	}
	if sum <= 0 {
		return 1
	}
	return sum
}

// part is how much of the stage is done before a step: 0 at the first, 1 at the last.
func part(step, steps int) float64 {
	if steps <= 1 {
		return 0
	}
	return float64(step) / float64(steps-1)
}
