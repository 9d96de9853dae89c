package loss

// Kept is what is known of a teacher's row when it is not the whole of it.
type Kept struct {
	IDs      []int32   // distinct
	LogProbs []float32 // of IDs
	Tail     float32   // log-probability of all other ids together, -Inf: none is left
	Entropy  float32   // of the teacher's whole distribution; only where LogProbs are those of a sample
}
