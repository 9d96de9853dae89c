package kernel

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestFewRows: rows have the bits that they have alone and among many, whichever operand is packed.
func TestFewRows(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(8, 1))
		for _, s := range []struct{ n, k int }{{300, 17}, {512, 400}, {1000, 1}, {257, 769}} {
			const most, more = fewRows + 1, 5
			a, b := make([]float32, most*(s.k+more)), make([]float32, s.n*(s.k+more))
			for _, x := range [][]float32{a, b} {
				for i := range x {
					x[i] = float32(r.NormFloat64())
				}
			}
			product := func(m int, accumulate bool) []float32 {
				c := make([]float32, m*(s.n+more))
				Gemm(false, true, m, s.n, s.k, a, s.k+more, b, s.k+more, accumulate, c, s.n+more)
				return c
			}
			all := product(most, false)
			for _, m := range []int{1, 4, 5, 12, 31, 32, 33, fewRows} {
				if !slices.Equal(product(m, false), all[:m*(s.n+more)]) {
					t.Errorf("%d x %d x %d: the rows differ from those among %d", m, s.n, s.k, most)
				}
			}
		}
	})
}
