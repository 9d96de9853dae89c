package generate

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/checkpoint"
	"kdistill/internal/model"
	"kdistill/internal/testutil"
)

// open returns an engine of so many rows over a model folder.
func open(t *testing.T, dir string, rows int) (*Engine, *checkpoint.Pretrained) {
	t.Helper()
	p, err := checkpoint.OpenModel(dir)
	if err != nil {
		t.Fatal(err)
	}
	weights, err := checkpoint.ReadFrozen(p, p.Model, checkpoint.Auto)
	if err != nil {
		t.Fatal(err)
	}
	e := NewEngine(p.Model, weights, p.Tokenizer, rows)
	t.Cleanup(func() {
		if err := errors.Join(e.Close(), p.Close()); err != nil {
			t.Error(err)
		}
	})
	return e, p
}

func qwen2(t *testing.T) *Engine {
	e, _ := open(t, testutil.Testdata(t, "golden/models/qwen2"), 1)
	return e
}

func generate(t *testing.T, e *Engine, r Request) Result {
	t.Helper()
	result, err := e.Generate(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func ids(t *testing.T, e *Engine, prompt []int32, o Options) []int32 {
	t.Helper()
	return generate(t, e, Request{Prompt: prompt, Options: o}).IDs
}

// expected reads the greedy cases that transformers made.
func expected(t *testing.T, path string) []greedyCase {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Greedy struct{ Cases []greedyCase } }
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Greedy.Cases) == 0 {
		t.Fatalf("no greedy cases in %s", path)
	}
	return doc.Greedy.Cases
}

type greedyCase struct {
	Prompt []int32 `json:"prompt_ids"`
	New    []int32 `json:"new_ids"`
}

// TestGreedy compares with transformers: each prompt in one block and in small ones, and again with what is compiled.
func TestGreedy(t *testing.T) {
	dirs, err := filepath.Glob(testutil.Testdata(t, "golden/models/*"))
	if err != nil || len(dirs) == 0 {
		t.Fatal("no golden models", err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			e, p := open(t, dir, 1)
			if info := p.Model.Info(); info.Task != model.Causal {
				_, err := e.Generate(context.Background(), Request{Prompt: []int32{1}, Options: Options{MaxTokens: 1}})
				if want := info.Class + " predicts no next tokens"; err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("have error %v, want %s", err, want)
				}
				return
			}
			for _, block := range []int{256, 3, 3} {
				e.block = block
				for _, c := range expected(t, filepath.Join(dir, "expected.json")) {
					if have := ids(t, e, c.Prompt, Options{MaxTokens: len(c.New)}); !slices.Equal(have, c.New) {
						t.Errorf("blocks of %d: have %v, want %v", block, have, c.New)
					}
				}
			}
		})
	}
}

// TestStories continues prompts of a real model through several blocks.
func TestStories(t *testing.T) {
	cases := expected(t, testutil.Shared(t, "golden/stories260k.json"))
	e, _ := open(t, testutil.Shared(t, "models/stories260k"), 1)
	for _, c := range cases {
		if have := ids(t, e, c.Prompt, Options{MaxTokens: len(c.New)}); !slices.Equal(have, c.New) {
			t.Errorf("prompt %v: have %v, want %v", c.Prompt, have, c.New)
		}
	}
	whole := ids(t, e, []int32{1}, Options{MaxTokens: 400})
	if again := ids(t, e, append([]int32{1}, whole[:300]...), Options{MaxTokens: 100}); !slices.Equal(again, whole[300:]) {
		t.Errorf("a prompt of 301 ids: have %v, want %v", again, whole[300:])
	}
}

// TestPositions fills a model's positions to the last one.
func TestPositions(t *testing.T) {
	e := qwen2(t)
	n := e.model.Info().Positions
	for _, c := range []struct{ prompt, max, want int }{{1, 1 << 40, n}, {n, 5, 1}, {n - 1, 5, 2}, {n - 3, 2, 2}} {
		r, err := e.Generate(context.Background(), Request{Prompt: make([]int32, c.prompt), Options: Options{MaxTokens: c.max}})
		if err != nil || len(r.IDs) != c.want || r.Finish != Length {
			t.Errorf("prompt of %d, max %d: have %d ids, %s, %v; want %d, length", c.prompt, c.max, len(r.IDs), r.Finish, err, c.want)
		}
	}
}

func TestStop(t *testing.T) {
	e := qwen2(t)
	c := expected(t, testutil.Testdata(t, "golden/models/qwen2/expected.json"))[0]
	var emitted []int32
	r := generate(t, e, Request{Prompt: c.Prompt, Options: Options{MaxTokens: len(c.New), Stop: []int32{5, c.New[9]}},
		Emit: func(id int32, _ string) error { emitted = append(emitted, id); return nil }})
	if want := c.New[:10]; !slices.Equal(r.IDs, want) || r.Finish != Stop {
		t.Errorf("have %v, %s; want %v, stop", r.IDs, r.Finish, want)
	}
	if !slices.Equal(emitted, r.IDs) {
		t.Errorf("emitted %v, want %v", emitted, r.IDs)
	}
}

func TestRefused(t *testing.T) {
	e := qwen2(t)
	info := e.model.Info()
	one := Options{MaxTokens: 1}
	for _, c := range []struct {
		prompt  []int32
		options Options
		want    string
	}{
		{nil, one, "no tokens"},
		{make([]int32, info.Positions+1), one, "positions"},
		{[]int32{1, int32(info.Vocab)}, one, "at index 1"},
		{[]int32{-1}, one, "id -1"},
		{[]int32{1}, Options{}, "max tokens"},
		{[]int32{1}, Options{MaxTokens: 1, Temperature: -1}, "temperature"},
		{[]int32{1}, Options{MaxTokens: 1, TopK: -1}, "top k"},
		{[]int32{1}, Options{MaxTokens: 1, TopP: 1.5}, "top p"},
		{[]int32{1}, Options{MaxTokens: 1, MinP: math.NaN()}, "min p"},
		{[]int32{1}, Options{MaxTokens: 1, RepetitionPenalty: -1}, "repetition penalty"},
	} {
		r, err := e.Generate(context.Background(), Request{Prompt: c.prompt, Options: c.options})
		if err == nil || !strings.Contains(err.Error(), c.want) || len(r.IDs) != 0 {
			t.Errorf("prompt of %d, %+v: have %v, %v; want an error with %q", len(c.prompt), c.options, r, err, c.want)
		}
	}
}

// TestInterrupted ends in the middle, keeps what there is, and leaves the engine usable.
func TestInterrupted(t *testing.T) {
	e := qwen2(t)
	c := expected(t, testutil.Testdata(t, "golden/models/qwen2/expected.json"))[0]
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	long := Request{Prompt: c.Prompt, Options: Options{MaxTokens: 1 << 30}}
	all := generate(t, e, long).IDs
	long.Emit = func(int32, string) error {
		if n++; n == 4 {
			cancel()
		}
		return nil
	}
	r, err := e.Generate(ctx, long)
	if have := len(r.IDs); have < 4 || have > len(all) || !slices.Equal(r.IDs, all[:have]) || have < len(all) && !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: have %v, %v", r.IDs, err)
	}
	broken := errors.New("broken pipe")
	long.Emit = func(int32, string) error { return broken }
	if r, err := e.Generate(context.Background(), long); err != broken || len(r.IDs) < 1 {
		t.Errorf("emit fails: have %v, %v", r, err)
	}
	if r, err := e.Generate(ctx, long); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: have %v, %v", r, err)
	}
	if have := ids(t, e, c.Prompt, Options{MaxTokens: 20}); !slices.Equal(have, c.New[:20]) {
		t.Errorf("afterwards: have %v, want %v", have, c.New[:20])
	}
}

func TestSeed(t *testing.T) {
	e := qwen2(t)
	sample := func(seed uint64) []int32 {
		return ids(t, e, []int32{7, 8}, Options{MaxTokens: 20, Temperature: 1.5, TopP: 0.95, Seed: seed})
	}
	a := sample(1)
	if b := sample(1); !slices.Equal(a, b) {
		t.Errorf("the same seed gives %v and %v", a, b)
	}
	if slices.Equal(a, sample(2)) {
		t.Errorf("seeds 1 and 2 both give %v", a)
	}
}

func TestStopIDs(t *testing.T) {
	for _, c := range []struct{ generation, config, want, err string }{
		{"", `{}`, "null", ""},
		{"", `{"eos_token_id": 2}`, "[2]", ""},
		{"", `{"eos_token_id": [2, 3]}`, "[2,3]", ""},
		{"", `{"eos_token_id": null}`, "null", ""},
		{`{"eos_token_id": [5, 6]}`, `{"eos_token_id": 2}`, "[5,6]", ""},
		{`{"eos_token_id": 0}`, `{"eos_token_id": 2}`, "[0]", ""},
		{`{"eos_token_id": null}`, `{"eos_token_id": 2}`, "[2]", ""},
		{`{"max_length": 9}`, `{"eos_token_id": 2}`, "[2]", ""},
		{`{"eos_token_id": "x"}`, `{"eos_token_id": 2}`, "", "generation_config.json: eos_token_id"},
		{`{`, `{"eos_token_id": 2}`, "", "generation_config.json"},
		{"", `{"eos_token_id": 1.5}`, "", "config.json: eos_token_id"},
	} {
		dir := t.TempDir()
		if c.generation != "" {
			if err := os.WriteFile(filepath.Join(dir, "generation_config.json"), []byte(c.generation), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		ids, err := StopIDs(dir, []byte(c.config))
		have, _ := json.Marshal(ids)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v: have error %v", c, err)
			}
		} else if err != nil || string(have) != c.want {
			t.Errorf("%+v: have %s, %v", c, have, err)
		}
	}
}
