package distill

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/config"
	"kdistill/internal/safetensors"
	"kdistill/internal/testutil"
)

// stagedConfig is a short run over text in two stages: layers, with a projection, then predictions, which go on with it.
func stagedConfig(t testing.TB) *config.Config {
	c := textConfig(t)
	hidden := with(term("hidden_mse"), func(l *config.Loss) { l.Layer, l.Projection.Init, l.Projection.Keep = -1, "zero", true })
	c.Stages = []config.Stage{
		{Name: "layers", Loss: []config.Loss{hidden, term("attention_mse")}, Steps: 5, LR: 0.02, Schedule: config.Schedule{Name: "linear", WarmupSteps: 2}},
		{Name: "predictions", Loss: append(slices.Clone(c.Loss), hidden), Steps: 7, LR: 0.03, Schedule: config.Schedule{Name: "constant", WarmupSteps: 3}},
	}
	c.Loss, c.Train.Steps = nil, 0
	return c
}

// tensorsOf reads the final model of a run, or what is beside it.
func tensorsOf(t testing.TB, dir, file string) map[string][]float32 {
	t.Helper()
	f, err := safetensors.Open(filepath.Join(dir, "model", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string][]float32{}
	for _, name := range f.Names() {
		x, _ := f.Tensor(name)
		all[name] = make([]float32, x.Len())
		if err := x.Float32s(all[name]); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestGoldenStages repeats torch's steps in stages, and with losses on attention alone, whole and in micro-batches of 3, 3 and 2 rows: torch took whole batches.
func TestGoldenStages(t *testing.T) {
	var runs map[string]struct {
		goldenRun
		Stages json.RawMessage
		Naive  float64
	}
	unmarshal(t, read(t, testutil.Testdata(t, "golden/stages.json")), &runs)
	for name, want := range runs {
		for _, rows := range []config.MicroBatch{8, 3} {
			t.Run(fmt.Sprintf("%s/%d", name, rows), func(t *testing.T) {
				yaml := filepath.Join(t.TempDir(), "run.yaml")
				write(t, yaml, []byte("teacher: {path: t}\nstudent: {path: s}\ndata: {train: [{path: x}]}\noutput: {dir: o}\nstages: "+string(want.Stages)+"\n"))
				asked, err := config.Read(yaml)
				if err != nil {
					t.Fatal(err)
				}
				c := goldenConfig(t, filepath.Join(t.TempDir(), "run"))
				decayAll(c)
				c.Stages, c.Loss, c.Train.Steps, c.Train.MicroBatchSize = asked.Stages, nil, 0, rows
				have := train(t, c, Options{})
				if len(have) != len(want.Steps) {
					t.Fatalf("have %d steps, want %d", len(have), len(want.Steps))
				}
				for i, w := range want.Steps {
					if h := have[i]; !near(h.Loss, w.Loss, 2e-5) || !near(h.GradNorm, w.Norm, 1e-4) || !near(h.LR, w.LR, 1e-9) {
						t.Errorf("step %d: have loss %.7f, norm %.7f, lr %.9f; want %.7f, %.7f, %.9f", i, h.Loss, h.GradNorm, h.LR, w.Loss, w.Norm, w.LR)
					}
				}
				if near(want.Naive, want.Steps[0].Loss, 2e-4) {
					t.Errorf("the mean over micro-batches is %v, that over positions %v: nothing is tested", want.Naive, want.Steps[0].Loss)
				}
				endsAs(t, c, want.goldenRun)
			})
		}
	}
}

// TestStages: two stages have the bytes of two runs, of which the second begins with the first one's model where the data begin anew.
func TestStages(t *testing.T) {
	c := textConfig(t)
	c.Data.Packing, c.Data.Shuffle = false, false
	c.Train.BatchSize, c.Train.EvalEvery = 10, 2 // 40 documents: an epoch is 4 steps
	first := config.Stage{
		Name: "first", Loss: []config.Loss{term("attention_mse"), term("cross_entropy")}, Epochs: 1, LR: 0.02, Schedule: config.Schedule{Name: "linear", WarmupSteps: 2},
	}
	second := config.Stage{Name: "second", Loss: c.Loss, Steps: 6, LR: 0.03, Schedule: config.Schedule{Name: "cosine", WarmupSteps: 1}}
	alone := func(s config.Stage, student string) *config.Config {
		k := *c
		k.Student.Path, k.Output.Dir = student, filepath.Join(t.TempDir(), "run")
		k.Loss, k.Train.Steps, k.Train.Epochs, k.Train.Optimizer.LR, k.Train.Schedule = s.Loss, s.Steps, s.Epochs, s.LR, s.Schedule
		return &k
	}
	before := alone(first, c.Student.Path)
	want := train(t, before, Options{})
	after := alone(second, filepath.Join(before.Output.Dir, "model"))
	want = append(want, train(t, after, Options{})...)

	c.Stages, c.Loss, c.Train.Steps = []config.Stage{first, second}, nil, 0
	var said bytes.Buffer
	have := train(t, c, Options{Log: &said})
	if len(have) != len(want) || len(have) != 10 {
		t.Fatalf("have %d steps, want %d", len(have), len(want))
	}
	for i := range have {
		h, w := have[i], want[i]
		name := "first"
		if i >= 4 {
			name = "second"
		}
		if h.Step != i+1 || h.Stage != name || h.Loss != w.Loss || h.GradNorm != w.GradNorm || h.LR != w.LR || !maps.Equal(h.Losses, w.Losses) {
			t.Errorf("step %d: have %+v, want %+v", i+1, h, w)
		}
	}
	if outcomeOf(t, c.Output.Dir).model != outcomeOf(t, after.Output.Dir).model {
		t.Error("the model is not that of the second run")
	}
	mentions(t, said.String(), "training: 10 steps", "stage first, steps 1 to 4: attention_mse + cross_entropy\n", "stage second, steps 5 to 10: forward_kl + cross_entropy\nstep 5/10  loss")
	for _, step := range []string{"2", "4", "6", "8", "10"} {
		mentions(t, said.String(), "step "+step+"/10  evaluation")
	}
	mentions(t, string(read(t, filepath.Join(c.Output.Dir, "model", "README.md"))), "1 × attention_mse (at every token), in the stage first of 4 steps")
}

// TestStagesResume stops a run at every step, on changing numbers of threads, and wants the outcome of one that was never stopped.
func TestStagesResume(t *testing.T) {
	c := stagedConfig(t)
	train(t, c, Options{})
	want, beside := outcomeOf(t, c.Output.Dir), read(t, filepath.Join(c.Output.Dir, "model", "projections.safetensors"))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	c.Output.Dir = filepath.Join(t.TempDir(), "run")
	for stops := 0; ; stops++ {
		runtime.GOMAXPROCS(1 + stops%3)
		ctx, cancel := context.WithCancel(context.Background())
		_, err := Train(ctx, c, Options{Resume: stops > 0, Out: io.Discard, Log: writer(func(line string) {
			if strings.Contains(line, "  loss ") { // the first step of a process is always told
				cancel()
			}
		})})
		cancel()
		if err == nil {
			if stops != 12 { // after the last step its evaluation is left
				t.Errorf("stopped %d times", stops)
			}
			break
		}
		if !errors.Is(err, context.Canceled) || stops > 20 {
			t.Fatal(err)
		}
	}
	same(t, outcomeOf(t, c.Output.Dir), want)
	if string(beside) != string(read(t, filepath.Join(c.Output.Dir, "model", "projections.safetensors"))) {
		t.Error("projections.safetensors differs")
	}

	c.Stages[1].LR = 1
	refused(t, c, Options{Resume: true}, "cannot resume", "stages[1].lr was 0.03 and is 1")
}

// TestStagesSaved: each stage ends with a saved state, from which the next one begins with moments anew.
func TestStagesSaved(t *testing.T) {
	c := stagedConfig(t)
	c.Train.SaveEvery, c.Train.EvalEvery, c.Train.Keep = 0, 0, 9
	train(t, c, Options{})
	want := outcomeOf(t, c.Output.Dir)
	for _, name := range []string{"checkpoints/step-12", "model"} {
		if err := os.RemoveAll(filepath.Join(c.Output.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	mentions(t, trainSaying(t, c, Options{Resume: true}), "after step 5", "stage predictions")
	same(t, outcomeOf(t, c.Output.Dir), want)
}

// TestStagesShareProjections: a loss of the same name goes on with its projection, one of another name has its own.
func TestStagesShareProjections(t *testing.T) {
	c := stagedConfig(t)
	second := &c.Stages[1]
	second.LR = 0
	train(t, c, Options{})
	beside := tensorsOf(t, c.Output.Dir, "projections.safetensors")
	if values := beside["projection.hidden_mse.0"]; len(beside) != 1 || slices.Max(values) == 0 {
		t.Errorf("have %d projections, the first up to %v", len(beside), slices.Max(values))
	}

	second.Loss[2].As, c.Output.Dir = "other", filepath.Join(t.TempDir(), "run")
	train(t, c, Options{})
	other := tensorsOf(t, c.Output.Dir, "projections.safetensors")
	if !slices.Equal(other["projection.hidden_mse.0"], beside["projection.hidden_mse.0"]) || slices.Max(other["projection.other.0"]) != 0 {
		t.Errorf("have projections %v, which start at 0 and learn in the first stage alone", slices.Collect(maps.Keys(other)))
	}
}

// TestStagesMemory: it is that of the stage that needs most, whose graphs alone are there.
func TestStagesMemory(t *testing.T) {
	c := stagedConfig(t)
	c.Stages[0].Loss = append(c.Stages[0].Loss, term("cross_entropy"))
	r, err := prepare(context.Background(), c, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	most, err := r.bytes(2, 32)
	if err != nil {
		t.Fatal(err)
	}
	var each []int
	for _, s := range r.stages {
		n, err := s.objective.Bytes(2, 32)
		if err != nil {
			t.Fatal(err)
		}
		each = append(each, n)
	}
	if each[0] == each[1] || most != max(each[0], each[1]) {
		t.Errorf("have %d, the stages need %d", most, each)
	}

	var out bytes.Buffer
	if err := DryRun(context.Background(), c, Options{Log: io.Discard, Out: &out}); err != nil {
		t.Fatal(err)
	}
	mentions(t, out.String(), "stage layers, one micro-batch of 2 rows", "stage predictions, one micro-batch of 2 rows", "12 steps take about")
}

// TestStagesBench measures the stage that is named.
func TestStagesBench(t *testing.T) {
	c := stagedConfig(t)
	for name, want := range map[string]string{"": "layers", "predictions": "predictions"} {
		b, err := NewBench(context.Background(), c, Options{Log: io.Discard, Stage: name})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for range 9 { // more than the stage has
			if _, err := b.Step(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if l := b.LossRows(); b.stage.Name != want || (l.Seconds > 0) != (want == "predictions") {
			t.Errorf("%s: have the stage %s, losses %+v", name, b.stage.Name, l)
		}
	}
	_, err := NewBench(context.Background(), c, Options{Log: io.Discard, Stage: "prediction"})
	if err == nil || !strings.Contains(err.Error(), `did you mean "predictions"?`) {
		t.Errorf("have %v", err)
	}
}

// TestStagesWrongInput: what is wrong in the last stage is found before the first step.
func TestStagesWrongInput(t *testing.T) {
	for name, x := range map[string]struct {
		change func(*config.Config)
		want   []string
	}{
		"layer": {func(c *config.Config) { c.Stages[1].Loss[2].Layer = 7 }, []string{"stage predictions: loss hidden_mse: layers: of the teacher: have layer 7"}},
		"loss":  {func(c *config.Config) { c.Stages[1].Loss[0].Name = "forwardkl" }, []string{"stage predictions", "forwardkl", "forward_kl"}},
		"schedule": {func(c *config.Config) {
			c.Stages[1].Schedule = config.Schedule{Name: "warmup_stable_decay", WarmupSteps: 4, DecaySteps: 4}
		}, []string{"stage predictions", "at most the 7 steps"}},
		"no teacher": {func(c *config.Config) { c.Teacher.Path = "" }, []string{"stage layers: loss hidden_mse compares with a teacher: set teacher.path"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := stagedConfig(t)
			x.change(c)
			refused(t, c, Options{}, x.want...)
			if exists(c.Output.Dir) {
				t.Error("output.dir was written")
			}
		})
	}
}
