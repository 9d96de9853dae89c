package optim

import "kdistill/internal/kernel"

// adam: torch.optim.Adam (Kingma, Ba 2015, arXiv:1412.6980). Weight decay is an L2 term: it is added to the clipped gradient, and so goes through the moments.
func init() {
	register("adam", func(o Options, n int) (Optimizer, error) {
		m, err := newMoments(o, n)
		return adam{m}, err
	})
}

type adam struct{ *moments }

func (a adam) Step(params, grads []float32, u Update) {
	if a.options.WeightDecay == 0 {
		a.update(params, grads, 0, len(params), u, 0, u.Scale)
		return
	}
	inRanges(len(params), u.Decay, func(from, to int, decays bool) {
		if !decays {
			a.update(params, grads, from, to, u, 0, u.Scale)
			return
		}
		parallel(from, to, func(from, to int) {
			g := grads[from:to]
			kernel.Scale(g, g, float32(u.Scale))
			kernel.Axpy(g, params[from:to], float32(a.options.WeightDecay))
		})
		a.update(params, grads, from, to, u, 0, 1)
	})
}
