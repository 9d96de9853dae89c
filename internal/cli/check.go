package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"kdistill/internal/loss"
	"kdistill/internal/report"
)

func init() { register(newCheck) }

func newCheck(s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check every loss against its closed form and its finite differences",
		Long: `Check every loss and metric on a fixture: the value, in float64 and in float32, against the closed form written out in plain
probabilities, and the gradient against central differences of that closed form. Exit code 1 where one is off.`,
		Example: `  kdistill check`,
		Args:    checked(cobra.NoArgs),
		RunE:    func(*cobra.Command, []string) error { return check(s, loss.Check()) },
	}
}

func check(s streams, results []loss.CheckResult) error {
	rows := [][]string{{"loss", "setting", "closed form", "value - closed form", "(float32)", "gradient error", "(float32)", "verdict"}}
	off := 0
	for _, r := range results {
		verdict := "ok"
		if !r.Pass {
			verdict = "OFF"
			off++
		}
		rows = append(rows, []string{
			r.Name, r.Setting, fmt.Sprintf("%.12f", r.Closed), fmt.Sprintf("%+.1e", r.Value-r.Closed), fmt.Sprintf("%+.1e", r.Value32-r.Closed),
			fmt.Sprintf("%.1e", r.GradientError), fmt.Sprintf("%.1e", r.GradientError32), verdict,
		})
	}
	if err := report.Table(s.out, rows); err != nil {
		return err
	}
	if len(results) == 0 {
		return errors.New("no loss is registered")
	}
	if off > 0 {
		return fmt.Errorf("%d of %d checks are off", off, len(results))
	}
	_, err := fmt.Fprintf(s.out, "all %d checks pass\n", len(results))
	return err
}
