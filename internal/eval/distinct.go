package eval

import (
	"fmt"
	"math"
	"strings"
)

// distinct is the number of different n-grams of words in all answers together, divided by that of all n-grams: how varied they are (Li et al. 2016).
// Words stand between blanks. It falls with the number of words, so that only answers of similar length and number compare. Its error is the
// jackknife's over examples.
func distinct(n int) definition {
	return definition{name: fmt.Sprintf("distinct_%d", n), kinds: written, higher: true, all: func(examples []Example) (Figure, []float64) {
		counts := make([]map[string]int, len(examples)) // of each example's n-grams
		total, holders := 0, map[string]int{}           // of all; how many examples hold one
		sizes := make([]int, len(examples))
		for i, e := range examples {
			counts[i] = map[string]int{}
			w := strings.Fields(e.Prediction)
			for at := range max(len(w)-n+1, 0) {
				counts[i][strings.Join(w[at:at+n], " ")]++
				sizes[i]++
			}
			for gram := range counts[i] {
				holders[gram]++
			}
			total += sizes[i]
		}
		f := Figure{Value: float64(len(holders)) / float64(total)}
		each, without, mean := make([]float64, len(examples)), make([]float64, len(examples)), 0.0
		for i := range examples {
			alone := 0
			for gram := range counts[i] {
				if holders[gram] == 1 {
					alone++
				}
			}
			each[i] = float64(len(counts[i])) / float64(sizes[i])
			without[i] = float64(len(holders)-alone) / float64(total-sizes[i])
			mean += without[i] / float64(len(examples))
		}
		squares, g := 0.0, float64(len(examples))
		for _, x := range without {
			squares += (x - mean) * (x - mean)
		}
		f.Stderr = math.Sqrt((g - 1) / g * squares)
		if g < 2 {
			f.Stderr = math.NaN()
		}
		return f, each
	}}
}
