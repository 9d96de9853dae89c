package loss

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// The selection must find what sorting finds, ties and zeros included.
func TestHeadEnd(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for trial := range 5000 {
		p := make([]float64, 1+r.IntN(40))
		for i := range p {
			p[i] = float64(r.IntN(1 + trial%7)) // small whole numbers: sums are exact, ties are many
		}
		if slices.Max(p) == 0 {
			continue
		}
		mu := float64(r.IntN(60))
		sorted := slices.Clone(p)
		slices.Sort(sorted)
		slices.Reverse(sorted)
		head, mass := 0, 0.0
		for i, x := range sorted {
			mass += x
			if i == 0 || mass <= mu {
				head++
			}
		}
		last, equal := headEnd(slices.Clone(p), mu)
		have := equal
		for _, x := range p {
			if x > last {
				have++
			}
		}
		if have != head {
			t.Fatalf("%v with mass %v: have %d entries (above %v, and %d of it), want %d", p, mu, have, last, equal, head)
		}
	}
}
