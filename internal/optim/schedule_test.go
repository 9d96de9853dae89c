package optim

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kdistill/internal/testutil"
)

// Step t has transformers' entry t+1.
func TestScheduleGolden(t *testing.T) {
	cases := readGolden(t).Schedules.Cases
	ours := map[string]ScheduleOptions{
		"constant_with_warmup": {Name: "constant"},
		"linear":               {Name: "linear"},
		"cosine":               {Name: "cosine"},
		"cosine_with_min_lr":   {Name: "cosine", MinLRRatio: 0.1},
		"inverse_sqrt":         {Name: "inverse_sqrt"},
		"warmup_stable_decay":  {Name: "warmup_stable_decay", MinLRRatio: 0.1, DecaySteps: 20},
		// the same one step earlier: it was made to begin at 1/warm-up
		"cosine_warmup_with_min_lr": {Name: "cosine", MinLRRatio: 0.1},
	}
	seen := map[string]bool{}
	for name, o := range ours {
		c, ok := cases[name]
		if !ok {
			t.Fatalf("no case %s", name)
		}
		seen[o.Name] = true
		o.Steps, o.WarmupSteps = c.Steps, c.Warmup
		factor, err := NewSchedule(o)
		if err != nil {
			t.Fatal(err)
		}
		entries := c.LR[1:]
		if name == "cosine_warmup_with_min_lr" {
			entries = c.LR[:c.Steps]
		}
		for step, want := range entries {
			if have := factor(step); math.Abs(have-want) > 1e-11 {
				t.Errorf("%s, step %d: have %v, want %v", name, step, have, want)
			}
		}
	}
	for _, name := range ScheduleNames() {
		if !seen[name] {
			t.Errorf("%s has no golden values", name)
		}
	}
}

// The learning rates of the golden runs are those of a cosine.
func TestScheduleOfGoldenRuns(t *testing.T) {
	factor, err := NewSchedule(ScheduleOptions{Name: "cosine", Steps: 10, WarmupSteps: 3, MinLRRatio: 0.1})
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(testutil.Shared(t, "golden/distill"), "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	steps := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var run struct {
			Steps []struct {
				Step int
				LR   float64
			}
		}
		if err := json.Unmarshal(data, &run); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, s := range run.Steps {
			steps++
			if have := 5e-3 * factor(s.Step); math.Abs(have-s.LR) > 1e-13 {
				t.Errorf("%s, step %d: have %v, want %v", filepath.Base(file), s.Step, have, s.LR)
			}
		}
	}
	if steps < 100 {
		t.Errorf("%d steps read, want those of 17 runs", steps)
	}
}

// First and last factor, without warm-up, with one that fills the run, and after the end.
func TestScheduleEnds(t *testing.T) {
	for _, c := range []struct {
		o                  ScheduleOptions
		first, last, later float64
	}{
		{ScheduleOptions{Name: "constant", Steps: 5}, 1, 1, 1},
		{ScheduleOptions{Name: "linear", Steps: 5}, 0.8, 0, 0},
		{ScheduleOptions{Name: "linear", Steps: 5, WarmupSteps: 2, MinLRRatio: 0.1}, 0.5, 0.1, 0.1},
		{ScheduleOptions{Name: "cosine", Steps: 1}, 0, 0, 0},
		{ScheduleOptions{Name: "cosine", Steps: 4, WarmupSteps: 4}, 0.25, 1, 1},
		{ScheduleOptions{Name: "cosine", Steps: 4, WarmupSteps: 8}, 0.125, 0.5, 0.5},
		{ScheduleOptions{Name: "cosine", Steps: 4, MinLRRatio: 1}, 1, 1, 1},
		{ScheduleOptions{Name: "inverse_sqrt", Steps: 40, WarmupSteps: 10}, 0.1, 0.5, 0.5},
		{ScheduleOptions{Name: "warmup_stable_decay", Steps: 30, WarmupSteps: 10}, 0.1, 0, 0},
		{ScheduleOptions{Name: "warmup_stable_decay", Steps: 10, WarmupSteps: 20}, 0.05, 0.5, 0.5},
	} {
		factor, err := NewSchedule(c.o)
		if err != nil {
			t.Fatal(err)
		}
		for step, want := range map[int]float64{0: c.first, c.o.Steps - 1: c.last, c.o.Steps + 50: c.later} {
			if have := factor(step); math.Abs(have-want) > 1e-12 {
				t.Errorf("%+v, step %d: have %v, want %v", c.o, step, have, want)
			}
		}
	}
	// decay_steps defaults to a tenth
	factor, err := NewSchedule(ScheduleOptions{Name: "warmup_stable_decay", Steps: 100})
	if err != nil {
		t.Fatal(err)
	}
	if factor(89) != 1 || factor(90) >= 1 {
		t.Errorf("have %v and %v at 89 and 90, want the fall to begin between", factor(89), factor(90))
	}
}

func TestNewScheduleRefuses(t *testing.T) {
	for _, c := range []struct {
		o    ScheduleOptions
		want string
	}{
		{ScheduleOptions{Name: "cosin", Steps: 1}, `schedule: have "cosin", did you mean "cosine"? known: constant, cosine,`},
		{ScheduleOptions{Name: "cosine"}, "schedule cosine: steps: have 0, want 1 or more"},
		{ScheduleOptions{Name: "cosine", Steps: 1, WarmupSteps: -1}, "schedule cosine: warmup_steps: have -1, want 0 or more"},
		{ScheduleOptions{Name: "cosine", Steps: 1, MinLRRatio: math.NaN()}, "schedule cosine: min_lr_ratio: have NaN, want a number in [0, 1]"},
		{ScheduleOptions{Name: "cosine", Steps: 9, DecaySteps: 1}, "schedule cosine: decay_steps: have 1, want none"},
		{ScheduleOptions{Name: "warmup_stable_decay", Steps: 9, DecaySteps: -1}, "schedule warmup_stable_decay: decay_steps: have -1"},
		{ScheduleOptions{Name: "warmup_stable_decay", Steps: 9, WarmupSteps: 5, DecaySteps: 5},
			"schedule warmup_stable_decay: have 5 warmup_steps and 5 decay_steps, want at most the 9 steps together"},
	} {
		if _, err := NewSchedule(c.o); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%+v: %v\nwant %s", c.o, err, c.want)
		}
	}
}
