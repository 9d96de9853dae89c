package distill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/config"
	"kdistill/internal/testutil"
)

// encoderFolder copies a model of testdata/golden/encoders and gives it a tokenizer of its 64 ids: five special ones, then single characters.
// edit, if not nil, changes config.json.
func encoderFolder(t testing.TB, task, who string, edit func(map[string]any)) string {
	t.Helper()
	from, to := testutil.Testdata(t, "golden/encoders/"+task+"/"+who), filepath.Join(t.TempDir(), who)
	type object = map[string]any
	vocabulary := object{}
	var added []any
	for id, word := range []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"} {
		vocabulary[word] = id
		added = append(added, object{"id": id, "content": word, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
	}
	for _, c := range " .,\n!?abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" {
		vocabulary[string(c)] = len(vocabulary)
	}
	special := func(name string, kind int) object { return object{"SpecialToken": object{"id": name, "type_id": kind}} }
	text := func(name string, kind int) object { return object{"Sequence": object{"id": name, "type_id": kind}} }
	write(t, filepath.Join(to, "tokenizer.json"), marshal(t, object{
		"version": "1.0", "added_tokens": added, "normalizer": nil, "pre_tokenizer": nil, "decoder": object{"type": "Fuse"},
		"post_processor": object{
			"type": "TemplateProcessing", "single": []any{special("[CLS]", 0), text("A", 0), special("[SEP]", 0)},
			"pair": []any{special("[CLS]", 0), text("A", 0), special("[SEP]", 0), text("B", 1), special("[SEP]", 1)},
			"special_tokens": object{
				"[CLS]": object{"id": "[CLS]", "ids": []int{2}, "tokens": []string{"[CLS]"}}, "[SEP]": object{"id": "[SEP]", "ids": []int{3}, "tokens": []string{"[SEP]"}},
			},
		},
		"model": object{"type": "BPE", "unk_token": "[UNK]", "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": []any{}},
	}))
	write(t, filepath.Join(to, "tokenizer_config.json"), marshal(t, object{
		"tokenizer_class": "PreTrainedTokenizerFast", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]", "pad_token": "[PAD]", "mask_token": "[MASK]",
	}))
	var c object
	unmarshal(t, read(t, filepath.Join(from, "config.json")), &c)
	if edit != nil {
		edit(c)
	}
	write(t, filepath.Join(to, "config.json"), marshal(t, c))
	write(t, filepath.Join(to, "model.safetensors"), read(t, filepath.Join(from, "model.safetensors")))
	return to
}

// pairs writes n lines of two words and what they are, always the same for a seed: whether the second comes before the first in the alphabet, in words
// or as a number.
func pairs(t testing.TB, n int, seed uint64, number bool) []config.Source {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 1))
	out := "left\tright\tlabel\n"
	for range n {
		words := [2]string{}
		for i := range words {
			for range 1 + random.IntN(5) {
				words[i] += string(rune('a' + random.IntN(26)))
			}
		}
		label := []string{"no", "maybe", "yes"}[1+strings.Compare(words[0], words[1])]
		if number {
			label = fmt.Sprint(float64(words[0][0]) - float64(words[1][0]))
		}
		out += words[0] + "\t" + words[1] + "\t" + label + "\n"
	}
	path := filepath.Join(t.TempDir(), "pairs.tsv")
	write(t, path, []byte(out))
	return []config.Source{{Path: path, Field: "left", PairField: "right", LabelField: "label", AppendEOS: "auto"}}
}

// encoderTextConfig is a short run over text, with evaluations and saved states at different steps.
func encoderTextConfig(t testing.TB, task string) *config.Config {
	c := config.Default()
	c.Teacher.Path, c.Student.Path = encoderFolder(t, task, "teacher", nil), encoderFolder(t, task, "student", nil)
	c.Data.SequenceLength = 16
	c.Train.Steps, c.Train.BatchSize, c.Train.MicroBatchSize = 9, 5, 2
	c.Train.EvalEvery, c.Train.SaveEvery = 2, 3
	c.Train.Optimizer.LR = 5e-3
	c.Output.Dir = filepath.Join(t.TempDir(), "run")
	switch task {
	case "masked":
		c.Data.WholeWords = true
		c.Data.Train, c.Data.Eval = textFile(sentences(t, 13, 1)), textFile(sentences(t, 7, 2))
		c.Loss = []config.Loss{term("cross_entropy"), attended(heated(term("forward_kl"), 2))}
		c.Train.BestMetric = "accuracy"
	case "classes":
		c.Data.Train, c.Data.Eval = pairs(t, 13, 1, false), pairs(t, 20, 2, false)
		c.Loss = []config.Loss{term("cross_entropy"), heated(term("forward_kl"), 4)}
		c.Train.BestMetric = "macro_f1"
	case "number":
		c.Data.Train, c.Data.Eval = pairs(t, 13, 1, true), pairs(t, 20, 2, true)
		c.Loss = []config.Loss{term("mse"), term("logit_mse")}
	}
	return c
}

// TestEncodersResume stops runs of every task between any two ops and wants the bytes of a run that was never stopped: masks are drawn anew as they were.
func TestEncodersResume(t *testing.T) {
	for _, task := range []string{"masked", "classes", "number"} {
		t.Run(task, func(t *testing.T) {
			c := encoderTextConfig(t, task)
			const enough = 1 << 40
			asked := newCountdown(enough)
			if _, err := Train(asked, c, Options{Log: io.Discard, Out: io.Discard}); err != nil {
				t.Fatal(err)
			}
			want, ops := outcomeOf(t, c.Output.Dir), enough-asked.left.Load()
			random := rand.New(rand.NewPCG(2, 0))
			c.Output.Dir = filepath.Join(t.TempDir(), "run")
			for stops := 0; ; stops++ {
				ctx := newCountdown(enough)
				if stops < 4 {
					ctx = newCountdown(random.Int64N(ops * 2 / 3))
				}
				_, err := Train(ctx, c, Options{Resume: stops > 0, Log: io.Discard, Out: io.Discard})
				if err == nil {
					break
				}
				if !errors.Is(err, context.Canceled) {
					t.Fatal(err)
				}
			}
			same(t, outcomeOf(t, c.Output.Dir), want)
		})
	}
}

// TestEncodersLearn: what is learnt from text, pairs and numbers shows in their figures, which the run reports.
func TestEncodersLearn(t *testing.T) {
	for task, test := range map[string]struct {
		figure string
		better func(before, after float64) bool
		figures, not,
		best string
	}{
		"masked":  {"nll", func(before, after float64) bool { return after < 0.8*before }, "nll accuracy perplexity kl", "matthews mse bits_per_byte", "accuracy"},
		"classes": {"accuracy", func(before, after float64) bool { return after > before+0.2 }, "nll accuracy macro_f1 matthews kl top1_agreement", "f1 perplexity mse", "macro_f1"},
		"number":  {"spearman", func(before, after float64) bool { return after > before+0.3 }, "mse pearson spearman", "nll kl accuracy", "mse"},
	} {
		c := encoderTextConfig(t, task)
		c.Loss = c.Loss[:1]
		c.Train.Steps, c.Train.BatchSize, c.Train.MicroBatchSize, c.Train.EvalEvery, c.Train.Optimizer.LR = 60, 13, 13, 60, 1e-2
		c.Data.Eval = c.Data.Train
		r, err := Train(context.Background(), c, Options{Log: io.Discard, Out: io.Discard})
		if err != nil {
			t.Fatal(err)
		}
		before, _ := r.Before.Figures[test.figure].(float64)
		after, ok := r.After.Figures[test.figure].(float64)
		if !ok || !test.better(before, after) {
			t.Errorf("%s: have %s %v after %v", task, test.figure, after, before)
		}
		for _, name := range strings.Fields(test.figures) {
			if _, ok := r.After.Figures[name].(float64); !ok {
				t.Errorf("%s: no figure %s", task, name)
			}
		}
		for _, name := range strings.Fields(test.not) {
			if x, ok := r.After.Figures[name]; ok && x != nil {
				t.Errorf("%s: have a figure %s", task, name)
			}
		}
		if r.Best == nil || r.Best.Metric != test.best {
			t.Errorf("%s: have best %+v, want by %s", task, r.Best, test.best)
		}
		var table strings.Builder
		if err := r.Print(&table); err != nil {
			t.Fatal(err)
		}
		if task == "classes" {
			mentions(t, table.String(), "accuracy", "macro F1", "Matthews")
		}
	}
}

// TestNewHead gives encoders the head of a task that they lack.
func TestNewHead(t *testing.T) {
	bare := func(c map[string]any) { c["architectures"] = []string{"BertModel"} }
	tsv := func(lines ...string) []config.Source {
		path := filepath.Join(t.TempDir(), "a.tsv")
		write(t, path, []byte("text\tlabel\n"+strings.Join(lines, "\n")))
		return []config.Source{{Path: path, AppendEOS: "auto"}}
	}
	names, numbers, floats := tsv("abc\tgood", "de\tbad", "f\tgood"), tsv("abc\t2", "de\t0"), tsv("abc\t1.5", "de\t0")
	for what, test := range map[string]struct {
		set    func(*config.Config)
		labels []string
		fresh  bool
		say    string
	}{
		"names in the data":   {func(c *config.Config) { c.Data.Train = names }, []string{"bad", "good"}, true, "BertForSequenceClassification: it is drawn anew"},
		"numbers in the data": {func(c *config.Config) { c.Data.Train = numbers }, []string{"LABEL_0", "LABEL_1", "LABEL_2"}, true, ""},
		"a regression":        {func(c *config.Config) { c.Data.Train, c.Loss = floats, []config.Loss{term("mse")} }, []string{"LABEL_0"}, true, ""},
		"data.labels":         {func(c *config.Config) { c.Data.Train, c.Data.Labels = names, []string{"good", "bad", "ugly"} }, []string{"good", "bad", "ugly"}, true, ""},
		"the teacher's": {func(c *config.Config) {
			c.Teacher.Path, c.Data.Train = encoderFolder(t, "classes", "teacher", nil), tsv("a\tmaybe")
		}, []string{"no", "maybe", "yes"}, true, ""},
		"some of the layers of a bare teacher": {func(c *config.Config) {
			c.Teacher.Path, c.Student.Path, c.Student.Init, c.Student.Layers = encoderFolder(t, "masked", "teacher", bare), "", "teacher_layers", config.Layers{List: []int{1}}
			c.Data.Train = names
		}, []string{"bad", "good"}, true, ""},
		"random": {func(c *config.Config) {
			c.Teacher.Path, c.Student.Path, c.Student.Init = encoderFolder(t, "masked", "teacher", nil), "", "random"
			c.Data.Train = names
		}, []string{"bad", "good"}, false, ""},
		"a masked language model's": {func(c *config.Config) {
			c.Student.Task, c.Data.Train = "masked", textFile(sentences(t, 5, 1))
			c.Student.Path = encoderFolder(t, "classes", "student", nil)
		}, nil, true, "no head for BertForMaskedLM"},
	} {
		t.Run(what, func(t *testing.T) {
			c := config.Default()
			c.Student.Path, c.Student.Task = encoderFolder(t, "masked", "student", bare), "classification"
			c.Loss = []config.Loss{term("cross_entropy")}
			c.Data.SequenceLength, c.Train.Steps, c.Train.BatchSize, c.Train.SaveEvery = 16, 2, 2, 0
			c.Output.Dir = filepath.Join(t.TempDir(), "run")
			test.set(c)
			said := trainSaying(t, c, Options{})
			if strings.Contains(said, "drawn anew") != test.fresh {
				t.Errorf("said %s", said)
			}
			mentions(t, said, test.say)
			var written struct {
				ID2Label map[string]string
				Problem  string `json:"problem_type"`
			}
			unmarshal(t, read(t, filepath.Join(c.Output.Dir, "model", "config.json")), &written)
			var labels []string
			for i := range len(written.ID2Label) {
				labels = append(labels, written.ID2Label[fmt.Sprint(i)])
			}
			if test.labels != nil && !slices.Equal(labels, test.labels) {
				t.Errorf("have labels %v, want %v", labels, test.labels)
			}
			// What was written is whole: evaluation and training go on with it.
			c.Student = config.Student{Init: "checkpoint", Path: filepath.Join(c.Output.Dir, "model")}
			c.Teacher.Path, c.Data.Labels = "", nil
			c.Output.Dir = filepath.Join(t.TempDir(), "run")
			if said := trainSaying(t, c, Options{}); strings.Contains(said, "drawn anew") {
				t.Errorf("the written model said %s", said)
			}
		})
	}
}

// TestHeadlessStudent is trained by losses on layers alone; there is nothing to evaluate.
func TestHeadlessStudent(t *testing.T) {
	bare := func(c map[string]any) { c["architectures"] = []string{"BertModel"} }
	c := encoderTextConfig(t, "masked")
	c.Teacher.Path, c.Student.Path = encoderFolder(t, "masked", "teacher", bare), encoderFolder(t, "masked", "student", bare)
	c.Loss, c.Train.BestMetric = []config.Loss{term("hidden_mse")}, "nll"
	c.Loss[0].Positions = ""
	mentions(t, trainSaying(t, c, Options{}), "note: BertModel has no head")
	all := steps(t, c.Output.Dir)
	if n := len(all); n != c.Train.Steps || !(all[n-1].Loss < all[0].Loss) {
		t.Errorf("have steps %+v", all)
	}
	r, err := Train(context.Background(), c, Options{Resume: true, Log: io.Discard, Out: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if r.Best != nil {
		t.Errorf("have best %+v of nothing", r.Best)
	}
	if err := r.Print(io.Discard); err != nil {
		t.Fatal(err)
	}
	untouched(t, c.Output.Dir, func() {
		c.Loss = []config.Loss{term("cross_entropy")}
		c.Output.Dir = filepath.Join(t.TempDir(), "run")
		refused(t, c, Options{}, "loss cross_entropy: BertModel has no head to make logits: set student.task")
	})
}

// TestEncoderRefusals: what makes no sense of the models' tasks is said before the first step.
func TestEncoderRefusals(t *testing.T) {
	for want, set := range map[string]func(c *config.Config){
		"loss mse compares with a number, and BertForSequenceClassification predicts none":                        func(c *config.Config) { c.Loss = []config.Loss{term("mse")} },
		"loss forward_kl: positions: attended: the student's classes stand at the first":                          func(c *config.Config) { c.Loss = []config.Loss{attended(term("forward_kl"))} },
		"the teacher is for masked, the student for classification":                                               func(c *config.Config) { c.Teacher.Path = encoderFolder(t, "masked", "teacher", nil) },
		"the teacher has 1 classes, the student 3":                                                                func(c *config.Config) { c.Teacher.Path = encoderFolder(t, "number", "teacher", nil) },
		"train.best_metric: f1 is no figure of BertForSequenceClassification: use one of nll, accuracy, macro_f1": func(c *config.Config) { c.Train.BestMetric = "f1" },
		"train.best_metric: kl compares with a teacher":                                                           func(c *config.Config) { c.Train.BestMetric, c.Teacher.Path, c.Loss = "kl", "", c.Loss[:1] },
		"the student's config.json has no, maybe, yes: leave them out":                                            func(c *config.Config) { c.Data.Labels = []string{"yes", "no", "maybe"} },
		`label: have "yes", want a number`: func(c *config.Config) {
			c.Teacher.Path, c.Student.Path, c.Loss = "", encoderFolder(t, "number", "student", nil), []config.Loss{term("mse")}
		},
		"loss cross_entropy compares distributions, and the student gives one number": func(c *config.Config) {
			c.Teacher.Path, c.Student.Path, c.Loss = "", encoderFolder(t, "number", "student", nil), c.Loss[:1]
		},
		"the model classifies, and text holds no labels": func(c *config.Config) { c.Data.Train = textFile(sentences(t, 3, 1)) },
		"problem_type multi_label_classification: documents with several classes": func(c *config.Config) {
			c.Teacher.Path, c.Loss, c.Student.Path = "", c.Loss[:1], encoderFolder(t, "classes", "student", func(c map[string]any) { c["problem_type"] = "multi_label_classification" })
		},
		"the teacher's classes are no, maybe, yes, the student's yes, maybe, no": func(c *config.Config) {
			c.Student.Path = encoderFolder(t, "classes", "student", func(c map[string]any) {
				c["id2label"], c["label2id"] = map[string]string{"0": "yes", "1": "maybe", "2": "no"}, map[string]int{"yes": 0, "maybe": 1, "no": 2}
			})
		},
		"data.labels: BertForMaskedLM does not classify": func(c *config.Config) {
			c.Student.Path, c.Data.Labels = encoderFolder(t, "masked", "student", nil), []string{"a", "b"}
		},
	} {
		c := encoderTextConfig(t, "classes")
		set(c)
		refused(t, c, Options{}, want)
	}
	c := textConfig(t)
	c.Student.Task = "masked"
	refused(t, c, Options{}, "model_type llama has its own head")
}
