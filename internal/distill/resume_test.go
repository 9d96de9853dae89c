package distill

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"kdistill/internal/config"
)

// TestThreads wants the same bytes whatever the number of threads, and twice with the same number.
func TestThreads(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	c := textConfig(t)
	var first outcome
	for i, threads := range []int{1, 2, 3, 2} {
		runtime.GOMAXPROCS(threads)
		c.Output.Dir = filepath.Join(t.TempDir(), "run")
		train(t, c, Options{})
		if have := outcomeOf(t, c.Output.Dir); i == 0 {
			first = have
		} else {
			same(t, have, first)
		}
	}
}

// TestRecompute wants the same bytes from a backward pass that computes activations again, in less memory.
func TestRecompute(t *testing.T) {
	c := featureConfig(t)
	c.Train.MicroBatchSize = 0 // auto must not choose by it
	var outcomes []outcome
	var intermediate []int
	for _, recompute := range []bool{false, true} {
		c.Train.Recompute, c.Output.Dir = recompute, filepath.Join(t.TempDir(), "run")
		train(t, c, Options{})
		outcomes = append(outcomes, outcomeOf(t, c.Output.Dir))
		r, err := prepare(context.Background(), c, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		defer r.close()
		bytes, err := r.bytes(c.Train.BatchSize, c.Data.SequenceLength)
		if err != nil {
			t.Fatal(err)
		}
		intermediate = append(intermediate, bytes)
	}
	same(t, outcomes[1], outcomes[0])
	if intermediate[1] >= intermediate[0] {
		t.Errorf("takes %d bytes, without recomputation %d", intermediate[1], intermediate[0])
	}
}

// countdown is a context that ends when it has been asked so often.
type countdown struct {
	context.Context
	left atomic.Int64
}

func newCountdown(n int64) *countdown {
	c := &countdown{Context: context.Background()}
	c.left.Store(n)
	return c
}

func (c *countdown) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// TestInterrupt stops a run between any two ops, over and over, and wants the outcome of a run that was never stopped.
func TestInterrupt(t *testing.T) {
	c := textConfig(t)
	const enough = 1 << 40
	asked := newCountdown(enough)
	if _, err := Train(asked, c, Options{Log: io.Discard, Out: io.Discard}); err != nil {
		t.Fatal(err)
	}
	want, ops := outcomeOf(t, c.Output.Dir), enough-asked.left.Load()
	if want.best == want.model {
		t.Fatal("the best student is the last one: that tests nothing")
	}
	random := rand.New(rand.NewPCG(1, 0))
	stoppedIn := map[string]int{}
	for range 8 {
		c.Output.Dir = filepath.Join(t.TempDir(), "run")
		for stops := 0; ; stops++ {
			ctx := newCountdown(enough)
			if stops < 5 {
				ctx = newCountdown(random.Int64N(ops * 2 / 5))
			}
			var said bytes.Buffer
			_, err := Train(ctx, c, Options{Resume: stops > 0, Log: &said, Out: io.Discard})
			if err == nil {
				break
			}
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			switch {
			case strings.Contains(said.String(), "go on with --resume"):
				stoppedIn["saved"]++
			case strings.Contains(said.String(), "nothing is saved"):
				stoppedIn["first steps"]++
			default:
				stoppedIn["elsewhere"]++
			}
			if strings.Contains(err.Error(), "evaluation") {
				stoppedIn["evaluation"]++
			}
			if stops == 10 {
				t.Fatal("it never ends")
			}
		}
		same(t, outcomeOf(t, c.Output.Dir), want)
	}
	if stoppedIn["saved"] < 10 || stoppedIn["first steps"] == 0 || stoppedIn["evaluation"] < 5 {
		t.Errorf("not enough kinds of stops were tried: %v", stoppedIn)
	}
}

// TestStateBeforeItsEvaluation kills a run between the evaluation of a step that was saved before it and the next saved state.
func TestStateBeforeItsEvaluation(t *testing.T) {
	c := textConfig(t)
	train(t, c, Options{})
	want := outcomeOf(t, c.Output.Dir)
	c.Output.Dir = filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithCancel(context.Background())
	stop := writer(func(line string) { // ends as soon as step 6 is done: its evaluation is yet to come
		if strings.HasPrefix(line, "step 6/12  loss") {
			cancel()
		}
	})
	if _, err := Train(ctx, c, Options{Log: stop}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	checkpoints := filepath.Join(c.Output.Dir, checkpointsDir)
	saved := filepath.Join(t.TempDir(), "saved")
	if err := os.CopyFS(saved, os.DirFS(checkpoints)); err != nil {
		t.Fatal(err)
	}
	train(t, c, Options{Resume: true})
	// What a process leaves that was killed after the evaluation: its lines and best, and the states from before.
	if err := errors.Join(os.RemoveAll(checkpoints), os.Rename(saved, checkpoints), os.RemoveAll(filepath.Join(c.Output.Dir, modelDir))); err != nil {
		t.Fatal(err)
	}
	said := trainSaying(t, c, Options{Resume: true})
	mentions(t, said, "after step 6", "step 6/12  evaluation")
	same(t, outcomeOf(t, c.Output.Dir), want)
}

// writer calls a function with what is written.
type writer func(string)

func (w writer) Write(p []byte) (int, error) {
	w(string(p))
	return len(p), nil
}

// TestResumeFromNothing wants a run from the beginning, said so, where nothing is saved: no folder, an empty one, a run that was killed before its first state.
func TestResumeFromNothing(t *testing.T) {
	c := textConfig(t)
	mentions(t, trainSaying(t, c, Options{Resume: true}), "nothing is saved in "+c.Output.Dir+": starting from the beginning")
	want := outcomeOf(t, c.Output.Dir)
	for name, prepare := range map[string]func(dir string){
		"empty":     func(dir string) {},
		"beginning": func(dir string) { write(t, filepath.Join(dir, "config.yaml.tmp"), []byte("tea")) },
		"no state": func(dir string) {
			for _, name := range []string{"config.yaml", "metrics.jsonl", "best/config.json"} {
				write(t, filepath.Join(dir, name), read(t, filepath.Join(c.Output.Dir, name)))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			again := *c
			again.Output.Dir = t.TempDir()
			prepare(again.Output.Dir)
			mentions(t, trainSaying(t, &again, Options{Resume: true}), "starting from the beginning")
			same(t, outcomeOf(t, again.Output.Dir), want)
		})
	}
}

// TestDamagedState wants the state before a damaged one to be used, with a warning, and to lead to the same end.
func TestDamagedState(t *testing.T) {
	c := textConfig(t)
	train(t, c, Options{})
	want := outcomeOf(t, c.Output.Dir)
	path := filepath.Join(c.Output.Dir, checkpointsDir, "step-12", "state.safetensors")
	text := read(t, path)
	text[len(text)-1] ^= 1
	write(t, path, text)
	mentions(t, trainSaying(t, c, Options{Resume: true}), "warning", "damaged", "after step 8")
	same(t, outcomeOf(t, c.Output.Dir), want)
}

// TestResumeFinished wants a finished run to be told and to stay as it is, and one that died before it wrote its model to write it.
func TestResumeFinished(t *testing.T) {
	c := textConfig(t)
	train(t, c, Options{})
	want := outcomeOf(t, c.Output.Dir)
	said := trainSaying(t, c, Options{Resume: true})
	mentions(t, said, c.Output.Dir+" is finished: 12 steps are done")
	if strings.Contains(said, "loss") {
		t.Errorf("it went on: %s", said)
	}
	same(t, outcomeOf(t, c.Output.Dir), want)
	if err := os.RemoveAll(filepath.Join(c.Output.Dir, modelDir)); err != nil {
		t.Fatal(err)
	}
	train(t, c, Options{Resume: true})
	same(t, outcomeOf(t, c.Output.Dir), want)
}

// TestResumeChanged wants changes that alter the mathematics refused by name, and nothing to be changed by that.
func TestResumeChanged(t *testing.T) {
	c := textConfig(t)
	train(t, c, Options{})
	want := outcomeOf(t, c.Output.Dir)
	for key, change := range map[string]func(*config.Config){
		"train.optimizer.lr was 0.03 and is 0.006":                    func(c *config.Config) { c.Train.Optimizer.LR = 6e-3 },
		"train.steps was 12 and is 13":                                func(c *config.Config) { c.Train.Steps = 13 },
		"train.steps was 12 and is 0":                                 func(c *config.Config) { c.Train.Steps, c.Train.Epochs = 0, 2 },
		"train.seed was 1 and is 2":                                   func(c *config.Config) { c.Train.Seed = 2 },
		"train.precision was float32 and is bfloat16":                 func(c *config.Config) { c.Train.Precision = "bfloat16" },
		"train.batch_size was 5 and is 6":                             func(c *config.Config) { c.Train.BatchSize = 6 },
		"loss[1].weight was 0.5 and is 0.25":                          func(c *config.Config) { c.Loss[1].Weight = config.Constant(0.25) },
		"loss[2].name was not set and is reverse_kl":                  func(c *config.Config) { c.Loss = append(c.Loss, term("reverse_kl")) },
		"data.packing was true and is false":                          func(c *config.Config) { c.Data.Packing = false },
		"data.sequence_length was 32 and is 31":                       func(c *config.Config) { c.Data.SequenceLength = 31 },
		"data.train[0].append_eos was auto and is true":               func(c *config.Config) { c.Data.Train[0].AppendEOS = "true" },
		"teacher.dtype was auto and is bfloat16":                      func(c *config.Config) { c.Teacher.DType = "bfloat16" },
		"train.schedule.warmup_steps was 3 and is 4; train.seed was ": func(c *config.Config) { c.Train.Schedule.WarmupSteps, c.Train.Seed = 4, 3 },
	} {
		changed := *c
		changed.Data.Train, changed.Loss = slices.Clone(c.Data.Train), slices.Clone(c.Loss)
		change(&changed)
		err := trainError(t, &changed, Options{Resume: true})
		mentions(t, err.Error(), "cannot resume", key)
		if wrong := (*config.Error)(nil); !errors.As(err, &wrong) {
			t.Errorf("%s: an error of configuration is wanted", key)
		}
	}
	for what, path := range map[string]string{
		"documents":              c.Data.Train[0].Path,
		"data.eval":              c.Data.Eval[0].Path,
		"teacher":                filepath.Join(c.Teacher.Path, "model.safetensors"),
		"student's config.json ": filepath.Join(c.Student.Path, "config.json"),
	} {
		before := read(t, path)
		text := slices.Clone(before)
		switch filepath.Ext(path) {
		case ".json":
			text = bytes.Replace(text, []byte(`"rms_norm_eps":`), []byte(`"rms_norm_eps":1`), 1)
		case ".txt":
			text = append(text, " And then."...)
		default:
			text[len(text)-10] ^= 1
		}
		write(t, path, text)
		refused(t, c, Options{Resume: true}, "cannot resume", what)
		write(t, path, before)
	}
	same(t, outcomeOf(t, c.Output.Dir), want)
	train(t, c, Options{Resume: true}) // everything is as it was
}

// TestBFloat16 wants the same bytes from products in bfloat16 on one thread, and on three after a stop, other ones than float32's, and evaluations in float32.
func TestBFloat16(t *testing.T) {
	c := textConfig(t)
	train(t, c, Options{})
	single := outcomeOf(t, c.Output.Dir)

	c.Train.Precision, c.Output.Dir = "bfloat16", filepath.Join(t.TempDir(), "run")
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	train(t, c, Options{})
	want := outcomeOf(t, c.Output.Dir)
	if want.model == single.model {
		t.Error("bfloat16 gives float32's bytes")
	}
	first := func(o outcome) string { line, _, _ := strings.Cut(o.metrics, "\n"); return line }
	if !strings.Contains(first(want), `"eval"`) || first(want) != first(single) {
		t.Errorf("before the first step: have %s, float32 has %s", first(want), first(single))
	}

	c.Output.Dir = filepath.Join(t.TempDir(), "run")
	runtime.GOMAXPROCS(3)
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := Train(ctx, c, Options{Log: writer(func(line string) {
		if strings.HasPrefix(line, "step 7/12  loss") {
			cancel()
		}
	})}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	train(t, c, Options{Resume: true})
	same(t, outcomeOf(t, c.Output.Dir), want)
}

// TestResumeFree wants the other keys to change freely: the student stays the same.
func TestResumeFree(t *testing.T) {
	c := textConfig(t)
	train(t, c, Options{})
	want := outcomeOf(t, c.Output.Dir)

	c.Output.Dir = filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := Train(ctx, c, Options{Log: writer(func(line string) {
		if strings.HasPrefix(line, "step 7/12  loss") {
			cancel()
		}
	})}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(c.Output.Dir, moved); err != nil {
		t.Fatal(err)
	}
	c.Output.Dir = moved
	c.Train.SaveEvery, c.Train.EvalEvery, c.Train.Keep, c.Train.Recompute = 2, 0, 1, true
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	train(t, c, Options{Resume: true})
	if have := outcomeOf(t, c.Output.Dir); have.model != want.model {
		t.Error("model/model.safetensors differs")
	}
	left, err := os.ReadDir(filepath.Join(moved, checkpointsDir))
	if err != nil || len(left) != 1 || left[0].Name() != "step-12" {
		t.Errorf("have states %v, want the last one", left)
	}
}
