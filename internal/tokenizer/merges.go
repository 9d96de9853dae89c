package tokenizer

import (
	"cmp"
	"math/bits"
	"slices"
)

// mergeTable maps pairs of symbols to the rank of their merge and the symbol it gives: a hash table with linear
// probing, at most half full.
type mergeTable struct {
	slots []mergeSlot
	shift uint
}

type mergeSlot struct {
	left, right int32
	rank        uint32 // noRank: free
	id          int32
}

const noRank = ^uint32(0)

func newMergeTable(n int) mergeTable {
	size := bits.Len(uint(2*n + 1))
	t := mergeTable{slots: make([]mergeSlot, 1<<size), shift: uint(64 - size)}
	for i := range t.slots {
		t.slots[i].rank = noRank
	}
	return t
}

func (t *mergeTable) slot(left, right int32) int {
	return int((uint64(uint32(left))<<32 | uint64(uint32(right))) * 0x9E3779B97F4A7C15 >> t.shift)
}

func (t *mergeTable) get(left, right int32) (rank uint32, id int32) {
	for i := t.slot(left, right); ; i = (i + 1) & (len(t.slots) - 1) {
		s := &t.slots[i]
		if s.rank == noRank || s.left == left && s.right == right {
			return s.rank, s.id
		}
	}
}

// put adds a merge; of two for one pair the later counts, as in the reference.
func (t *mergeTable) put(left, right int32, rank uint32, id int32) {
	i := t.slot(left, right)
	for s := &t.slots[i]; s.rank != noRank && (s.left != left || s.right != right); s = &t.slots[i] {
		i = (i + 1) & (len(t.slots) - 1)
	}
	t.slots[i] = mergeSlot{left, right, rank, id}
}

// ranked returns the pairs in the order of their ranks.
func (t *mergeTable) ranked() [][2]int32 {
	var used []mergeSlot
	for _, s := range t.slots {
		if s.rank != noRank {
			used = append(used, s)
		}
	}
	slices.SortFunc(used, func(a, b mergeSlot) int { return cmp.Compare(a.rank, b.rank) })
	pairs := make([][2]int32, len(used))
	for i, s := range used {
		pairs[i] = [2]int32{s.left, s.right}
	}
	return pairs
}

// mergeHeap is a binary heap of candidates, the lowest rank, then the lowest position, on top.
type mergeHeap []candidate

func (h mergeHeap) less(i, j int) bool {
	return h[i].rank < h[j].rank || h[i].rank == h[j].rank && h[i].pos < h[j].pos
}

func (h mergeHeap) build() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

func (h mergeHeap) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h.less(child+1, child) {
			child++
		}
		if !h.less(child, i) {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

func (h *mergeHeap) push(c candidate) {
	*h = append(*h, c)
	for i := len(*h) - 1; i > 0; {
		parent := (i - 1) / 2
		if !h.less(i, parent) {
			return
		}
		(*h)[i], (*h)[parent] = (*h)[parent], (*h)[i]
		i = parent
	}
}

func (h *mergeHeap) pop() candidate {
	top := (*h)[0]
	last := len(*h) - 1
	(*h)[0] = (*h)[last]
	*h = (*h)[:last]
	h.down(0)
	return top
}
