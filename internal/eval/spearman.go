package eval

import (
	"math"
	"slices"
)

// spearman is the correlation of the ranks of predictions and targets; equal values share their mean rank.
// Its error is that of Fisher's z of a rank correlation, sqrt((1 + r²/2)/(n − 3)), times dr/dz = 1 − r² (Bonett, Wright 2000, Psychometrika 65).
var spearman = definition{name: "spearman", kinds: numeric, higher: true, score: spearmanOf}

func spearmanOf(predicted, targets []float64) Figure {
	f := pearsonOf(ranks(predicted), ranks(targets))
	f.Stderr = math.NaN()
	if n := float64(len(predicted)); n > 3 {
		f.Stderr = (1 - f.Value*f.Value) * math.Sqrt((1+f.Value*f.Value/2)/(n-3))
	}
	return f
}

func ranks(x []float64) []float64 {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		switch {
		case x[i] < x[j]:
			return -1
		case x[i] > x[j]:
			return 1
		}
		return 0
	})
	out := make([]float64, len(x))
	for from := 0; from < len(order); {
		to := from
		for to < len(order) && x[order[to]] == x[order[from]] {
			to++
		}
		for _, i := range order[from:to] {
			out[i] = float64(from+to-1)/2 + 1
		}
		from = to
	}
	return out
}
