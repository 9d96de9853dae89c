package eval

import (
	"math"
	"slices"
)

// f1 is the harmonic mean of precision and recall, 2 TP / (2 TP + FP + FN), of the second of two classes.
// macroF1 is its mean over the classes that are there, predicted or true. A class without any has 0, as in scikit-learn.
//
// Their errors are by the delta method: F1 is a ratio of two sums over documents, and its linear expansion in these is a mean of one number
// for each document (Cochran 1977, Sampling Techniques, 6.4; for F1 Takahashi et al. 2022, doi:10.1007/s10489-021-02635-5).
var (
	f1      = definition{name: "f1", kinds: binary, higher: true, score: func(p, y []float64) Figure { return meanF1(p, y, []float64{1}) }}
	macroF1 = definition{name: "macro_f1", kinds: classes, higher: true, score: func(p, y []float64) Figure {
		there := slices.Concat(p, y)
		slices.Sort(there)
		return meanF1(p, y, slices.Compact(there))
	}}
)

// meanF1 is the mean over classes of F1.
func meanF1(predicted, labels, classes []float64) Figure {
	place := map[float64]int{}
	for k, c := range classes {
		place[c] = k
	}
	hits, sizes := make([]float64, len(classes)), make([]float64, len(classes)) // 2 TP, and 2 TP + FP + FN
	each := func(i int, f func(k int, hit, size float64)) {
		p, inP := place[predicted[i]]
		y, inY := place[labels[i]]
		switch {
		case inP && inY && p == y:
			f(p, 2, 2)
			return
		case inP && inY:
			f(y, 0, 1)
			fallthrough
		case inP:
			f(p, 0, 1)
		case inY:
			f(y, 0, 1)
		}
	}
	for i := range predicted {
		each(i, func(k int, hit, size float64) {
			hits[k] += hit
			sizes[k] += size
		})
	}
	value := make([]float64, len(classes))
	mean := 0.0
	for k := range classes {
		if sizes[k] > 0 {
			value[k] = hits[k] / sizes[k]
		}
		mean += value[k] / float64(len(classes))
	}
	n := float64(len(predicted))
	influence := make([]float64, len(predicted))
	for i := range predicted {
		each(i, func(k int, hit, size float64) {
			influence[i] += n * (hit - value[k]*size) / sizes[k] / float64(len(classes))
		})
	}
	return Figure{mean, deltaError(influence)}
}

// deltaError is the standard error of a figure from each document's influence on it, whose mean is 0: sqrt(Σ influence² / (n(n−1))).
func deltaError(influence []float64) float64 {
	n := float64(len(influence))
	if n < 2 {
		return math.NaN()
	}
	squares := 0.0
	for _, x := range influence {
		squares += x * x
	}
	return math.Sqrt(squares / (n * (n - 1)))
}
