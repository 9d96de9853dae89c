package distill

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/checkpoint"
	"kdistill/internal/config"
	"kdistill/internal/report"
)

// TestWrongInput wants one clear sentence for everything that can be wrong, and no folder made.
func TestWrongInput(t *testing.T) {
	good := textConfig(t)
	good.Train.Steps = 2
	empty, blank := filepath.Join(t.TempDir(), "empty.txt"), filepath.Join(t.TempDir(), "blank.txt")
	write(t, empty, nil)
	write(t, blank, []byte(" \n<|endoftext|>\n \n"))
	broken := func(change func(dir string)) string {
		dir := modelFolder(t, "student", nil, nil)
		change(dir)
		return dir
	}
	weights := func(change func([]byte) []byte) string {
		return broken(func(dir string) {
			path := filepath.Join(dir, "model.safetensors")
			write(t, path, change(read(t, path)))
		})
	}
	tokens := func(record map[string]any) []config.Source {
		return []config.Source{{Path: lines(t, map[string]any{"input_ids": []int{5, 6, 7}}, record), Format: "tokens", AppendEOS: "auto"}}
	}
	for name, x := range map[string]struct {
		change func(c *config.Config)
		want   []string
	}{
		"no model": {func(c *config.Config) { c.Teacher.Path = "no/such/folder" }, []string{"teacher", "no/such/folder"}},
		"no weights": {func(c *config.Config) {
			c.Student.Path = broken(func(dir string) { os.Remove(filepath.Join(dir, "model.safetensors")) })
		}, []string{"student", "model.safetensors", "it holds"}},
		"no config.json": {func(c *config.Config) {
			c.Student.Path = broken(func(dir string) { os.Remove(filepath.Join(dir, "config.json")) })
		}, []string{"student", "config.json"}},
		"cut weights": {func(c *config.Config) { c.Student.Path = weights(func(b []byte) []byte { return b[:len(b)-100] }) }, []string{"student", "model.safetensors"}},
		"cut header":  {func(c *config.Config) { c.Student.Path = weights(func(b []byte) []byte { return b[:20] }) }, []string{"student", "model.safetensors"}},
		"lying header": {func(c *config.Config) {
			c.Student.Path = weights(func(b []byte) []byte { return append([]byte{255, 255, 255, 255, 255, 255, 255, 127}, b[8:]...) })
		}, []string{"student", "model.safetensors"}},
		"no JSON": {func(c *config.Config) {
			c.Student.Path = broken(func(dir string) { write(t, filepath.Join(dir, "config.json"), []byte(`{"model_type": `)) })
		}, []string{"config.json:1:", "JSON"}},
		"model type": {func(c *config.Config) {
			c.Teacher.Path = modelFolder(t, "teacher", func(c map[string]any) { c["model_type"] = "mamba" }, nil)
		}, []string{"teacher", `"mamba" is not supported`, "llama"}},
		"a switch": {func(c *config.Config) {
			c.Teacher.Path = modelFolder(t, "teacher", func(c map[string]any) { c["hidden_act"] = "mish" }, nil)
		}, []string{"teacher", "hidden_act", "mish"}},
		"a wrong shape": {func(c *config.Config) {
			c.Student.Path = modelFolder(t, "student", func(c map[string]any) { c["intermediate_size"] = 30 }, nil)
		}, []string{"student", "mlp.", "want"}},
		"a missing tensor": {func(c *config.Config) {
			c.Student.Path = modelFolder(t, "student", func(c map[string]any) { c["num_hidden_layers"] = 3 }, nil)
		}, []string{"student", "missing", "model.layers.2."}},
		"an extra tensor": {func(c *config.Config) {
			c.Student.Path = modelFolder(t, "student", func(c map[string]any) { c["num_hidden_layers"] = 1 }, nil)
		}, []string{"student", "model.layers.1."}},
		"no tokens": {func(c *config.Config) { c.Data.Train = tokens(map[string]any{"input_ids": []int{}}) }, []string{"data.train", "lines.jsonl", "2", "without tokens"}},
		"masked away": {func(c *config.Config) {
			c.Data.Train = tokens(map[string]any{"input_ids": []int{5, 6}, "attention_mask": []int{0, 0}})
		}, []string{"data.train", "without tokens"}},
		"nothing to learn": {func(c *config.Config) {
			c.Data.Train[0].Path = lines(t, map[string]any{"input_ids": []int{5, 6}, "labels": []int{-100, -100}})
			c.Data.Train[0].Format, c.Data.Train[0].Separator = "tokens", ""
		}, []string{"data.train", "no token is predicted"}},
		"no file": {func(c *config.Config) { c.Data.Eval = textFile("no-such-file.txt") }, []string{"data.eval", "no-such-file.txt"}},
		"empty":   {func(c *config.Config) { c.Data.Train = textFile(empty) }, []string{"data.train", "empty.txt", "no documents"}},
		"blank":   {func(c *config.Config) { c.Data.Train = textFile(blank) }, []string{"data.train", "blank.txt", "no documents"}},
		"long":    {func(c *config.Config) { c.Data.SequenceLength = 33 }, []string{"data.sequence_length: have 33, the student has 32 positions"}},
		"longer": {func(c *config.Config) {
			c.Teacher.Path = modelFolder(t, "teacher", func(c map[string]any) { c["max_position_embeddings"] = 31 }, nil)
		}, []string{"data.sequence_length: have 32, the teacher has 31 positions"}},
		"short":                      {func(c *config.Config) { c.Data.SequenceLength = 1 }, []string{"sequence_length", "at least 2"}},
		"loss":                       {func(c *config.Config) { c.Loss = only("forwardkl") }, []string{"forwardkl", "forward_kl"}},
		"parameter":                  {func(c *config.Config) { c.Loss[0].Values = map[string]float64{"beta": 1} }, []string{"forward_kl", "beta"}},
		"range":                      {func(c *config.Config) { c.Loss = only("skew_kl"); c.Loss[0].Values = map[string]float64{"alpha": 2} }, []string{"skew_kl", "alpha"}},
		"temperature":                {func(c *config.Config) { c.Loss[1].Temperature = 2 }, []string{"cross_entropy", "temperature"}},
		"schedule":                   {func(c *config.Config) { c.Train.Schedule.Name = "zigzag" }, []string{"train.schedule", "zigzag"}},
		"optimizer":                  {func(c *config.Config) { c.Train.Optimizer.Name = "magic" }, []string{"train.optimizer", "magic"}},
		"a key of losses on layers":  {func(c *config.Config) { c.Loss[0].Layer = 1 }, []string{"loss forward_kl: layer belongs to losses on layers"}},
		"a key of other losses":      {func(c *config.Config) { c.Loss = only("hidden_mse"); c.Loss[0].RelationHeads = 2 }, []string{"loss hidden_mse: relation_heads belongs to relation_kl"}},
		"a choice of other losses":   {func(c *config.Config) { c.Loss = only("hidden_cosine"); c.Loss[0].Normalize = true }, []string{"hidden_cosine", "normalize"}},
		"labels of layers":           {func(c *config.Config) { c.Loss = only("hidden_mse"); c.Loss[0].Positions = "labels" }, []string{"loss hidden_mse: positions: labels belongs to losses on logits"}},
		"a layer of the teacher":     {func(c *config.Config) { c.Loss = only("hidden_mse"); c.Loss[0].Layer = 5 }, []string{"loss hidden_mse: layers: of the teacher: have layer 5, want 0 to 4"}},
		"a layer of the student":     {layersOf("attention_kl", config.LayerPair{Pair: [2]int{3, 1}}), []string{"loss attention_kl: layers: of the student: have layer 3, want 1 to 2"}},
		"attention of the embedding": {layersOf("attention_mse", config.LayerPair{Rule: "embedding"}), []string{"of the student: have layer 0, want 1 to 2"}},
		"heads": {func(c *config.Config) {
			c.Loss = only("attention_mse")
			c.Teacher.Path = modelFolder(t, "teacher", func(c map[string]any) { c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"] = 2, 2, 16 }, nil)
		}, []string{"loss attention_mse: the student has 4 heads, the teacher 2", "heads: average"}},
		"a head":       {func(c *config.Config) { c.Loss = only("attention_mse"); c.Loss[0].Heads.List = []int{0, 1, 2, 4} }, []string{"heads: have 4, the teacher has heads 0 to 3"}},
		"no relations": {func(c *config.Config) { c.Loss = only("relation_kl") }, []string{"loss relation_kl: relations is missing: [qk, vv] is MiniLM"}},
		"relation heads": {func(c *config.Config) {
			c.Loss = only("relation_kl")
			c.Loss[0].Relations, c.Loss[0].RelationHeads = []string{"qk"}, 5
		}, []string{"layer 2 of the student: its width 24 does not divide by relation_heads 5"}},
		"grouped heads": {func(c *config.Config) {
			c.Loss = only("relation_kl")
			c.Loss[0].Relations = []string{"vv", "qk"}
			c.Student = config.Student{Init: "random", Config: map[string]any{"num_key_value_heads": 2}}
		}, []string{"relations: qk: layer 4 of the student: queries have width 32, keys 16", "qq, kk, vv"}},
		"scores of a divergence":     {func(c *config.Config) { c.Loss = only("attention_kl"); c.Loss[0].Compare = "scores" }, []string{"attention_kl", "compare"}},
		"features without a teacher": {func(c *config.Config) { c.Loss = only("hidden_mse"); c.Teacher.Path = "" }, []string{"loss hidden_mse compares with a teacher: set teacher.path"}},
		"tokens of layers": {func(c *config.Config) {
			c.Loss = only("hidden_mse")
			words := tokenizerWords()
			words[10], words[11] = words[11], words[10]
			writeTokenizer(t, c.Teacher.Path, words)
		}, []string{"teacher and student have different tokenizers", "losses that compare the two need the same one"}},
		"end token": {func(c *config.Config) {
			c.Data.Train[0].AppendEOS = "true"
			for _, dir := range []string{c.Teacher.Path, c.Student.Path} {
				write(t, filepath.Join(dir, "tokenizer_config.json"), []byte(`{"bos_token": "<s>"}`))
			}
		}, []string{"data.train", "append_eos"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := again(t, good, func(c *config.Config) {
				c.Student.Path, c.Teacher.Path = modelFolder(t, "student", nil, nil), modelFolder(t, "teacher", nil, nil)
			})
			x.change(c)
			err := trainError(t, c, Options{})
			mentions(t, err.Error(), x.want...)
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("have several lines: %s", err)
			}
			if exists(c.Output.Dir) {
				t.Error("the folder was made")
			}
		})
	}
}

func layersOf(name string, p config.LayerPair) func(c *config.Config) {
	return func(c *config.Config) {
		c.Loss = only(name)
		c.Loss[0].Layers = config.LayerMap{p}
	}
}

var notANumber = float32(math.NaN())

// spoil changes one weight of one tensor.
func spoil(tensor string, at int, x float32) func(string, []int, []float32) ([]int, []float32) {
	return func(name string, shape []int, values []float32) ([]int, []float32) {
		if name == tensor {
			values[at] = x
		}
		return shape, values
	}
}

// TestBrokenModels wants weights that are no numbers named before the first step.
func TestBrokenModels(t *testing.T) {
	c := textConfig(t)
	for who, path := range map[string]*string{"student": &c.Student.Path, "teacher": &c.Teacher.Path} {
		good := *path
		*path = modelFolder(t, who, nil, spoil("model.layers.1.mlp.up_proj.weight", 3, notANumber))
		refused(t, c, Options{}, who+": model.layers.1.mlp.up_proj.weight holds NaN")
		if exists(filepath.Join(c.Output.Dir, checkpointsDir)) {
			t.Error("something was saved")
		}
		*path = good
		if err := os.RemoveAll(c.Output.Dir); err != nil {
			t.Fatal(err)
		}
	}
}

// TestNaN runs until the teacher meets a document that it has no number for: the run stops before the update, names step, document and tensor,
// and every state that was saved before stays.
func TestNaN(t *testing.T) {
	c := textConfig(t)
	const letter = 'Z'
	width := 32
	at := slices.Index(tokenizerWords(), string(letter)) * width
	c.Teacher.Path = modelFolder(t, "teacher", nil, spoil("model.embed_tokens.weight", at, notANumber))
	text := string(read(t, c.Data.Train[0].Path))
	documents := strings.Split(text, "\n<|endoftext|>\n")
	documents[17] = "a Zebra." // the 18th: in the fourth step
	write(t, c.Data.Train[0].Path, []byte(strings.Join(documents, "\n<|endoftext|>\n")))
	c.Data.Shuffle, c.Data.Packing = false, false
	c.Train.SaveEvery, c.Train.EvalEvery, c.Train.Keep = 1, 3, 1
	err := trainError(t, c, Options{})
	mentions(t, err.Error(), "step 4: ", "loss forward_kl is NaN", "the teacher's model.embed_tokens.weight holds NaN", "sentences.txt, document 18", "no update was made")
	if strings.Contains(err.Error(), "document 17") {
		t.Errorf("it names innocent documents: %v", err)
	}
	if have := steps(t, c.Output.Dir); len(have) != 3 {
		t.Errorf("have %d steps in metrics.jsonl, want 3", len(have))
	}
	for _, step := range []string{"step-2", "step-3"} { // step-3 had yet to prove good
		saved, err := checkpoint.Load(filepath.Join(c.Output.Dir, checkpointsDir, step))
		if err != nil {
			t.Fatal(err)
		}
		parameters := make([]float32, 9860)
		if err := saved.Read("parameters", parameters); err != nil {
			t.Error(err)
		}
		saved.Close()
	}
	// Resumed, it stops at the same place.
	refused(t, c, Options{Resume: true}, "step 4: loss forward_kl is NaN", "document 18")
}

// TestDivergence wants a learning rate beyond all reason to end the run, and nothing saved that is no number.
func TestDivergence(t *testing.T) {
	for _, lr := range []float64{1e9, 1e30, 3e38} {
		c := textConfig(t)
		c.Train.Optimizer.LR = lr
		c.Train.Schedule.WarmupSteps, c.Train.MaxGradNorm = 0, 0
		c.Train.SaveEvery, c.Train.EvalEvery, c.Train.Keep, c.Train.Steps = 1, 0, 1, 20
		err := trainError(t, c, Options{})
		mentions(t, err.Error(), "step ", "train.optimizer.lr")
		all, _ := filepath.Glob(filepath.Join(c.Output.Dir, checkpointsDir, "*"))
		for _, path := range all {
			saved, err := checkpoint.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			parameters := make([]float32, 9860)
			if err := saved.Read("parameters", parameters); err != nil {
				t.Error(err)
			}
			saved.Close()
			if slices.ContainsFunc(parameters, func(x float32) bool { return !finite(float64(x)) }) {
				t.Errorf("learning rate %g: %s holds weights that are no numbers", lr, path)
			}
		}
		if text := string(read(t, filepath.Join(c.Output.Dir, report.MetricsFile))); strings.Contains(text, "NaN") {
			t.Errorf("have %s", text)
		}
		t.Logf("learning rate %g: %v", lr, err)
	}
}
