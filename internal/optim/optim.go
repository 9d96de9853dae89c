// Package optim updates parameters from their gradients: optimizers and learning-rate schedules, each with the arithmetic of PyTorch or transformers.
// Parameters, gradients and state are flat float32 slices; it knows no tensors and no names, and which of them decay is the caller's decision.
package optim

import (
	"fmt"
	"maps"
	"slices"

	"kdistill/internal/kernel"
	"kdistill/internal/suggest"
)

// Optimizer updates one flat slice of parameters.
type Optimizer interface {
	// Step updates params in place. It may overwrite grads.
	Step(params, grads []float32, u Update)
	// State returns the live state, always in the same order: to save it, copy out of Values, to resume, copy into them.
	State() []State
}

// Update is what changes from step to step.
type Update struct {
	Step  int     // from 1
	LR    float64 // this step's learning rate
	Scale float64 // factor on the gradients: ClipFactor, 1 for none
	Decay []Range // the parameters that weight decay applies to, ascending
}

// Range is the parameters From … To-1.
type Range struct{ From, To int }

// State is one number per parameter that an optimizer remembers.
type State struct {
	Name   string // as PyTorch calls it
	Values []float32
}

// Options are an optimizer's settings. Those it does not have must be zero, Betas and Eps excepted, which it then ignores.
type Options struct {
	Name        string
	Betas       [2]float64
	Eps         float64
	WeightDecay float64
	Momentum    float64
	Dampening   float64
	Nesterov    bool
}

var registry = map[string]func(o Options, n int) (Optimizer, error){}

func register(name string, make func(o Options, n int) (Optimizer, error)) {
	if registry[name] != nil {
		panic("optim: registered twice: " + name)
	}
	registry[name] = make
}

// Names returns the optimizers in alphabetical order.
func Names() []string { return slices.Sorted(maps.Keys(registry)) }

// New returns the named optimizer for n parameters. An unknown name, or options that are out of range or do not go together, are errors.
func New(o Options, n int) (Optimizer, error) {
	makeOptimizer, ok := registry[o.Name]
	if !ok {
		return nil, suggest.Unknown("optimizer", o.Name, Names())
	}
	if !(o.WeightDecay >= 0) {
		return nil, fmt.Errorf("%s: weight_decay: have %v, want 0 or more", o.Name, o.WeightDecay)
	}
	return makeOptimizer(o, n)
}

// ClipFactor is what all gradients are multiplied with so that their norm is at most limit: min(1, limit/(norm + 1e-6)),
// as torch.nn.utils.clip_grad_norm_. A limit of 0 is off.
func ClipFactor(norm, limit float64) float64 {
	if limit == 0 {
		return 1
	}
	return min(1, limit/(norm+1e-6))
}

// inRanges calls f for 0 … n-1 in pieces that decay or do not.
func inRanges(n int, decay []Range, f func(from, to int, decays bool)) {
	at := 0
	for len(decay) > 0 {
		from, to := decay[0].From, decay[0].To
		for decay = decay[1:]; len(decay) > 0 && decay[0].From == to; decay = decay[1:] {
			to = decay[0].To // neighbours are one piece
		}
		if at < from {
			f(at, from, false)
		}
		f(from, to, true)
		at = to
	}
	if at < n {
		f(at, n, false)
	}
}

// parallel calls f for pieces of from … to-1.
func parallel(from, to int, f func(from, to int)) {
	const grain = 1 << 14
	kernel.Parallel((to-from+grain-1)/grain, func(i int) {
		start := from + i*grain
		f(start, min(start+grain, to))
	})
}
