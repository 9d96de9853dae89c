package generate

import (
	"cmp"
	"errors"
	"math"
	"math/rand/v2"
	"slices"

	"kdistill/internal/kernel"
)

// sampler chooses the ids of one text. Its results depend on the options and on the logits alone.
type sampler struct {
	Options
	random  *rand.Rand
	seen    map[int32]bool // ids that are penalised
	weights []float32      // by id, the likeliest has 1
	ids     []int32
	heap    []float32
}

func newSampler(o Options, prompt []int32) *sampler {
	s := &sampler{Options: o, random: rand.New(rand.NewPCG(o.Seed, 0))}
	if o.RepetitionPenalty != 0 && o.RepetitionPenalty != 1 {
		s.seen = map[int32]bool{}
		for _, id := range prompt {
			s.seen[id] = true
		}
	}
	return s
}

var errNotFinite = errors.New("the model's logits are not finite: its weights are broken, or its type overflows")

// choose returns the next id. It changes the logits.
func (s *sampler) choose(logits []float32) (int32, error) {
	s.penalise(logits)
	best := kernel.Max(logits)
	if !(math.Abs(float64(best)) <= math.MaxFloat32) {
		return 0, errNotFinite
	}
	var id int32
	if s.Temperature == 0 {
		id = first(logits, best)
	} else {
		id = s.draw(s.distribution(logits, best))
	}
	if s.seen != nil {
		s.seen[id] = true
	}
	return id, nil
}

// penalise makes ids that were there less likely.
func (s *sampler) penalise(logits []float32) {
	for id := range s.seen {
		z := &logits[id]
		if *z < 0 {
			*z *= float32(s.RepetitionPenalty)
		} else {
			*z /= float32(s.RepetitionPenalty)
		}
	}
}

// distribution sets weights ∝ e^(logit/temperature), and returns the ids that TopK, TopP and MinP leave, nil for all, and the sum of their weights.
func (s *sampler) distribution(logits []float32, best float32) (ids []int32, sum float64) {
	s.weights = append(s.weights[:0], logits...)
	w := s.weights
	for i, z := range w {
		w[i] = z - best // before it is scaled, which a low temperature makes overflow
	}
	sum = float64(kernel.ExpShift(w, w, float32(min(1/s.Temperature, math.MaxFloat32)), 0))
	least, top := float32(0), kernel.Max(w)
	cutK, cutP := s.TopK > 0 && s.TopK < len(w), s.TopP > 0 && s.TopP < 1
	switch {
	case cutK:
		least = s.kthLargest(w, s.TopK)
	case cutP:
		least = float32((1 - s.TopP) * sum / float64(len(w)) / 2) // all that is below has less than the mass that TopP leaves out
	case s.MinP == 0:
		return nil, sum
	}
	if !cutP {
		least = max(least, float32(s.MinP)*top)
	}
	ids, kept := s.ids[:0], 0.0
	for i, x := range w {
		if x >= least && x > 0 {
			ids, kept = append(ids, int32(i)), kept+float64(x)
		}
	}
	s.ids = ids
	if cutK || !cutP {
		sum = kept
	}
	if !cutP {
		return ids, sum
	}
	slices.SortFunc(ids, likeliest(w))
	enough, n := s.TopP*sum, 0
	for sum = 0; n < len(ids); n++ {
		x := float64(w[ids[n]])
		if n > 0 && (sum >= enough || x < s.MinP*float64(top)) {
			break
		}
		sum += x
	}
	return ids[:n], sum
}

// draw returns one of the ids with probability ∝ its weight; nil are all. sum is that of their weights.
func (s *sampler) draw(ids []int32, sum float64) int32 {
	const block = 1024 // weights whose sum is quickly had
	point := s.random.Float64() * sum
	for _, id := range ids {
		if point -= float64(s.weights[id]); point < 0 {
			return id
		}
	}
	if ids != nil { // rounding leaves the point at the end
		return ids[len(ids)-1]
	}
	for from := 0; from < len(s.weights); from += block {
		part := s.weights[from:min(from+block, len(s.weights))]
		if of := float64(kernel.Sum(part)); point >= of {
			point -= of
			continue
		}
		for i, x := range part {
			if point -= float64(x); point < 0 {
				return int32(from + i)
			}
		}
	}
	return first(s.weights, kernel.Max(s.weights))
}

// first returns the first id that has the largest value.
func first(values []float32, largest float32) int32 {
	const block = 1024 // values whose maximum is quickly had
	from := 0
	for kernel.Max(values[from:min(from+block, len(values))]) != largest {
		from += block
	}
	return int32(from + slices.Index(values[from:], largest))
}

// kthLargest returns the k-th largest value.
func (s *sampler) kthLargest(x []float32, k int) float32 {
	h := append(s.heap[:0], x[:k]...) // the largest so far, the least of them first
	sink := func(i int) {
		for {
			c := 2*i + 1
			if c >= k {
				return
			}
			if c+1 < k && h[c+1] < h[c] {
				c++
			}
			if h[i] <= h[c] {
				return
			}
			h[i], h[c] = h[c], h[i]
			i = c
		}
	}
	for i := k/2 - 1; i >= 0; i-- {
		sink(i)
	}
	for _, v := range x[k:] {
		if v > h[0] {
			h[0] = v
			sink(0)
		}
	}
	s.heap = h
	return h[0]
}

// likeliest orders ids by falling value, the lowest of equals first.
func likeliest(values []float32) func(a, b int32) int {
	return func(a, b int32) int { return cmp.Or(cmp.Compare(values[b], values[a]), cmp.Compare(a, b)) }
}

// top returns the n likeliest ids, which are valid until the next call of the sampler.
func (s *sampler) top(logits []float32, n int) []int32 {
	least := s.kthLargest(logits, n)
	s.ids = s.ids[:0]
	for i, z := range logits {
		if z >= least {
			s.ids = append(s.ids, int32(i))
		}
	}
	slices.SortFunc(s.ids, likeliest(logits))
	return s.ids[:n]
}
