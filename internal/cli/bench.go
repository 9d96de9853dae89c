package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"kdistill/internal/distill"
	"kdistill/internal/report"
)

func init() { register(newBench) }

type benchOptions struct {
	configured
	stage string
	steps int
	json  bool
}

func newBench(s streams) *cobra.Command {
	var o benchOptions
	c := &cobra.Command{
		Use:   "bench --config FILE|NAME",
		Short: "Measure a configuration's training steps on this machine",
		Long: `Measure a configuration's training steps on this machine: tokens per second, where the time goes, and how near the arithmetic comes to
what the processor can do at best, measured by a loop of multiply-adds that touches no memory. Nothing is evaluated and nothing is written.`,
		Example: `  kdistill bench --config demo
  kdistill bench --config run.yaml --set train.batch_size=16 --json`,
		Args: checked(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, s) },
	}
	o.addFlags(c)
	f := c.Flags()
	f.StringVar(&o.stage, "stage", "", "the `NAME` of the stage to measure, of several; default: the first")
	f.IntVar(&o.steps, "steps", 10, "steps to measure, after two that warm up")
	f.BoolVar(&o.json, "json", false, "print one JSON object")
	return c
}

func (o *benchOptions) run(cmd *cobra.Command, s streams) error {
	if o.steps < 1 {
		return usagef("--steps: have %d, want at least 1", o.steps)
	}
	if err := o.check(); err != nil {
		return err
	}
	c, err := o.load()
	if err != nil {
		return err
	}
	b, err := distill.NewBench(cmd.Context(), c, distill.Options{Log: s.err, Stage: o.stage})
	if err != nil {
		return err
	}
	defer b.Close()
	m, err := o.measure(cmd.Context(), b)
	if err != nil {
		return err
	}
	m.precision = c.Train.Precision
	if o.json {
		return json.NewEncoder(s.out).Encode(m)
	}
	return m.print(s)
}

// measurement is what the command prints.
type measurement struct {
	Steps      []distill.BenchStep `json:"steps"`
	Parts      []distill.BenchPart `json:"parts"`
	LossRows   distill.LossRows    `json:"loss_rows"`
	Best       float64             `json:"best"`            // operations per second that the processor can do in the run's precision, 0: unknown
	Expected   int64               `json:"expected_memory"` // bytes, as train --dry-run tells
	PeakMemory int64               `json:"peak_memory"`     // bytes, 0: unknown
	memory     [][]string
	precision  string
}

func (o *benchOptions) measure(ctx context.Context, b *distill.Bench) (*measurement, error) {
	const warmUp = 2
	m := &measurement{}
	for i := range warmUp + o.steps {
		if i == warmUp {
			b.Forget()
		}
		step, err := b.Step(ctx)
		if err != nil {
			return nil, err
		}
		if i >= warmUp {
			m.Steps = append(m.Steps, step)
		}
		m.Best = max(m.Best, b.Peak())
	}
	m.Parts, m.PeakMemory = b.Parts(), distill.PeakMemory()
	var err error
	if m.memory, m.Expected, err = b.Memory(); err != nil {
		return nil, err
	}
	m.LossRows = b.LossRows()
	return m, nil
}

func (m *measurement) print(s streams) error {
	var total distill.BenchPart
	for _, p := range m.Parts {
		total.Seconds += p.Seconds
		total.Operations += p.Operations
	}
	tokens, seconds := 0, []float64(nil)
	for _, step := range m.Steps {
		tokens += step.Tokens
		seconds = append(seconds, step.Seconds)
	}
	perStep := float64(tokens) / float64(len(m.Steps))
	fmt.Fprintf(s.out, "%s tokens/s: %.0f tokens a step, %.1f ms (median %.1f ms)\n", report.Count(int64(perStep/total.Seconds)), perStep,
		1e3*total.Seconds, 1e3*median(seconds))
	if m.Best > 0 {
		fmt.Fprintf(s.out, "the processor at best: %.0f GFLOP/s in %s\n", m.Best/1e9, m.precision)
	}
	total.Name = "together"
	rows := [][]string{{"part", "ms", "of the step", "GFLOP/s", "of the best"}}
	for _, p := range append(m.Parts, total) {
		row := []string{p.Name, fmt.Sprintf("%.1f", 1e3*p.Seconds), fmt.Sprintf("%.0f %%", 100*p.Seconds/total.Seconds), "", ""}
		if p.Operations > 0 {
			row[3] = fmt.Sprintf("%.0f", p.Operations/p.Seconds/1e9)
			if m.Best > 0 {
				row[4] = fmt.Sprintf("%.0f %%", 100*p.Operations/p.Seconds/m.Best)
			}
		}
		rows = append(rows, row)
	}
	memory := m.memory
	if m.PeakMemory > 0 {
		memory = append(memory, []string{"the process at its peak", report.Bytes(m.PeakMemory)})
	}
	fmt.Fprintln(s.out)
	if err := report.Table(s.out, rows); err != nil {
		return err
	}
	if l := m.LossRows; l.Seconds > 0 {
		fmt.Fprintf(s.out, "\nlosses over %d rows of %d logits: %.2f × the larger of bare memory (%.1f ms) and one exponential each (%.1f ms)\n",
			l.Rows, l.Vocab, l.Seconds/max(l.Memory, l.Exponentials), 1e3*l.Memory, 1e3*l.Exponentials)
	}
	fmt.Fprintln(s.out)
	return report.Table(s.out, memory)
}

func median(x []float64) float64 {
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}
