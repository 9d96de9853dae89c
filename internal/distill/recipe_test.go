package distill

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/config"
	"kdistill/internal/model"
	"kdistill/internal/report"
)

// recipe is an embedded configuration on small models.
type recipe struct {
	teacher func(t testing.TB) string
	data    func(t testing.TB) string
	sets    []string
	terms   []string // losses that must do something: without it the student is further away by it
}

var recipes = map[string]recipe{
	"distilbert": {
		deepTeacher("masked"), func(t testing.TB) string { return sentences(t, 40, 1) }, []string{"data.sequence_length=16"},
		[]string{"forward_kl", "hidden_cosine"},
	},
	"patient_kd_skip": {deepTeacher("classes"), pairsFile, pairSets, []string{"forward_kl", "hidden_mse"}},
	"patient_kd_last": {deepTeacher("classes"), pairsFile, pairSets, []string{"forward_kl", "hidden_mse"}},
	"decoder_hidden": {
		decoderTeacher, func(t testing.TB) string { return sentences(t, 40, 1) }, append(slices.Clone(decoderSets), "student.config.num_hidden_layers=2"),
		[]string{"forward_kl", "hidden_mse"},
	},
	"minilm": {
		deepTeacher("masked"), func(t testing.TB) string { return sentences(t, 40, 1) }, append(slices.Clone(narrow), "loss[0].relation_heads=2"), []string{"relation_kl"},
	},
	"minilm_v2": {
		deepTeacher("masked"), func(t testing.TB) string { return sentences(t, 40, 1) }, append(slices.Clone(narrow), "loss[0].relation_heads=4"), []string{"relation_kl"},
	},
	"tinybert_general": {
		deepTeacher("masked"), func(t testing.TB) string { return sentences(t, 40, 1) }, tinySets, []string{"attention_mse", "hidden_mse"},
	},
	"tinybert_task": {deepTeacher("classes"), pairsFile, pairSets, []string{"attention_mse", "hidden_mse", "soft_cross_entropy"}},
	"forward_kl":    {decoderTeacher, func(t testing.TB) string { return sentences(t, 40, 1) }, decoderSets, []string{"forward_kl"}},
	"minima": {
		decoderTeacher, func(t testing.TB) string { return sentences(t, 40, 1) }, []string{"data.sequence_length=16", "student.config.num_hidden_layers=2"},
		[]string{"soft_cross_entropy"},
	},
	"minitron_depth": {
		decoderTeacher, func(t testing.TB) string { return sentences(t, 40, 1) }, []string{"data.sequence_length=16", "student.layers=[0, 3]"}, []string{"forward_kl"},
	},
	"babyllama": {
		decoderTeacher, func(t testing.TB) string { return sentences(t, 40, 1) }, append(slices.Clone(decoderSets), "data.eval=null"), []string{"forward_kl"},
	},
}

var pairSets = []string{
	"data.sequence_length=16", "data.train[0].field=left", "data.train[0].pair_field=right", "data.eval=null",
}

// narrow is half the teacher's layers and width.
var narrow = []string{
	"data.sequence_length=16", "student.config={architectures: [BertModel], num_hidden_layers: 6, hidden_size: 8, intermediate_size: 12, num_attention_heads: 2}",
}

// tinySets is a third of the teacher's layers, of half its width.
var tinySets = []string{
	"data.sequence_length=16", "student.config={architectures: [BertModel], num_hidden_layers: 4, hidden_size: 8, intermediate_size: 12, num_attention_heads: 2}",
}

// tinyStart runs the first half of TinyBERT for the second one.
func tinyStart(t testing.TB, teacher string) []string {
	dir := filepath.Join(t.TempDir(), "general")
	c, err := config.Load("tinybert_general", append(slices.Clone(tinySets), "teacher.path="+teacher, "data.train[0].path="+sentences(t, 40, 1), "output.dir="+dir,
		"train.epochs=null", "train.steps=16", "train.batch_size=6", "train.schedule.warmup_steps=2", "train.optimizer.lr=5e-3"))
	if err != nil {
		t.Fatal(err)
	}
	train(t, c, Options{})
	model := filepath.Join(dir, "model")
	return []string{"student.path=" + model, "stages[0].loss[1].projection.init=" + filepath.Join(model, "projections.safetensors")}
}

var decoderSets = []string{
	"data.sequence_length=16", "student.config={num_hidden_layers: 2, hidden_size: 16, intermediate_size: 24, num_attention_heads: 2, num_key_value_heads: 2, head_dim: 8}",
}

func pairsFile(t testing.TB) string { return pairs(t, 40, 1, false)[0].Path }

func decoderTeacher(t testing.TB) string { return modelFolder(t, "teacher", nil, nil) }

// deepTeacher is an encoder of twelve narrow layers with random weights.
func deepTeacher(task string) func(t testing.TB) string {
	return func(t testing.TB) string {
		c := encoderTextConfig(t, task)
		c.Student = config.Student{Init: "random", Config: map[string]any{"num_hidden_layers": 12, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24}}
		c.Loss, c.Data.Eval, c.Train.Steps, c.Train.Optimizer.LR = c.Loss[:1], nil, 1, 0
		train(t, c, Options{})
		return filepath.Join(c.Output.Dir, "model")
	}
}

// TestRecipes runs every recipe as it is written, on small models and for few steps, and again without each of its mechanisms: what that term compares must
// then be worse.
func TestRecipes(t *testing.T) {
	for _, name := range config.Names() {
		r, ok := recipes[name]
		if !ok && !slices.Contains([]string{"reference", "demo", "smoke"}, name) && !strings.HasPrefix(name, "synth_") { // package synth tests these
			t.Errorf("configs/%s.yaml has no test", name)
		}
		if !ok {
			continue
		}
		t.Run(name, func(t *testing.T) {
			teacher := r.teacher(t)
			sets := append(teacherSets(t, name, teacher), append([]string{
				"data.train[0].path=" + r.data(t), "train.batch_size=6", "train.max_grad_norm=1", "train.eval_every=0", "train.save_every=0",
			}, r.sets...)...)
			if name == "tinybert_task" {
				sets = append(sets, tinyStart(t, teacher)...)
			}
			course := courseOf(t, name, sets)
			places := []string{"train", "train.optimizer"} // where a stage's steps, and its rate, are set
			for i := range course {
				if course[i].Name != "" {
					places = []string{fmt.Sprintf("stages[%d]", i), fmt.Sprintf("stages[%d]", i)}
				}
				sets = append(sets, places[0]+".epochs=null", places[0]+".steps=16", places[0]+".schedule.warmup_steps=2", places[1]+".lr=5e-3")
			}
			whole := lastLosses(t, name, sets)
			for _, term := range r.terms {
				found := false
				for i, s := range course {
					j := slices.IndexFunc(s.Loss, func(l config.Loss) bool { return l.Label() == term })
					if j < 0 {
						continue
					}
					found = true
					key, rate := fmt.Sprintf("loss[%d]", j), "train.optimizer.lr"
					if s.Name != "" {
						key, rate = fmt.Sprintf("stages[%d].%s", i, key), fmt.Sprintf("stages[%d].lr", i)
					}
					without := append(slices.Clone(sets), key+".weight=1e-12", rate+"=1e-12")
					if len(s.Loss) > 1 {
						without = append(slices.Clone(sets), key+".weight=0")
					}
					if with, without := whole[s.Name][term], lastLosses(t, name, without)[s.Name][term]; !(with < 0.95*without) {
						t.Errorf("%s is %.5f with its term and %.5f without", term, with, without)
					}
				}
				if !found {
					t.Errorf("no loss %s", term)
				}
			}
		})
	}
}

// teacherSets name a recipe's teacher, and a GPT-2 beside it where it has two.
func teacherSets(t testing.TB, recipe, teacher string) []string {
	t.Helper()
	c, err := config.Load(recipe, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Teacher.List == nil {
		return []string{"teacher.path=" + teacher}
	}
	gpt2 := textConfig(t)
	gpt2.Student = config.Student{Init: "random", Config: map[string]any{"model_type": "gpt2", "n_embd": 24, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 1}}
	gpt2.Loss, gpt2.Data.Eval, gpt2.Train.Steps, gpt2.Train.Optimizer.LR, gpt2.Train.BestMetric = only("cross_entropy"), nil, 1, 0, "nll"
	train(t, gpt2, Options{})
	return []string{"teacher[0].path=" + teacher, "teacher[1].path=" + filepath.Join(gpt2.Output.Dir, "model")}
}

// TestBabyLlama: both teachers count. A student that hears the first one alone is further away from what both say together.
func TestBabyLlama(t *testing.T) {
	sets := append(teacherSets(t, "babyllama", decoderTeacher(t)), append([]string{
		"data.train[0].path=" + sentences(t, 40, 1), "data.eval=null", "train.batch_size=6", "train.eval_every=0", "train.save_every=0", "train.epochs=null", "train.steps=60",
		"train.schedule.warmup_steps=2", "train.optimizer.lr=2e-2",
	}, decoderSets...)...)
	both := lastLosses(t, "babyllama", sets)[""]["forward_kl"]
	for _, teacher := range []string{"llama", "gpt2"} {
		alone := lastLosses(t, "babyllama", append(slices.Clone(sets), "loss[1].teacher="+teacher, "loss[1].as=alone",
			"loss[2]={name: forward_kl, weight: 0, temperature: 2, t2_scaling: true}"))[""]["forward_kl"]
		if !(both < 0.95*alone) {
			t.Errorf("the divergence from both is %.5f with both and %.5f with %s alone", both, alone, teacher)
		}
	}
}

// courseOf are the stages of a recipe with these settings.
func courseOf(t testing.TB, name string, sets []string) []config.Stage {
	t.Helper()
	c, err := config.Load(name, sets)
	if err != nil {
		t.Fatal(err)
	}
	return c.Course()
}

// lastLosses runs a recipe and returns the mean losses of the last five steps of each stage.
func lastLosses(t testing.TB, name string, sets []string) map[string]map[string]float64 {
	t.Helper()
	c, err := config.Load(name, append(slices.Clone(sets), "output.dir="+filepath.Join(t.TempDir(), "run")))
	if err != nil {
		t.Fatal(err)
	}
	means, done := map[string]map[string]float64{}, 0
	all := train(t, c, Options{})
	for _, s := range c.Course() {
		means[s.Name] = map[string]float64{}
		done += s.Steps
		for _, step := range all[done-5 : done] {
			if len(step.Losses) != len(s.Loss) {
				t.Errorf("step %d: have losses %v, want %d", step.Step, step.Losses, len(s.Loss))
			}
			for label, v := range step.Losses {
				means[s.Name][label] += v / 5
			}
		}
	}
	return means
}

// TestTinyBERT: the second half starts where the first one ended, and its layers are what its predictions begin with.
func TestTinyBERT(t *testing.T) {
	teacher := deepTeacher("classes")(t)
	sets := append(slices.Clone(pairSets), "teacher.path="+teacher, "data.train[0].path="+pairsFile(t), "train.batch_size=6", "train.eval_every=0",
		"stages[0].epochs=null", "stages[0].steps=16", "stages[0].lr=5e-3", "stages[1].epochs=null", "stages[1].steps=2", "stages[1].lr=0", "stages[1].schedule.warmup_steps=0")
	first := func(more ...string) report.Step {
		c, err := config.Load("tinybert_task", append(append(slices.Clone(sets), "output.dir="+filepath.Join(t.TempDir(), "run")), more...))
		if err != nil {
			t.Fatal(err)
		}
		return train(t, c, Options{})[0]
	}
	taught := first(tinyStart(t, teacher)...)
	fresh := first("student.path=null", "student.init=random", "stages[0].loss[1].projection.init=normal", tinySets[1])
	for label, v := range taught.Losses {
		if !(v < 0.95*fresh.Losses[label]) {
			t.Errorf("%s begins at %.5f with the first half and at %.5f without", label, v, fresh.Losses[label])
		}
	}
	// Every third layer, and the embedding.
	for i, want := range []string{"[[1 3] [2 6] [3 9] [4 12]]", "[[0 0] [1 3] [2 6] [3 9] [4 12]]"} {
		for _, course := range [][]config.Stage{courseOf(t, "tinybert_general", nil), courseOf(t, "tinybert_task", nil)} {
			if have, err := layerPairs(course[0].Loss[i], 1, 4, 12); err != nil || fmt.Sprint(have) != want {
				t.Errorf("have pairs %v, want %s (%v)", have, want, err)
			}
		}
	}
}

// TestRecipeLayers: the layers that the papers name.
func TestRecipeLayers(t *testing.T) {
	for name, want := range map[string][]int{
		"distilbert": {0, 2, 4, 7, 9, 11}, "patient_kd_skip": {0, 1, 2, 3, 4, 5}, "minitron_depth": {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 31},
		"minima": {0, 1, 3, 4, 5, 7, 8, 9, 11, 12, 13, 15, 16, 18, 19, 20, 22, 23, 24, 26, 27, 28, 30, 31},
	} {
		c, err := config.Load(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		layers := map[bool]int{true: 32, false: 12}[want[len(want)-1] == 31]
		have, err := keptLayers(c.Student, model.Info{Type: "bert", Layers: layers, LayersKey: "num_hidden_layers"})
		if err != nil || !slices.Equal(have, want) {
			t.Errorf("%s: have layers %v, want %v (%v)", name, have, want, err)
		}
	}
	for name, want := range map[string]string{
		"patient_kd_skip": "[[1 2] [2 4] [3 6] [4 8] [5 10]]", "patient_kd_last": "[[1 7] [2 8] [3 9] [4 10] [5 11]]", "distilbert": "[[6 12]]",
	} {
		c, err := config.Load(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(c.Loss, func(l config.Loss) bool { return strings.HasPrefix(l.Name, "hidden") })
		have, err := layerPairs(c.Loss[i], 1, 6, 12)
		if err != nil || fmt.Sprint(have) != want {
			t.Errorf("%s: have pairs %v, want %s (%v)", name, have, want, err)
		}
	}
}

// TestPrunedStart: a student that keeps all of the teacher's layers says what the teacher says from the start, and one that keeps half of them is nearer
// to that than a random one.
func TestPrunedStart(t *testing.T) {
	for name, all := range map[string]string{"minitron_depth": "student.layers=[0, 1, 2, 3]", "minima": "student.config.num_hidden_layers=4"} {
		begins := func(sets ...string) float64 {
			c, err := config.Load(name, append([]string{
				"teacher.path=" + decoderTeacher(t), "data.train[0].path=" + sentences(t, 10, 1), "data.sequence_length=16", "train.epochs=null", "train.steps=1", "train.batch_size=4",
				"train.save_every=0", "output.dir=" + filepath.Join(t.TempDir(), "run"), "loss=[{name: forward_kl}]",
			}, sets...))
			if err != nil {
				t.Fatal(err)
			}
			return train(t, c, Options{})[0].Loss
		}
		whole, half := begins(all), begins("student.layers=[0, 3]", "student.config=null")
		random := begins("student.init=random", "student.layers=null", "student.config={num_hidden_layers: 2, initializer_range: 0.4}")
		if whole > 1e-6 || !(half < 0.8*random) {
			t.Errorf("%s: begins at a divergence of %v with all layers, %v with half of them, %v with random ones", name, whole, half, random)
		}
	}
}
