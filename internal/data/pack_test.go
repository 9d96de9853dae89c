package data

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestPackFillsRows(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for _, test := range []struct {
		name   string
		length func() int
		fill   float64
	}{
		{"uniform", func() int { return 1 + random.IntN(256) }, 0.97},
		{"short", func() int { return 1 + random.IntN(20) }, 0.999},
		{"skewed", func() int { return 1 + random.IntN(1+random.IntN(256)) }, 0.99},
		{"full", func() int { return 256 }, 1},
	} {
		lengths, total := make([]int, 20000), 0
		for i := range lengths {
			lengths[i] = test.length()
			total += lengths[i]
		}
		order, start := pack(lengths, 256)
		seen := make([]bool, len(lengths))
		rowAt := make([]int, len(lengths)) // rows that had begun when a piece was placed
		for r := range len(start) - 1 {
			sum := 0
			row := order[start[r]:start[r+1]]
			for _, i := range row {
				if seen[i] {
					t.Fatalf("%s: piece %d is in two rows", test.name, i)
				}
				seen[i] = true
				sum += lengths[i]
			}
			if sum > 256 || len(row) == 0 || !slices.IsSorted(row) {
				t.Fatalf("%s: row %d: %d tokens in pieces %v", test.name, r, sum, row)
			}
			if r > 0 && row[0] <= order[start[r-1]] {
				t.Fatalf("%s: rows are not in the order of their first piece", test.name)
			}
			rowAt[row[0]] = 1
		}
		if slices.Contains(seen, false) {
			t.Fatalf("%s: a piece is lost", test.name)
		}
		for i := 1; i < len(rowAt); i++ {
			rowAt[i] += rowAt[i-1]
		}
		for r := range len(start) - 1 {
			if last := order[start[r+1]-1]; rowAt[last]-r > openRows {
				t.Fatalf("%s: row %d takes piece %d after row %d began", test.name, r, last, rowAt[last]-1)
			}
		}
		fill := float64(total) / float64(256*(len(start)-1))
		if fill < test.fill {
			t.Errorf("%s: filled %.4f, want %.4f", test.name, fill, test.fill)
		}
	}
}
