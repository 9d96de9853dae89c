package data

import "iter"

// Sequences lists where the sequences of a batch lie: each is what a model sees at once, Tokens[from:to].
func (b *Batch) Sequences() iter.Seq2[int, int] {
	return func(yield func(from, to int) bool) {
		for from := 0; from < len(b.Segments); {
			to, end := from+1, (from/b.T+1)*b.T
			for to < end && b.Segments[to] == b.Segments[from] {
				to++
			}
			if b.Segments[from] >= 0 && !yield(from, to) {
				return
			}
			from = to
		}
	}
}

// Types are the token types of a run of positions, nil where all are 0.
func (b *Batch) Types(from, to int) []int32 {
	if b.TokenTypes == nil {
		return nil
	}
	return b.TokenTypes[from:to]
}
