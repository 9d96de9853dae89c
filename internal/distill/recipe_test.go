package distill

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/config"
	"kdistill/internal/model"
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
	"forward_kl":   {decoderTeacher, func(t testing.TB) string { return sentences(t, 40, 1) }, decoderSets, []string{"forward_kl"}},
	"prune_layers": {decoderTeacher, func(t testing.TB) string { return sentences(t, 40, 1) }, []string{"data.sequence_length=16", "student.config.num_hidden_layers=2"}, nil},
}

var pairSets = []string{
	"data.sequence_length=16", "data.train[0].field=left", "data.train[0].pair_field=right", "data.eval=null",
}

// narrow is half the teacher's layers and width.
var narrow = []string{
	"data.sequence_length=16", "student.config={architectures: [BertModel], num_hidden_layers: 6, hidden_size: 8, intermediate_size: 12, num_attention_heads: 2}",
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
		if !ok && !slices.Contains([]string{"reference", "demo", "smoke"}, name) {
			t.Errorf("configs/%s.yaml has no test", name)
		}
		if !ok {
			continue
		}
		t.Run(name, func(t *testing.T) {
			sets := append([]string{
				"teacher.path=" + r.teacher(t), "data.train[0].path=" + r.data(t), "train.epochs=null", "train.steps=16", "train.batch_size=6", "train.schedule.warmup_steps=2",
				"train.optimizer.lr=5e-3", "train.max_grad_norm=1", "train.eval_every=0", "train.save_every=0",
			}, r.sets...)
			last := func(more ...string) map[string]float64 {
				dir := filepath.Join(t.TempDir(), "run")
				c, err := config.Load(name, append(append(slices.Clone(sets), "output.dir="+dir), more...))
				if err != nil {
					t.Fatal(err)
				}
				mean := map[string]float64{}
				all := train(t, c, Options{})
				for _, step := range all[len(all)-5:] {
					for label, v := range step.Losses {
						mean[label] += v / 5
					}
				}
				return mean
			}
			c, err := config.Load(name, sets)
			if err != nil {
				t.Fatal(err)
			}
			whole := last()
			if len(whole) != len(c.Loss) {
				t.Errorf("have losses %v, want %d", whole, len(c.Loss))
			}
			for _, term := range r.terms {
				i := slices.IndexFunc(c.Loss, func(l config.Loss) bool { return l.Label() == term })
				if i < 0 {
					t.Fatalf("no loss %s", term)
				}
				without := last(fmt.Sprintf("loss[%d].weight=1e-12", i), "train.optimizer.lr=1e-12")
				if len(c.Loss) > 1 {
					without = last(fmt.Sprintf("loss[%d].weight=0", i))
				}
				if !(whole[term] < 0.95*without[term]) {
					t.Errorf("%s is %.5f with its term and %.5f without", term, whole[term], without[term])
				}
			}
		})
	}
}

// TestRecipeLayers: the layers that the papers name.
func TestRecipeLayers(t *testing.T) {
	for name, want := range map[string][]int{"distilbert": {0, 2, 4, 7, 9, 11}, "patient_kd_skip": {0, 1, 2, 3, 4, 5}, "prune_layers": {0, 2, 4, 7, 9, 11}} {
		c, err := config.Load(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		have, err := keptLayers(c.Student, model.Info{Type: "bert", Layers: 12, LayersKey: "num_hidden_layers"})
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

// TestPrunedStart: a student that keeps all of the teacher's layers says what the teacher says from the start, and a random one does not.
func TestPrunedStart(t *testing.T) {
	for init, same := range map[string]bool{"teacher_layers": true, "random": false} {
		sets := []string{
			"teacher.path=" + decoderTeacher(t), "data.train[0].path=" + sentences(t, 10, 1), "data.sequence_length=16", "student.config.num_hidden_layers=4", "train.steps=1",
			"train.batch_size=4", "train.save_every=0", "student.init=" + init, "output.dir=" + filepath.Join(t.TempDir(), "run"),
		}
		if !same {
			sets = append(sets, "student.layers=null")
		}
		c, err := config.Load("prune_layers", sets)
		if err != nil {
			t.Fatal(err)
		}
		if loss := train(t, c, Options{})[0].Loss; (loss < 1e-6) != same {
			t.Errorf("%s: have a divergence of %v at the start", init, loss)
		}
	}
}
