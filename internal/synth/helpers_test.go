package synth

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kdistill/internal/config"
)

// clock is time that passes when somebody sleeps.
type clock struct {
	mu    sync.Mutex
	at    time.Time
	slept []time.Duration
}

func newClock() *clock { return &clock{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
	c.slept = append(c.slept, d)
	return ctx.Err()
}

// server plays an OpenAI-compatible server with the model "tiny". Each request for an answer is given to the next of script, as long as there is one
// (nil: the ordinary answer).
type server struct {
	*httptest.Server
	n bool // gives as many answers as it is asked for

	mu       sync.Mutex
	script   []http.HandlerFunc
	requests []map[string]any // for answers, in their order
}

func newServer(t testing.TB, script ...http.HandlerFunc) *server {
	s := &server{n: true, script: script}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		answer200(w, `{"object":"list","data":[{"id":"tiny","object":"model"}]}`)
	})
	mux.HandleFunc("POST /v1/completions", s.serve)
	mux.HandleFunc("POST /v1/chat/completions", s.serve)
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func answer200(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, body)
}

// status answers with an error as OpenAI words it.
func status(code int, message string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		body, _ := json.Marshal(map[string]any{"error": map[string]any{"message": message, "type": "x", "param": nil, "code": nil}})
		w.Write(body)
	}
}

// body answers 200 with a text.
func body(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { answer200(w, text) }
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	var q map[string]any
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.requests = append(s.requests, q)
	var handle http.HandlerFunc
	if len(s.script) > 0 {
		handle, s.script = s.script[0], s.script[1:]
	}
	s.mu.Unlock()
	if handle == nil {
		s.answer(w, q)
		return
	}
	handle(w, r)
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.requests)
}

// answer writes what hangs on prompt and seed alone.
func (s *server) answer(w http.ResponseWriter, q map[string]any) {
	n := 1
	if s.n {
		n = int(q["n"].(float64))
	}
	var choices []map[string]any
	for i := range n {
		text := written(fmt.Sprint(q["prompt"], q["messages"]), int64(q["seed"].(float64)), i)
		c := map[string]any{"index": i, "finish_reason": "stop", "logprobs": nil}
		if q["messages"] != nil {
			c["message"] = map[string]any{"role": "assistant", "content": text}
		} else {
			c["text"] = text
		}
		if k, ok := q["logprobs"].(float64); ok && k > 0 {
			c["logprobs"] = map[string]any{"tokens": []string{text}, "token_logprobs": []float64{-float64(len(text))}, "top_logprobs": []any{map[string]float64{text: -1, "b": -2}}}
		}
		choices = append(choices, c)
	}
	b, _ := json.Marshal(map[string]any{"object": "text_completion", "model": "tiny", "choices": choices, "usage": map[string]int{"prompt_tokens": 3, "completion_tokens": 5 * n, "total_tokens": 3 + 5*n}})
	answer200(w, string(b))
}

// written is the text of a teacher: words that hang on the prompt, the seed and the number of the answer.
func written(prompt string, seed int64, i int) string {
	h := fnv.New64a()
	fmt.Fprint(h, prompt, seed, i)
	x := h.Sum64()
	var words []string
	for range 1 + x%7 {
		x = x*6364136223846793005 + 1442695040888963407
		words = append(words, []string{"the", "cat", "sat", "on", "a", "mat", "and", "slept"}[x>>61])
	}
	return " " + strings.Join(words, " ")
}

// configured writes input and configuration into a folder and loads it. values come after the section's own.
func configured(t testing.TB, dir, url, input, values string) *config.Config {
	t.Helper()
	write(t, filepath.Join(dir, "in.jsonl"), input)
	path := filepath.Join(dir, "synth.yaml")
	write(t, path, fmt.Sprintf("teacher: {url: %s/v1}\nsynth:\n  input: %s\n  output: %s\n%s", url, filepath.Join(dir, "in.jsonl"), filepath.Join(dir, "out.jsonl"), indent(values)))
	c, err := config.LoadSynth(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("  " + line)
	}
	return b.String()
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// prompts is an input of n records.
func prompts(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"prompt": "prompt %d"}`+"\n", i)
	}
	return b.String()
}

// attempt is one process: Make with a served teacher in a time of its own, in which nobody waits. Lines have no time.
func attempt(ctx context.Context, c *config.Config, log io.Writer, k *clock) (*Report, error) {
	if log == nil {
		log = io.Discard
	}
	return Make(ctx, c, Options{Log: log, now: func() time.Time { return time.Time{} }, Teacher: func(ctx context.Context, c *config.Config, notice func(string, ...any)) (Teacher, io.Closer, error) {
		s, err := NewServed(ctx, ServedOptions{URL: c.Teacher.URL, Model: c.Teacher.Model, KeyEnv: c.Teacher.KeyEnv, Timeout: time.Duration(c.Synth.Timeout * float64(time.Second)),
			Retries: c.Synth.Retries, Notice: notice, now: k.now, sleep: k.sleep})
		return s, closeNothing{}, err
	}})
}

// lines decodes JSON lines.
func lines[T any](t testing.TB, path string) (all []T) {
	t.Helper()
	for line := range strings.Lines(read(t, path)) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%s: %v: %s", path, err, line)
		}
		all = append(all, v)
	}
	return all
}
