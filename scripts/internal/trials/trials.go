// Package trials is what the studies under scripts have in common: stories to learn from, and intervals of paired differences.
package trials

import (
	"fmt"
	"math"
	"os"
	"strings"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
)

// Separator stands between the stories of a file.
const Separator = "<|endoftext|>"

// Stories reads the stories of a file that have more than 200 bytes, without white space around them.
func Stories(path string) (stories []string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for s := range strings.SplitSeq(string(text), Separator) {
		if s = strings.TrimSpace(s); len(s) > 200 {
			stories = append(stories, s)
		}
	}
	return stories, nil
}

// Paired returns the mean of x − y and the half width of its 95 % t-interval, NaN for a single pair.
func Paired(x, y []float64) (mean, half float64) {
	d := make([]float64, len(x))
	for i := range x {
		d[i] = x[i] - y[i]
	}
	n := float64(len(d))
	if n < 2 {
		return d[0], math.NaN()
	}
	mean, spread := stat.MeanStdDev(d, nil)
	return mean, distuv.StudentsT{Mu: 0, Sigma: 1, Nu: n - 1}.Quantile(0.975) * spread / math.Sqrt(n)
}

// Difference is Paired for tables: the mean, with its interval where there is one.
func Difference(x, y []float64) string {
	mean, half := Paired(x, y)
	if math.IsNaN(half) {
		return fmt.Sprintf("%+.4f", mean)
	}
	return fmt.Sprintf("%+.4f ± %.4f", mean, half)
}
