package eval

import (
	"math"
	"slices"
)

// pearson is the correlation of predictions and targets, NaN where one of them is constant. Its error is by the delta method without an assumption of
// normality: a document's influence is uv − r(u² + v²)/2, u and v its standardised values (Devlin, Gnanadesikan, Kettenring 1975, Biometrika 62).
var pearson = definition{name: "pearson", kinds: numeric, higher: true, score: pearsonOf}

func pearsonOf(predicted, targets []float64) Figure {
	u, v := standardised(predicted), standardised(targets)
	r := 0.0
	for i := range u {
		r += u[i] * v[i] / float64(len(u))
	}
	influence := make([]float64, len(u))
	for i := range u {
		influence[i] = u[i]*v[i] - r*(u[i]*u[i]+v[i]*v[i])/2
	}
	return Figure{r, deltaError(influence)}
}

// standardised has mean 0 and variance 1; NaN where x is constant.
func standardised(x []float64) []float64 {
	n, mean, squares := float64(len(x)), 0.0, 0.0
	for _, v := range x {
		mean += v / n
	}
	for _, v := range x {
		squares += (v - mean) * (v - mean)
	}
	if slices.Min(x) == slices.Max(x) {
		squares = math.NaN() // not what rounding makes of it
	}
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = (v - mean) / math.Sqrt(squares/n)
	}
	return out
}
