package distill

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kdistill/internal/config"
	"kdistill/internal/safetensors"
	"kdistill/internal/teacher"
	"kdistill/internal/testutil"
)

// modelFolder copies a model of testdata/golden/distill, gives it a tokenizer of its 64 ids, and returns its folder. edit, if not nil, changes
// config.json; tensors changes the weights by name.
func modelFolder(t testing.TB, name string, edit func(map[string]any), tensors func(name string, shape []int, values []float32) ([]int, []float32)) string {
	t.Helper()
	from, to := testutil.Testdata(t, "golden/distill/"+name), filepath.Join(t.TempDir(), name)
	writeTokenizer(t, to, tokenizerWords())
	var c map[string]any
	unmarshal(t, read(t, filepath.Join(from, "config.json")), &c)
	if edit != nil {
		edit(c)
	}
	write(t, filepath.Join(to, "config.json"), marshal(t, c))
	f, err := safetensors.Open(filepath.Join(from, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []safetensors.Tensor
	for _, name := range f.Names() {
		x, _ := f.Tensor(name)
		shape, values := x.Shape, make([]float32, x.Len())
		if err := x.Float32s(values); err != nil {
			t.Fatal(err)
		}
		if tensors != nil {
			shape, values = tensors(name, shape, values)
		}
		x, err := safetensors.Encode(name, safetensors.F32, shape, values)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, x)
	}
	write(t, filepath.Join(to, "model.safetensors"), safetensorsFile(t, all...))
	return to
}

func safetensorsFile(t testing.TB, tensors ...safetensors.Tensor) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := safetensors.Write(&out, tensors, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// tokenizerWords are the 64 tokens of the tests: four special ones, then single characters.
func tokenizerWords() []string {
	words := []string{"<pad>", "<s>", "</s>", "<unk>"}
	for _, c := range " .,\n!?" + "abcdefghijklmnopqrstuvwxyz" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "01" {
		words = append(words, string(c))
	}
	return words
}

// writeTokenizer writes a tokenizer.json whose tokens are single characters and which puts <s> in front.
func writeTokenizer(t testing.TB, dir string, words []string) {
	t.Helper()
	vocabulary := map[string]int{}
	var added []any
	for id, word := range words {
		vocabulary[word] = id
		if id < 4 {
			added = append(added, map[string]any{"id": id, "content": word, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})
		}
	}
	type object = map[string]any
	start := object{"SpecialToken": object{"id": "<s>", "type_id": 0}}
	write(t, filepath.Join(dir, "tokenizer.json"), marshal(t, object{
		"version": "1.0", "added_tokens": added, "normalizer": nil, "pre_tokenizer": nil, "decoder": object{"type": "Fuse"},
		"post_processor": object{"type": "TemplateProcessing", "single": []any{start, object{"Sequence": object{"id": "A", "type_id": 0}}},
			"pair":           []any{object{"Sequence": object{"id": "A", "type_id": 0}}, object{"Sequence": object{"id": "B", "type_id": 0}}},
			"special_tokens": object{"<s>": object{"id": "<s>", "ids": []int{1}, "tokens": []string{"<s>"}}}},
		"model": object{"type": "BPE", "unk_token": "<unk>", "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": []any{}},
	}))
	setSpecial(t, dir, "<pad>")
}

// setSpecial names the special tokens of a folder's tokenizer.
func setSpecial(t testing.TB, dir, pad string) {
	write(t, filepath.Join(dir, "tokenizer_config.json"), marshal(t, map[string]any{
		"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": pad,
	}))
}

// sentences writes n documents of a few words each, always the same for a seed.
func sentences(t testing.TB, n int, seed uint64) string {
	t.Helper()
	words := strings.Fields("cat dog sun the a runs sees big red tree Once Lily")
	random := rand.New(rand.NewPCG(seed, 0))
	var documents []string
	for range n {
		var document []string
		for range 2 + random.IntN(5) {
			document = append(document, words[random.IntN(len(words))])
		}
		documents = append(documents, strings.Join(document, " ")+".")
	}
	path := filepath.Join(t.TempDir(), "sentences.txt")
	write(t, path, []byte(strings.Join(documents, "\n<|endoftext|>\n")))
	return path
}

// textConfig is a short run over text: cross-entropy and forward KL, evaluations and saved states at different steps, epochs in which rows and batches
// don't come out even.
func textConfig(t testing.TB) *config.Config {
	t.Helper()
	c := config.Default()
	c.Teacher.Path, c.Student.Path = modelFolder(t, "teacher", nil, nil), modelFolder(t, "student", nil, nil)
	c.Data.Train, c.Data.Eval = textFile(sentences(t, 40, 1)), textFile(sentences(t, 8, 2))
	c.Data.SequenceLength = 32
	c.Loss = []config.Loss{
		with(term("forward_kl"), func(l *config.Loss) {
			l.Weight, l.Temperature, l.T2Scaling = config.Weight{From: 1, To: 0.5, Schedule: "linear"}, 2, true
		}),
		with(term("cross_entropy"), func(l *config.Loss) { l.Weight = config.Constant(0.5) }),
	}
	c.Train.Steps, c.Train.BatchSize, c.Train.MicroBatchSize = 12, 5, 2
	c.Train.EvalEvery, c.Train.SaveEvery = 3, 4
	c.Train.Optimizer.LR, c.Train.BestMetric = 0.03, "kl" // the best is neither the first nor the last
	c.Train.Schedule = config.Schedule{Name: "constant", WarmupSteps: 3}
	c.Output.Dir = filepath.Join(t.TempDir(), "run")
	return c
}

func textFile(path string) []config.Source {
	return []config.Source{{Path: path, Format: "text", Separator: "<|endoftext|>", AppendEOS: "auto"}}
}

// lines writes JSON lines and returns the file.
func lines(t testing.TB, records ...any) string {
	t.Helper()
	var text bytes.Buffer
	for _, r := range records {
		text.Write(append(marshal(t, r), '\n'))
	}
	path := filepath.Join(t.TempDir(), "lines.jsonl")
	write(t, path, text.Bytes())
	return path
}

// trainError runs a configuration that must fail and returns its error.
func trainError(t testing.TB, c *config.Config, o Options) error {
	t.Helper()
	o.Log, o.Out = io.Discard, io.Discard
	_, err := Train(context.Background(), c, o)
	if err == nil {
		t.Fatal("the run went through")
	}
	return err
}

// refused wants an error that holds all of the words.
func refused(t testing.TB, c *config.Config, o Options, words ...string) {
	t.Helper()
	mentions(t, trainError(t, c, o).Error(), words...)
}

// mentions wants all of the words in a text.
func mentions(t testing.TB, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("have %q, want it to tell %q", text, word)
		}
	}
}

// trainSaying runs a configuration and returns what was said.
func trainSaying(t testing.TB, c *config.Config, o Options) string {
	t.Helper()
	var said bytes.Buffer
	o.Log = &said
	train(t, c, o)
	return said.String()
}

// outcome is what two runs of the same configuration must have in common.
type outcome struct{ model, best, metrics string }

func outcomeOf(t testing.TB, dir string) outcome {
	t.Helper()
	o := outcome{
		model: string(read(t, filepath.Join(dir, "model", "model.safetensors"))),
		best:  string(read(t, filepath.Join(dir, "best", "model.safetensors"))),
	}
	for line := range strings.Lines(string(read(t, filepath.Join(dir, "metrics.jsonl")))) {
		var fields map[string]any
		unmarshal(t, []byte(line), &fields)
		delete(fields, "tokens_per_second")
		if figures, ok := fields["eval"].(map[string]any); ok {
			delete(figures, "tokens_per_second")
		}
		o.metrics += string(marshal(t, fields)) + "\n"
	}
	return o
}

// same wants the same outcome.
func same(t testing.TB, have, want outcome) {
	t.Helper()
	if have.model != want.model {
		t.Error("model/model.safetensors differs")
	}
	if have.best != want.best {
		t.Error("best/model.safetensors differs")
	}
	if have.metrics != want.metrics {
		t.Errorf("metrics.jsonl differs: have\n%swant\n%s", have.metrics, want.metrics)
	}
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func write(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o777), os.WriteFile(path, text, 0o666)); err != nil {
		t.Fatal(err)
	}
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func unmarshal(t testing.TB, text []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
}

func speakerOf(r *run) teacher.Speaker { return teacher.Speaker{Teacher: r.single().live} }
