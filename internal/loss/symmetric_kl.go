package loss

import "kdistill/internal/kernel"

// symmetric_kl: w·KL(p‖q) + (1−w)·KL(q‖p).
func init() {
	register(Definition{
		Name:        "symmetric_kl",
		Doc:         "forward_weight*forward_kl + (1-forward_weight)*reverse_kl",
		Paper:       "Jeffreys 1946; w = 1/2 is half of Jeffreys' divergence",
		Teacher:     true,
		Temperature: true,
		Params: []Param{
			{Name: "forward_weight", Default: 0.5, Min: 0, Max: 1, Doc: "weight of forward_kl; the rest is reverse_kl's"},
		},
	}, symmetricKL[float32], symmetricKL[float64], func(x position) float64 {
		w := x.values["forward_weight"]
		return w*kl(x.p, x.q) + (1-w)*kl(x.q, x.p)
	})
}

func symmetricKL[F kernel.Float](p Params) Row[F] {
	forward := F(p.Values["forward_weight"])
	return rowOf(p.Temperature, func(w *work[F], grad []F, scale F, _ int) F {
		return bothKL(w, grad, scale, forward)
	})
}

// bothKL is forward·KL(p‖q) + (1−forward)·KL(q‖p). A weight of 0 leaves its term out: it may be infinite.
func bothKL[F kernel.Float](w *work[F], grad []F, scale, forward F) F {
	var value F
	if forward != 0 {
		value += forward * forwardKL(w, grad, scale*forward, 0)
	}
	if forward != 1 {
		value += (1 - forward) * reverseKL(w, grad, scale*(1-forward), 0)
	}
	return value
}
