package loss

import "kdistill/internal/kernel"

// generalized_jsd: β KL(p‖m) + (1−β) KL(q‖m), m = βp + (1−β)q, as TRL writes β. β = 0 is forward_kl and β = 1 is reverse_kl by definition:
// the formula itself goes to 0 there.
// ∂/∂z_i = (1−β) q_i (log(q_i/m_i) − Σ_j q_j log(q_j/m_j))/T.
func init() {
	register(Definition{
		Name:        "generalized_jsd",
		Doc:         "beta*KL(p||m) + (1-beta)*KL(q||m), m = beta*p + (1-beta)*q; beta 0 is forward_kl, 1 is reverse_kl",
		Paper:       "Agarwal et al. 2023 (GKD), arXiv:2306.13649",
		Teacher:     true,
		Temperature: true,
		Params: []Param{
			{Name: "beta", Default: 0.5, Min: 0, Max: 1, Doc: "the teacher's share of the mixture m (TRL's beta; KDFlow's is 1-beta)"},
		},
	}, generalizedJSD[float32], generalizedJSD[float64], func(x position) float64 {
		beta := x.values["beta"]
		switch beta {
		case 0:
			return kl(x.p, x.q)
		case 1:
			return kl(x.q, x.p)
		}
		m := mix(beta, x.p, x.q)
		return beta*kl(x.p, m) + (1-beta)*kl(x.q, m)
	})
}

func generalizedJSD[F kernel.Float](p Params) Row[F] {
	beta := p.Values["beta"]
	if beta == 0 {
		return forwardKLRow[F](p)
	}
	if beta == 1 {
		return reverseKLRow[F](p)
	}
	b, rest := F(beta), F(1-beta)
	return rowOf(p.Temperature, func(w *work[F], grad []F, scale F, _ int) F {
		studentKL, teacherSum := throughSoftmax(w, grad, scale*rest, func(w *work[F], logQM, _ []F, from, to int) F {
			logPM := w.log[:to-from]
			w.logOverMixture(logPM, logQM, rest, from, to)
			return kernel.Expectation(w.teacher.exps(&w.p, from, to), logPM)
		})
		return b*teacherSum/w.teacher.sum + rest*studentKL
	})
}
