package config

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPrecedence(t *testing.T) {
	c := mustLoad(t, minimal)
	if c.Train.Steps != 1000 {
		t.Errorf("default: have %d", c.Train.Steps)
	}
	text := minimal + "train: {steps: 1, optimizer: {lr: 0.5}}"
	if c = mustLoad(t, text); c.Train.Steps != 1 || c.Train.Seed != 1 {
		t.Errorf("file: have %+v", c.Train)
	}
	t.Setenv("KDISTILL_TRAIN_STEPS", "2")
	t.Setenv("KDISTILL_TRAIN_OPTIMIZER_BETAS", "[0, 0.5]")
	if c = mustLoad(t, text); c.Train.Steps != 2 || c.Train.Optimizer.LR != 0.5 || c.Train.Optimizer.Betas != [2]float64{0, 0.5} {
		t.Errorf("environment: have %+v", c.Train)
	}
	if c = mustLoad(t, text, "train.steps=3", "train.steps=4"); c.Train.Steps != 4 {
		t.Errorf("set: have %d", c.Train.Steps)
	}
	if c = mustLoad(t, text, "train.steps=null"); c.Train.Steps != 1000 {
		t.Errorf("null: have %d, want the default", c.Train.Steps)
	}
	if c = mustLoad(t, text, "train.steps=", "train.epochs=2"); c.Train.Steps != 0 || c.Train.Epochs != 2 {
		t.Errorf("epochs in place of steps: have %+v", c.Train)
	}
	path := write(t, text)
	if c, err := Read(path); err != nil || c.Train.Steps != 1 {
		t.Errorf("Read: have %+v, %v; want the file alone", c, err)
	}
}

func TestSets(t *testing.T) {
	text := minimal + "loss:\n  - {name: a}\n  - {name: b, weight: 2}\n"
	for _, c := range []struct {
		sets []string
		want func(c *Config)
	}{
		{[]string{"loss[0].weight=0.5"}, func(c *Config) { c.Loss[0].Weight = Constant(0.5) }},
		{[]string{"loss[1].weight={from: 1, to: 0}"}, func(c *Config) { c.Loss[1].Weight = Weight{1, 0, "linear"} }},
		{[]string{"loss[1].weight={from: 1, to: 0}", "loss[1].weight.to=3"}, func(c *Config) { c.Loss[1].Weight = Weight{1, 3, "linear"} }},
		{[]string{"loss[0].alpha=0.25"}, func(c *Config) { c.Loss[0].Values = map[string]float64{"alpha": 0.25} }},
		{[]string{"loss[0].name=c"}, func(c *Config) { c.Loss[0].Name = "c" }},
		{[]string{"loss[2].name=c", "loss[2].weight=4"}, func(c *Config) {
			c.Loss = append(c.Loss, Loss{Name: "c", Weight: Constant(4), Temperature: 1})
		}},
		{[]string{"loss=[{name: z}]"}, func(c *Config) {
			c.Loss = []Loss{{Name: "z", Weight: Constant(1), Temperature: 1}}
		}},
		{[]string{"data.eval[0].path=e.jsonl"}, func(c *Config) { c.Data.Eval = []Source{{Path: "e.jsonl", AppendEOS: "auto"}} }},
		{[]string{"data.train[0].separator='='"}, func(c *Config) { c.Data.Train[0].Separator = "=" }},
		{[]string{"train.optimizer.betas[1]=0.5"}, func(c *Config) { c.Train.Optimizer.Betas[1] = 0.5 }},
		{[]string{"train.optimizer={lr: 2, eps: 1}"}, func(c *Config) { c.Train.Optimizer.LR, c.Train.Optimizer.Eps = 2, 1 }},
		{[]string{"train={schedule: {name: linear}, keep: 7}"}, func(c *Config) { c.Train.Schedule.Name, c.Train.Keep = "linear", 7 }},
		{[]string{"student={init: random, path: null}", "student.config.A.b[0]=1", "student.config.A.b[1]=x"}, func(c *Config) {
			c.Student = Student{Init: "random", Config: map[string]any{"A": map[string]any{"b": []any{1, "x"}}}}
		}},
		{[]string{"output.dir=a=b"}, func(c *Config) { c.Output.Dir = "a=b" }},
	} {
		want := mustLoad(t, text)
		c.want(want)
		got, err := Load(write(t, text), c.sets)
		if err != nil {
			t.Errorf("%q: %v", c.sets, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", c.sets, diff)
		}
	}
	// The default list can be changed too.
	if c := mustLoad(t, minimal, "loss[0].weight=3"); c.Loss[0].Name != "forward_kl" || c.Loss[0].Weight != Constant(3) {
		t.Errorf("have %+v", c.Loss)
	}
	if Default().Loss[0].Weight != Constant(1) {
		t.Error("the defaults were changed")
	}
}

func TestSetProblems(t *testing.T) {
	for set, want := range map[string]string{
		"train.steps":                "want KEY=VALUE",
		"=1":                         "want KEY=VALUE",
		"loss[x].weight=1":           "want KEY=VALUE",
		"train..steps=1":             "want KEY=VALUE",
		"train.stepz=1":              "--set train.stepz: unknown key: did you mean train.steps?",
		"lr=1":                       "did you mean train.optimizer.lr?",
		"train.warmup_ratio=0.1":     "use train.schedule.warmup_steps",
		"loss[0].wieght=1":           "--set loss[0].wieght: unknown key: did you mean loss[0].weight?",
		"loss[3].name=x":             "loss has 1 entries: loss[1] would add the next",
		"loss[0].weight.to=1":        "loss[0].weight is 2, and has no to",
		"loss.name=x":                "loss is a list, and has no name",
		"train.steps[0]=1":           "train.steps is 1000, and has no [0]",
		"train=5":                    "--set train: have 5, want steps",
		"train={stepz: 1}":           "did you mean train.steps?",
		"train.steps=[":              "not a YAML value",
		"train.steps=x":              `--set train.steps: have "x", want a whole number`,
		"student.config={a: 1,a: 2}": "a: given twice",
	} {
		_, err := Load(write(t, minimal+"loss: [{name: a, weight: 2}]"), []string{set})
		var problems *Error
		if !errors.As(err, &problems) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: have %v, want %q", set, err, want)
		}
	}
}

func TestEnvironmentProblems(t *testing.T) {
	t.Setenv("KDISTILL_SHARED", "/x") // no section: not ours
	t.Setenv("KDISTILL_TRAIN_STEPS", "")
	mustLoad(t, minimal)
	for name, want := range map[string][2]string{
		"KDISTILL_TRAIN_STEP":    {"1", "did you mean KDISTILL_TRAIN_STEPS?"},
		"KDISTILL_LOSS_0_WEIGHT": {"1", "no such key"},
		"KDISTILL_OUTPUT_DTYPE":  {"fp8", `KDISTILL_OUTPUT_DTYPE: output.dtype: have "fp8", want float32`},
		"KDISTILL_TRAIN_SEED":    {"[", "KDISTILL_TRAIN_SEED: not a YAML value"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, want[0])
			if _, err := Load(write(t, minimal), nil); err == nil || !strings.Contains(err.Error(), want[1]) {
				t.Errorf("have %v, want %q", err, want[1])
			}
		})
	}
}

func TestEnvNamesDiffer(t *testing.T) {
	seen := map[string]string{}
	for _, key := range allLeaves(Default()) {
		if other := seen[EnvName(key)]; other != "" {
			t.Errorf("%s and %s are both %s", key, other, EnvName(key))
		}
		seen[EnvName(key)] = key
	}
	if !slices.Contains(allLeaves(Default()), "train.schedule.warmup_steps") {
		t.Error("no leaves")
	}
}

// FuzzSet looks for overrides that make the reader panic.
func FuzzSet(f *testing.F) {
	for _, s := range []string{"train.steps=1", "loss[0].weight={from: 1}", "loss[1].name=x", "train={steps: 1}", "student.config.a.b[0]=1", "=", "a[0"} {
		f.Add(s, s)
	}
	f.Fuzz(func(_ *testing.T, first, second string) {
		l := newLoader("fuzz.yaml")
		l.readFile([]byte(minimal))
		l.set(first)
		l.set(second)
		_, _ = l.config()
	})
}
