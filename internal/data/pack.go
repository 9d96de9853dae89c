package data

// openRows is how many rows behind the newest one still take pieces: more fill rows better, fewer keep pieces nearer to their place in the order.
const openRows = 256

// pack puts pieces of the given lengths (each at most capacity) into rows: best fit, that is the row with the least room that suffices, among the
// last openRows rows; where none suffices a new row begins. Rows are in the order of their first piece.
// It returns the pieces row after row, and where each row begins (with the end of the last).
func pack(lengths []int, capacity int) (order, start []int32) {
	var room []int // of each row
	rowOf := make([]int32, len(lengths))
	for i, n := range lengths {
		best := -1
		for r := max(0, len(room)-openRows); r < len(room); r++ {
			if room[r] >= n && (best < 0 || room[r] < room[best]) {
				best = r
			}
		}
		if best < 0 {
			best = len(room)
			room = append(room, capacity)
		}
		room[best] -= n
		rowOf[i] = int32(best)
	}

	// A counting sort by row keeps the order of the pieces within each.
	start = make([]int32, len(room)+1)
	for _, r := range rowOf {
		start[r+1]++
	}
	for r := range room {
		start[r+1] += start[r]
	}
	next := append([]int32(nil), start...)
	order = make([]int32, len(lengths))
	for i, r := range rowOf {
		order[next[r]] = int32(i)
		next[r]++
	}
	return order, start
}
