package signal

import (
	"cmp"
	"slices"
)

// largest appends the indices of the k largest values, the largest first, of equal ones the lower index first. k is at most len(values).
func largest(ids []uint32, values []float32, k int) []uint32 {
	// a heap whose root is the least of the best so far
	less := func(a, b uint32) bool {
		return values[a] < values[b] || values[a] == values[b] && a > b
	}
	sink := func(heap []uint32, i int) {
		for {
			child := 2*i + 1
			if child >= len(heap) {
				return
			}
			if child+1 < len(heap) && less(heap[child+1], heap[child]) {
				child++
			}
			if !less(heap[child], heap[i]) {
				return
			}
			heap[i], heap[child] = heap[child], heap[i]
			i = child
		}
	}
	for i := range k {
		ids = append(ids, uint32(i))
	}
	for i := k/2 - 1; i >= 0; i-- {
		sink(ids, i)
	}
	least := values[ids[0]]
	for i := k; i < len(values); i++ {
		if values[i] > least {
			ids[0] = uint32(i)
			sink(ids, 0)
			least = values[ids[0]]
		}
	}
	slices.SortFunc(ids, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(values[b], values[a]), cmp.Compare(a, b))
	})
	return ids
}
