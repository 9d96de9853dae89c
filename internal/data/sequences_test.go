package data

import (
	"slices"
	"testing"
)

func TestSequences(t *testing.T) {
	b := &Batch{B: 3, T: 4, Segments: []int32{0, 0, 1, 1, 1, 1, 1, 1, 0, 1, -1, -1}}
	var have [][2]int
	for from, to := range b.Sequences() {
		have = append(have, [2]int{from, to})
	}
	if want := [][2]int{{0, 2}, {2, 4}, {4, 8}, {8, 9}, {9, 10}}; !slices.Equal(have, want) {
		t.Errorf("have %v, want %v", have, want)
	}
	for range b.Sequences() {
		break
	}
}
