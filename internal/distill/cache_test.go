package distill

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"kdistill/internal/config"
	"kdistill/internal/data"
	"kdistill/internal/signal"
	"kdistill/internal/teacher"
)

// cacheConfig is textConfig with a folder for a cache.
func cacheConfig(t testing.TB) *config.Config {
	t.Helper()
	c := textConfig(t)
	c.Train.BestMetric = "nll"
	c.Cache.Dir = filepath.Join(t.TempDir(), "cache")
	c.Cache.TopK = 5
	return c
}

// cache writes the configuration's cache.
func cache(t testing.TB, c *config.Config) *CacheResult {
	t.Helper()
	r, err := Cache(context.Background(), c, Options{Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func cacheRefused(t testing.TB, c *config.Config, words ...string) {
	t.Helper()
	if _, err := Cache(context.Background(), c, Options{Log: io.Discard}); err == nil {
		t.Errorf("nothing was refused, want %q", words)
	} else {
		mentions(t, err.Error(), words...)
	}
}

// TestCache wants a row for every position with a label, and for every token where a loss counts these; and nothing to do the second time.
func TestCache(t *testing.T) {
	c := cacheConfig(t)
	c.Data.SequenceLength = 16 // some documents are cut
	r := cache(t, c)
	unique, labels, tokens := map[string]bool{}, 0, 0
	text := strings.Split(string(read(t, c.Data.Train[0].Path)), "\n<|endoftext|>\n")
	for _, document := range text {
		for at := 0; at < len(document); at += 15 { // the tokenizer has one token for each character, and puts one in front
			piece := document[at:min(at+15, len(document))]
			if unique[piece] {
				continue
			}
			unique[piece] = true
			labels += len(piece)
			tokens += len(piece) + 1
		}
	}
	if have := r.Totals; have.Sequences != len(unique) || have.Rows != labels || have.Tokens != tokens || r.Rows != labels {
		t.Errorf("have %+v, want %d sequences, %d rows, %d tokens", have, len(unique), labels, tokens)
	}
	h := r.Header
	if h.Kind != signal.TopK || h.Count != 5 || h.Bits != 16 || h.Temperature != 2 || h.Vocabulary != 64 || h.Teacher.Type != "llama" || len(h.Teacher.Hash) != 64 || len(h.Tokenizer) != 64 {
		t.Errorf("have header %+v", h)
	}
	if again := cache(t, c); again.Rows != 0 || again.Totals.Rows != labels {
		t.Errorf("the second time: have %d new rows", again.Rows)
	}
	c.Loss[0].Positions = "attended"
	if more := cache(t, c); more.Rows != tokens {
		t.Errorf("every token: have %d new rows, want %d", more.Rows, tokens)
	}
	var table bytes.Buffer
	if err := r.Print(&table); err != nil {
		t.Fatal(err)
	}
	mentions(t, table.String(), "the 5 likeliest of 64 ids, 16 bits, temperature 2", "KL(teacher||kept)", "mass of ids not kept", "bytes a row")
}

// TestCacheIsTheTeachers compares rows with the teacher's logits of each document alone, whatever lay beside it when the cache was written.
func TestCacheIsTheTeachers(t *testing.T) {
	c := cacheConfig(t)
	c.Cache.TopK, c.Cache.Bits = config.AllIDs, 32
	cache(t, c)
	reader, err := signal.Open(context.Background(), c.Cache.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	r, err := prepare(context.Background(), c, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	source, err := r.once()
	if err != nil {
		t.Fatal(err)
	}
	course := course{speaker: speakerOf(r), length: c.Data.SequenceLength}
	defer course.speaker.Close()
	for {
		b, err := source.Next(1)
		if err != nil {
			break
		}
		logits := make([][]float32, len(b.Tokens))
		if err := course.speaker.Speak(context.Background(), b, func(int) bool { return true }, func(i int, z []float32) { logits[i] = append(logits[i], z...) }); err != nil {
			t.Fatal(err)
		}
		for _, u := range teacher.Utterances(b, false) {
			s, found, err := reader.Find(u.Key, u.Mask)
			if err != nil || !found {
				t.Fatalf("found %v, %v", found, err)
			}
			s.Rows(func(i int, row []byte) {
				have := make([]float32, 64)
				reader.DecodeAll(row, have)
				for id, want := range logits[u.From+i] {
					if math.Float32bits(have[id]) != math.Float32bits(want) {
						t.Fatalf("position %d, id %d: have %v, want %v", i, id, have[id], want)
					}
				}
			})
		}
	}
}

// TestCacheStopped stops the teacher at any time, over and over, and wants the files of a run that was never stopped.
func TestCacheStopped(t *testing.T) {
	c := cacheConfig(t)
	c.Cache.TopK, c.Cache.Samples, c.Cache.Bits = 0, 7, 0
	c.Loss = []config.Loss{term("forward_kl")}
	c.Data.Train = textFile(sentences(t, 400, 3))
	asked := newCountdown(1 << 40)
	if _, err := Cache(asked, c, Options{Log: io.Discard}); err != nil {
		t.Fatal(err)
	}
	want, ops := read(t, filepath.Join(c.Cache.Dir, "rows-00000.bin")), 1<<40-asked.left.Load()
	random, stopped := rand.New(rand.NewPCG(1, 0)), 0
	for range 4 {
		c.Cache.Dir = filepath.Join(t.TempDir(), "cache")
		for {
			_, err := Cache(newCountdown(random.Int64N(ops*3/2)), c, Options{Log: io.Discard})
			if err == nil {
				break
			}
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			stopped++
		}
		if have := read(t, filepath.Join(c.Cache.Dir, "rows-00000.bin")); !bytes.Equal(have, want) {
			t.Errorf("have %d bytes, want the same %d", len(have), len(want))
		}
	}
	if stopped < 2 {
		t.Errorf("only %d runs were stopped", stopped)
	}
}

// TestCourse wants sequences of any length one after the other, none across rows, and none twice.
func TestCourse(t *testing.T) {
	w, err := signal.Create(context.Background(), t.TempDir(), signal.Header{Kind: signal.All, Count: 9, Vocabulary: 9, Bits: 8, Temperature: 1})
	if err != nil {
		t.Fatal(err)
	}
	c := &course{w: w, length: 8}
	for _, tokens := range [][]int32{{1, 2, 3}, {4, 5, 6, 7}, {1, 2, 3}, {8, 8}, {1}, {2, 3, 4, 5, 6}, {7, 7, 7, 7, 7, 7, 7, 7}} {
		b := &data.Batch{B: 1, T: len(tokens), Tokens: tokens, Labels: tokens, Segments: make([]int32, len(tokens)), Positions: make([]int32, len(tokens))}
		for i := range tokens {
			b.Positions[i] = int32(i)
		}
		for _, u := range teacher.Utterances(b, false) {
			if err := c.add(context.Background(), b, u); err != nil {
				t.Fatal(err)
			}
		}
	}
	var have [][]int32
	c.batch.T = 8
	for from, to := range c.batch.Sequences() {
		if c.batch.Positions[from] != 0 || c.batch.Positions[to-1] != int32(to-from-1) {
			t.Errorf("positions %v", c.batch.Positions[from:to])
		}
		have = append(have, c.batch.Tokens[from:to])
	}
	if len(have) != 6 || len(c.batch.Tokens) != 24 || len(c.parts) != 6 {
		t.Errorf("have %v in %d tokens, want 6 sequences in three rows", have, len(c.batch.Tokens))
	}
}

func TestCacheRefuses(t *testing.T) {
	for want, change := range map[string]func(*config.Config){
		"cache.dir is missing":         func(c *config.Config) { c.Cache.Dir = "" },
		"teacher.path is missing":      func(c *config.Config) { c.Teacher.Path = "" },
		"compares logits":              func(c *config.Config) { c.Loss = only("logit_mse") },
		"what is inside of the models": func(c *config.Config) { c.Loss = only("hidden_mse"); c.Loss[0].Positions = "" },
		"not linear": func(c *config.Config) {
			c.Loss = only("reverse_kl")
			c.Cache.TopK, c.Cache.Samples, c.Cache.Bits = 0, 4, 0
		},
		"cache.temperature is missing":   func(c *config.Config) { c.Loss = append(c.Loss, term("reverse_kl")) },
		"all logits are kept, which fit": func(c *config.Config) { c.Cache.TopK, c.Cache.Temperature = config.AllIDs, 2 },
		"there is no tail":               func(c *config.Config) { c.Cache.TopK, c.Loss[0].Tail = config.AllIDs, "raw" },
	} {
		c := cacheConfig(t)
		change(c)
		cacheRefused(t, c, want)
	}
	c := cacheConfig(t)
	cache(t, c)
	c.Teacher.Path = modelFolder(t, "teacher", nil, func(name string, shape []int, values []float32) ([]int, []float32) {
		values[0]++
		return shape, values
	})
	cacheRefused(t, c, "was begun with other settings", "teacher's files")
}
