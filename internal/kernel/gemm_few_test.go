package kernel

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestFewRows(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(8, 1))
		random := func(n int) (x []float32, half []uint16) {
			x, half = make([]float32, n), make([]uint16, n)
			for i := range x {
				x[i] = float32(r.NormFloat64())
				half[i] = BF16(x[i])
			}
			return x, half
		}
		for _, s := range []struct{ n, k int }{{300, 17}, {512, 400}, {1000, 1}, {257, 769}, {304, 96}} {
			a, _ := random((fewRows + 1) * (s.k + gap))
			b, half := random(s.n * (s.k + gap))
			checkFewRows(t, s.n, s.k, a, b)
			checkFewRows(t, s.n, s.k, a, half)
		}
	})
}

const gap = 5 // between rows

// checkFewRows: rows have the bits that they have alone and among many, whichever operand is packed, and where weights lie side by side.
func checkFewRows[S Storage](t *testing.T, n, k int, a []float32, b []S) {
	t.Helper()
	product := func(m int) []float32 {
		c := make([]float32, m*(n+gap))
		Gemm(false, true, m, n, k, a, k+gap, b, k+gap, false, c, n+gap)
		return c
	}
	const most = fewRows + 1
	all := product(most)
	cut := []int{0, n / 3, n/3 + 1, n}
	var parts [][]S
	for i, from := range cut[:len(cut)-1] {
		var part []S
		for j := from; j < cut[i+1]; j++ {
			part = append(part, b[j*(k+gap):][:k]...)
		}
		parts = append(parts, part)
	}
	for _, m := range []int{1, 4, 5, 12, 31, 32, 33, fewRows, most} {
		if !slices.Equal(product(m), all[:m*(n+gap)]) {
			t.Errorf("%d x %d x %d, %T: the rows differ from those among %d", m, n, k, b, most)
		}
		c := make([]float32, m*(n+gap))
		GemmAll(m, k, a, k+gap, parts, c, n+gap)
		if !slices.Equal(c, all[:m*(n+gap)]) {
			t.Errorf("%d x %d x %d, %T: products side by side differ from those of one matrix", m, n, k, b)
		}
	}
}
