package optim

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"kdistill/internal/suggest"
)

// ScheduleOptions are the settings of a schedule.
type ScheduleOptions struct {
	Name        string
	Steps       int     // of the whole run
	WarmupSteps int     // the factor rises linearly to 1
	MinLRRatio  float64 // the last factor of linear, cosine and warmup_stable_decay; the others have no end
	DecaySteps  int     // of warmup_stable_decay: how long it falls at the end; 0 is a tenth of Steps
}

// shape is a schedule after the warm-up. t is the entry of transformers' schedule, from WarmupSteps to Steps, progress the part of the way between the two.
type shape func(o ScheduleOptions, t int, progress float64) float64

// The factors are those of transformers.get_scheduler: constant_with_warmup, linear, cosine_with_min_lr, inverse_sqrt and warmup_stable_decay.
var shapes = map[string]shape{
	"constant": func(ScheduleOptions, int, float64) float64 { return 1 },
	"linear": func(o ScheduleOptions, _ int, progress float64) float64 {
		return above(o.MinLRRatio, 1-progress)
	},
	"cosine": func(o ScheduleOptions, _ int, progress float64) float64 {
		return above(o.MinLRRatio, fall(progress))
	},
	"inverse_sqrt": func(o ScheduleOptions, t int, _ float64) float64 {
		scale := o.WarmupSteps
		if scale == 0 {
			scale = 10000
		}
		return math.Sqrt(float64(scale) / float64(t+scale-o.WarmupSteps))
	},
	"warmup_stable_decay": func(o ScheduleOptions, t int, _ float64) float64 {
		into := t - (o.Steps - o.DecaySteps)
		if into <= 0 {
			return 1
		}
		return above(o.MinLRRatio, fall(float64(into)/float64(o.DecaySteps)))
	},
}

// fall goes from 1 to 0 along half a cosine.
func fall(progress float64) float64 { return 0.5 * (1 + math.Cos(math.Pi*progress)) }

// above maps 0 … 1 to lowest … 1.
func above(lowest, x float64) float64 { return lowest + (1-lowest)*x }

// ScheduleNames returns the schedules in alphabetical order.
func ScheduleNames() []string { return slices.Sorted(maps.Keys(shapes)) }

// NewSchedule returns the factor on the learning rate of each step, from 0. Step t has entry t+1 of transformers' schedule, so that the first step already
// moves, at 1/WarmupSteps, and the last one has the schedule's end, where later steps stay. warmup_stable_decay warms up from MinLRRatio instead of 0, as there.
func NewSchedule(o ScheduleOptions) (func(step int) float64, error) {
	f, ok := shapes[o.Name]
	if !ok {
		return nil, suggest.Unknown("schedule", o.Name, ScheduleNames())
	}
	switch {
	case o.Steps < 1:
		return nil, fmt.Errorf("schedule %s: steps: have %d, want 1 or more", o.Name, o.Steps)
	case o.WarmupSteps < 0:
		return nil, fmt.Errorf("schedule %s: warmup_steps: have %d, want 0 or more", o.Name, o.WarmupSteps)
	case !(0 <= o.MinLRRatio && o.MinLRRatio <= 1):
		return nil, fmt.Errorf("schedule %s: min_lr_ratio: have %v, want a number in [0, 1]", o.Name, o.MinLRRatio)
	case o.DecaySteps < 0:
		return nil, fmt.Errorf("schedule %s: decay_steps: have %d, want 0 or more", o.Name, o.DecaySteps)
	case o.DecaySteps > 0 && o.Name != "warmup_stable_decay":
		return nil, fmt.Errorf("schedule %s: decay_steps: have %d, want none: only warmup_stable_decay has them", o.Name, o.DecaySteps)
	case o.DecaySteps > 0 && o.WarmupSteps+o.DecaySteps > o.Steps:
		return nil, fmt.Errorf("schedule %s: have %d warmup_steps and %d decay_steps, want at most the %d steps together", o.Name, o.WarmupSteps, o.DecaySteps, o.Steps)
	}
	if o.DecaySteps == 0 {
		o.DecaySteps = min(max(1, o.Steps/10), max(0, o.Steps-o.WarmupSteps))
	}
	start := 0.0
	if o.Name == "warmup_stable_decay" {
		start = o.MinLRRatio
	}
	return func(step int) float64 {
		t := min(step+1, o.Steps)
		if t < o.WarmupSteps {
			return above(start, float64(t)/float64(o.WarmupSteps))
		}
		return f(o, t, float64(t-o.WarmupSteps)/float64(max(1, o.Steps-o.WarmupSteps)))
	}, nil
}
