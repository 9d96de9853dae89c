package task

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"kdistill/internal/checkpoint"
	"kdistill/internal/eval"
	"kdistill/internal/testutil"
)

type measured struct {
	Records []struct {
		Prompt        string
		Choices       []string
		Gold          int
		Loglikelihood []float64
	}
	Acc       float64
	AccNorm   float64 `json:"acc_norm"`
	AccErr    float64 `json:"acc_stderr"`
	AccNormEr float64 `json:"acc_norm_stderr"`
}

func open(t *testing.T) (*checkpoint.Pretrained, func(records []Record, p Prompts) ([]Prompt, [][]float64)) {
	t.Helper()
	m, err := checkpoint.OpenModel(testutil.Shared(t, "models/stories260k"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	weights, err := checkpoint.ReadFrozen(m, m.Model, checkpoint.Auto)
	if err != nil {
		t.Fatal(err)
	}
	return m, func(records []Record, p Prompts) ([]Prompt, [][]float64) {
		t.Helper()
		p.Tokenizer = m.Tokenizer
		prompts, err := p.Ranked(records, m.Model.Info().Positions+1)
		if err != nil {
			t.Fatal(err)
		}
		likelihood, err := Rank(t.Context(), m.Model, weights, prompts, Ranking{}, func(int) {})
		if err != nil {
			t.Fatal(err)
		}
		return prompts, likelihood
	}
}

// TestLikelihood compares every choice's log-likelihood, acc and acc_norm and their errors with what transformers gives, put together as lm-evaluation-harness does.
func TestLikelihood(t *testing.T) {
	raw, err := os.ReadFile(testutil.Testdata(t, "golden/choices.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden struct{ Made, CQA measured }
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	_, rank := open(t)
	made := filepath.Join(t.TempDir(), "made.jsonl")
	file, err := os.Create(made)
	if err != nil {
		t.Fatal(err)
	}
	enc := json.NewEncoder(file)
	for _, r := range golden.Made.Records {
		if err := enc.Encode(map[string]any{"prompt": r.Prompt, "choices": r.Choices, "gold": r.Gold}); err != nil {
			t.Fatal(err)
		}
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]measured{made: golden.Made, testutil.Shared(t, "data/cot/dss/cqa/cqa_train.json"): golden.CQA} {
		records, err := Read(path, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		records = records[:len(want.Records)]
		_, likelihood := rank(records, Prompts{})
		examples := make([]eval.Example, len(records))
		for i := range records {
			for j, x := range want.Records[i].Loglikelihood {
				if have := likelihood[i][j]; math.Abs(have-x) > 2e-5*math.Abs(x)+1e-5 {
					t.Errorf("%s, choice %d: have %v, want %v", records[i].Place, j, have, x)
				}
			}
			examples[i] = records[i].Example
			examples[i].Likelihood = likelihood[i]
		}
		scores, err := eval.Score([]string{"acc", "acc_norm"}, examples, eval.TaskOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for name, f := range map[string]eval.Figure{"acc": {Value: want.Acc, Stderr: want.AccErr}, "acc_norm": {Value: want.AccNorm, Stderr: want.AccNormEr}} {
			if have := scores.Figures[name]; math.Abs(have.Value-f.Value) > 1e-12 || math.Abs(have.Stderr-f.Stderr) > 1e-12 {
				t.Errorf("%s: have %v, want %v", name, have, f)
			}
		}
	}
}

// TestLikelihoodAlone wants the same bits of a question alone and among longer ones.
func TestLikelihoodAlone(t *testing.T) {
	_, rank := open(t)
	records, err := Read(testutil.Shared(t, "data/cot/dss/cqa/cqa_train.json"), nil, false)
	if err != nil {
		t.Fatal(err)
	}
	_, together := rank(records[:20], Prompts{})
	for i := range 20 {
		_, alone := rank(records[i:i+1], Prompts{})
		for j := range alone[0] {
			if alone[0][j] != together[i][j] {
				t.Errorf("question %d, choice %d: have %v alone, %v among others", i, j, alone[0][j], together[i][j])
			}
		}
	}
}
