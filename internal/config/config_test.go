package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// minimal is the least that a configuration must say.
const minimal = `teacher: {path: t}
student: {path: s}
data: {train: [{path: a.txt}]}
output: {dir: o}
`

func write(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func mustLoad(t *testing.T, text string, sets ...string) *Config {
	t.Helper()
	c, err := Load(write(t, text), sets)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMinimal(t *testing.T) {
	want := Default()
	want.Teacher.Path = "t"
	want.Student.Path = "s"
	want.Data.Train = []Source{{Path: "a.txt", Separator: "<|endoftext|>", AppendEOS: "auto"}}
	want.Output.Dir = "o"
	if diff := cmp.Diff(want, mustLoad(t, minimal)); diff != "" {
		t.Error(diff)
	}
}

// TestEveryKey reads the contract's example and every key besides.
func TestEveryKey(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	c := mustLoad(t, `
teacher: {path: T, dtype: bfloat16, cache: C}
student:
  init: teacher_layers
  config: {num_hidden_layers: 3, rope_scaling: {Type: linear, factor: 2.5}, tie: true, eos: [1, 2]}
  layers: [0, 2, 4]
  task: masked
data:
  train:
    - {path: a.jsonl, format: jsonl, field: story}
    - {path: b.parquet, prompt_field: q, completion_field: a, append_eos: true}
    - {path: c.txt, separator: "", mask_prompt: false}
    - {path: d.tsv, columns: [a, b, c], field: a, pair_field: b, label_field: c}
  eval: [{path: e.tok, format: tokens}]
  sequence_length: 1e3
  long_documents: truncate
  packing: false
  shuffle: false
  labels: [no, "yes"]
  mask_probability: 0.2
  whole_words: true
loss:
  - {name: forward_kl, weight: 0.5, temperature: 2, t2_scaling: true}
  - {name: generalized_jsd, beta: 0.1, as: jsd, positions: attended, weight: {from: 1, to: 0, schedule: cosine}}
  - {name: symmetric_kl, forward_weight: 1, tail: raw}
  - {name: hidden_mse, layers: [embedding, uniform, [1, 2]], normalize: true, tokens: first, projection: {init: ~/p.safetensors, keep: true}}
  - {name: attention_mse, layers: last, compare: scores, heads: [0, 2]}
  - {name: attention_kl, heads: average}
  - {name: relation_kl, layer: 3, relations: [qk, vv], relation_heads: 12}
train:
  epochs: 3
  batch_size: 64
  micro_batch_size: 8
  head_memory: 16
  precision: bfloat16
  optimizer: {name: sgd, lr: 1, momentum: 0.9, nesterov: true, eps: 1e-6, weight_decay: 1e-4, decay: all}
  schedule: {name: warmup_stable_decay, warmup_steps: 10, min_lr_ratio: 0.5, decay_steps: 20}
  max_grad_norm: 0
  seed: 7
  eval_every: 1
  save_every: 2
  keep: 3
  best_metric: kl
output: {dir: runs/x, dtype: float16}
cache: {dir: D, top_k: all, bits: 8, temperature: 3}
`)
	want := &Config{
		Teacher: Teacher{Path: "T", DType: "bfloat16", Cache: "C"},
		Student: Student{Init: "teacher_layers", Layers: Layers{List: []int{0, 2, 4}}, Task: "masked", Config: map[string]any{
			"num_hidden_layers": 3, "rope_scaling": map[string]any{"Type": "linear", "factor": 2.5}, "tie": true, "eos": []any{1, 2}}},
		Data: Data{
			Train: []Source{
				{Path: "a.jsonl", Format: "jsonl", Field: "story", AppendEOS: "auto"},
				{Path: "b.parquet", PromptField: "q", CompletionField: "a", MaskPrompt: true, AppendEOS: "true"},
				{Path: "c.txt", AppendEOS: "auto"},
				{Path: "d.tsv", Columns: []string{"a", "b", "c"}, Field: "a", PairField: "b", LabelField: "c", AppendEOS: "auto"},
			},
			Eval:           []Source{{Path: "e.tok", Format: "tokens", AppendEOS: "auto"}},
			SequenceLength: 1000, LongDocuments: "truncate", Labels: []string{"no", "yes"}, MaskProbability: 0.2, WholeWords: true,
		},
		Loss: []Loss{
			{Name: "forward_kl", Weight: Constant(0.5), Temperature: 2, T2Scaling: true},
			{Name: "generalized_jsd", As: "jsd", Weight: Weight{1, 0, "cosine"}, Temperature: 1, Positions: "attended", Values: map[string]float64{"beta": 0.1}},
			{Name: "symmetric_kl", Weight: Constant(1), Temperature: 1, Tail: "raw", Values: map[string]float64{"forward_weight": 1}},
			{Name: "hidden_mse", Weight: Constant(1), Temperature: 1, Layers: LayerMap{{Rule: "embedding"}, {Rule: "uniform"}, {Pair: [2]int{1, 2}}},
				Normalize: true, Tokens: "first", Projection: Projection{home + "/p.safetensors", true}},
			{Name: "attention_mse", Weight: Constant(1), Temperature: 1, Layers: LayerMap{{Rule: "last"}}, Compare: "scores", Heads: HeadMap{List: []int{0, 2}}},
			{Name: "attention_kl", Weight: Constant(1), Temperature: 1, Heads: HeadMap{Average: true}},
			{Name: "relation_kl", Weight: Constant(1), Temperature: 1, Layer: 3, Relations: []string{"qk", "vv"}, RelationHeads: 12},
		},
		Train: Train{
			Epochs: 3, BatchSize: 64, MicroBatchSize: 8, HeadMemory: 16, Precision: "bfloat16",
			Optimizer: Optimizer{Name: "sgd", LR: 1, Betas: [2]float64{0.9, 0.95}, Eps: 1e-6, WeightDecay: 1e-4, Decay: "all", Momentum: 0.9, Nesterov: true},
			Schedule:  Schedule{"warmup_stable_decay", 10, 0.5, 20},
			Seed:      7, EvalEvery: 1, SaveEvery: 2, Keep: 3, BestMetric: "kl",
		},
		Output: Output{"runs/x", "float16"},
		Cache:  Cache{"D", AllIDs, 0, 8, 3},
		Synth:  Default().Synth,
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
	if got := []string{c.Loss[0].Label(), c.Loss[1].Label()}; !slices.Equal(got, []string{"forward_kl", "jsd"}) {
		t.Error(got)
	}
}

func TestRoundTrip(t *testing.T) {
	for name, text := range map[string]string{
		"minimal": minimal,
		"weights": minimal + "loss: [{name: a, weight: {from: 2, to: 2}}, {name: b, weight: 3, alpha: 1e-9}]\ntrain: {epochs: 2, optimizer: {name: sgd}, micro_batch_size: 3}",
		"masks":   strings.Replace(minimal, "a.txt", "a.jsonl, prompt_field: p, completion_field: c, mask_prompt: false, separator: ''", 1),
		"maps":    minimal + "loss: [{name: a, layers: [[0, 0], all], heads: average}, {name: b, layers: first, heads: [1]}, {name: c, layer: last, layers: null, projection: {keep: true}}]",
		"stages":  minimal + "stages: [{name: a, loss: [{name: x}], epochs: 1}, {name: b, loss: [{name: x, beta: 1}], steps: 2, lr: 0, schedule: {name: linear}}]",
		"several": strings.Replace(minimal, "{path: t}", "[{path: x/a, weight: 2}, {path: y/a, dtype: float32}, {path: z, name: c, weight: 0}]", 1) + "loss: [{name: x}, {name: y, teacher: c}]",
		"draws":   minimal + "cache: {samples: 16}",
		"all ids": minimal + "cache: {dir: d, top_k: all, bits: 32}",
		"layers":  "teacher: {path: t}\nstudent: {init: teacher_layers, layers: [1]}\ndata: {train: [{path: '#: odd'}]}\noutput: {dir: ' o'}",
	} {
		c := mustLoad(t, text)
		out, err := Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Read(write(t, string(out)))
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		if diff := cmp.Diff(c, again); diff != "" {
			t.Errorf("%s: %s\n%s", name, diff, out)
		}
	}
}

// TestStages: what a stage doesn't say of its rate and schedule, train says; a run without stages has one.
func TestStages(t *testing.T) {
	text := minimal + `
stages:
  - {name: a, loss: [{name: x, weight: 2}], epochs: 2, lr: 0}
  - {name: b, loss: [{name: y}], steps: 5, schedule: {name: linear, warmup_steps: 1}}
  - {name: c, loss: [{name: y}], steps: 5, schedule: {decay_steps: 1}}
train: {optimizer: {lr: 0.5}, schedule: {name: warmup_stable_decay, warmup_steps: 3, min_lr_ratio: 0.1, decay_steps: 2}}
`
	c := mustLoad(t, text, "stages[1].steps=6")
	y := []Loss{{Name: "y", Weight: Constant(1), Temperature: 1}}
	want := []Stage{
		{Name: "a", Loss: []Loss{{Name: "x", Weight: Constant(2), Temperature: 1}}, Epochs: 2, Schedule: Schedule{"warmup_stable_decay", 3, 0.1, 2}},
		{Name: "b", Loss: y, Steps: 6, LR: 0.5, Schedule: Schedule{"linear", 1, 0.1, 0}},
		{Name: "c", Loss: y, Steps: 5, LR: 0.5, Schedule: Schedule{"warmup_stable_decay", 3, 0.1, 1}},
	}
	if diff := cmp.Diff(want, c.Course()); diff != "" {
		t.Error(diff)
	}
	if c.Loss != nil || c.Train.Steps != 0 || c.Train.Epochs != 0 {
		t.Errorf("the run has losses %v, %d steps and %d epochs besides", c.Loss, c.Train.Steps, c.Train.Epochs)
	}
	if d := Diff(c, mustLoad(t, text)); len(d) != 1 || d[0] != (Change{"stages[1].steps", "6", "5", false}) {
		t.Errorf("have changes %v", d)
	}
	if w := mustLoad(t, text, "stages[1].schedule.warmup_steps=9").Warnings(); len(w) != 1 || !strings.HasPrefix(w[0], "stages[1].schedule.warmup_steps (9) is not below stages[1].steps (5)") {
		t.Errorf("have warnings %q", w)
	}

	c = mustLoad(t, minimal)
	want = []Stage{{Loss: c.Loss, Steps: 1000, LR: 1e-3, Schedule: Schedule{Name: "cosine"}}}
	if diff := cmp.Diff(want, c.Course()); diff != "" {
		t.Error(diff)
	}
}

func TestWeightAt(t *testing.T) {
	for _, c := range []struct {
		w        Weight
		at, want float64
	}{
		{Constant(0.5), 0.3, 0.5},
		{Weight{1, 0, "linear"}, 0, 1},
		{Weight{1, 0, "linear"}, 0.25, 0.75},
		{Weight{1, 3, "cosine"}, 0, 1},
		{Weight{1, 3, "cosine"}, 0.25, 1 + 2*0.1464466094067262}, // (1 - cos 45°)/2
		{Weight{1, 3, "cosine"}, 1, 3},
	} {
		if got := c.w.At(c.at); got < c.want-1e-12 || got > c.want+1e-12 {
			t.Errorf("%+v at %g: have %g, want %g", c.w, c.at, got, c.want)
		}
	}
}

// TestProblems checks what is said about wrong input. Each text replaces or extends the minimal configuration.
func TestProblems(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string // parts of the message, all of which must be there
	}{
		{"misspelt", minimal + "train:\n  bach_size: 3", []string{"run.yaml:6: train.bach_size: unknown key", "train.batch_size"}},
		{"both kinds of a cache", minimal + "cache: {top_k: 3, samples: 4}", []string{"cache.samples", "takes the place of top_k"}},
		{"bits of draws", minimal + "cache: {samples: 4, bits: 8}", []string{"cache.bits", "counted, not rounded"}},
		{"no kind of a cache", minimal + "cache: {top_k: 0}", []string{"cache.top_k", "at least 1, all, or samples"}},
		{"bits", minimal + "cache: {bits: 12}", []string{"cache.bits", "have 12, want 32, 16 or 8"}},
		{"top_k", minimal + "cache: {top_k: most}", []string{"cache.top_k", "a whole number or all"}},
		{"below top_k", minimal + "cache: {top_k: -2}", []string{"cache.top_k", "at least 1"}},
		{"tail of a live teacher", minimal + "loss: [{name: x, tail: raw}]", []string{"loss[0].tail", "belongs to teacher.cache"}},
		{"tail", minimal + "cache: {dir: d}\nloss: [{name: x, tail: none}]", []string{"loss[0].tail", "tail_bucket"}},
		{"misspelt section", minimal + "trian: {}", []string{"run.yaml:5: trian", "did you mean train?"}},
		{"upper case", minimal + "Train: {}", []string{"did you mean train?"}},
		{"no idea", minimal + "xyzzy: 1", []string{"the sections are teacher, student, data, loss, stages, train, output, cache and synth"}},
		{"wrong place", minimal + "train: {lr: 1}", []string{"did you mean train.optimizer.lr?"}},
		{"wrong section", minimal + "steps: 1", []string{"did you mean train.steps?"}},
		{"in a list", strings.Replace(minimal, "a.txt", "a.txt, seperator: x", 1), []string{"run.yaml:3: data.train[0].seperator", "data.train[0].separator"}},
		{"in a loss", minimal + "loss:\n  - {name: x, temprature: 2}", []string{"run.yaml:6: loss[0].temprature", "loss[0].temperature"}},
		{"text as a parameter", minimal + "loss: [{name: x, alpha: high}]", []string{"loss[0].alpha: unknown key"}},
		{"habit", minimal + "learning_rate: 1e-3", []string{"use train.optimizer.lr"}},
		{"habit in train", minimal + "train: {gradient_accumulation_steps: 4}", []string{"use train.batch_size"}},
		{"habit in a loss", minimal + "loss: [{name: x, label_smoothing_factor: 0.1}]", []string{"use label_smoothing"}},
		{"duplicate", minimal + "train:\n  seed: 1\n  seed: 2", []string{"run.yaml:7: train.seed: given twice, first in line 6"}},
		{"duplicate deep", strings.Replace(minimal, "path: s", "init: random, config: {a: 1, a: 2}", 1), []string{"student.config.a: given twice"}},
		{"reference", minimal + "train: &a {seed: 1}\nx: *a", []string{"run.yaml:6: x: have the reference *a"}},
		{"merge", minimal + "train: {<<: {seed: 1}}", []string{"train.<<: unknown key"}},
		{"two documents", minimal + "---\ntrain: {}", []string{"one YAML document"}},
		{"not YAML", "teacher: [", []string{"run.yaml: not YAML: line 1"}},
		{"not a mapping", "- a", []string{"run.yaml:1: have a list, want teacher, student"}},
		{"scalar for a section", minimal + "train: 5", []string{"train: have 5, want steps"}},
		{"text for a number", minimal + "train: {steps: many}", []string{`train.steps: have "many", want a whole number`}},
		{"quoted number", minimal + "train: {steps: '5'}", []string{`train.steps: have "5", want a whole number`}},
		{"fraction", minimal + "train: {steps: 1.5}", []string{"train.steps: have 1.5, want a whole number"}},
		{"huge", minimal + "train: {steps: 99999999999999999999}", []string{"train.steps: have 99999999999999999999, want a whole number"}},
		{"not finite", minimal + "train: {optimizer: {lr: .nan}}", []string{"train.optimizer.lr: have .nan, want a number"}},
		{"list for a text", strings.Replace(minimal, "path: t", "path: [t]", 1), []string{"teacher.path: have a list, want a text"}},
		{"number for a switch", minimal + "loss: [{name: x, t2_scaling: 1}]", []string{"t2_scaling: have 1, want true or false"}},
		{"zero steps", minimal + "train: {steps: 0}", []string{"train.steps: have 0, want at least 1"}},
		{"beta", minimal + "train: {optimizer: {betas: [0.9, 1]}}", []string{"train.optimizer.betas[1]: have 1, want at least 0 and less than 1"}},
		{"three betas", minimal + "train: {optimizer: {betas: [0, 0, 0]}}", []string{"betas: have 3 numbers, want 2"}},
		{"temperature", minimal + "loss: [{name: x, temperature: 0, t2_scaling: true}]", []string{"temperature: have 0, want more than 0"}},
		{"choice", minimal + "train: {schedule: {name: cosine_with_min_lr}}", []string{`"cosine_with_min_lr", want constant, linear, cosine, inverse_sqrt or warmup_stable_decay`}},
		{"weight", minimal + "loss: [{name: x, weight: {from: 1, too: 0}}]", []string{"loss[0].weight.too: unknown key: did you mean loss[0].weight.to?"}},
		{"half a weight", minimal + "loss: [{name: x, weight: {from: 1}}]", []string{"loss[0].weight: to is missing"}},
		{"negative weight", minimal + "loss: [{name: x, weight: -1}]", []string{"loss[0].weight: have -1, want at least 0"}},
		{"empty entry", minimal + "loss:\n  -\n", []string{"loss[0]: is empty"}},
		{"micro batch", minimal + "train: {micro_batch_size: 0}", []string{"micro_batch_size: have 0, want at least 1"}},
		{"steps and epochs", minimal + "train: {steps: 1, epochs: 1}", []string{"train.epochs: train.steps is given too"}},
		{"t2", minimal + "loss: [{name: x, temperature: 2}]", []string{"run.yaml:5: loss[0].temperature: say t2_scaling"}},
		{"twice without as", minimal + "loss: [{name: x}, {name: x}]", []string{"loss[1]: x is there already", "as"}},
		{"no losses", minimal + "loss: []", []string{"loss: is empty"}},
		{"no weight", minimal + "loss: [{name: x, weight: 0}]", []string{"every weight is 0"}},
		{"layer rule", minimal + "loss: [{name: x, layers: every}]", []string{`loss[0].layers: have "every", want uniform, first, last, all or embedding, a pair`}},
		{"flat pair", minimal + "loss: [{name: x, layers: [1, 2]}]", []string{"loss[0].layers: have 1, want uniform"}},
		{"three in a pair", minimal + "loss: [{name: x, layers: [[1, 2, 3]]}]", []string{"loss[0].layers: have 3 numbers, want 2"}},
		{"no layers", minimal + "loss: [{name: x, layers: []}]", []string{"loss[0].layers: is empty"}},
		{"layers and layer", minimal + "loss: [{name: x, layers: all, layer: 1}]", []string{"loss[0].layer: layers is given too"}},
		{"layer 0", minimal + "loss: [{name: x, layer: 0}]", []string{"loss[0].layer: have 0, want at least 1"}},
		{"heads", minimal + "loss: [{name: x, heads: []}]", []string{"loss[0].heads: have a list, want average, or a list"}},
		{"relation", minimal + "loss: [{name: x, relations: [kq]}]", []string{`loss[0].relations[0]: have "kq", want qk, qq, kk or vv`}},
		{"no relations", minimal + "loss: [{name: x, relations: []}]", []string{"loss[0].relations: is empty"}},
		{"nothing", "", []string{"student.path: is missing", "data.train: is missing", "output.dir: is missing"}},
		{"all null", "teacher:\nstudent:\ndata:\noutput: {dir: null}", []string{"student.path: is missing", "data.train: is missing", "output.dir: is missing"}},
		{"source without path", strings.Replace(minimal, "path: a.txt", "format: text", 1), []string{"run.yaml:3: data.train[0]: path is missing"}},
		{"source without keys", strings.Replace(minimal, "{path: a.txt}", "a.txt", 1), []string{`data.train[0]: have "a.txt", want path, format`}},
		{"random with path", strings.Replace(minimal, "path: s", "path: s, init: random", 1), []string{"student.path: belongs to student.init checkpoint"}},
		{"incomplete random", "student: {init: random, config: {a: 1}}\ndata: {train: [{path: a}]}\noutput: {dir: o}", []string{"model_type included"}},
		{"layers of a checkpoint", strings.Replace(minimal, "path: s", "path: s, layers: first", 1), []string{"student.layers: belongs to student.init teacher_layers"}},
		{"layers", strings.Replace(minimal, "path: s", "init: teacher_layers, layers: middle, config: {num_hidden_layers: 2}", 1), []string{`student.layers: have "middle", want a list of layers, uniform, first or last`}},
		{"negative layer", strings.Replace(minimal, "path: s", "init: teacher_layers, layers: [-1]", 1), []string{"student.layers[0]: have -1"}},
		{"not JSON", strings.Replace(minimal, "path: s", "init: random, config: {a: .inf}", 1), []string{"student.config: want what JSON can hold"}},
		{"no number of layers", strings.Replace(minimal, "path: s", "init: teacher_layers", 1), []string{"num_hidden_layers is missing"}},
		{"layers disagree", strings.Replace(minimal, "path: s", "init: teacher_layers, layers: [0], config: {num_hidden_layers: 2}", 1), []string{"student.layers: has 1 layers"}},
		{"adam with momentum", minimal + "train: {optimizer: {momentum: 0.9}}", []string{"momentum: belongs to sgd"}},
		{"sgd with betas", minimal + "train: {optimizer: {name: sgd, betas: [0, 0]}}", []string{"betas: belongs to adamw"}},
		{"nesterov", minimal + "train: {optimizer: {name: sgd, nesterov: true}}", []string{"nesterov: needs momentum"}},
		{"stages and losses", minimal + "loss: [{name: x}]\nstages: [{name: a, loss: [{name: x}], steps: 1}]", []string{"run.yaml:5: loss: stages are given, each with a loss of its own"}},
		{"stages and steps", minimal + "train: {steps: 5}\nstages: [{name: a, loss: [{name: x}], steps: 1}]", []string{"run.yaml:5: train.steps: stages are given"}},
		{"stages and epochs", minimal + "train: {epochs: 5}\nstages: [{name: a, loss: [{name: x}], steps: 1}]", []string{"run.yaml:5: train.epochs: stages are given"}},
		{"no stages", minimal + "stages: []", []string{"run.yaml:5: stages: is empty"}},
		{"a stage of nothing", minimal + "stages:\n  - {name: a}\n  - {loss: [{name: x}], steps: 1}", []string{"stages[0].loss: is empty", "stages[0].steps: is missing", "stages[1].name: is missing"}},
		{"a stage twice", minimal + "stages: [{name: a, loss: [{name: x}], steps: 1}, {name: a, loss: [{name: x}], steps: 1}]", []string{"stages[1].name: a is there already"}},
		{"steps and epochs of a stage", minimal + "stages: [{name: a, loss: [{name: x}], steps: 1, epochs: 1}]", []string{"stages[0].epochs: stages[0].steps is given too"}},
		{"a key of a stage", minimal + "stages: [{name: a, loss: [{name: x}], step: 1}]", []string{"stages[0].step: unknown key: did you mean stages[0].steps?"}},
		{"a loss of a stage", minimal + "stages: [{name: a, loss: [{name: x, temperature: 2}, {name: x}], steps: 1}]", []string{"stages[0].loss[0].temperature: say t2_scaling", "stages[0].loss[1]: x is there already"}},
		{"tail in a stage", minimal + "stages: [{name: a, loss: [{name: x, tail: raw}], steps: 1}]", []string{"stages[0].loss[0].tail", "belongs to teacher.cache"}},
		{"decay steps of a stage", minimal + "stages: [{name: a, loss: [{name: x}], steps: 1, schedule: {decay_steps: 5}}]", []string{"stages[0].schedule.decay_steps: belongs to the schedule"}},
		{"decay steps", minimal + "train: {schedule: {decay_steps: 5}}", []string{"decay_steps: belongs to the schedule warmup_stable_decay"}},
		{"variable", strings.Replace(minimal, "path: t", "path: '${KDISTILL_TEST_UNSET}/x'", 1), []string{"teacher.path: environment variable KDISTILL_TEST_UNSET is not set"}},
		{"several", minimal + "train: {steps: 0, sead: 1}\nloss: 3", []string{"train.sead", "loss: have 3, want a list", "train.steps: have 0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Load(write(t, c.text), nil)
			var problems *Error
			if !errors.As(err, &problems) {
				t.Fatalf("have %v, want an *Error", err)
			}
			for _, part := range c.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("have %q, want it to hold %q", err, part)
				}
			}
		})
	}
}

func TestProblemsInOrder(t *testing.T) {
	_, err := Load(write(t, "train: {steps: x}\nteacher:\n  pth: t\nloss: 3\nstudent: {init: fresh}\ndata: {train: a.txt}\n"), nil)
	want := []string{": student.path: is missing", ": output.dir: is missing", ":1: train.steps", ":3: teacher.pth", ":4: loss", ":5: student.init", ":6: data.train"}
	var problems *Error
	if !errors.As(err, &problems) || len(problems.Problems) != len(want) {
		t.Fatalf("have %v, want %d problems", err, len(want))
	}
	for i, key := range want {
		if !strings.Contains(problems.Problems[i], key) {
			t.Errorf("problem %d: have %q, want %q", i, problems.Problems[i], key)
		}
	}
}

func TestHabitsNameRealKeys(t *testing.T) {
	valid := keys(reflect.TypeFor[Config](), "")
	for habit, hint := range habits {
		for _, word := range strings.FieldsFunc(hint, func(r rune) bool { return strings.ContainsRune(" ,;:", r) }) {
			section, _, dotted := strings.Cut(word, ".")
			if _, ok := fieldNamed(reflect.TypeFor[Config](), section); ok && dotted &&
				!slices.Contains(valid, word) && !strings.HasPrefix(word, "student.config.") {
				t.Errorf("%s: %q is no key", habit, word)
			}
		}
		for _, key := range valid {
			if strings.HasSuffix(key, "."+habit) {
				t.Errorf("%s is a key: %s", habit, key)
			}
		}
	}
}

func TestPaths(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	t.Setenv("KD_TEST_DATA", "/data")
	c := mustLoad(t, "teacher: {path: ~/t}\nstudent: {path: '~'}\ndata: {train: [{path: '${KD_TEST_DATA}/a.txt'}], eval: [{path: a$b~c}]}\noutput: {dir: 'x/${KD_TEST_DATA}-${KD_TEST_DATA}'}")
	got := []string{c.Teacher.Path, c.Student.Path, c.Data.Train[0].Path, c.Data.Eval[0].Path, c.Output.Dir}
	// A bare ~ is YAML's null where it is not quoted.
	want := []string{home + "/t", home, "/data/a.txt", "a$b~c", "x//data-/data"}
	if !slices.Equal(got, want) {
		t.Errorf("have %q, want %q", got, want)
	}
}

func TestWarnings(t *testing.T) {
	if w := mustLoad(t, minimal).Warnings(); len(w) != 0 {
		t.Error(w)
	}
	w := mustLoad(t, minimal+"train: {steps: 5, batch_size: 2, micro_batch_size: 3, schedule: {name: constant, warmup_steps: 5, min_lr_ratio: 0.1}}").Warnings()
	if len(w) != 3 {
		t.Errorf("have %q, want 3 warnings", w)
	}
}

func TestDiff(t *testing.T) {
	a := mustLoad(t, minimal+"train: {steps: 10}\nloss: [{name: x}]")
	if d := Diff(a, a); len(d) != 0 {
		t.Error(d)
	}
	b := mustLoad(t, minimal+"train: {epochs: 2, keep: 9, save_every: 1, eval_every: 1, micro_batch_size: 1, optimizer: {betas: [0.9, 0.5]}}\n"+
		"loss: [{name: x, temperature: 2, t2_scaling: false, mu: 1}, {name: y}]", "output.dir=p", "student.path=q")
	want := []Change{
		{"student.path", "s", "q", false},
		{"loss[0].mu", "", "1", false},
		{"loss[0].temperature", "1", "2", false},
		{"loss[1].name", "", "y", false},
		{"loss[1].t2_scaling", "", "false", false},
		{"loss[1].temperature", "", "1", false},
		{"loss[1].weight", "", "1", false},
		{"train.steps", "10", "0", false},
		{"train.epochs", "0", "2", false},
		{"train.micro_batch_size", "auto", "1", true},
		{"train.optimizer.betas[1]", "0.95", "0.5", false},
		{"train.eval_every", "100", "1", true},
		{"train.save_every", "500", "1", true},
		{"train.keep", "2", "9", true},
		{"output.dir", "o", "p", true},
	}
	if diff := cmp.Diff(want, Diff(a, b)); diff != "" {
		t.Error(diff)
	}
}

// FuzzFile looks for files that make the reader panic, or that it accepts and cannot write and read again.
func FuzzFile(f *testing.F) {
	f.Add(minimal)
	f.Add(minimal + "loss: [{name: x, weight: {from: 1, to: 0}, mu: 1}]\ntrain: {micro_batch_size: auto}")
	f.Add("a: &a [*a]")
	f.Add("? {a: b}\n: c")
	f.Fuzz(func(t *testing.T, text string) {
		l := newLoader("fuzz.yaml")
		l.readFile([]byte(text))
		c, err := l.config()
		if err != nil {
			return
		}
		out, err := Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		l = newLoader("fuzz.yaml")
		l.readFile(out)
		again, err := l.config()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if diff := cmp.Diff(c, again); diff != "" {
			t.Error(diff)
		}
	})
}
