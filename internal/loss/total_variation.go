package loss

import (
	"math"

	"kdistill/internal/kernel"
)

// total_variation: ½ Σ |p_i − q_i|.
// ∂/∂z_i = q_i (g_i − Σ_j q_j g_j)/T, g = ½ sign(q − p), 0 where they are equal.
func init() {
	register(Definition{
		Name:        "total_variation",
		Doc:         "half the sum of |p - q|: 1 minus the acceptance rate of speculative decoding",
		Paper:       "Wen et al. 2023 (f-DISTILL), arXiv:2307.15190",
		Teacher:     true,
		Temperature: true,
	}, totalVariation[float32], totalVariation[float64], func(x position) float64 {
		value := 0.0
		for i, q := range x.q {
			value += math.Abs(x.p[i]-q) / 2
		}
		return value
	})
}

func totalVariation[F kernel.Float](p Params) Row[F] {
	return rowOf(p.Temperature, func(w *work[F], grad []F, scale F, _ int) F {
		mean, sum := throughSoftmax(w, grad, scale, func(w *work[F], g, q []F, from, to int) F {
			p := w.teacher.exps(&w.p, from, to)
			ofQ, ofP := 1/w.student.sum, 1/w.teacher.sum
			for i, p := range p {
				d := q[i]*ofQ - p*ofP
				g[i] = F(math.Copysign(0.5, float64(d)))
				if d == 0 {
					g[i] = 0
				}
			}
			return kernel.Expectation(p, g)
		})
		return mean - sum/w.teacher.sum
	})
}
