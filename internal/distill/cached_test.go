package distill

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/config"
	"kdistill/internal/report"
)

// cachedRun writes the configuration's cache and returns one that trains from it alone.
func cachedRun(t testing.TB, c *config.Config) *config.Config {
	t.Helper()
	cache(t, c)
	cached := *c
	cached.Loss, cached.Data.Train = slices.Clone(c.Loss), slices.Clone(c.Data.Train)
	cached.Teacher.Path, cached.Teacher.Cache = "", c.Cache.Dir
	cached.Output.Dir = filepath.Join(t.TempDir(), "run")
	return &cached
}

// TestCachedIsLive: with every logit kept in float32 a run learns from the cache what it learns from the live teacher, to the last bit: whatever the order,
// packing and micro-batches. The loss may be any that compares logits.
func TestCachedIsLive(t *testing.T) {
	for name, change := range map[string]func(*config.Config){
		"as it is":      func(*config.Config) {},
		"one at a time": func(c *config.Config) { c.Data.Packing, c.Train.MicroBatchSize = false, 1 },
		"every token":   func(c *config.Config) { c.Loss[0].Positions = "attended" },
		"truncated":     func(c *config.Config) { c.Data.SequenceLength, c.Data.LongDocuments = 16, "truncate" },
		"logits": func(c *config.Config) {
			c.Loss = append(only("logit_mse"), term("adaptive_kl"), term("total_variation"))
		},
		"stages": func(c *config.Config) {
			c.Stages = []config.Stage{
				{Name: "a", Loss: only("cross_entropy"), Steps: 2, LR: 0.01, Schedule: c.Train.Schedule},
				{Name: "b", Loss: append(c.Loss, term("reverse_kl")), Steps: 4, LR: 0.02, Schedule: c.Train.Schedule},
			}
			c.Loss, c.Train.Steps = nil, 0
		},
		"larger student's": func(c *config.Config) { c.Student.Path = widerStudent(t) },
		"smaller student's": func(c *config.Config) {
			c.Teacher.Path = modelFolder(t, "teacher", func(c map[string]any) { c["vocab_size"] = 70 }, func(name string, shape []int, values []float32) ([]int, []float32) {
				if strings.Contains(name, "embed_tokens") || strings.Contains(name, "lm_head") {
					return []int{70, shape[1]}, append(values, make([]float32, 6*shape[1])...)
				}
				return shape, values
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := cacheConfig(t)
			c.Cache.TopK, c.Cache.Bits = config.AllIDs, 32
			change(c)
			if name == "logits" {
				c.Train.Optimizer.LR = 1e-3
			}
			want := train(t, c, Options{})
			cached := cachedRun(t, c)
			have := train(t, cached, Options{})
			if len(have) != len(want) {
				t.Fatalf("have %d steps, want %d", len(have), len(want))
			}
			for i := range want {
				if have[i].Loss != want[i].Loss || have[i].GradNorm != want[i].GradNorm {
					t.Fatalf("step %d: have loss %v, norm %v, live %v, %v", i+1, have[i].Loss, have[i].GradNorm, want[i].Loss, want[i].GradNorm)
				}
			}
			if have[0].TeacherTail != nil {
				t.Error("a tail is told, where all ids are kept")
			}
			weights := func(c *config.Config) []byte {
				return read(t, filepath.Join(c.Output.Dir, "model", "model.safetensors"))
			}
			if !bytes.Equal(weights(cached), weights(c)) {
				t.Error("the models differ")
			}
		})
	}
}

// widerStudent has six ids more than its tokenizer.
func widerStudent(t testing.TB) string {
	return modelFolder(t, "student", func(c map[string]any) { c["vocab_size"] = 70 }, func(name string, shape []int, values []float32) ([]int, []float32) {
		if strings.Contains(name, "embed_tokens") || strings.Contains(name, "lm_head") {
			return []int{70, shape[1]}, append(values, make([]float32, 6*shape[1])...)
		}
		return shape, values
	})
}

// TestCachedEncoders: what a classifier or a regression says of each document is kept and learnt from as well, to the last bit; what a masked language
// model would say hangs on what is masked, and is refused.
func TestCachedEncoders(t *testing.T) {
	for _, task := range []string{"classes", "number"} {
		c := encoderTextConfig(t, task)
		c.Cache = config.Cache{Dir: filepath.Join(t.TempDir(), "cache"), TopK: config.AllIDs, Bits: 32}
		want := train(t, c, Options{})
		cached := cachedRun(t, c)
		have := train(t, cached, Options{})
		if len(have) != len(want) {
			t.Fatalf("%s: have %d steps, want %d", task, len(have), len(want))
		}
		for i := range want {
			if have[i].Loss != want[i].Loss || have[i].GradNorm != want[i].GradNorm {
				t.Fatalf("%s, step %d: have loss %v, norm %v, live %v, %v", task, i+1, have[i].Loss, have[i].GradNorm, want[i].Loss, want[i].GradNorm)
			}
		}
		if task == "number" {
			continue
		}
		c.Cache = config.Cache{Dir: filepath.Join(t.TempDir(), "cache"), TopK: 64, Bits: 16} // more than there are classes
		have = train(t, cachedRun(t, c), Options{})
		for i := range want {
			if !near(have[i].Loss, want[i].Loss, 1e-3) {
				t.Errorf("16 bits, step %d: have loss %v, live %v", i+1, have[i].Loss, want[i].Loss)
			}
		}
	}
	masked := encoderTextConfig(t, "masked")
	masked.Cache = config.Cache{Dir: filepath.Join(t.TempDir(), "cache"), TopK: 8, Bits: 16}
	cacheRefused(t, masked, "the teacher fills in masked tokens", "anew in each epoch")
}

// TestCachedByContent trains from one cache in another order, packing, cut of the data, number of epochs, and from a part of the documents; the losses are
// those of the live teacher.
func TestCachedByContent(t *testing.T) {
	c := cacheConfig(t)
	c.Cache.TopK, c.Cache.Bits = config.AllIDs, 32
	cached := cachedRun(t, c)
	text := string(read(t, c.Data.Train[0].Path))
	documents := strings.Split(text, "\n<|endoftext|>\n")
	slices.Reverse(documents)
	part := filepath.Join(t.TempDir(), "part.txt")
	write(t, part, []byte(strings.Join(documents[5:30], "\n<|endoftext|>\n")))
	for name, change := range map[string]func(*config.Config){
		"another order":   func(c *config.Config) { c.Train.Seed = 5 },
		"none":            func(c *config.Config) { c.Data.Shuffle = false },
		"no packing":      func(c *config.Config) { c.Data.Packing = false },
		"three epochs":    func(c *config.Config) { c.Train.Steps, c.Train.Epochs = 0, 3 },
		"some documents":  func(c *config.Config) { c.Data.Train = textFile(part) },
		"another student": func(c *config.Config) { c.Student.Path = widerStudent(t) },
	} {
		live := *c
		change(&live)
		live.Output.Dir = filepath.Join(t.TempDir(), "run")
		from := *cached
		change(&from)
		from.Output.Dir = filepath.Join(t.TempDir(), "run")
		want, have := train(t, &live, Options{}), train(t, &from, Options{})
		for i := range want {
			if math.Abs(have[i].Loss-want[i].Loss) > 1e-6*want[i].Loss {
				t.Errorf("%s, step %d: have loss %v, live %v", name, i+1, have[i].Loss, want[i].Loss)
			}
		}
	}
}

// TestCachedInPart trains from every other kind of cache: the loss is near the live one, as near as what is kept allows; the tails are told.
func TestCachedInPart(t *testing.T) {
	c := cacheConfig(t)
	c.Loss = only("forward_kl")
	want := train(t, c, Options{})
	for _, x := range []struct {
		name      string
		cache     config.Cache
		tail      string
		tolerance float64 // of the loss, relative
	}{
		{"all but one id", config.Cache{TopK: 63, Bits: 32}, "", 1e-5},
		{"all ids in 16 bits", config.Cache{TopK: config.AllIDs, Bits: 16}, "", 1e-3},
		{"32 ids", config.Cache{TopK: 32, Bits: 16}, "", 0.05},
		{"32 ids in 8 bits", config.Cache{TopK: 32, Bits: 8}, "raw", 0.25},
		{"8 ids", config.Cache{TopK: 8, Bits: 16}, "teacher_renormalized", 1},
		{"8 ids, renormalized", config.Cache{TopK: 8, Bits: 16}, "both_renormalized", 1},
		{"draws", config.Cache{Samples: 64}, "", 0.05},
	} {
		k := *c
		k.Cache = x.cache
		k.Cache.Dir = filepath.Join(t.TempDir(), "cache")
		k.Loss = slices.Clone(c.Loss)
		k.Loss[0].Tail = x.tail
		have := train(t, cachedRun(t, &k), Options{})
		for i := range want {
			h, w := have[i], want[i]
			if math.Abs(h.Loss-w.Loss) > x.tolerance*w.Loss {
				t.Errorf("%s, step %d: have loss %v, live %v", x.name, i+1, h.Loss, w.Loss)
			}
			if x.cache.TopK == config.AllIDs {
				continue
			}
			if h.TeacherTail == nil || h.StudentTail == nil || *h.StudentTail <= 0 || *h.StudentTail >= 1 {
				t.Fatalf("%s: have no tails in %+v", x.name, h)
			}
			if draws := x.cache.Samples > 0; draws != (*h.TeacherTail == 0) || *h.TeacherTail < 0 || *h.TeacherTail >= 1 {
				t.Errorf("%s: the teacher's tail is %v", x.name, *h.TeacherTail)
			}
		}
	}
}

// TestCachedResumes stops a run from a cache and goes on; another cache is refused.
func TestCachedResumes(t *testing.T) {
	c := cachedRun(t, cacheConfig(t))
	train(t, c, Options{})
	want := outcomeOf(t, c.Output.Dir)
	c.Output.Dir = filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := Train(ctx, c, Options{Log: writer(func(line string) {
		if strings.HasPrefix(line, "step 7/12  loss") {
			cancel()
		}
	})}); err == nil {
		t.Fatal("it was not stopped")
	}
	other := cacheConfig(t)
	other.Cache.TopK = 6
	changed := *c
	changed.Teacher.Cache = cachedRun(t, other).Teacher.Cache
	refused(t, &changed, Options{Resume: true}, "the teacher's files are not those")
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(c.Teacher.Cache, moved); err != nil {
		t.Fatal(err)
	}
	c.Teacher.Cache = moved
	train(t, c, Options{Resume: true})
	same(t, outcomeOf(t, c.Output.Dir), want)
}

// TestCachedWithPath makes the student from the teacher, whose weights are else not needed.
func TestCachedWithPath(t *testing.T) {
	c := cacheConfig(t)
	c.Student.Path, c.Student.Init, c.Student.Config = "", "random", map[string]any{"num_hidden_layers": 1}
	cached := cachedRun(t, c)
	cached.Teacher.Path = c.Teacher.Path
	said := trainSaying(t, cached, Options{})
	mentions(t, said, "in the cache", "the 5 likeliest of 64 ids, 16 bits, temperature 2")
	if strings.Contains(said, "kl ") && strings.Contains(said, "top1_agreement") {
		t.Error("it was compared with a live teacher")
	}
	mentions(t, string(read(t, filepath.Join(cached.Output.Dir, "model", "README.md"))), "kept on disk: the 5 likeliest")
	var first report.Step
	for line := range strings.Lines(string(read(t, filepath.Join(cached.Output.Dir, "metrics.jsonl")))) {
		if !strings.Contains(line, `"eval"`) {
			if err := json.Unmarshal([]byte(line), &first); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if first.TeacherTail == nil {
		t.Error("metrics.jsonl has no tail")
	}
}

// TestCachedSays another temperature, and a larger vocabulary.
func TestCachedSays(t *testing.T) {
	c := cachedRun(t, cacheConfig(t))
	c.Loss[0].Temperature, c.Student.Path = 3, widerStudent(t)
	mentions(t, trainSaying(t, c, Options{}), "loss forward_kl has temperature 3, the cache 2", "equally likely", "the student's 70")
}

// TestCachedRefuses wants a sentence before the first step for everything that does not fit.
func TestCachedRefuses(t *testing.T) {
	whole := cacheConfig(t)
	good := cachedRun(t, whole)
	rows := filepath.Join(good.Teacher.Cache, "rows-00000.bin")
	bytes := read(t, rows)
	copied := func(change func(dir string)) func(*config.Config) {
		return func(c *config.Config) {
			dir := filepath.Join(t.TempDir(), "cache")
			if err := os.CopyFS(dir, os.DirFS(good.Teacher.Cache)); err != nil {
				t.Fatal(err)
			}
			change(dir)
			c.Teacher.Cache = dir
		}
	}
	for name, x := range map[string]struct {
		change func(*config.Config)
		want   []string
	}{
		"no cache": {func(c *config.Config) { c.Teacher.Cache = t.TempDir() }, []string{"teacher.cache", "kdistill cache has written"}},
		"a flipped bit": {copied(func(dir string) {
			changed := slices.Clone(bytes)
			changed[len(changed)/2] ^= 4
			write(t, filepath.Join(dir, "rows-00000.bin"), changed)
		}), []string{"teacher.cache", "rows-00000.bin is damaged or unfinished", "CRC-32C", "run kdistill cache"}},
		"a torn file":      {copied(func(dir string) { write(t, filepath.Join(dir, "rows-00000.bin"), bytes[:len(bytes)-5]) }), []string{"damaged or unfinished"}},
		"another document": {func(c *config.Config) { c.Data.Train = textFile(sentences(t, 3, 99)) }, []string{"lacks 3 of 3 sequences", "sentences.txt, document 1", "has not seen it", "kdistill cache"}},
		"another cut":      {func(c *config.Config) { c.Data.SequenceLength = 12 }, []string{"lacks", "saw it cut otherwise"}},
		"other positions":  {func(c *config.Config) { c.Loss[0].Positions = "attended" }, []string{"lacks", "not every position"}},
		"another teacher":  {func(c *config.Config) { c.Teacher.Path = c.Student.Path }, []string{"written with another teacher"}},
		"another tokenizer": {func(c *config.Config) {
			c.Student.Path = modelFolder(t, "student", nil, nil)
			words := tokenizerWords()
			words[20], words[21] = words[21], words[20]
			writeTokenizer(t, c.Student.Path, words)
		}, []string{"another tokenizer"}},
		"logits":   {func(c *config.Config) { c.Loss = only("logit_mse") }, []string{"logit_mse", "whole row", "compares logits"}},
		"ranks":    {func(c *config.Config) { c.Loss = only("adaptive_kl") }, []string{"adaptive_kl", "ranks"}},
		"features": {func(c *config.Config) { c.Loss = only("hidden_mse"); c.Loss[0].Positions = "" }, []string{"hidden_mse", "the cache keeps logits only"}},
		"features of a later stage": {func(c *config.Config) {
			hidden := only("hidden_mse")
			hidden[0].Positions = ""
			c.Stages = []config.Stage{{Name: "a", Loss: c.Loss, Steps: 1, Schedule: c.Train.Schedule}, {Name: "b", Loss: hidden, Steps: 1, Schedule: c.Train.Schedule}}
			c.Loss, c.Train.Steps = nil, 0
		}, []string{"hidden_mse", "the cache keeps logits only"}},
		"infinite":           {func(c *config.Config) { c.Loss = only("reverse_kl"); c.Loss[0].Tail = "teacher_renormalized" }, []string{"reverse_kl", "infinite"}},
		"compared with none": {func(c *config.Config) { c.Train.BestMetric = "kl" }, []string{"train.best_metric", "live teacher"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := *good
			c.Loss, c.Output.Dir = slices.Clone(good.Loss), filepath.Join(t.TempDir(), "run")
			x.change(&c)
			err := trainError(t, &c, Options{})
			mentions(t, err.Error(), x.want...)
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("have several lines: %s", err)
			}
			if exists(c.Output.Dir) {
				t.Error("output.dir was written")
			}
		})
	}
}

// TestCachedDryRun and the bench go without a live teacher.
func TestCachedDryRun(t *testing.T) {
	c := cachedRun(t, cacheConfig(t))
	var table bytes.Buffer
	if err := DryRun(context.Background(), c, Options{Log: io.Discard, Out: &table}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(table.String(), "the teacher's layers") {
		t.Errorf("have %s", table.String())
	}
	b, err := NewBench(context.Background(), c, Options{Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Step(context.Background()); err != nil {
		t.Fatal(err)
	}
}
