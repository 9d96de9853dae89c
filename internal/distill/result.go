package distill

import (
	"context"
	"fmt"
	"io"
	"slices"

	"kdistill/internal/checkpoint"
	"kdistill/internal/eval"
	"kdistill/internal/model"
	"kdistill/internal/nn"
	"kdistill/internal/report"
)

// Result is what a finished run has measured and written.
type Result struct {
	Teachers      []Row // live ones
	Before, After Row   // the student
	MeasuredOn    string
	Steps         int
	Best          *checkpoint.Best // nil: nothing was evaluated after step 0

	Model, BestModel string // folders
}

// Row is a model in the final table.
type Row struct {
	Name            string
	Dir             string         // of a teacher
	Figures         map[string]any // as eval.Result.JSON gives them
	Parameters      int
	Size            int64   // bytes on disk
	TokensPerSecond float64 // predicted in an evaluation without comparison
}

// result measures what is not in the state: the teacher, and the speed of both.
func (r *run) result(ctx context.Context, s *session) (*Result, error) {
	alone, err := r.alone(ctx, r.student.model, r.student.flat.Frozen())
	if err != nil {
		return nil, err
	}
	count := r.student.count()
	student := Row{Parameters: count, Size: int64(count) * int64(dtypes[r.config.Output.DType].Bytes()), TokensPerSecond: alone.TokensPerSecond}
	result := &Result{
		Before: student, After: student, MeasuredOn: r.measuring, Steps: s.Step,
		Model: s.dir.join(modelDir), Best: s.Best, BestModel: s.dir.join(bestDir),
	}
	result.Before.Name, result.Before.Figures = "student before", s.Before
	result.After.Name, result.After.Figures = "student after", s.Last
	for _, t := range r.teachers {
		row, err := r.teacherRow(ctx, t)
		if err != nil {
			return nil, err
		}
		result.Teachers = append(result.Teachers, row)
	}
	return result, nil
}

func (r *run) teacherRow(ctx context.Context, t *tutor) (Row, error) {
	size, err := t.Size()
	row := Row{Name: t.who, Dir: t.Dir, Parameters: t.weights.Count(), Size: size}
	if err != nil || SameOutputs(t.Model.Info(), r.student.model.Info()) != nil {
		return row, err
	}
	alone, err := r.alone(ctx, t.Model, t.weights)
	if err != nil {
		return row, err
	}
	row.Figures, row.TokensPerSecond = alone.JSON(), alone.TokensPerSecond
	return row, nil
}

// alone measures a model without comparison: the speed is its own. Where the student has no head there is nothing to measure.
func (r *run) alone(ctx context.Context, m model.Model, weights nn.Weights) (*eval.Result, error) {
	if r.evaluator == nil {
		return &eval.Result{}, nil
	}
	e, err := eval.New(m, weights, nil, &r.arena)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	if err := r.measured.Seek(r.measuredStart); err != nil {
		return nil, err
	}
	return e.Run(ctx, r.measured, r.micro, nil)
}

// Print writes the table and where the models are.
func (r *Result) Print(w io.Writer) error {
	rows := append(slices.Clone(r.Teachers), r.Before, r.After)
	fmt.Fprintf(w, "\nOn %s:\n", r.MeasuredOn)
	if err := Table(w, rows); err != nil {
		return err
	}
	where := fmt.Sprintf("The student is in %s", r.Model)
	if r.Best != nil && r.Best.Step != r.Steps {
		where += fmt.Sprintf("; the best by %s (step %d) is in %s", r.Best.Metric, r.Best.Step, r.BestModel)
	}
	_, err := fmt.Fprintf(w, "\n%s\n", where)
	return err
}

// columns of the final table: their heads and the figures below them. There are those that some model has.
var columns = [][2]string{
	{"nats", "nll"}, {"accuracy", "accuracy"}, {"F1", "f1"}, {"macro F1", "macro_f1"}, {"Matthews", "matthews"},
	{"mse", "mse"}, {"Pearson", "pearson"}, {"Spearman", "spearman"}, {"perplexity", "perplexity"}, {"bits/byte", "bits_per_byte"},
	{"KL to teacher", "kl"}, {"top-1", "top1_agreement"}, {"acceptance", "acceptance"},
}

// Table writes models below each other.
func Table(w io.Writer, models []Row) error {
	head, columns := []string{""}, slices.Clone(columns)
	columns = slices.DeleteFunc(columns, func(c [2]string) bool {
		return !slices.ContainsFunc(models, func(m Row) bool { _, ok := m.Figures[c[1]]; return ok })
	})
	for _, c := range columns {
		head = append(head, c[0])
	}
	rows := [][]string{append(head, "parameters", "size", "tokens/s")}
	for _, m := range models {
		row := []string{m.Name}
		for _, c := range columns {
			cell := "-"
			if v, ok := m.Figures[c[1]].(float64); ok {
				cell = fmt.Sprintf("%.4f", v)
			}
			row = append(row, cell)
		}
		rows = append(rows, append(row, report.Count(int64(m.Parameters)), report.Bytes(m.Size), report.Count(int64(m.TokensPerSecond))))
	}
	return report.Table(w, rows)
}
