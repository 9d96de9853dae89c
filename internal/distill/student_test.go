package distill

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/checkpoint"
	"kdistill/internal/config"
	"kdistill/internal/graph"
	"kdistill/internal/model"
	"kdistill/internal/testutil"
)

// madeStudent makes the student of a configuration, which must work.
func madeStudent(t testing.TB, c *config.Config) *student {
	t.Helper()
	s, err := studentOf(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func studentOf(c *config.Config) (*student, error) {
	var teacher *checkpoint.Pretrained
	if c.Teacher.Path != "" {
		var err error
		if teacher, err = checkpoint.OpenModel(c.Teacher.Path); err != nil {
			return nil, err
		}
		defer teacher.Close()
	}
	return newStudent(context.Background(), c, teacher)
}

func values(t testing.TB, p *graph.Param) []float32 {
	t.Helper()
	if p == nil {
		t.Fatal("no such parameter")
	}
	return p.Value.Float32s()
}

// TestTeacherLayers wants the chosen layers' weights copied, and everything outside of layers.
func TestTeacherLayers(t *testing.T) {
	c := textConfig(t)
	c.Student.Path, c.Student.Init = "", "teacher_layers"
	p, err := checkpoint.OpenModel(c.Teacher.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	whole, _, err := checkpoint.ReadStudent(p, p.Model, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		layers config.Layers
		n      int
		want   []int
	}{
		{config.Layers{List: []int{1, 3}}, 0, []int{1, 3}},
		{config.Layers{List: []int{2}}, 1, []int{2}},
		{config.Layers{Rule: "uniform"}, 2, []int{0, 3}},
		{config.Layers{Rule: "uniform"}, 3, []int{0, 2, 3}}, // round(1.5) = 2
		{config.Layers{Rule: "uniform"}, 1, []int{0}},
		{config.Layers{Rule: "uniform"}, 4, []int{0, 1, 2, 3}},
		{config.Layers{Rule: "first"}, 3, []int{0, 1, 2}},
		{config.Layers{Rule: "last"}, 3, []int{1, 2, 3}},
	} {
		c.Student.Layers, c.Student.Config = x.layers, nil
		if x.n > 0 {
			c.Student.Config = map[string]any{"num_hidden_layers": x.n}
		}
		s := madeStudent(t, c)
		if have := s.model.Info().Layers; have != len(x.want) {
			t.Errorf("%v: have %d layers, want %d", x.layers, have, len(x.want))
			continue
		}
		for _, name := range []string{"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"} {
			if !slices.Equal(values(t, s.flat.Get(name)), values(t, whole.Get(name))) {
				t.Errorf("%v: %s is not the teacher's", x.layers, name)
			}
		}
		for i, from := range x.want {
			for _, name := range []string{"self_attn.q_proj.weight", "self_attn.o_proj.weight", "mlp.down_proj.weight", "input_layernorm.weight"} {
				mine, theirs := layerName(i, name), layerName(from, name)
				if !slices.Equal(values(t, s.flat.Get(mine)), values(t, whole.Get(theirs))) {
					t.Errorf("%v: %s is not the teacher's %s", x.layers, mine, theirs)
				}
			}
		}
	}
	for want, change := range map[string]func(){
		"have 4, the teacher has layers 0 to 3": func() { c.Student.Layers = config.Layers{List: []int{0, 4}} },
		"want ascending numbers":                func() { c.Student.Layers = config.Layers{List: []int{2, 1}} },
		"want 1 to 4":                           func() { c.Student.Config = map[string]any{"num_hidden_layers": 5} },
		"num_hidden_layers: have 0":             func() { c.Student.Config = map[string]any{"num_hidden_layers": 0} },
		"number of layers only":                 func() { c.Student.Config = map[string]any{"num_hidden_layers": 2, "hidden_size": 16} },
		"q_proj.bias: the teacher has no such":  func() { c.Student.Config = map[string]any{"num_hidden_layers": 2, "attention_bias": true} },
	} {
		c.Student.Layers, c.Student.Config = config.Layers{Rule: "uniform"}, nil
		change()
		if _, err := studentOf(c); err == nil {
			t.Errorf("%s: nothing was refused", want)
		} else {
			mentions(t, err.Error(), "student: ", want)
		}
	}
}

func layerName(i int, name string) string {
	return "model.layers." + string(rune('0'+i)) + "." + name
}

// TestLayerTypes wants a list of layer kinds cut to the layers that are kept, or to as many as there are.
func TestLayerTypes(t *testing.T) {
	c := config.Default()
	c.Teacher.Path = testutil.Testdata(t, "golden/models/qwen3-windows")
	const sliding, full = "sliding_attention", "full_attention"
	for _, x := range []struct {
		student config.Student
		want    []string
	}{
		{config.Student{Init: "random", Config: map[string]any{"num_hidden_layers": 2}}, []string{sliding, full}},
		{config.Student{Init: "random", Config: map[string]any{"hidden_size": 16}}, []string{sliding, full, sliding}},
		{config.Student{Init: "random", Config: map[string]any{"num_hidden_layers": 1, "layer_types": []string{full}}}, []string{full}},
		{config.Student{Init: "teacher_layers", Layers: config.Layers{List: []int{1, 2}}}, []string{full, sliding}},
		{config.Student{Init: "teacher_layers", Layers: config.Layers{Rule: "last"}, Config: map[string]any{"num_hidden_layers": 1}}, []string{sliding}},
	} {
		c.Student = x.student
		var have struct {
			Kinds  []string `json:"layer_types"`
			Layers int      `json:"num_hidden_layers"`
		}
		unmarshal(t, madeStudent(t, c).config, &have)
		if !slices.Equal(have.Kinds, x.want) || have.Layers != len(x.want) {
			t.Errorf("have %d layers: %v, want %v", have.Layers, have.Kinds, x.want)
		}
	}
}

// TestUnlistedLayers wants settings that follow from a layer's number kept with the layers, which get other numbers.
func TestUnlistedLayers(t *testing.T) {
	for _, x := range []struct {
		teacher, key string
		keep         []int
		want         string
	}{
		{"gemma2-wide", "layer_types", []int{1, 2}, `["full_attention","sliding_attention"]`},
		{"gemma3-text-windows", "layer_types", []int{0, 3}, ""}, // all alike by default: six to a period
		{"smollm3", "no_rope_layers", []int{2, 3}, `[1,0]`},
	} {
		dir := filepath.Join(t.TempDir(), x.teacher)
		if err := os.CopyFS(dir, os.DirFS(testutil.Testdata(t, "golden/models/"+x.teacher))); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "config.json")
		text, err := checkpoint.EditObject(read(t, path), nil, x.key, "layer_types")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		c := config.Default()
		c.Teacher.Path, c.Student = dir, config.Student{Init: "teacher_layers", Layers: config.Layers{List: x.keep}}
		var have map[string]json.RawMessage
		unmarshal(t, madeStudent(t, c).config, &have)
		var flat bytes.Buffer
		if raw := have[x.key]; raw != nil {
			if err := json.Compact(&flat, raw); err != nil {
				t.Fatal(err)
			}
		}
		if flat.String() != x.want {
			t.Errorf("%s: have %s %s, want %s", x.teacher, x.key, &flat, x.want)
		}
	}
}

// TestRandomStudent wants a seeded student of the wished size, with the teacher's tokenizer, that trains, is written and loads again.
func TestRandomStudent(t *testing.T) {
	c := textConfig(t)
	c.Student = config.Student{Init: "random", Config: map[string]any{"num_hidden_layers": 1, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1}}
	a, b := madeStudent(t, c), madeStudent(t, c)
	if !slices.Equal(a.flat.Values, b.flat.Values) {
		t.Error("the same seed gives another student")
	}
	c.Train.Seed = 2
	if slices.Equal(a.flat.Values, madeStudent(t, c).flat.Values) {
		t.Error("another seed gives the same student")
	}
	sum, squares, n := 0.0, 0.0, 0.0
	for _, x := range values(t, a.flat.Get("model.embed_tokens.weight")) {
		sum, squares, n = sum+float64(x), squares+float64(x)*float64(x), n+1
	}
	if deviation := math.Sqrt(squares / n); math.Abs(deviation-0.02) > 0.002 || math.Abs(sum/n) > 0.003 {
		t.Errorf("embedding: have mean %v, deviation %v, want 0 and 0.02", sum/n, deviation)
	}
	for _, x := range values(t, a.flat.Get("model.norm.weight")) {
		if x != 1 {
			t.Fatalf("norm: have %v, want 1", x)
		}
	}
	c.Train.Steps = 3
	train(t, c, Options{})
	p, err := checkpoint.OpenModel(filepath.Join(c.Output.Dir, modelDir))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if info := p.Model.Info(); p.Tokenizer == nil || info.Layers != 1 || info.Width != 16 || info.Vocab != 64 {
		t.Errorf("have %+v with tokenizer %v", info, p.Tokenizer)
	}
	for want, wish := range map[string]map[string]any{
		"num_attention_heads":               {"num_attention_heads": 5},
		`"no_such_type" is not supported`:   {"model_type": "no_such_type"},
		"wrong_act":                         {"hidden_act": "wrong_act"},
		"num_hidden_layers: have \"two\", ": {"num_hidden_layers": "two"},
	} {
		c := again(t, c, func(c *config.Config) { c.Student.Config = wish })
		refused(t, c, Options{}, "student", want)
	}
}

// TestOtherArchitecture distils into another model type.
func TestOtherArchitecture(t *testing.T) {
	c := textConfig(t)
	c.Student = config.Student{Init: "random", Config: map[string]any{"model_type": "gpt2", "n_layer": 1, "n_embd": 16, "n_head": 2, "n_positions": 40}}
	c.Train.Steps = 3
	train(t, c, Options{})
	var have struct {
		Type    string   `json:"model_type"`
		Classes []string `json:"architectures"`
	}
	dir := filepath.Join(c.Output.Dir, modelDir)
	unmarshal(t, read(t, filepath.Join(dir, "config.json")), &have)
	if have.Type != "gpt2" || !slices.Equal(have.Classes, []string{"GPT2LMHeadModel"}) {
		t.Errorf("have %+v", have)
	}
	p, err := checkpoint.OpenModel(dir)
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
}

// TestWithoutTeacher wants a loss that needs no teacher to run without one, and one that does to be refused.
func TestWithoutTeacher(t *testing.T) {
	c := textConfig(t)
	c.Loss = only("cross_entropy")
	c.Train.Steps = 3
	train(t, c, Options{})
	with := outcomeOf(t, c.Output.Dir)
	alone := again(t, c, func(c *config.Config) { c.Teacher.Path, c.Train.BestMetric = "", "nll" })
	said := trainSaying(t, alone, Options{})
	if strings.Contains(said, "teacher") || strings.Contains(said, "kl ") {
		t.Errorf("there is no teacher: %s", said)
	}
	if have := outcomeOf(t, alone.Output.Dir); have.model != with.model {
		t.Error("a teacher that no loss needs changes the student")
	}
	wrong := again(t, c, func(c *config.Config) { c.Teacher.Path, c.Train.BestMetric, c.Loss = "", "nll", only("reverse_kl") })
	refused(t, wrong, Options{}, "reverse_kl", "teacher.path")
	wrong = again(t, c, func(c *config.Config) { c.Teacher.Path, c.Train.BestMetric = "", "kl" })
	refused(t, wrong, Options{}, "best_metric", "teacher.path")

	scratch := again(t, c, func(c *config.Config) {
		c.Teacher.Path, c.Train.BestMetric, c.Student = "", "nll", config.Student{Init: "random", Config: map[string]any{"model_type": "llama", "vocab_size": 64, "hidden_size": 16,
			"intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 32}}
		c.Data.Train, c.Data.Eval = documents(t, 9, 12, 7), nil
	})
	train(t, scratch, Options{})
}

// TestTokenizers wants different tokenizers refused, and different sizes of one to work with a warning.
func TestTokenizers(t *testing.T) {
	c := textConfig(t)
	c.Train.Steps = 3
	words := tokenizerWords()
	words[20], words[21] = words[21], words[20]
	other := modelFolder(t, "student", nil, nil)
	writeTokenizer(t, other, words)
	refused(t, again(t, c, func(c *config.Config) { c.Student.Path = other }), Options{}, "different tokenizers: token 20 is")

	// A student whose vocabulary is padded: rows that no token has.
	padded := modelFolder(t, "student", func(c map[string]any) { c["vocab_size"] = 72 }, func(name string, shape []int, values []float32) ([]int, []float32) {
		if name != "model.embed_tokens.weight" && name != "lm_head.weight" {
			return shape, values
		}
		more := make([]float32, 72*shape[1])
		copy(more, values)
		return []int{72, shape[1]}, more
	})
	c = again(t, c, func(c *config.Config) { c.Student.Path = padded })
	said := trainSaying(t, c, Options{})
	mentions(t, said, "warning: the teacher's vocabulary has 64 rows, the student's 72", "first 64")
	// Cross-entropy counts the student's rows that the teacher has not, what compares with the teacher doesn't.
	plain := again(t, c, func(c *config.Config) { c.Student.Path = textStudent(t); still(c) })
	wide := again(t, c, still)
	p, w := train(t, plain, Options{})[0], train(t, wide, Options{})[0]
	if !near(w.Losses["forward_kl"], p.Losses["forward_kl"], 1e-6) {
		t.Errorf("forward_kl: have %v with padded rows, %v without", w.Losses["forward_kl"], p.Losses["forward_kl"])
	}
	if w.Losses["cross_entropy"] <= p.Losses["cross_entropy"]+1e-4 {
		t.Errorf("cross_entropy: have %v with padded rows, %v without: they have a probability", w.Losses["cross_entropy"], p.Losses["cross_entropy"])
	}
}

func textStudent(t testing.TB) string { return modelFolder(t, "student", nil, nil) }

// TestNoTokenizer wants folders without one to work with token ids of equal vocabularies, and nothing else.
func TestNoTokenizer(t *testing.T) {
	bare := goldenConfig(t, filepath.Join(t.TempDir(), "run"))
	bare.Train.Steps = 2
	train(t, bare, Options{})
	figures := evals(t, bare.Output.Dir)[0]
	if _, ok := figures["bits_per_byte"]; !ok || figures["bits_per_byte"] != nil || figures["bytes"] != nil {
		t.Errorf("have bits_per_byte %v, bytes %v, want null", figures["bits_per_byte"], figures["bytes"])
	}
	text := again(t, bare, func(c *config.Config) { c.Data.Train = textFile(sentences(t, 3, 1)) })
	refused(t, text, Options{}, "tokenizer", "tokens")
	for _, layers := range []int{1} {
		wide := again(t, bare, func(c *config.Config) {
			c.Student = config.Student{Init: "random", Config: map[string]any{"vocab_size": 72, "num_hidden_layers": layers}}
		})
		refused(t, wide, Options{}, "vocabularies differ", "64", "72")
	}
	beyond := again(t, bare, func(c *config.Config) {
		c.Data.Train = []config.Source{{Path: lines(t, map[string]any{"input_ids": []int{1, 64}}), Format: "tokens", AppendEOS: "auto"}}
	})
	refused(t, beyond, Options{}, "lines.jsonl", "token 1 is 64", "64 ids")
}

// TestOutputTypes wants the student written in each type, loadable, and near the one in training.
func TestOutputTypes(t *testing.T) {
	c := textConfig(t)
	c.Train.Steps = 4
	want := train32(t, c)
	for dtype, tolerance := range map[string]float64{"bfloat16": 1.0 / 256, "float16": 1.0 / 2048} {
		c := again(t, c, func(c *config.Config) { c.Output.DType = dtype })
		train(t, c, Options{})
		dir := filepath.Join(c.Output.Dir, modelDir)
		var written map[string]json.RawMessage
		unmarshal(t, read(t, filepath.Join(dir, "config.json")), &written)
		if string(written["dtype"]) != `"`+dtype+`"` {
			t.Errorf("config.json: have dtype %s, want %s", written["dtype"], dtype)
		}
		p, err := checkpoint.OpenModel(dir)
		if err != nil {
			t.Fatal(err)
		}
		flat, _, err := checkpoint.ReadStudent(p, p.Model, 0)
		if err := errors.Join(err, p.Close()); err != nil {
			t.Fatal(err)
		}
		for i, x := range flat.Values {
			if math.Abs(float64(x-want.Values[i])) > tolerance*math.Abs(float64(want.Values[i]))+1e-7 {
				t.Fatalf("%s: weight %d: have %v, want %v", dtype, i, x, want.Values[i])
			}
		}
		// It is a student to begin from, and a teacher.
		next := again(t, c, func(c *config.Config) { c.Student.Path, c.Teacher.Path = dir, dir })
		if _, err := Train(context.Background(), next, Options{Log: io.Discard}); err != nil {
			t.Error(err)
		}
	}
}

// train32 runs c and returns the student that it has written.
func train32(t testing.TB, c *config.Config) *model.Flat[float32] {
	t.Helper()
	train(t, c, Options{})
	p, err := checkpoint.OpenModel(filepath.Join(c.Output.Dir, modelDir))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	flat, _, err := checkpoint.ReadStudent(p, p.Model, 0)
	if err != nil {
		t.Fatal(err)
	}
	return flat
}
