package loss

import "kdistill/internal/kernel"

// forward_kl: KL(p‖q) = Σ p_i log(p_i/q_i).
// ∂/∂z_i = (q_i − p_i)/T.
func init() {
	register(Definition{
		Name:        "forward_kl",
		Doc:         "KL(teacher||student) = sum p log(p/q): the student covers what the teacher finds likely",
		Paper:       "Hinton, Vinyals, Dean 2015, arXiv:1503.02531",
		Teacher:     true,
		Temperature: true,
	}, forwardKLRow[float32], forwardKLRow[float64], func(x position) float64 {
		return kl(x.p, x.q)
	})
}

func forwardKLRow[F kernel.Float](p Params) Row[F] { return rowOf(p.Temperature, forwardKL[F]) }

// forwardKL leaves the log sums out of log(p/q) until the end: they are the same for every id.
func forwardKL[F kernel.Float](w *work[F], grad []F, scale F, _ int) F {
	q, p := &w.student, &w.teacher
	sum := kernel.SoftmaxDiff(grad, q.x, p.x, q.scale, q.top, p.top, scale/q.sum, scale/p.sum)
	return sum/p.sum - (p.logSum - q.logSum)
}
