package distill

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/config"
)

// problems are questions with answers and rationales that the tests' tokenizer knows.
func problems(t testing.TB, n int) string {
	var records []any
	for i := range n {
		records = append(records, map[string]any{
			"question": string(rune('a' + i%20)), "answer": strings.Repeat(string(rune('A'+i%20)), 1+i%3), "rationale": fmt.Sprintf("it is %c", 'A'+i%20),
		})
	}
	return lines(t, records...)
}

// TestMultitaskLoss: the loss of a step over all documents is the mean over the answers' tokens and λ times that over the rationales', divided by 1 + λ.
func TestMultitaskLoss(t *testing.T) {
	path := problems(t, 12)
	first := func(sources ...config.Source) float64 {
		c := textConfig(t)
		c.Data.Train, c.Data.Eval, c.Loss = sources, nil, only("cross_entropy")
		c.Train.Steps, c.Train.Epochs, c.Train.BatchSize = 0, 1, 1000
		c.Train.BestMetric = "nll"
		return train(t, c, Options{})[0].Loss
	}
	tasks := map[string]float64{}
	for _, task := range []string{"label", "rationale"} {
		var records []any
		for i := range 12 {
			answer := strings.Repeat(string(rune('A'+i%20)), 1+i%3)
			if task == "rationale" {
				answer = fmt.Sprintf("it is %c", 'A'+i%20)
			}
			records = append(records, map[string]any{"prompt": fmt.Sprintf("[%s] Q: %c\nA:", task, 'a'+i%20), "completion": " " + answer})
		}
		tasks[task] = first(config.Source{Path: lines(t, records...), AppendEOS: "auto"})
	}
	for _, lambda := range []float64{1, 0.25} {
		have := first(config.Source{Path: path, Format: "cot", Style: "multitask", RationaleWeight: lambda, AppendEOS: "auto"})
		if want := (tasks["label"] + lambda*tasks["rationale"]) / (1 + lambda); !near(have, want, 1e-5) {
			t.Errorf("λ = %v: have %v, want %v of %v", lambda, have, want, tasks)
		}
	}
}

// TestDemonstrationsLearnt: the loss over demonstrations and answers is their weighted mean, for every loss on logits.
func TestDemonstrationsLearnt(t *testing.T) {
	path := problems(t, 12)
	first := func(weight float64) map[string]float64 {
		c := textConfig(t)
		c.Data.Train, c.Data.Eval = []config.Source{{Path: path, Format: "icl", Shots: 1, DemonstrationWeight: weight, AppendEOS: "auto"}}, nil
		c.Loss = []config.Loss{term("forward_kl"), term("cross_entropy")}
		c.Train.Steps, c.Train.Epochs, c.Train.BatchSize, c.Train.BestMetric = 0, 1, 1000, "nll"
		return train(t, c, Options{})[0].Losses
	}
	context, light, even := first(0), first(1e-9), first(1)
	for name := range context {
		if !near(light[name], context[name], 1e-6) || near(even[name], context[name], 1e-3) {
			t.Errorf("%s: have %v alone, %v with hardly any weight, %v with the same", name, context[name], light[name], even[name])
		}
	}
}

// TestChatRun trains on chats that a tokenizer without a template gets as Alpaca's prompt, and says so.
func TestChatRun(t *testing.T) {
	c := textConfig(t)
	var records []any
	for i := range 20 {
		records = append(records, map[string]any{"instruction": fmt.Sprintf("name %c", 'a'+i), "output": strings.Repeat("a", i+1)})
	}
	c.Data.Train, c.Data.Eval = []config.Source{{Path: lines(t, records...), Format: "chat", AppendEOS: "auto"}}, nil
	c.Train.BestMetric = "nll"
	mentions(t, trainSaying(t, c, Options{}), "note: data.train: ", "the tokenizer has no chat template: chats are written as Alpaca's prompt")
}

// asked is a student that answers short questions.
var asked = append(slices.Clone(decoderSets), "data.sequence_length=32", "student.init=random", "student.path=null")

func init() {
	answered := func(t testing.TB) string { return problems(t, 20) }
	recipes["blackbox"] = recipe{
		decoderTeacher, answered, append(slices.Clone(asked), "data.train[0].fields={instruction: question, output: answer}", "data.train[0].chat_template=none"), []string{"cross_entropy"},
	}
	recipes["cot_multitask"] = recipe{decoderTeacher, answered, asked, []string{"cross_entropy"}}
	recipes["icl"] = recipe{decoderTeacher, answered, asked, []string{"forward_kl", "cross_entropy"}}
}
