package generate

import (
	"container/heap"
	"errors"
	"math"
	"math/rand/v2"
)

// newChooser returns what picks the next id from a row of logits.
func newChooser(o Options) func(logits []float32) (int32, error) {
	if o.Temperature == 0 {
		return greedy
	}
	s := &sampler{Options: o, random: rand.New(rand.NewPCG(o.Seed, 0))}
	return s.choose
}

var errNotFinite = errors.New("the model's logits are not finite: its weights are broken, or its type overflows")

func greedy(logits []float32) (int32, error) {
	best := 0
	for i, z := range logits {
		if z != z {
			return 0, errNotFinite
		}
		if z > logits[best] {
			best = i
		}
	}
	if math.IsInf(float64(logits[best]), 0) {
		return 0, errNotFinite
	}
	return int32(best), nil
}

// sampler draws ids with probability ∝ e^(logit/temperature) among those that TopK, then TopP leave.
type sampler struct {
	Options
	random  *rand.Rand
	weights []float64 // by id
	order   likeliest
	kept    []int32
}

func (s *sampler) choose(logits []float32) (int32, error) {
	best, err := greedy(logits)
	if err != nil {
		return 0, err
	}
	s.weights, s.order.ids = s.weights[:0], s.order.ids[:0]
	sum := 0.0
	for i, z := range logits {
		w := math.Exp((float64(z) - float64(logits[best])) / s.Temperature)
		sum += w
		s.weights, s.order.ids = append(s.weights, w), append(s.order.ids, int32(i))
	}
	ids := s.order.ids
	if s.TopK > 0 || s.TopP > 0 && s.TopP < 1 {
		ids, sum = s.cut(sum)
	}
	return draw(ids, s.weights, s.random.Float64()*sum), nil
}

// cut returns the ids that TopK, then TopP leave, likeliest first, and the sum of their weights; all is the sum over the vocabulary.
func (s *sampler) cut(all float64) (ids []int32, sum float64) {
	s.order.weights = s.weights
	heap.Init(&s.order)
	k, p := len(s.weights), 1.0
	if s.TopK > 0 {
		k = min(k, s.TopK)
	}
	if s.TopP > 0 {
		p = s.TopP
	}
	ids = s.kept[:0]
	for len(ids) < k && (s.TopK > 0 || sum < p*all) {
		id := heap.Pop(&s.order).(int32)
		ids, sum = append(ids, id), sum+s.weights[id]
	}
	s.kept = ids
	if s.TopK == 0 {
		return ids, sum
	}
	all, sum = sum, 0
	for i, id := range ids {
		if sum += s.weights[id]; sum >= p*all {
			return ids[:i+1], sum
		}
	}
	return ids, sum
}

// draw returns the id in whose share of the sum of weights the point lies.
func draw(ids []int32, weights []float64, point float64) int32 {
	chosen := ids[0]
	for _, id := range ids {
		if weights[id] == 0 {
			continue // never drawn, not even where rounding leaves the point at the end
		}
		chosen = id
		if point -= weights[id]; point < 0 {
			break
		}
	}
	return chosen
}

// likeliest is a heap of ids, the one of largest weight first, the lowest of equals.
type likeliest struct {
	ids     []int32
	weights []float64
}

func (h *likeliest) Len() int { return len(h.ids) }
func (h *likeliest) Less(i, j int) bool {
	a, b := h.ids[i], h.ids[j]
	return h.weights[a] > h.weights[b] || h.weights[a] == h.weights[b] && a < b
}
func (h *likeliest) Swap(i, j int) { h.ids[i], h.ids[j] = h.ids[j], h.ids[i] }
func (h *likeliest) Push(id any)   { h.ids = append(h.ids, id.(int32)) }
func (h *likeliest) Pop() any {
	n := len(h.ids) - 1
	id := h.ids[n]
	h.ids = h.ids[:n]
	return id
}
