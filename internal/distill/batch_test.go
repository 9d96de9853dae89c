package distill

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/config"
	"kdistill/internal/report"
)

// still keeps the student as it is, so that the losses of steps can be compared with each other and with evaluations.
func still(c *config.Config) { c.Train.Optimizer.LR = 0 }

// document is a record of the format tokens: n ids from the tests' letters, some of them without a label.
func document(n, seed int) map[string]any {
	ids, labels := make([]int, n), make([]int, n)
	for i := range ids {
		ids[i] = 4 + (7*i*i+11*seed+i)%60
		labels[i] = ids[i]
		if (i+seed)%5 == 0 {
			labels[i] = -100
		}
	}
	return map[string]any{"input_ids": ids, "labels": labels}
}

func documents(t testing.TB, lengths ...int) []config.Source {
	var records []any
	for i, n := range lengths {
		records = append(records, document(n, i))
	}
	return []config.Source{{Path: lines(t, records...), Format: "tokens", AppendEOS: "auto"}}
}

// again copies a configuration for a run in another folder.
func again(t testing.TB, c *config.Config, change func(*config.Config)) *config.Config {
	other := *c
	other.Loss, other.Data.Train = slices.Clone(c.Loss), slices.Clone(c.Data.Train)
	other.Output.Dir = filepath.Join(t.TempDir(), "run")
	change(&other)
	return &other
}

// evals returns the figures of metrics.jsonl's evaluations.
func evals(t testing.TB, dir string) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(string(read(t, filepath.Join(dir, report.MetricsFile)))) {
		var l struct{ Eval map[string]any }
		unmarshal(t, []byte(line), &l)
		if l.Eval != nil {
			all = append(all, l.Eval)
		}
	}
	return all
}

// TestEpochs wants an epoch's rows each once, the last step smaller, and its losses to be those of an evaluation; steps go on into the next epoch.
func TestEpochs(t *testing.T) {
	c := textConfig(t)
	still(c)
	c.Loss = []config.Loss{term("cross_entropy"), term("forward_kl"), term("reverse_kl")}
	c.Data.Train, c.Data.Eval = documents(t, 5, 9, 12, 7, 3, 31, 14), nil
	for _, packing := range []bool{false, true} {
		t.Run(fmt.Sprint("packing ", packing), func(t *testing.T) {
			c := again(t, c, func(c *config.Config) {
				c.Data.Packing, c.Train.Steps, c.Train.Epochs, c.Train.BatchSize = packing, 0, 2, 3
			})
			rows := 7
			if packing {
				rows = 3 // 31, 14+12+5, 9+7+3
			}
			have := train(t, c, Options{})
			if want := (2*rows + 2) / 3; len(have) != want {
				t.Fatalf("have %d steps, want %d", len(have), want)
			}
			sums, tokens := map[string]float64{}, 0
			for _, s := range have {
				tokens += s.Tokens
				for name, loss := range s.Losses {
					sums[name] += loss * float64(s.Tokens)
				}
			}
			figures := evals(t, c.Output.Dir)[0]
			if want := 2 * figures["tokens"].(float64); float64(tokens) != want {
				t.Errorf("have %d tokens in two epochs, want %v", tokens, want)
			}
			for loss, figure := range map[string]string{"cross_entropy": "nll", "forward_kl": "kl", "reverse_kl": "reverse_kl"} {
				if have, want := sums[loss]/float64(tokens), figures[figure].(float64); !near(have, want, 1e-6) {
					t.Errorf("%s: have %v over the epochs, the evaluation says %v", loss, have, want)
				}
			}
			c = again(t, c, func(c *config.Config) { c.Train.Steps, c.Train.Epochs = len(have)+2, 0 })
			longer := train(t, c, Options{})
			if len(longer) != len(have)+2 {
				t.Errorf("have %d steps, want %d", len(longer), len(have)+2)
			}
			for i := range (2 * rows) / 3 {
				if longer[i].Loss != have[i].Loss {
					t.Errorf("step %d: have loss %v, %v in epochs", i, longer[i].Loss, have[i].Loss)
				}
			}
		})
	}
}

// mixed is an objective with everything that could depend on how rows are put together.
func mixed(c *config.Config) {
	attended := func(l *config.Loss) { l.Positions, l.Weight = "attended", config.Constant(0.7) }
	c.Loss = []config.Loss{term("cross_entropy"), term("forward_kl"), with(term("reverse_kl"), attended)}
}

// TestMicroBatches wants micro-batches of any size, also such that don't divide the batch, to give the same steps.
func TestMicroBatches(t *testing.T) {
	c := textConfig(t)
	mixed(c)
	c.Data.Train, c.Data.Eval = documents(t, 5, 9, 12, 7, 3, 31, 14, 20, 11, 8, 6, 2, 30, 17), documents(t, 9)
	c.Train.Steps, c.Train.BatchSize = 4, 5
	for _, packing := range []bool{false, true} {
		c := again(t, c, func(c *config.Config) { c.Data.Packing, c.Train.MicroBatchSize = packing, 5 })
		want := train(t, c, Options{})
		for _, micro := range []config.MicroBatch{1, 2, 3, 4, 9, 0} {
			c := again(t, c, func(c *config.Config) { c.Train.MicroBatchSize = micro })
			for i, have := range train(t, c, Options{}) {
				w := want[i]
				if !near(have.Loss, w.Loss, 2e-6) || !near(have.GradNorm, w.GradNorm, 2e-6) || have.Tokens != w.Tokens {
					t.Errorf("packing %v, micro-batches of %d, step %d: have loss %v, norm %v, %d tokens, want %v, %v, %d",
						packing, micro, i, have.Loss, have.GradNorm, have.Tokens, w.Loss, w.GradNorm, w.Tokens)
				}
			}
		}
	}
}

// TestPacking wants packed rows and padded ones to give the same losses and gradients.
func TestPacking(t *testing.T) {
	c := textConfig(t)
	still(c)
	mixed(c)
	c.Data.Train, c.Data.Eval = documents(t, 5, 9, 12, 7, 3, 31, 14, 20, 11, 8, 6, 2, 32, 17), documents(t, 9, 4)
	c.Train.Steps, c.Train.Epochs, c.Train.BatchSize, c.Train.MicroBatchSize = 0, 1, 99, 0
	packed := train(t, c, Options{})
	c = again(t, c, func(c *config.Config) { c.Data.Packing = false })
	padded := train(t, c, Options{})
	if len(packed) != 1 || len(padded) != 1 {
		t.Fatalf("have %d and %d steps, want one", len(packed), len(padded))
	}
	p, q := packed[0], padded[0]
	if !near(p.Loss, q.Loss, 1e-12) || !near(p.GradNorm, q.GradNorm, 1e-6) || p.Tokens != q.Tokens {
		t.Errorf("packed: loss %v, norm %v, %d tokens; padded: %v, %v, %d", p.Loss, p.GradNorm, p.Tokens, q.Loss, q.GradNorm, q.Tokens)
	}
	for name := range p.Losses {
		if !near(p.Losses[name], q.Losses[name], 1e-12) {
			t.Errorf("%s: have %v packed, %v padded", name, p.Losses[name], q.Losses[name])
		}
	}
}

// TestWeights wants the logged loss to be the sum of the terms, each times its weight at that step.
func TestWeights(t *testing.T) {
	c := textConfig(t)
	c.Train.Steps = 5
	c.Loss = []config.Loss{
		with(term("forward_kl"), func(l *config.Loss) { l.Weight = config.Weight{From: 1, To: 0, Schedule: "linear"} }),
		with(term("cross_entropy"), func(l *config.Loss) { l.Weight = config.Weight{From: 0, To: 2, Schedule: "cosine"} }),
		with(term("forward_kl"), func(l *config.Loss) {
			l.As, l.Weight, l.Temperature, l.Positions = "warm", config.Constant(0.25), 4, "attended"
		}),
	}
	want := [][2]float64{{1, 0}, {0.75, 1 - math.Sqrt2/2}, {0.5, 1}, {0.25, 1 + math.Sqrt2/2}, {0, 2}}
	for i, s := range train(t, c, Options{}) {
		sum := want[i][0]*s.Losses["forward_kl"] + want[i][1]*s.Losses["cross_entropy"] + 0.25*s.Losses["warm"]
		if len(s.Losses) != 3 || !near(s.Loss, sum, 1e-6) {
			t.Errorf("step %d: have loss %v of %v, want %v", s.Step, s.Loss, s.Losses, sum)
		}
	}
}

// TestMaskedPrompts wants prompts seen and never counted: the same as their ids with labels of -100.
func TestMaskedPrompts(t *testing.T) {
	type object = map[string]any
	c := textConfig(t)
	still(c)
	mixed(c)
	pairs := []object{{"q": "the cat ", "a": "runs"}, {"q": "a dog", "a": " sees the sun"}, {"q": "Lily", "a": ""}}
	var asText, asIDs []any
	completions := 0
	for _, p := range pairs {
		asText = append(asText, p)
		prompt, completion := "\x01"+p["q"].(string), p["a"].(string)
		ids, labels := []int{}, []int{}
		for i, r := range prompt + completion + "\x02" {
			id := slices.Index(tokenizerWords(), string(r))
			if r < 3 {
				id = int(r) // <s>, </s>
			}
			ids, labels = append(ids, id), append(labels, id)
			if i < len(prompt) {
				labels[i] = -100
			}
		}
		asIDs = append(asIDs, object{"input_ids": ids, "labels": labels})
		completions += len(completion) + 1
	}
	c.Data.Train = []config.Source{{Path: lines(t, asText...), Format: "jsonl", PromptField: "q", CompletionField: "a", MaskPrompt: true, AppendEOS: "auto"}}
	c.Data.Eval = nil
	c.Train.Steps, c.Train.Epochs = 0, 1
	text := train(t, c, Options{})
	if have := evals(t, c.Output.Dir)[0]["tokens"]; have != float64(completions) {
		t.Errorf("have %v tokens in the evaluation, want %d", have, completions)
	}
	c = again(t, c, func(c *config.Config) {
		c.Data.Train = []config.Source{{Path: lines(t, asIDs...), Format: "tokens", AppendEOS: "auto"}}
	})
	ids := train(t, c, Options{})
	for i := range ids {
		ids[i].TokensPerSecond, text[i].TokensPerSecond = 0, 0
	}
	if have, want := fmt.Sprint(text), fmt.Sprint(ids); have != want {
		t.Errorf("have steps %s from text, %s from ids", have, want)
	}
}

// TestPadIsEOS wants a pad token that is the end token not to hide the real end.
func TestPadIsEOS(t *testing.T) {
	c := textConfig(t)
	still(c)
	c.Data.Packing, c.Data.Train[0].AppendEOS, c.Data.Eval = false, "true", nil
	c.Train.Steps, c.Train.Epochs, c.Train.BatchSize, c.Train.MicroBatchSize = 0, 1, 40, 40
	want := train(t, c, Options{})
	characters := 0
	for _, d := range strings.Split(string(read(t, c.Data.Train[0].Path)), "\n<|endoftext|>\n") {
		characters += len(d)
	}
	if want[0].Tokens != characters+40 {
		t.Errorf("have %d tokens, want %d characters and 40 ends", want[0].Tokens, characters)
	}
	setSpecial(t, c.Teacher.Path, "</s>")
	setSpecial(t, c.Student.Path, "</s>")
	have := train(t, again(t, c, func(*config.Config) {}), Options{})
	if have[0].Loss != want[0].Loss || have[0].Tokens != want[0].Tokens || have[0].GradNorm != want[0].GradNorm {
		t.Errorf("have %+v, want %+v", have[0], want[0])
	}
}

// TestMetrics wants every line of metrics.jsonl to have the keys that are promised, and config.yaml to be the effective one.
func TestMetrics(t *testing.T) {
	c := textConfig(t)
	train(t, c, Options{})
	var trained, evaluated []int
	for line := range strings.Lines(string(read(t, filepath.Join(c.Output.Dir, report.MetricsFile)))) {
		var l map[string]json.RawMessage
		unmarshal(t, []byte(line), &l)
		var step int
		unmarshal(t, l["step"], &step)
		if l["eval"] != nil {
			evaluated = append(evaluated, step)
			var figures map[string]any
			unmarshal(t, l["eval"], &figures)
			for _, key := range []string{"nll", "perplexity", "bits_per_byte", "teacher_nll", "kl", "reverse_kl", "top1_agreement", "acceptance"} {
				if figures[key] == nil || figures[key+"_stderr"] == nil {
					t.Errorf("step %d: the evaluation has no %s, or no error of it", step, key)
				}
			}
			continue
		}
		trained = append(trained, step)
		for _, key := range []string{"loss", "losses", "grad_norm", "lr", "tokens", "tokens_per_second"} {
			if l[key] == nil {
				t.Errorf("step %d has no %s", step, key)
			}
		}
	}
	if want := []int{0, 3, 6, 9, 12}; !slices.Equal(evaluated, want) {
		t.Errorf("have evaluations after %v, want %v", evaluated, want)
	}
	if len(trained) != 12 || trained[0] != 1 || trained[11] != 12 {
		t.Errorf("have steps %v", trained)
	}
	effective, err := config.Read(filepath.Join(c.Output.Dir, configFile))
	if err != nil {
		t.Fatal(err)
	}
	if changes := config.Diff(effective, c); len(changes) > 0 {
		t.Errorf("config.yaml differs: %v", changes)
	}
}
