package loss

import (
	"kdistill/internal/kernel"
)

// attention_mse: Σ_j (q_j − p_j)² over the keys that a query sees, q and p the attention probabilities; with compare: scores, mean_j (z_j − y_j)² of
// the scores before the softmax.
// ∂/∂z_i = q_i (g_i − Σ_j q_j g_j), g = 2 (q − p); on scores 2 (z_i − y_i)/keys.
func init() {
	register(Definition{
		Name:    "attention_mse",
		Doc:     "sum over keys of (student's attention - teacher's)^2 on mapped layers, mean over heads",
		Paper:   "Jiao et al. 2020 (TinyBERT), arXiv:1909.10351",
		Rows:    Scores,
		Teacher: true,
		Choices: []Choice{{Name: "compare", Values: []string{"probabilities", "scores"}, Doc: "what is compared; of scores before the softmax the mean over keys"}},
	}, attentionMSE[float32], attentionMSE[float64], func(x position) float64 {
		value := 0.0
		for i, z := range x.student {
			if x.choices["compare"] == "scores" {
				value += (z - x.teacher[i]) * (z - x.teacher[i]) / float64(len(x.student))
			} else {
				value += (x.q[i] - x.p[i]) * (x.q[i] - x.p[i])
			}
		}
		return value
	})
}

func attentionMSE[F kernel.Float](p Params) Row[F] {
	if p.Choices["compare"] == "scores" {
		return logitMSE[F](p)
	}
	return rowOf(1, func(w *work[F], grad []F, scale F, _ int) F {
		_, sum := throughSoftmax(w, grad, scale, func(w *work[F], g, q []F, from, to int) F {
			p := w.teacher.exps(&w.p, from, to)
			ofQ, ofP := 1/w.student.sum, 1/w.teacher.sum
			var squares F
			for i, p := range p {
				d := q[i]*ofQ - p*ofP
				g[i] = 2 * d
				squares += d * d
			}
			return squares
		})
		return sum
	})
}
