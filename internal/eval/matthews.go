package eval

import (
	"maps"
	"math"
	"slices"
)

// matthews is the correlation of predicted and true classes: (c − Σ_k p_k t_k) / sqrt((1 − Σ p_k²)(1 − Σ t_k²)), c the share of hits, p_k and t_k the
// shares of class k among the predicted and the true (Matthews 1975; for more than two classes Gorodkin 2004). Where one of them is constant it is 0,
// as in scikit-learn. Its error is by the delta method: the derivative in these shares, applied to each document.
var matthews = definition{name: "matthews", kinds: classes, higher: true, score: matthewsOf}

func matthewsOf(predicted, labels []float64) Figure {
	n := float64(len(predicted))
	hits := 0.0
	p, t := map[float64]float64{}, map[float64]float64{}
	for i := range predicted {
		p[predicted[i]] += 1 / n
		t[labels[i]] += 1 / n
		if predicted[i] == labels[i] {
			hits += 1 / n
		}
	}
	both, pp, tt := 0.0, 0.0, 0.0
	for _, k := range slices.Sorted(maps.Keys(p)) {
		both += p[k] * t[k]
		pp += p[k] * p[k]
	}
	for _, k := range slices.Sorted(maps.Keys(t)) {
		tt += t[k] * t[k]
	}
	if len(p) < 2 || len(t) < 2 {
		return Figure{0, math.NaN()}
	}
	scale := math.Sqrt((1 - pp) * (1 - tt))
	value := (hits - both) / scale
	influence := make([]float64, len(predicted))
	for i := range predicted {
		a, b := predicted[i], labels[i]
		hit := 0.0
		if a == b {
			hit = 1
		}
		above := hit - hits - (t[a] + p[b] - 2*both)
		influence[i] = above/scale + value*((p[a]-pp)/(1-pp)+(t[b]-tt)/(1-tt))
	}
	return Figure{value, deltaError(influence)}
}
