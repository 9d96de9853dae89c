package loss

import "kdistill/internal/kernel"

// skew_reverse_kl: KL(q‖m), m = (1−α)p + αq. α = 0 is reverse_kl.
// ∂/∂z_i = q_i (g_i − Σ_j q_j g_j)/T, g = log(q/m) + 1 − αq/m.
func init() {
	register(Definition{
		Name:        "skew_reverse_kl",
		Doc:         "KL(q||(1-alpha)*p + alpha*q): reverse_kl with bounded ratios",
		Paper:       "Ko et al. 2024 (DistiLLM), arXiv:2402.03898",
		Teacher:     true,
		Temperature: true,
		Params: []Param{
			{Name: "alpha", Default: 0.1, Min: 0, Max: 1, BelowMax: true, Doc: "the student's share of the mixture; 0 is reverse_kl"},
		},
	}, skewReverseKL[float32], skewReverseKL[float64], func(x position) float64 {
		return kl(x.q, mix(x.values["alpha"], x.q, x.p))
	})
}

func skewReverseKL[F kernel.Float](p Params) Row[F] {
	alpha := p.Values["alpha"]
	if alpha == 0 {
		return reverseKLRow[F](p)
	}
	a := F(alpha)
	return rowOf(p.Temperature, func(w *work[F], grad []F, scale F, _ int) F {
		_, sum := throughSoftmax(w, grad, scale, func(w *work[F], g, q []F, from, to int) F {
			ratio := w.log[:to-from]
			w.logOverMixture(ratio, g, a, from, to)
			value := kernel.Expectation(q, g)
			kernel.Exp(ratio, g)      // q/m
			kernel.Axpy(g, ratio, -a) // the constant 1 leaves no trace
			return value
		})
		return sum / w.student.sum
	})
}
