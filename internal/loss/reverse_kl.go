package loss

import "kdistill/internal/kernel"

// reverse_kl: D = KL(q‖p) = Σ q_i log(q_i/p_i).
// ∂/∂z_i = q_i (log(q_i/p_i) − D)/T.
func init() {
	register(Definition{
		Name:        "reverse_kl",
		Doc:         "KL(student||teacher) = sum q log(q/p): the student avoids what the teacher finds unlikely",
		Paper:       "Gu et al. 2023 (MiniLLM), arXiv:2306.08543; Agarwal et al. 2023 (GKD), arXiv:2306.13649",
		Teacher:     true,
		Temperature: true,
	}, reverseKLRow[float32], reverseKLRow[float64], func(x position) float64 {
		return kl(x.q, x.p)
	})
}

func reverseKLRow[F kernel.Float](p Params) Row[F] { return rowOf(p.Temperature, reverseKL[F]) }

// reverseKL leaves the log sums out of log(q/p), as forwardKL does; the softmax removes them from the gradient.
func reverseKL[F kernel.Float](w *work[F], grad []F, scale F, _ int) F {
	q, p := &w.student, &w.teacher
	mean := kernel.SoftmaxDiff(nil, p.x, q.x, q.scale, p.top, q.top, 0, 0) / q.sum
	for from := 0; from < len(grad); from += blockSize {
		to := min(from+blockSize, len(grad))
		ratio := w.log[:to-from]
		kernel.LogRatio(ratio, q.x[from:to], p.x[from:to], q.scale, q.top-p.top)
		kernel.AxpyCentered(grad[from:to], q.exps(&w.q, from, to), ratio, mean, scale/q.sum)
	}
	return mean - (q.logSum - p.logSum)
}
