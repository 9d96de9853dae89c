package optim

import (
	"fmt"

	"kdistill/internal/kernel"
)

// adamw: Adam with decoupled weight decay, torch.optim.AdamW (Loshchilov, Hutter 2019, arXiv:1711.05101): p ← p (1 − lr·decay) before the step.
func init() {
	register("adamw", func(o Options, n int) (Optimizer, error) {
		m, err := newMoments(o, n)
		return adamW{m}, err
	})
}

type adamW struct{ *moments }

func (a adamW) Step(params, grads []float32, u Update) {
	inRanges(len(params), u.Decay, func(from, to int, decays bool) {
		decay := 0.0
		if decays {
			decay = a.options.WeightDecay
		}
		a.update(params, grads, from, to, u, decay, u.Scale)
	})
}

// moments is what adamw and adam share.
type moments struct {
	options      Options
	mean, square []float32
}

func newMoments(o Options, n int) (*moments, error) {
	for _, b := range o.Betas {
		if !(0 <= b && b < 1) {
			return nil, fmt.Errorf("%s: betas: have %v, want two numbers in [0, 1)", o.Name, o.Betas)
		}
	}
	if !(o.Eps > 0) {
		return nil, fmt.Errorf("%s: eps: have %v, want a number above 0", o.Name, o.Eps)
	}
	if o.Momentum != 0 || o.Dampening != 0 || o.Nesterov {
		return nil, fmt.Errorf("%s: momentum, dampening and nesterov belong to sgd: set betas instead", o.Name)
	}
	return &moments{o, make([]float32, n), make([]float32, n)}, nil
}

func (m *moments) State() []State { return []State{{"exp_avg", m.mean}, {"exp_avg_sq", m.square}} }

func (m *moments) update(params, grads []float32, from, to int, u Update, decay, scale float64) {
	kernel.AdamW(params[from:to], grads[from:to], m.mean[from:to], m.square[from:to], kernel.AdamWStep{
		LR: u.LR, Beta1: m.options.Betas[0], Beta2: m.options.Betas[1], Eps: m.options.Eps, Decay: decay, Scale: scale, Step: u.Step,
	})
}
