package generate

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"kdistill/internal/model"
	"kdistill/internal/testutil"
)

// requests are n of different lengths and options.
func requests(info model.Info, n int) []Request {
	random := rand.New(rand.NewPCG(4, uint64(n)))
	list := make([]Request, n)
	for i := range list {
		prompt := make([]int32, 1+random.IntN(min(40, info.Positions/2)))
		for j := range prompt {
			prompt[j] = int32(random.IntN(info.Vocab))
		}
		list[i] = Request{Prompt: prompt, Options: Options{MaxTokens: 1 + random.IntN(30), Seed: uint64(i)}}
		switch i % 4 {
		case 1:
			list[i].Temperature, list[i].TopK = 1.5, 20
		case 2:
			list[i].Temperature, list[i].TopP, list[i].RepetitionPenalty = 1, 0.9, 1.3
		case 3:
			list[i].Temperature, list[i].MinP, list[i].TopLogprobs = 2, 0.01, 3
		}
	}
	return list
}

// together makes all requests at the same time.
func together(t *testing.T, e *Engine, list []Request) []Result {
	t.Helper()
	results := make([]Result, len(list))
	var wait sync.WaitGroup
	for i, r := range list {
		wait.Go(func() {
			var err error
			if results[i], err = e.Generate(context.Background(), r); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	return results
}

// TestBatch: each of many requests gets, among the others, the bits that it gets alone; log-probabilities show those of the logits.
func TestBatch(t *testing.T) {
	dirs, err := filepath.Glob(testutil.Testdata(t, "golden/models/*"))
	if err != nil || len(dirs) == 0 {
		t.Fatal("no golden models", err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			one, p := open(t, dir, 1)
			info := p.Model.Info()
			if info.Task != model.Causal {
				t.Skip("it does not generate")
			}
			list := requests(info, 12)
			want := make([]Result, len(list))
			for i, r := range list {
				want[i] = generate(t, one, r)
			}
			for _, rows := range []int{5, 16} {
				many, _ := open(t, dir, rows)
				many.block = 8 * rows
				for i, have := range together(t, many, list) {
					if !reflect.DeepEqual(have, want[i]) {
						t.Errorf("%d rows, request %d of %d ids: have %v, want %v", rows, i, len(list[i].Prompt), have, want[i])
					}
				}
			}
		})
	}
}

// TestCacheBytes: requests wait for memory, and one that cannot have enough is told so.
func TestCacheBytes(t *testing.T) {
	e, p := open(t, testutil.Testdata(t, "golden/models/qwen2"), 8)
	list := requests(p.Model.Info(), 12)
	want := together(t, e, list)
	small, _ := open(t, testutil.Testdata(t, "golden/models/qwen2"), 8)
	longest := 0
	for _, r := range list {
		longest = max(longest, len(r.Prompt)+r.MaxTokens-1)
	}
	small.CacheBytes = longest * e.cache.SlotBytes()
	for i, have := range together(t, small, list) {
		if !reflect.DeepEqual(have, want[i]) {
			t.Errorf("request %d: have %v, want %v", i, have, want[i])
		}
	}
	_, err := small.Generate(context.Background(), Request{Prompt: make([]int32, longest), Options: Options{MaxTokens: 2}})
	if err == nil || !strings.Contains(err.Error(), "ask for fewer tokens") {
		t.Errorf("have error %v", err)
	}
	taken := 0
	for row := range small.rows {
		taken += small.cache.Slots(row)
	}
	if have := taken * e.cache.SlotBytes(); have > small.CacheBytes {
		t.Errorf("the cache has %d bytes, want at most %d", have, small.CacheBytes)
	}
}

// TestErrors: an error is its request's alone, and Close ends those under way.
func TestErrors(t *testing.T) {
	e, p := open(t, testutil.Testdata(t, "golden/models/qwen2"), 4)
	list := requests(p.Model.Info(), 9)
	want := together(t, e, list)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wait sync.WaitGroup
	for i := range 20 {
		n := 0
		r := Request{Prompt: []int32{1}, Options: Options{MaxTokens: 60}, Emit: func(int32, string) error {
			if n++; n == 5 && i == 10 {
				cancel()
			}
			return nil
		}}
		wait.Go(func() {
			if r, err := e.Generate(ctx, r); err == nil && len(r.IDs) < 60 || err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("have %v, %v", r, err)
			}
		})
	}
	for i, have := range together(t, e, list) {
		if !reflect.DeepEqual(have, want[i]) {
			t.Errorf("request %d: have %v, want %v", i, have, want[i])
		}
	}
	wait.Wait()

	began := make(chan struct{}, 100)
	for range 10 {
		r := Request{Prompt: []int32{1}, Options: Options{MaxTokens: 60}, Emit: func(int32, string) error { began <- struct{}{}; return nil }}
		wait.Go(func() {
			for {
				if _, err := e.Generate(context.Background(), r); err == errClosed {
					return
				} else if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 50 {
		<-began
	}
	go func() {
		for range began {
		}
	}()
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	wait.Wait()
	close(began)
}

// TestLogprobs: they are the logarithms of a distribution, whatever the temperature and the penalty.
func TestLogprobs(t *testing.T) {
	e, p := open(t, testutil.Testdata(t, "golden/models/gpt2"), 2)
	vocab := p.Model.Info().Vocab
	r := generate(t, e, Request{Prompt: []int32{3, 1}, Options: Options{MaxTokens: 12, Temperature: 3, RepetitionPenalty: 2, Seed: 5}, TopLogprobs: vocab})
	plain := generate(t, e, Request{Prompt: []int32{3, 1}, Options: Options{MaxTokens: 1}, TopLogprobs: 4})
	if !slices.Equal(plain.Top[0], r.Top[0][:4]) {
		t.Errorf("have %v, want %v", plain.Top[0], r.Top[0][:4])
	}
	if plain.IDs[0] != plain.Top[0][0].ID || plain.Logprobs[0] != plain.Top[0][0].Logprob {
		t.Errorf("greedy: have %v, want the first of %v", plain, plain.Top[0])
	}
	for i, top := range r.Top {
		sum := 0.0
		for k, c := range top {
			sum += math.Exp(float64(c.Logprob))
			if k > 0 && c.Logprob > top[k-1].Logprob {
				t.Errorf("id %d: choices don't fall at %d", i, k)
			}
			if c.ID == r.IDs[i] && c.Logprob != r.Logprobs[i] {
				t.Errorf("id %d: have log-probability %v, want %v", i, r.Logprobs[i], c.Logprob)
			}
		}
		if math.Abs(sum-1) > 1e-5 {
			t.Errorf("id %d: probabilities add up to %v", i, sum)
		}
	}
}

// TestStopStrings cuts a real text at strings that begin and end within tokens, and never gives out what is cut off.
func TestStopStrings(t *testing.T) {
	e, p := open(t, testutil.Shared(t, "models/stories260k"), 4)
	prompt, err := p.Tokenizer.Encode("Once upon a time", true)
	if err != nil {
		t.Fatal(err)
	}
	options := Options{MaxTokens: 60}
	whole := generate(t, e, Request{Prompt: prompt.IDs, Options: options})
	if !strings.HasPrefix(whole.Text, ", there was a little girl named Lily. She loved to play") || whole.Finish != Length {
		t.Fatalf("have %q, %s", whole.Text, whole.Finish)
	}
	for _, stops := range [][]string{{"ittle g"}, {"Lily. S"}, {"zebra", "play", "to p"}, {","}, {"Lily. She never", "park"}, {"no such text"}, {"was", "s a"}, {"s a", "as"}} {
		cut, finish := len(whole.Text), Length
		for _, stop := range stops {
			if i := strings.Index(whole.Text, stop); i >= 0 && i < cut {
				cut, finish = i, Stop
			}
		}
		var emitted strings.Builder
		r := generate(t, e, Request{Prompt: prompt.IDs, Options: options, StopStrings: stops, Emit: func(_ int32, text string) error {
			emitted.WriteString(text)
			return nil
		}})
		if r.Text != whole.Text[:cut] || r.Finish != finish || emitted.String() != r.Text {
			t.Errorf("%q: have %q, %s, emitted %q; want %q, %s", stops, r.Text, r.Finish, &emitted, whole.Text[:cut], finish)
		}
		if !slices.Equal(r.IDs, whole.IDs[:len(r.IDs)]) || finish == Stop && len(r.IDs) == len(whole.IDs) {
			t.Errorf("%q: have %d ids", stops, len(r.IDs))
		}
	}
	for _, stops := range [][]string{{""}, {"x", ""}} {
		if _, err := e.Generate(context.Background(), Request{Prompt: prompt.IDs, Options: options, StopStrings: stops}); err == nil {
			t.Errorf("%q: have no error", stops)
		}
	}
	if _, err := qwen2(t).Generate(context.Background(), Request{Prompt: []int32{1}, Options: options, StopStrings: []string{"x"}}); err == nil || !strings.Contains(err.Error(), "no tokenizer") {
		t.Errorf("without a tokenizer: have %v", err)
	}
}
