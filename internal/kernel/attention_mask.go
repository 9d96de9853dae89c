package kernel

import "math"

// tileMask says what each column of a tile, a query, sees: keys lo <= j < hi.
type tileMask struct {
	n      int
	lo, hi [maxColumns]int32
	groups [maxColumns / maskGroup]struct{ lo, hi int } // the smallest range that holds what the columns of a group see
	whole  [2 * maxColumns / maskGroup]int32            // the range, lo and hi, that all columns of a group see
}

const (
	maxColumns = 64
	maskGroup  = 16
)

func (m *tileMask) reset() {
	*m = tileMask{}
	for i := range m.groups {
		m.groups[i].lo = math.MaxInt
		m.whole[2*i+1] = math.MaxInt32
	}
}

// add sets the next column.
func (m *tileMask) add(lo, hi int) {
	if lo < hi {
		m.lo[m.n], m.hi[m.n] = int32(lo), int32(hi)
		g := &m.groups[m.n/maskGroup]
		g.lo, g.hi = min(g.lo, lo), max(g.hi, hi)
	}
	w := m.whole[m.n/maskGroup*2:][:2]
	w[0], w[1] = max(w[0], int32(lo)), min(w[1], int32(hi))
	m.n++
}

// span returns the smallest range of keys that holds what columns from … to-1 see, in whole groups.
func (m *tileMask) span(from, to int) (lo, hi int) {
	lo = math.MaxInt
	for _, g := range m.groups[from/maskGroup : ceil(to, maskGroup)] {
		lo, hi = min(lo, g.lo), max(hi, g.hi)
	}
	return lo, hi
}

// columns returns the smallest range of columns, in whole groups, that holds all that see any of the keys from … to-1.
func (m *tileMask) columns(from, to int) (first, last int) {
	first, last = 0, m.n
	for ; first < m.n; first += maskGroup {
		if g := m.groups[first/maskGroup]; g.lo < to && g.hi > from {
			break
		}
	}
	for ; last > first; last = (last - 1) / maskGroup * maskGroup {
		if g := m.groups[(last-1)/maskGroup]; g.lo < to && g.hi > from {
			break
		}
	}
	return first, last
}

// strips returns the end of the longest run of strips of keys from j on, up to to, that are seen by the same columns, and these.
func (m *tileMask) strips(j, to, rows int) (end, first, last int) {
	first, last = m.columns(j, min(j+rows, to))
	for end = j + rows; end < to; end += rows {
		if f, l := m.columns(end, min(end+rows, to)); f != first || l != last {
			break
		}
	}
	return min(end, to), first, last
}
