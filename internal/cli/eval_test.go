package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kdistill/internal/testutil"
)

// evaluate runs kdistill eval --json, whose stdout must be one JSON object and nothing else.
func evaluate(t testing.TB, args ...string) map[string]any {
	t.Helper()
	var out, stderr bytes.Buffer
	if code := Main(append([]string{"eval", "--json"}, args...), nil, &out, &stderr); code != exitDone {
		t.Fatalf("exit code %d: %s", code, stderr.String())
	}
	var figures map[string]any
	if err := json.Unmarshal(out.Bytes(), &figures); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	return figures
}

// example is a line of --per-example.
type example struct {
	Index, Tokens int
	NLL           float64
}

func examples(t testing.TB, path string) (all []example) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var e example
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func close64(have any, want, relative float64) bool {
	x, ok := have.(float64)
	return ok && math.Abs(x-want) <= relative*math.Abs(want)
}

// TestRealModels measures the real models on the stories on which transformers measured them.
func TestRealModels(t *testing.T) {
	stories, err := os.ReadFile(testutil.Shared(t, "data/text/tinystories_10k.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for name, documents := range map[string]int{"stories260k": 200, "en10-tok105": 100} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(testutil.Shared(t, "golden/"+name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			var want struct {
				NLL       float64 `json:"mean_nll_per_token"`
				Tokens    int     `json:"predicted_tokens"`
				Bits      float64 `json:"bits_per_byte"`
				Documents []struct {
					Tokens int     `json:"tokens_used"` // the start token is one of them
					NLL    float64 `json:"nll_per_token"`
				}
			}
			if err := json.Unmarshal(text, &want); err != nil {
				t.Fatal(err)
			}
			var chosen []string
			for _, story := range strings.Split(string(stories), "<|endoftext|>") {
				if story = strings.TrimSpace(story); len(story) > 200 && len(chosen) < documents {
					chosen = append(chosen, story)
				}
			}
			dir := t.TempDir()
			file, lines := filepath.Join(dir, "stories.txt"), filepath.Join(dir, "lines.jsonl")
			if err := os.WriteFile(file, []byte(strings.Join(chosen, "<|endoftext|>")), 0o666); err != nil {
				t.Fatal(err)
			}
			if testing.Short() {
				documents = len(want.Documents)
			}
			have := evaluate(t, "--model", testutil.Shared(t, "models/"+name), "--data", file, "--separator", "<|endoftext|>",
				"--long-documents", "truncate", "--limit", fmt.Sprint(documents), "--per-example", lines)
			each := examples(t, lines)
			if len(each) != documents {
				t.Fatalf("have %d documents, want %d", len(each), documents)
			}
			for i, w := range want.Documents {
				if e := each[i]; e.Index != i || e.Tokens != w.Tokens-1 || !close64(e.NLL, w.NLL, 1e-5) {
					t.Errorf("document %d: have %+v, want %d tokens, nll %v", i, e, w.Tokens-1, w.NLL)
				}
			}
			if testing.Short() {
				return
			}
			if have["tokens"] != float64(want.Tokens) || !close64(have["nll"], want.NLL, 2e-6) || !close64(have["perplexity"], math.Exp(want.NLL), 2e-6) {
				t.Errorf("have %v tokens, nll %v, perplexity %v, want %d, %v", have["tokens"], have["nll"], have["perplexity"], want.Tokens, want.NLL)
			}
			// The golden file counts the bytes of the decoded text, we those of the source: the same where the tokenizer drops nothing.
			if name == "stories260k" && !close64(have["bits_per_byte"], want.Bits, 2e-6) {
				t.Errorf("bits per byte: have %v, want %v", have["bits_per_byte"], want.Bits)
			}
		})
	}
}

// TestEvaluateTrained wants eval on the written folder to give the figures of the run's last evaluation, which packs its rows and keeps its own weights.
func TestEvaluateTrained(t *testing.T) {
	dir := runFolder(t, 6)
	written := finished(t, dir, "--set", "data.eval=[{path: ids.jsonl, format: tokens}]", "--set", "data.sequence_length=24")
	lines := strings.Split(strings.TrimSpace(written["metrics.jsonl"]), "\n")
	var last struct {
		Step int
		Eval map[string]any
	}
	if err := json.Unmarshal([]byte(strings.Replace(lines[len(lines)-1], ",,", ",", 1)), &last); err != nil || last.Step != 6 {
		t.Fatalf("%v: %s", err, lines[len(lines)-1])
	}
	have := evaluate(t, "--model", filepath.Join(dir, "run", "model"), "--teacher", testutil.Testdata(t, "golden/distill/teacher"),
		"--data", filepath.Join(dir, "ids.jsonl"), "--format", "tokens", "--sequence-length", "24")
	delete(have, "tokens_per_second")
	if len(have) != len(last.Eval) || len(have) < 20 {
		t.Errorf("have %v, want %v", have, last.Eval)
	}
	for name, want := range last.Eval {
		switch w := want.(type) {
		case float64:
			if !close64(have[name], w, 1e-12) {
				t.Errorf("%s: have %v, want %v", name, have[name], w)
			}
		case map[string]any: // percentiles
			for q, w := range w {
				if x := have[name].(map[string]any)[q]; !close64(x, w.(float64), 1e-5) {
					t.Errorf("%s %s: have %v, want %v", name, q, x, w)
				}
			}
		default:
			if have[name] != want {
				t.Errorf("%s: have %v, want %v", name, have[name], want)
			}
		}
	}
}

// tokensFile writes documents of token ids; each token before the last `labels` ones has no label.
func tokensFile(t testing.TB, documents [][]int, labels int) string {
	t.Helper()
	var text bytes.Buffer
	for _, ids := range documents {
		wanted := make([]int, len(ids))
		for i := range wanted {
			if wanted[i] = ids[i]; labels > 0 && i < len(ids)-labels {
				wanted[i] = -100
			}
		}
		line, err := json.Marshal(map[string]any{"input_ids": ids, "labels": wanted})
		if err != nil {
			t.Fatal(err)
		}
		text.Write(append(line, '\n'))
	}
	path := filepath.Join(t.TempDir(), "ids.jsonl")
	if err := os.WriteFile(path, text.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestStride wants each token predicted once, from as many tokens before it as the stride leaves.
func TestStride(t *testing.T) {
	model := testutil.Testdata(t, "golden/distill/student")
	var whole []int
	for i := range 60 {
		whole = append(whole, 3+(i*i*7+i)%61)
	}
	const length = 10
	for _, stride := range []int{1, 4, 9} {
		have := evaluate(t, "--model", model, "--data", tokensFile(t, [][]int{whole}, 0), "--format", "tokens",
			"--sequence-length", fmt.Sprint(length), "--stride", fmt.Sprint(stride))
		// The same predictions as documents of their own.
		sum, tokens := 0.0, 0.0
		for start, done := 0, 1; done < len(whole); start += stride {
			end := min(start+length, len(whole))
			w := evaluate(t, "--model", model, "--format", "tokens", "--data", tokensFile(t, [][]int{whole[start:end]}, end-done))
			sum += w["nll"].(float64) * w["tokens"].(float64)
			tokens += w["tokens"].(float64)
			done = end
		}
		if tokens != float64(len(whole)-1) || have["tokens"] != tokens || !close64(have["nll"], sum/tokens, 1e-6) {
			t.Errorf("stride %d: have %v tokens, nll %v, want %v, %v", stride, have["tokens"], have["nll"], tokens, sum/tokens)
		}
	}
}

// TestPrefixToken wants the token in front of each document, whose first token is predicted then.
func TestPrefixToken(t *testing.T) {
	model := testutil.Testdata(t, "golden/distill/student")
	documents := [][]int{{5, 6, 7}, {8, 9}, {10}}
	var prefixed [][]int
	for _, d := range documents {
		prefixed = append(prefixed, append([]int{1}, d...))
	}
	file := tokensFile(t, documents, 0)
	have := evaluate(t, "--model", model, "--format", "tokens", "--data", file, "--prefix-token", "1")
	want := evaluate(t, "--model", model, "--format", "tokens", "--data", tokensFile(t, prefixed, 0))
	if have["tokens"] != 6.0 || have["nll"] != want["nll"] {
		t.Errorf("have %v tokens, nll %v, want 6, %v", have["tokens"], have["nll"], want["nll"])
	}
	if have := evaluate(t, "--model", model, "--format", "tokens", "--data", file, "--prefix-token", "none"); have["tokens"] != 3.0 || have["documents"] != 2.0 {
		t.Errorf("have %v tokens in %v documents, want 3 in 2", have["tokens"], have["documents"])
	}
}

// TestPerExample wants documents whose mean is the whole, and a file only when everything went well.
func TestPerExample(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "lines.jsonl")
	model := testutil.Testdata(t, "golden/distill/student")
	data := tokensFile(t, [][]int{{1, 5, 6, 7}, {1, 8, 9}, {1, 10}, {1, 11, 12, 13, 14}}, 0)
	have := evaluate(t, "--model", model, "--format", "tokens", "--data", data, "--limit", "3", "--per-example", file)
	sum, tokens := 0.0, 0
	for i, e := range examples(t, file) {
		if e.Index != i {
			t.Errorf("have index %d, want %d", e.Index, i)
		}
		sum, tokens = sum+e.NLL*float64(e.Tokens), tokens+e.Tokens
	}
	if tokens != 6 || have["tokens"] != 6.0 || have["documents"] != 3.0 || !close64(have["nll"], sum/6, 1e-12) {
		t.Errorf("have %v tokens in %v documents with nll %v; the lines have %d with %v", have["tokens"], have["documents"], have["nll"], tokens, sum/6)
	}
	broken := tokensFile(t, [][]int{{1, 99}}, 0)
	other := filepath.Join(dir, "other.jsonl")
	var out, stderr bytes.Buffer
	if code := Main([]string{"eval", "--model", model, "--format", "tokens", "--data", broken, "--per-example", other}, nil, &out, &stderr); code != exitFailed {
		t.Errorf("have exit code %d", code)
	}
	if _, err := os.Stat(other); !errors.Is(err, os.ErrNotExist) || out.Len() > 0 {
		t.Errorf("something was written: %v, %s", err, out.String())
	}
}

// TestEvaluateAgainstSeveral: two of the same teacher say what it says alone; another one beside it is heard.
func TestEvaluateAgainstSeveral(t *testing.T) {
	first, second := testutil.Testdata(t, "golden/distill/teacher"), testutil.Testdata(t, "golden/distill/student-wide")
	against := func(teachers ...string) map[string]any {
		args := []string{"--model", testutil.Testdata(t, "golden/distill/student"), "--data", tokensFile(t, [][]int{{5, 6, 7, 8, 9}, {10, 11, 12}}, 2), "--format", "tokens"}
		for _, dir := range teachers {
			args = append(args, "--teacher", dir)
		}
		return evaluate(t, args...)
	}
	one, twice, both, other := against(first), against(first, first), against(first, second), against(second)
	for _, name := range []string{"kl", "teacher_nll", "acceptance"} {
		if !close64(twice[name], one[name].(float64), 1e-6) {
			t.Errorf("%s: have %v with the same teacher twice, want %v", name, twice[name], one[name])
		}
		if x := both[name].(float64); close64(x, one[name].(float64), 1e-3) || close64(x, other[name].(float64), 1e-3) {
			t.Errorf("%s: have %v with two teachers, %v and %v with each", name, x, one[name], other[name])
		}
	}
}
