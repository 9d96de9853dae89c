package graph

import (
	"kdistill/internal/kernel"
	"kdistill/internal/loss"
)

// Recording is a teacher that spoke before: in place of hidden states it gives its rows, position by position of the batch at hand. Its methods are called
// from several goroutines at once, for positions where a term compares.
type Recording interface {
	Vocab() int // ids of the teacher
	// Complete says whether rows are whole: then Logits gives them, else Kept what there is.
	Complete() bool
	Logits(position int, logits []float32)
	Kept(position int, kept *loss.Kept)
}

// recorded is what a row of the chunk reads of a recording.
type recorded[F kernel.Float] struct {
	kept   loss.Kept
	logits []float32 // of a row, where F is another type
}

// read fills y, where rows are whole, or kept.
func (r *recorded[F]) read(from Recording, position int, y []F) {
	if !from.Complete() {
		from.Kept(position, &r.kept)
		return
	}
	if y, ok := any(y).([]float32); ok {
		from.Logits(position, y)
		return
	}
	if r.logits == nil {
		r.logits = make([]float32, len(y))
	}
	from.Logits(position, r.logits)
	for i, v := range r.logits {
		y[i] = F(v)
	}
}
