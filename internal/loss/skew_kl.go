package loss

import "kdistill/internal/kernel"

// skew_kl: KL(p‖m), m = αp + (1−α)q. α = 0 is forward_kl.
// ∂/∂z_i = q_i (g_i − Σ_j q_j g_j)/T, g = −(1−α) p/m.
func init() {
	register(Definition{
		Name:        "skew_kl",
		Doc:         "KL(p||alpha*p + (1-alpha)*q): forward_kl with bounded ratios",
		Paper:       "Ko et al. 2024 (DistiLLM), arXiv:2402.03898",
		Teacher:     true,
		Temperature: true,
		Params: []Param{
			{Name: "alpha", Default: 0.1, Min: 0, Max: 1, BelowMax: true, Doc: "the teacher's share of the mixture; 0 is forward_kl"},
		},
	}, skewKL[float32], skewKL[float64], func(x position) float64 {
		return kl(x.p, mix(x.values["alpha"], x.p, x.q))
	})
}

func skewKL[F kernel.Float](p Params) Row[F] {
	alpha := p.Values["alpha"]
	if alpha == 0 {
		return forwardKLRow[F](p)
	}
	rest := F(1 - alpha)
	return rowOf(p.Temperature, func(w *work[F], grad []F, scale F, _ int) F {
		_, sum := throughSoftmax(w, grad, -scale*rest, func(w *work[F], g, _ []F, from, to int) F {
			logPM := w.log[:to-from]
			w.logOverMixture(logPM, g, rest, from, to)
			kernel.Exp(g, logPM) // p/m
			return kernel.Expectation(w.teacher.exps(&w.p, from, to), logPM)
		})
		return sum / w.teacher.sum
	})
}
