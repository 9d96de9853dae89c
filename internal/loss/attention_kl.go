package loss

// attention_kl: KL(p‖q) = Σ_j p_j log(p_j/q_j) over the keys that a query sees, p and q the attention probabilities.
// ∂/∂z_i = q_i − p_i of the scores z.
func init() {
	register(Definition{
		Name:    "attention_kl",
		Doc:     "KL(teacher's attention||student's) on mapped layers, mean over heads",
		Paper:   "Wang et al. 2020 (MiniLM), arXiv:2002.10957",
		Rows:    Scores,
		Teacher: true,
	}, forwardKLRow[float32], forwardKLRow[float64], func(x position) float64 { return kl(x.p, x.q) })
}
