package loss

import (
	"cmp"
	"math"
	"slices"

	"kdistill/internal/kernel"
)

// adaptive_kl: h·KL(p‖q) + (1−h)·KL(q‖p), h = Σ_head |p − q| / Σ |p − q|. The head is the teacher's likeliest ids: those whose
// cumulative probability is at most μ, and always the first (of equal ones the lower id first). h is a constant to the gradient.
// This is the authors' rule; KDFlow and DSKD sort ascending, which gives other values.
func init() {
	register(Definition{
		Name:        "adaptive_kl",
		Doc:         "forward_kl and reverse_kl weighted by how much p and q differ on the teacher's likeliest ids and on the rest",
		Paper:       "Wu et al. 2024 (AKL), arXiv:2404.02657",
		Teacher:     true,
		Temperature: true,
		Params: []Param{
			{Name: "mu", Default: 0.5, Min: 0, Max: 1, Doc: "the teacher's probability that the head may hold; 1 is forward_kl"},
		},
	}, adaptiveKL[float32], adaptiveKL[float64], func(x position) float64 {
		if x.values["mu"] == 1 { // no cumulative sum may round above it
			return kl(x.p, x.q)
		}
		order := make([]int, len(x.p))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(x.p[j], x.p[i]) })
		mass, head, all := 0.0, 0.0, 0.0
		for n, i := range order {
			d := math.Abs(x.p[i] - x.detached[i])
			mass += x.p[i]
			all += d
			if n == 0 || mass <= x.values["mu"] {
				head += d
			}
		}
		h := head / all
		return h*kl(x.p, x.q) + (1-h)*kl(x.q, x.p)
	})
}

func adaptiveKL[F kernel.Float](p Params) Row[F] {
	mu := p.Values["mu"]
	if mu == 1 {
		return forwardKLRow[F](p)
	}
	return rowOf(p.Temperature, func(w *work[F], grad []F, scale F, _ int) F {
		return bothKL(w, grad, scale, headShare(w, mu))
	})
}

// headShare returns Σ_head |p − q| / Σ |p − q|, and 0 where p equals q.
func headShare[F kernel.Float](w *work[F], mu float64) F {
	n := len(w.teacher.x)
	sorted := w.scratchRow()
	for from := 0; from < n; from += blockSize {
		to := min(from+blockSize, n)
		copy(sorted[from:to], w.teacher.probs(&w.p, from, to))
	}
	last, equal := headEnd(sorted, mu)
	var head, all float64
	for from := 0; from < n; from += blockSize {
		to := min(from+blockSize, n)
		p := w.teacher.probs(&w.p, from, to)
		for i, q := range w.student.probs(&w.q, from, to) {
			d := math.Abs(float64(p[i] - q))
			all += d
			if p[i] > last {
				head += d
			} else if p[i] == last && equal > 0 {
				head += d
				equal--
			}
		}
	}
	if all == 0 {
		return 0
	}
	return F(head / all)
}

// headEnd says where the head of p ends: it holds what is greater than last, and of what equals last the first so many.
// It selects like quickselect, by mass instead of rank, in linear time on average where sorting a vocabulary would rule the cost.
// p is reordered.
func headEnd[F kernel.Float](p []F, mu float64) (last F, equal int) {
	mass := 0.0 // of the entries that are known to be in the head
	for len(p) > 0 {
		last = median(p[0], p[len(p)/2], p[len(p)-1])
		above, below := 0, len(p) // p[:above] > last, p[below:] < last, between them equal
		greater := 0.0
		for i := 0; i < below; {
			switch x := p[i]; {
			case x > last:
				greater += float64(x)
				p[above], p[i] = x, p[above]
				above++
				i++
			case x < last:
				below--
				p[i], p[below] = p[below], x
			default:
				i++
			}
		}
		if mass+greater > mu {
			p = p[:above]
			continue
		}
		mass += greater
		for equal = 0; equal < below-above; equal++ {
			if mass+float64(last) > mu {
				if mass == 0 {
					equal = 1 // the first is always in
				}
				return last, equal
			}
			mass += float64(last)
		}
		p = p[below:]
	}
	return last, equal
}

func median[F kernel.Float](a, b, c F) F { return max(min(a, b), min(max(a, b), c)) }
