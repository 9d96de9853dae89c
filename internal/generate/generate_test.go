package generate

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/checkpoint"
	"kdistill/internal/model"
	"kdistill/internal/testutil"
)

// open returns a generator over a model folder.
func open(t *testing.T, dir string) (*Generator, *checkpoint.Pretrained) {
	t.Helper()
	p, err := checkpoint.OpenModel(dir)
	if err != nil {
		t.Fatal(err)
	}
	weights, err := checkpoint.ReadFrozen(p, p.Model, checkpoint.Auto)
	if err != nil {
		t.Fatal(err)
	}
	g := New(p.Model, weights)
	t.Cleanup(func() {
		if err := errors.Join(g.Close(), p.Close()); err != nil {
			t.Error(err)
		}
	})
	return g, p
}

func qwen2(t *testing.T) *Generator {
	g, _ := open(t, testutil.Testdata(t, "golden/models/qwen2"))
	return g
}

func ids(t *testing.T, g *Generator, prompt []int32, o Options) []int32 {
	t.Helper()
	r, err := g.Generate(context.Background(), prompt, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r.IDs
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
			g, p := open(t, dir)
			if info := p.Model.Info(); info.Task != model.Causal {
				_, err := g.Generate(context.Background(), []int32{1}, Options{MaxTokens: 1}, nil)
				if want := info.Class + " predicts no next tokens"; err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("have error %v, want %s", err, want)
				}
				return
			}
			for _, block := range []int{256, 3, 3} {
				g.block = block
				for _, c := range expected(t, filepath.Join(dir, "expected.json")) {
					if have := ids(t, g, c.Prompt, Options{MaxTokens: len(c.New)}); !slices.Equal(have, c.New) {
						t.Errorf("blocks of %d: have %v, want %v", block, have, c.New)
					}
				}
			}
		})
	}
}

// TestStories continues prompts of a real model far enough to outgrow the first cache.
func TestStories(t *testing.T) {
	cases := expected(t, testutil.Shared(t, "golden/stories260k.json"))
	g, _ := open(t, testutil.Shared(t, "models/stories260k"))
	for _, c := range cases {
		if have := ids(t, g, c.Prompt, Options{MaxTokens: len(c.New)}); !slices.Equal(have, c.New) {
			t.Errorf("prompt %v: have %v, want %v", c.Prompt, have, c.New)
		}
	}
	whole := ids(t, g, []int32{1}, Options{MaxTokens: 400})
	if again := ids(t, g, append([]int32{1}, whole[:300]...), Options{MaxTokens: 100}); !slices.Equal(again, whole[300:]) {
		t.Errorf("a prompt of 301 ids: have %v, want %v", again, whole[300:])
	}
}

// TestPositions fills a model's positions to the last one.
func TestPositions(t *testing.T) {
	g := qwen2(t)
	n := g.model.Info().Positions
	for _, c := range []struct{ prompt, max, want int }{{1, 1 << 40, n}, {n, 5, 1}, {n - 1, 5, 2}, {n - 3, 2, 2}} {
		r, err := g.Generate(context.Background(), make([]int32, c.prompt), Options{MaxTokens: c.max}, nil)
		if err != nil || len(r.IDs) != c.want || r.Finish != Length {
			t.Errorf("prompt of %d, max %d: have %d ids, %s, %v; want %d, length", c.prompt, c.max, len(r.IDs), r.Finish, err, c.want)
		}
	}
}

func TestStop(t *testing.T) {
	g := qwen2(t)
	c := expected(t, testutil.Testdata(t, "golden/models/qwen2/expected.json"))[0]
	var emitted []int32
	emit := func(id int32) error { emitted = append(emitted, id); return nil }
	r, err := g.Generate(context.Background(), c.Prompt, Options{MaxTokens: len(c.New), Stop: []int32{5, c.New[9]}}, emit)
	if want := c.New[:10]; err != nil || !slices.Equal(r.IDs, want) || r.Finish != Stop {
		t.Errorf("have %v, %s, %v; want %v, stop", r.IDs, r.Finish, err, want)
	}
	if !slices.Equal(emitted, r.IDs) {
		t.Errorf("emitted %v, want %v", emitted, r.IDs)
	}
}

func TestRefused(t *testing.T) {
	g := qwen2(t)
	info := g.model.Info()
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
	} {
		r, err := g.Generate(context.Background(), c.prompt, c.options, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || len(r.IDs) != 0 {
			t.Errorf("prompt of %d, %+v: have %v, %v; want an error with %q", len(c.prompt), c.options, r, err, c.want)
		}
	}
}

// TestInterrupted ends in the middle, keeps what there is, and leaves the generator usable.
func TestInterrupted(t *testing.T) {
	g := qwen2(t)
	c := expected(t, testutil.Testdata(t, "golden/models/qwen2/expected.json"))[0]
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	r, err := g.Generate(ctx, c.Prompt, Options{MaxTokens: 20}, func(int32) error {
		if n++; n == 4 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || !slices.Equal(r.IDs, c.New[:4]) {
		t.Errorf("cancelled: have %v, %v", r.IDs, err)
	}
	broken := errors.New("broken pipe")
	if r, err := g.Generate(context.Background(), c.Prompt, Options{MaxTokens: 20}, func(int32) error { return broken }); err != broken || len(r.IDs) != 1 {
		t.Errorf("emit fails: have %v, %v", r, err)
	}
	if have := ids(t, g, c.Prompt, Options{MaxTokens: 20}); !slices.Equal(have, c.New[:20]) {
		t.Errorf("afterwards: have %v, want %v", have, c.New[:20])
	}
}

func TestSeed(t *testing.T) {
	g := qwen2(t)
	sample := func(seed uint64) []int32 {
		return ids(t, g, []int32{7, 8}, Options{MaxTokens: 20, Temperature: 1.5, TopP: 0.95, Seed: seed})
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
