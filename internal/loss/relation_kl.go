package loss

// relation_kl: KL(p‖q) = Σ_j p_j log(p_j/q_j), p and q the softmax of X Yᵀ/√d_r, X and Y two of a layer's projections cut into relation heads of width d_r.
// ∂/∂z_i = q_i − p_i of the scaled products z.
func init() {
	register(Definition{
		Name:    "relation_kl",
		Doc:     "KL(teacher's relations between tokens||student's) of one layer, mean over relation heads, added over relations",
		Paper:   "Wang et al. 2020 (MiniLM), arXiv:2002.10957; Wang et al. 2021 (MiniLMv2), arXiv:2012.15828",
		Rows:    Relations,
		Teacher: true,
	}, forwardKLRow[float32], forwardKLRow[float64], func(x position) float64 { return kl(x.p, x.q) })
}
