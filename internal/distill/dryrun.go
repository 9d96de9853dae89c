package distill

import (
	"context"
	"fmt"
	"io"
	"time"

	"kdistill/internal/config"
	"kdistill/internal/data"
	"kdistill/internal/report"
)

// DryRun checks everything that a run checks, prints sizes, memory and speed, and changes nothing. A folder that the run itself would refuse is an
// error only where Options say what is to become of it: else there is time to choose one.
func DryRun(ctx context.Context, c *config.Config, o Options) error {
	if err := (folder{c.Output.Dir}).claim(c, o); err != nil {
		if o.Resume || o.Overwrite {
			return err
		}
		fmt.Fprintf(o.Log, "warning: the run itself would be refused: %v\n", err)
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
	intermediate, err := r.bytes(batch.B, batch.T)
	if err != nil {
		return err
	}
	if err := report.Table(o.Out, memoryTable(r.memory(intermediate, true))); err != nil {
		return err
	}

	fmt.Fprintln(o.Out)
	total := 0.0
	for _, s := range r.stages {
		if s.Name != "" {
			fmt.Fprintf(o.Out, "stage %s, ", s.Name)
		}
		step, err := r.timeStage(ctx, s, batch, o.Out)
		if err != nil {
			return err
		}
		total += step.Seconds() * float64(c.Train.BatchSize) / float64(batch.B) * float64(s.Steps)
	}
	fmt.Fprintf(o.Out, "%d steps take about %s, evaluations and updates not counted\n", r.steps(), report.Duration(time.Duration(total*float64(time.Second))))
	return nil
}

// timeStage measures a micro-batch and tells of it.
func (r *run) timeStage(ctx context.Context, s *stage, batch *data.Batch, out io.Writer) (time.Duration, error) {
	for _, t := range s.terms {
		t.Scale = 1 / weighed(batch, t)
	}
	step, err := timed(func() error { _, err := s.objective.Run(ctx, batch); return err })
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(out, "one micro-batch of %d rows: %s, %s tokens/s", batch.B, report.Duration(step), report.Count(int64(float64(batch.Attended())/step.Seconds())))
	if s.objective.Teachers != nil {
		teacher, err := timed(func() error {
			for _, t := range r.teachers {
				if _, err := t.live.Hidden(ctx, batch); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return 0, err
		}
		fmt.Fprintf(out, ", %.0f %% of it the teacher's layers", 100*teacher.Seconds()/step.Seconds())
	}
	fmt.Fprintln(out)
	return step, s.objective.Close()
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
