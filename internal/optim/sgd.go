package optim

import "fmt"

// sgd: torch.optim.SGD. With g the clipped gradient plus decay·p, momentum μ and dampening τ: v ← μ·v + (1−τ)·g (v = g in the first step),
// p ← p − lr·v, or p − lr·(g + μ·v) with nesterov.
func init() {
	register("sgd", func(o Options, n int) (Optimizer, error) {
		if !(0 <= o.Momentum && o.Momentum < 1) {
			return nil, fmt.Errorf("sgd: momentum: have %v, want a number in [0, 1)", o.Momentum)
		}
		if !(0 <= o.Dampening && o.Dampening <= 1) {
			return nil, fmt.Errorf("sgd: dampening: have %v, want a number in [0, 1]", o.Dampening)
		}
		if o.Nesterov && (o.Momentum == 0 || o.Dampening != 0) {
			return nil, fmt.Errorf("sgd: nesterov: have momentum %v and dampening %v, want momentum above 0 and dampening 0", o.Momentum, o.Dampening)
		}
		s := &sgd{options: o}
		if o.Momentum > 0 {
			s.velocity = make([]float32, n)
		}
		return s, nil
	})
}

type sgd struct {
	options  Options
	velocity []float32 // nil without momentum
}

func (s *sgd) State() []State {
	if s.velocity == nil {
		return nil
	}
	return []State{{"momentum_buffer", s.velocity}}
}

func (s *sgd) Step(params, grads []float32, u Update) {
	inRanges(len(params), u.Decay, func(from, to int, decays bool) {
		decay := float32(0)
		if decays {
			decay = float32(s.options.WeightDecay)
		}
		parallel(from, to, func(from, to int) { s.update(params, grads, from, to, u, decay) })
	})
}

func (s *sgd) update(params, grads []float32, from, to int, u Update, decay float32) {
	lr, scale := float32(u.LR), float32(u.Scale)
	momentum, rest := float32(s.options.Momentum), float32(1-s.options.Dampening)
	for i := from; i < to; i++ {
		g := scale*grads[i] + decay*params[i]
		if s.velocity != nil {
			v := g
			if u.Step > 1 {
				v = momentum*s.velocity[i] + rest*g
			}
			s.velocity[i] = v
			if s.options.Nesterov {
				g += momentum * v
			} else {
				g = v
			}
		}
		params[i] -= lr * g
	}
}
