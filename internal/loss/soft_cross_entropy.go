package loss

import (
	"math"

	"kdistill/internal/kernel"
)

// soft_cross_entropy: −Σ p_i log q_i = KL(p‖q) + the teacher's entropy, so it is not 0 at the optimum. DistiLLM, torchtune, MiniLLM
// and TextBrewer call it forward KL.
// ∂/∂z_i = (q_i − p_i)/T, as forward_kl.
func init() {
	register(Definition{
		Name:        "soft_cross_entropy",
		Doc:         "-sum p log q: forward_kl plus the teacher's entropy, with the same gradient; not 0 at the optimum",
		Paper:       "Hinton, Vinyals, Dean 2015, arXiv:1503.02531",
		Teacher:     true,
		Temperature: true,
	}, softCrossEntropyRow[float32], softCrossEntropyRow[float64], func(x position) float64 {
		value := 0.0
		for i := range x.q {
			value -= x.p[i] * math.Log(x.q[i])
		}
		return value
	})
}

func softCrossEntropyRow[F kernel.Float](p Params) Row[F] {
	return rowOf(p.Temperature, softCrossEntropy[F])
}

func softCrossEntropy[F kernel.Float](w *work[F], grad []F, scale F, label int) F {
	return forwardKL(w, grad, scale, label) + entropy(w)
}

// entropy returns the teacher's, −Σ p_i log p_i.
func entropy[F kernel.Float](w *work[F]) F {
	p := &w.teacher
	var sum float64
	for from := 0; from < len(p.x); from += blockSize {
		to := min(from+blockSize, len(p.x))
		log := w.log[:to-from]
		for i, y := range p.x[from:to] {
			log[i] = p.scale*y - p.top
		}
		sum += float64(kernel.Expectation(p.exps(&w.p, from, to), log))
	}
	return p.logSum - F(sum/float64(p.sum))
}
