package distill

import (
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"runtime"
	"testing"

	"kdistill/internal/checkpoint"
	"kdistill/internal/config"
	"kdistill/internal/loss"
	"kdistill/internal/safetensors"
)

func TestLayerPairs(t *testing.T) {
	rule := func(rules ...string) (m config.LayerMap) {
		for _, r := range rules {
			m = append(m, config.LayerPair{Rule: r})
		}
		return m
	}
	for name, x := range map[string]struct {
		loss             config.Loss
		rows             loss.Rows
		student, teacher int
		want             [][2]int
		wrong            string
	}{
		"default":             {config.Loss{}, loss.Hidden, 2, 4, [][2]int{{1, 2}, {2, 4}}, ""},
		"default of relation": {config.Loss{}, loss.Relations, 2, 4, [][2]int{{2, 4}}, ""},
		"uniform, rounded":    {config.Loss{Layers: rule("uniform")}, loss.Scores, 4, 6, [][2]int{{1, 2}, {2, 3}, {3, 5}, {4, 6}}, ""},
		"first":               {config.Loss{Layers: rule("first")}, loss.Hidden, 2, 4, [][2]int{{1, 1}, {2, 2}}, ""},
		"last":                {config.Loss{Layers: rule("last")}, loss.Hidden, 2, 4, [][2]int{{1, 3}, {2, 4}}, ""},
		"all":                 {config.Loss{Layers: rule("all")}, loss.Hidden, 3, 3, [][2]int{{1, 1}, {2, 2}, {3, 3}}, ""},
		"embedding":           {config.Loss{Layers: rule("embedding", "uniform")}, loss.Hidden, 2, 4, [][2]int{{0, 0}, {1, 2}, {2, 4}}, ""},
		"pairs":               {config.Loss{Layers: config.LayerMap{{Pair: [2]int{2, 1}}, {Pair: [2]int{1, 1}}}}, loss.Hidden, 2, 4, [][2]int{{2, 1}, {1, 1}}, ""},
		"one layer":           {config.Loss{Layer: 3}, loss.Relations, 2, 4, [][2]int{{2, 3}}, ""},
		"the last layer":      {config.Loss{Layer: -1}, loss.Hidden, 2, 4, [][2]int{{2, 4}}, ""},
		"twice":               {config.Loss{Layers: config.LayerMap{{Rule: "uniform"}, {Pair: [2]int{2, 4}}}}, loss.Hidden, 2, 4, nil, "layers: the pair [2 4] comes twice: give it once"},
		"all of different":    {config.Loss{Layers: rule("all")}, loss.Hidden, 2, 4, nil, "layers: all wants as many in both models, have 2 of the student and 4 of the teacher: use uniform, first, last or pairs"},
		"too many":            {config.Loss{Layers: rule("last")}, loss.Hidden, 5, 4, nil, "layers: last wants no more of the student than of the teacher, have 5 and 4: use pairs"},
	} {
		have, err := layerPairs(x.loss, x.rows, x.student, x.teacher)
		if !reflect.DeepEqual(have, x.want) || (err == nil) != (x.wrong == "") || err != nil && err.Error() != x.wrong {
			t.Errorf("%s: have %v, %v, want %v, %s", name, have, err, x.want, x.wrong)
		}
	}
}

// featureConfig adds losses on features to the short run over text, with a projection.
func featureConfig(t *testing.T) *config.Config {
	c := textConfig(t)
	c.Loss = append(c.Loss,
		with(term("hidden_mse"), func(l *config.Loss) { l.Layers = config.LayerMap{{Rule: "embedding"}, {Rule: "uniform"}} }),
		with(term("hidden_mse"), func(l *config.Loss) {
			l.As, l.Tokens, l.Normalize, l.Projection.Init, l.Projection.Keep = "patient", "first", true, "identity", true
		}),
		term("attention_mse"),
		with(term("attention_kl"), func(l *config.Loss) { l.Heads.Average = true }),
		with(term("relation_kl"), func(l *config.Loss) { l.Relations = []string{"qk", "vv"} }))
	return c
}

// TestFeaturesResume stops a run with projections over and over, on other numbers of threads, and wants the outcome of one that was never stopped.
func TestFeaturesResume(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	c := featureConfig(t)
	const enough = 1 << 40
	asked := newCountdown(enough)
	if _, err := Train(asked, c, Options{Log: io.Discard, Out: io.Discard}); err != nil {
		t.Fatal(err)
	}
	want, beside, ops := outcomeOf(t, c.Output.Dir), read(t, filepath.Join(c.Output.Dir, "model", "projections.safetensors")), enough-asked.left.Load()
	c.Output.Dir = filepath.Join(t.TempDir(), "run")
	random := rand.New(rand.NewPCG(1, 0))
	for stops := 0; ; stops++ {
		runtime.GOMAXPROCS(1 + stops%3)
		ctx := newCountdown(enough)
		if stops < 4 {
			ctx = newCountdown(ops/4 + random.Int64N(ops/4))
		}
		_, err := Train(ctx, c, Options{Resume: stops > 0, Log: io.Discard, Out: io.Discard})
		if err == nil {
			break
		}
		if !errors.Is(err, context.Canceled) || stops == 10 {
			t.Fatal(err)
		}
	}
	same(t, outcomeOf(t, c.Output.Dir), want)
	if string(beside) != string(read(t, filepath.Join(c.Output.Dir, "model", "projections.safetensors"))) {
		t.Error("projections.safetensors differs")
	}
	// Only the projections that were asked for are there, and they have learnt.
	tensors := besideTensors(t, c)
	if len(tensors) != 2 {
		t.Errorf("have %d projections, want 2", len(tensors))
	}
	for name, x := range tensors {
		values := make([]float32, x.Len())
		if err := x.Float32s(values); err != nil {
			t.Fatal(err)
		}
		if values[0] == 1 || !near(float64(values[0]), 1, 0.5) {
			t.Errorf("%s: have %v after a start at the identity", name, values[0])
		}
	}
	if _, err := checkpoint.OpenModel(filepath.Join(c.Output.Dir, "model")); err != nil {
		t.Errorf("the model with projections beside it: %v", err)
	}
}

// TestProjectionsStart looks at the parameters before the first step.
func TestProjectionsStart(t *testing.T) {
	start := func(init string) ([]float32, error) {
		c := textConfig(t)
		c.Loss = []config.Loss{with(term("hidden_mse"), func(l *config.Loss) { l.Layer, l.Projection.Init = -1, init })}
		r, err := prepare(context.Background(), c, io.Discard)
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { r.close() })
		if name := r.student.flat.Specs[r.student.own].Name; name != "projection.hidden_mse.0" {
			t.Errorf("have %s", name)
		}
		return r.student.flat.View(r.student.own), nil
	}
	const wide, narrow = 32, 20
	for init, want := range map[string]func(i, j int) float32{
		"zero": func(int, int) float32 { return 0 },
		"identity": func(i, j int) float32 {
			if i == j {
				return 1
			}
			return 0
		},
	} {
		values, err := start(init)
		if err != nil || len(values) != wide*narrow {
			t.Fatalf("%s: have %d values, %v", init, len(values), err)
		}
		for at, x := range values {
			if x != want(at/narrow, at%narrow) {
				t.Fatalf("%s: have %v at %d, %d", init, x, at/narrow, at%narrow)
			}
		}
	}
	values, err := start("normal")
	if err != nil {
		t.Fatal(err)
	}
	squares := 0.0
	for _, x := range values {
		squares += float64(x) * float64(x)
	}
	if have, want := math.Sqrt(squares/wide/narrow), 1/math.Sqrt(narrow); !near(have, want, 0.1) {
		t.Errorf("normal: have a deviation of %v, want %v", have, want)
	}
	again, err := start("")
	if err != nil || !reflect.DeepEqual(again, values) {
		t.Errorf("the default is not normal, or not seeded: %v", err)
	}

	write(t, filepath.Join(t.TempDir(), "x"), nil)
	for what, x := range map[string]struct {
		tensor string
		shape  []int
		words  []string
	}{
		"another shape": {"projection.0", []int{narrow, wide}, []string{"projection.init", "projection.0 has shape [20 32], want [32 20]"}},
		"another name":  {"projection.1", []int{wide, narrow}, []string{"holds neither projection.hidden_mse.0 nor projection.0"}},
	} {
		path := filepath.Join(t.TempDir(), "projections.safetensors")
		writeTensor(t, path, x.tensor, x.shape, make([]float32, wide*narrow))
		_, err := start(path)
		if err == nil {
			t.Fatalf("%s was taken", what)
		}
		mentions(t, err.Error(), x.words...)
	}
	if _, err := start("eye"); err == nil {
		t.Error("eye was taken")
	} else {
		mentions(t, err.Error(), "projection.init: want normal, identity, zero or a safetensors file", "eye")
	}
}

func writeTensor(t *testing.T, path, name string, shape []int, values []float32) {
	t.Helper()
	x, err := safetensors.Encode(name, safetensors.F32, shape, values)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, safetensorsFile(t, x))
}
