package distill

import (
	"context"
	"fmt"
	"time"

	"kdistill/internal/config"
	"kdistill/internal/report"
)

// DryRun checks everything that a run checks, prints sizes, memory and speed, and changes nothing.
func DryRun(ctx context.Context, c *config.Config, o Options) error {
	if err := (folder{c.Output.Dir}).claim(c, o); err != nil {
		return err
	}
	r, err := prepare(ctx, c, o.Log)
	if err != nil {
		return err
	}
	defer r.close()
	r.describe()
	batch, err := r.source.Next(r.micro)
	if err != nil {
		return err
	}
	memory, err := r.memory(batch)
	if err != nil {
		return err
	}
	if err := report.Table(o.Out, memoryTable(memory)); err != nil {
		return err
	}

	for _, t := range r.terms {
		t.Scale = 1 / float64(max(1, counted(batch, t)))
	}
	step, err := timed(func() error { _, err := r.objective.Run(ctx, batch); return err })
	if err != nil {
		return err
	}
	share := 0.0
	if r.objective.Teacher != nil {
		teacher, err := timed(func() error { _, err := r.live.Hidden(ctx, batch); return err })
		if err != nil {
			return err
		}
		share = teacher.Seconds() / step.Seconds()
	}
	perStep := step.Seconds() * float64(c.Train.BatchSize) / float64(batch.B)
	fmt.Fprintf(o.Out, "\none micro-batch of %d rows: %s, %s tokens/s", batch.B, report.Duration(step), report.Count(int64(float64(batch.Attended())/step.Seconds())))
	if r.objective.Teacher != nil {
		fmt.Fprintf(o.Out, ", %.0f %% of it the teacher's layers", 100*share)
	}
	fmt.Fprintf(o.Out, "\n%d steps take about %s, evaluations and updates not counted\n", r.steps, report.Duration(time.Duration(perStep*float64(r.steps)*float64(time.Second))))
	return nil
}

// timed runs f twice and returns the second time: the first one compiles and touches memory.
func timed(f func() error) (time.Duration, error) {
	if err := f(); err != nil {
		return 0, err
	}
	start := time.Now()
	err := f()
	return time.Since(start), err
}
