package loss

import (
	"fmt"
	"math"
	"slices"

	"kdistill/internal/suggest"
)

// Kept is what is known of a teacher's row when it is not the whole of it.
type Kept struct {
	IDs      []int32   // distinct
	LogProbs []float32 // of IDs
	Tail     float32   // log-probability of all other ids together, -Inf: none is left
	Entropy  float32   // of the teacher's whole distribution; only where LogProbs are those of a sample
}

// What becomes of the tail, the ids that are not kept. P is the teacher's probability of all of them, Q the student's.
const (
	TailBucket          = "tail_bucket"          // they are one id more, with P and Q: an f-divergence is then at most that of the whole rows
	TailRaw             = "raw"                  // the sum over the kept ids alone; probabilities stay as they are
	TeacherRenormalized = "teacher_renormalized" // the teacher's probabilities of the kept ids are scaled up to 1; P is 0
	BothRenormalized    = "both_renormalized"    // so are the student's: the tail is no part of the vocabulary
)

// Tails lists the policies, the default first.
func Tails() []string {
	return []string{TailBucket, TailRaw, TeacherRenormalized, BothRenormalized}
}

// SparseParams say what is kept of the teacher's rows.
type SparseParams struct {
	Tail        string  // one of Tails; "": the default
	Temperature float64 // at which the log-probabilities were taken
	Vocabulary  int     // ids of the teacher
	Sampled     bool    // LogProbs are those of an unbiased sample, which has no tail
}

// sparse is what makes a loss one on kept rows.
type sparse struct {
	SparseParams
	entropy bool // the value leaves the teacher's entropy out, which is known better than the sample tells
	row32   Row[float32]
	row64   Row[float64]
	point   point
}

// Sparse returns the loss on kept rows, which Sum evaluates and no Row does; or why its definition forbids that.
func (l *Loss) Sparse(s SparseParams) (*Loss, error) {
	if s.Tail == "" {
		s.Tail = TailBucket
	}
	of, name, inner := points[l.Name], l.Name, Params{Values: l.Params.Values, Choices: l.Params.Choices}
	switch {
	case of == nil:
		return nil, fmt.Errorf("loss %s needs the teacher's whole row%s", l.Name, wholeRow[l.Name])
	case !slices.Contains(Tails(), s.Tail):
		return nil, suggest.Unknown("tail", s.Tail, Tails())
	case s.Tail == TeacherRenormalized && math.IsInf(first(of(l.Params.Values)(math.Inf(-1), 0)), 0):
		return nil, fmt.Errorf("loss %s is infinite where the teacher's probability is 0, which tail %s gives to every id that is not kept", l.Name, s.Tail)
	case s.Sampled && s.Tail != TailBucket:
		return nil, fmt.Errorf("tail %s: draws estimate the whole distribution, and have no tail", s.Tail)
	case s.Sampled && l.Name != "forward_kl" && l.Name != "soft_cross_entropy":
		return nil, fmt.Errorf("loss %s is not linear in the teacher's probabilities: draws in their place would bias its gradient; use forward_kl or soft_cross_entropy, or top_k", l.Name)
	case s.Sampled && s.Temperature != l.Params.Temperature:
		return nil, fmt.Errorf("loss %s has temperature %g: the draws were made at %g, and tell nothing of another one", l.Name, l.Params.Temperature, s.Temperature)
	case s.Sampled:
		name, inner = "soft_cross_entropy", Params{}
	}
	reduced, err := New(name, inner)
	if err != nil {
		return nil, err
	}
	out := &Loss{Definition: l.Definition, Params: l.Params}
	out.sparse = &sparse{s, s.Sampled && l.Name == "forward_kl", reduced.Row32, reduced.Row64, of(l.Params.Values)}
	return out, nil
}

// Partly says that the loss is one on kept rows.
func (l *Loss) Partly() bool { return l.sparse != nil }

// Approximate says that a loss on kept rows has another temperature than the rows. What P is there hangs on each id of the tail: they are taken to be equally
// likely, which makes P the largest possible at a higher temperature.
func (l *Loss) Approximate() bool {
	return l.sparse != nil && l.sparse.Temperature != l.Params.Temperature
}

// wholeRow says why some losses need it.
var wholeRow = map[string]string{
	"logit_mse":   ": it compares logits, and the log-probabilities of some ids leave a constant open",
	"adaptive_kl": ": it ranks the ids by the teacher's probabilities",
}

func first(a, _ float64) float64 { return a }
