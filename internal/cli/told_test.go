package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"kdistill/internal/testutil"
)

// TestToldChain learns from what a teacher told of its own answers, by the three commands that a user gives: a teacher here, which tells ids, and a server, which
// tells texts in the old form of completions. All answers but the few whose text the tokenizer cuts otherwise have rows of eight ids.
func TestToldChain(t *testing.T) {
	model := testutil.Shared(t, "models/stories260k")
	dir := t.TempDir()
	var prompts strings.Builder
	for _, name := range []string{"Ben", "Lily", "Tom", "Mia", "Sam", "Anna", "Max", "Sue", "Tim", "Amy"} {
		fmt.Fprintf(&prompts, `{"prompt": "Once upon a time, %s went to the park and"}`+"\n", name)
	}
	if err := os.WriteFile(filepath.Join(dir, "p.jsonl"), []byte(prompts.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		p, stdout, stderr := process(t, dir, args...)
		if err := p.Run(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, stderr)
		}
		return stdout.String() + stderr.String()
	}
	settings := "{style: complete, input: p.jsonl, output: %s, max_tokens: 40, temperature: 0.8, logprobs: 10, concurrency: 2}\n"
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("local.yaml", fmt.Sprintf("teacher: {path: %s}\nsynth: "+settings, model, "local.jsonl"))
	run("synth", "--config", "local.yaml")

	type told struct {
		Token   string
		Logprob float64
		Top     []told `json:"top_logprobs"`
	}
	answers := map[string]map[string]any{}
	text, err := os.ReadFile(filepath.Join(dir, "local.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		var a struct {
			Prompt, Completion string
			Finish             string `json:"finish_reason"`
			Logprobs           []told
		}
		if err := json.Unmarshal(line, &a); err != nil {
			t.Fatal(err)
		}
		var tokens []string
		var logprobs []float64
		var top []map[string]float64
		for _, x := range a.Logprobs {
			likely := map[string]float64{}
			for _, y := range x.Top {
				likely[y.Token] = y.Logprob
			}
			tokens, logprobs, top = append(tokens, x.Token), append(logprobs, x.Logprob), append(top, likely)
		}
		answers[a.Prompt] = map[string]any{"index": 0, "text": a.Completion, "finish_reason": a.Finish,
			"logprobs": map[string]any{"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": top}}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		var q struct{ Prompt string }
		reply := map[string]any{"data": []any{map[string]any{"id": "stories"}}}
		if r.Method == http.MethodPost && json.NewDecoder(r.Body).Decode(&q) == nil {
			reply = map[string]any{"choices": []any{answers[q.Prompt]}}
		}
		_ = json.NewEncoder(w).Encode(reply)
	}))
	defer server.Close()
	write("served.yaml", fmt.Sprintf("teacher: {url: %s/v1}\nsynth: "+settings, server.URL, "served.jsonl"))
	run("synth", "--config", "served.yaml")

	write("run.yaml", fmt.Sprintf(`student: {init: checkpoint, path: %s}
data: {train: [{path: none.jsonl, keep_truncated: true}], sequence_length: 128}
loss: [{name: forward_kl}]
train: {steps: 2, batch_size: 2}
output: {dir: out}
`, model))
	for _, from := range []string{"local", "served"} {
		said := run("cache", "--answers", "--config", "run.yaml", "--set", "data.train[0].path="+from+".jsonl", "--set", "cache.dir="+from, "--set", "cache.top_k=8")
		heard := regexp.MustCompile(`(\d+) answers have rows`).FindStringSubmatch(said)
		if heard == nil || !strings.Contains(said, "the 8 likeliest of 512 ids") {
			t.Fatalf("%s: have %s", from, said)
		}
		if n, err := strconv.Atoi(heard[1]); err != nil || n < 8 {
			t.Errorf("%s: only %d of 10 answers have rows: %s", from, n, said)
		}
		run("train", "--config", "run.yaml", "--set", "data.train[0].path="+filepath.Join(from, "answers.jsonl"), "--set", "teacher.cache="+from, "--set", "output.dir=run-"+from)
	}
}
