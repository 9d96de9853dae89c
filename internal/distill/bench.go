package distill

import (
	"context"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"kdistill/internal/config"
	"kdistill/internal/data"
	"kdistill/internal/graph"
	"kdistill/internal/kernel"
	"kdistill/internal/loss"
	"kdistill/internal/optim"
	"kdistill/internal/suggest"
)

// Bench makes the steps of one stage of a run, one by one, and measures them. Nothing is evaluated and nothing is written.
type Bench struct {
	run       *run
	stage     *stage
	start     data.State
	steps     int // made
	times     graph.Times
	optimizer *timedOptimizer
	total     time.Duration // of all steps that the parts cover
	covered   int           // steps
	rows      int           // of logits in them
}

// BenchStep is one measured step.
type BenchStep struct {
	Seconds float64 `json:"seconds"`
	Tokens  int     `json:"tokens"` // without padding
	Loss    float64 `json:"loss"`
}

// BenchPart is a part of the mean step.
type BenchPart struct {
	Name       string  `json:"name"`
	Seconds    float64 `json:"seconds"`
	Operations float64 `json:"operations"` // as graph.Spent counts them
}

// NewBench checks and opens everything that a run needs.
func NewBench(ctx context.Context, c *config.Config, o Options) (*Bench, error) {
	at := 0
	if o.Stage != "" {
		var names []string
		for _, s := range c.Stages {
			names = append(names, s.Name)
		}
		if at = slices.Index(names, o.Stage); at < 0 {
			return nil, &config.Error{Problems: []string{suggest.Unknown("stage", o.Stage, names).Error()}}
		}
	}
	r, err := prepare(ctx, c, o.Log)
	if err != nil {
		return nil, err
	}
	r.describe()
	b := &Bench{run: r, stage: r.stages[at], start: r.source.State(), times: graph.Times{}, optimizer: &timedOptimizer{Optimizer: r.optimizer}}
	r.optimizer = b.optimizer
	return b, nil
}

// Step makes the next step. The first one compiles, and touches memory for the first time.
func (b *Bench) Step(ctx context.Context) (BenchStep, error) {
	begun := time.Now()
	batch, err := b.next(b.run.config.Train.BatchSize)
	if err != nil {
		return BenchStep{}, err
	}
	done, err := b.run.step(graph.Measured(ctx, b.times), b.stage.first+b.steps%b.stage.Steps, batch) // schedules end with the stage
	b.steps++
	if err != nil {
		return BenchStep{}, err
	}
	took := time.Since(begun)
	b.total += took
	b.covered++
	rows := 0
	for _, t := range b.stage.terms {
		if t.Loss.Rows == loss.Logits {
			rows = max(rows, counted(batch, t))
		}
	}
	b.rows += rows
	return BenchStep{took.Seconds(), batch.Attended(), done.Loss}, nil
}

// next returns the next rows; after the last epoch the data begin anew.
func (b *Bench) next(rows int) (*data.Batch, error) {
	batch, err := b.run.source.Next(rows)
	if err != io.EOF {
		return batch, err
	}
	if err := b.run.source.Seek(b.start); err != nil {
		return nil, err
	}
	return b.run.source.Next(rows)
}

// Forget leaves the steps so far out of Parts: those that warm up.
func (b *Bench) Forget() {
	clear(b.times)
	b.optimizer.spent, b.total, b.covered, b.rows = 0, 0, 0, 0
}

// Parts says where the mean step's time went.
func (b *Bench) Parts() []BenchPart {
	losses := b.times[graph.LossRows].Time.Seconds()
	p := []BenchPart{{Name: "matrix products"}, {Name: "attention"}, {Name: "head", Seconds: -losses}, {Name: "losses", Seconds: losses},
		{Name: "optimizer", Seconds: b.optimizer.spent.Seconds()}}
	rest := b.total.Seconds() - b.optimizer.spent.Seconds()
	for name, spent := range b.times {
		for i, prefix := range []string{"linear", "attention", "head and losses", "loss on"} {
			if strings.HasPrefix(name, prefix) {
				p[i].Seconds += spent.Time.Seconds()
				p[i].Operations += spent.Operations
				rest -= spent.Time.Seconds()
			}
		}
	}
	p = append(p, BenchPart{Name: "rest", Seconds: rest})
	for i := range p {
		p[i].Seconds /= float64(max(1, b.covered))
		p[i].Operations /= float64(max(1, b.covered))
	}
	return p
}

// Peak is the rate that the processor can do at best in the run's precision: kernel.Peak or kernel.PeakBF16.
func (b *Bench) Peak() (best float64) {
	measure := kernel.Peak
	if b.run.bf16() {
		measure = kernel.PeakBF16
	}
	for range 5 { // a millisecond each: others may have the processor in some of them
		best = max(best, measure())
	}
	return best
}

// LossRows compares the losses' pass over the rows of logits of a mean step with what it cannot be faster than.
type LossRows struct {
	Rows         int     `json:"rows"`
	Vocab        int     `json:"vocab"`
	Seconds      float64 `json:"seconds"`
	Memory       float64 `json:"memory"`       // seconds to read and write the same numbers, and nothing else
	Exponentials float64 `json:"exponentials"` // seconds to take one exponential of each logit, and nothing else
}

// LossRows measures the bounds on this machine. Its buffers come on top of the run's memory.
func (b *Bench) LossRows() LossRows {
	vocab := b.run.student.model.Info().Logits()
	l := LossRows{Rows: b.rows / max(1, b.covered), Vocab: vocab, Seconds: b.times[graph.LossRows].Time.Seconds() / float64(max(1, b.covered))}
	models := 1
	if b.run.cached != nil && b.stage.needsTeacher() {
		models++
	}
	for i, t := range b.run.teachers {
		if slices.ContainsFunc(b.stage.terms, func(x *graph.Term) bool {
			return x.Loss.Teacher && x.Loss.Rows == loss.Logits && x.Hears(i, len(b.run.teachers), t.Weight)
		}) {
			models++
		}
	}
	const elements = 16 << 20 // beyond caches
	rows := max(1, elements/vocab)
	logits := make([][]float32, models)
	for i := range logits {
		logits[i] = make([]float32, rows*vocab)
	}
	best := func(row func(i, from, to int)) float64 {
		least := time.Duration(math.MaxInt64)
		for range 4 { // the first one touches the memory for the first time
			begun := time.Now()
			kernel.Parallel(rows, func(r int) {
				for i := range models {
					row(i, r*vocab, (r+1)*vocab)
				}
			})
			least = min(least, time.Since(begun))
		}
		return least.Seconds() * float64(l.Rows) / float64(rows)
	}
	student := logits[0]
	l.Memory = best(func(i, from, to int) {
		switch {
		case models == 1:
			kernel.Scale(student[from:to], student[from:to], 1)
		case i == 0: // reads both and writes the student's
			kernel.Add(student[from:to], student[from:to], logits[1][from:to])
		case i > 1: // another teacher's
			kernel.Sum(logits[i][from:to])
		}
	})
	l.Exponentials = best(func(i, from, to int) { kernel.ExpShift(nil, logits[i][from:to], 1, 0) })
	return l
}

// Memory is a table of what the stage is expected to hold, and the sum in bytes: what --dry-run tells, but for evaluations. It takes rows from the data.
func (b *Bench) Memory() (table [][]string, total int64, err error) {
	batch, err := b.next(b.run.micro)
	if err != nil {
		return nil, 0, err
	}
	intermediate, err := b.stage.objective.Bytes(batch.B, batch.T)
	if err != nil {
		return nil, 0, err
	}
	parts := b.run.memory(intermediate, false)
	return memoryTable(parts), int64(totalMemory(parts)), nil
}

// Close frees what NewBench opened.
func (b *Bench) Close() error { return b.run.close() }

// timedOptimizer adds up what updates take.
type timedOptimizer struct {
	optim.Optimizer
	spent time.Duration
}

func (t *timedOptimizer) Step(params, grads []float32, u optim.Update) {
	begun := time.Now()
	t.Optimizer.Step(params, grads, u)
	t.spent += time.Since(begun)
}
