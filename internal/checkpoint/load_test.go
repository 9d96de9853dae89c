package checkpoint

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gorgonia.org/tensor"
	"kdistill/internal/kernel"
	"kdistill/internal/model"
	"kdistill/internal/safetensors"
	"kdistill/internal/testutil"
)

// memoryTensors are tensors by name.
type memoryTensors map[string]safetensors.Tensor

func (m memoryTensors) Names() []string { return slices.Sorted(maps.Keys(m)) }

func (m memoryTensors) Tensor(name string) (safetensors.Tensor, bool) {
	x, ok := m[name]
	return x, ok
}

// with returns a copy in which tensors are added or, where they have no data, taken away.
func (m memoryTensors) with(changes ...safetensors.Tensor) memoryTensors {
	out := maps.Clone(m)
	for _, x := range changes {
		if x.Data == nil {
			delete(out, x.Name)
			continue
		}
		out[x.Name] = x
	}
	return out
}

// openGoldenModel reads a folder of testdata/golden/models.
func openGoldenModel(t *testing.T, name string) (model.Model, memoryTensors) {
	t.Helper()
	f, err := Open(testutil.Testdata(t, "golden/models/"+name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	m, err := model.New(f.Config)
	if err != nil {
		t.Fatal(err)
	}
	tensors := memoryTensors{}
	for _, n := range f.Names() {
		tensors[n], _ = f.Tensor(n)
	}
	return m, tensors
}

func goldenModelNames(t *testing.T) (names []string) {
	t.Helper()
	dirs, err := os.ReadDir(testutil.Testdata(t, "golden/models"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		names = append(names, filepath.Base(d.Name()))
	}
	return names
}

// TestBasePrefix reads every golden model with its names as they are, and as its base model alone would have saved them.
func TestBasePrefix(t *testing.T) {
	for _, name := range goldenModelNames(t) {
		m, tensors := openGoldenModel(t, name)
		want, _, err := ReadStudent(tensors, m, 0)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		base := m.Info().Base
		bare, renamed := memoryTensors{}, 0
		for n, x := range tensors {
			x.Name = strings.TrimPrefix(n, base)
			if x.Name != n {
				renamed++
			}
			bare[x.Name] = x
		}
		if renamed < len(tensors)/2 {
			t.Errorf("%s: prefix %q on %d of %d tensors", name, base, renamed, len(tensors))
		}
		have, _, err := ReadStudent(bare, m, 0)
		if err != nil {
			t.Errorf("%s without %s: %v", name, base, err)
			continue
		}
		if !slices.Equal(have.Values, want.Values) {
			t.Errorf("%s without %s: other values", name, base)
		}
		if _, err := ReadFrozen(bare, m, Auto); err != nil {
			t.Errorf("%s without %s, frozen: %v", name, base, err)
		}
	}
}

func encoded(t *testing.T, name string, d safetensors.DType, shape []int, values []float32) safetensors.Tensor {
	t.Helper()
	x, err := safetensors.Encode(name, d, shape, values)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func gone(name string) safetensors.Tensor { return safetensors.Tensor{Name: name} }

// TestWrongTensors: what is missing, left over or of another shape is named.
func TestWrongTensors(t *testing.T) {
	m, tensors := openGoldenModel(t, "llama-mha-tied")
	g, gpt2 := openGoldenModel(t, "gpt2")
	const q, norm, embedding = "model.layers.0.self_attn.q_proj.weight", "model.norm.weight", "model.embed_tokens.weight"
	one := func(name string) safetensors.Tensor {
		return encoded(t, name, safetensors.F32, []int{2, 1}, []float32{1, 2})
	}
	head := func(d safetensors.DType, change float32) safetensors.Tensor {
		e := tensors[embedding]
		values := make([]float32, e.Len())
		if err := e.Float32s(values); err != nil {
			t.Fatal(err)
		}
		values[3] += change
		return encoded(t, "lm_head.weight", d, e.Shape, values)
	}
	transposed := tensors["model.layers.1.mlp.up_proj.weight"]
	transposed.Shape = []int{transposed.Shape[1], transposed.Shape[0]}
	flat := tensors[norm]
	flat.Shape = []int{flat.Shape[0], 1}
	for _, test := range []struct {
		what    string
		model   model.Model
		tensors memoryTensors
		want    string // "": fine
	}{
		{"as it is", m, tensors, ""},
		{"one missing", m, tensors.with(gone(q)), "1 of 20 tensors of LlamaForCausalLM are missing: " + q},
		{"many missing", m, memoryTensors{norm: tensors[norm]}, "19 of 20 tensors of LlamaForCausalLM are missing: model.embed_tokens.weight, model.layers.0.input_layernorm.weight, " + q + ", model.layers.0.self_attn.k_proj.weight and 15 more"},
		{"one too many", m, tensors.with(one("model.layers.2.mlp.up_proj.weight")), "1 tensors that a llama model doesn't have: model.layers.2.mlp.up_proj.weight"},
		{"a bias", m, tensors.with(one("model.layers.0.self_attn.q_proj.bias")), "model.layers.0.self_attn.q_proj.bias"},
		{"both with and without the prefix", m, tensors.with(one("norm.weight")), "norm.weight"},
		{"transposed", m, tensors.with(transposed), "model.layers.1.mlp.up_proj.weight: have shape " + fmt.Sprint(transposed.Shape) + ", want " + fmt.Sprint(tensors[transposed.Name].Shape) + " by config.json"},
		{"another dimension", m, tensors.with(flat), norm + ": have shape"},
		{"rotary buffer", m, tensors.with(one("model.layers.0.self_attn.rotary_emb.inv_freq"), one("model.rotary_emb.inv_freq")), ""},
		{"attention masks", g, gpt2.with(one("transformer.h.0.attn.bias"), one("transformer.h.1.attn.masked_bias")), ""},
		{"attention masks of the base model", g, gpt2.with(one("h.0.attn.bias")), ""},
		{"position ids", m, tensors.with(one("model.embeddings.position_ids")), ""},
		{"equal head", m, tensors.with(head(safetensors.F32, 0)), ""},
		{"differing head", m, tensors.with(head(safetensors.F32, 1)), "lm_head.weight differs from model.embed_tokens.weight, but config.json ties them (tie_word_embeddings)"},
		{"head of another type", m, tensors.with(head(safetensors.BF16, 0)), "lm_head.weight differs"},
	} {
		_, _, trained := ReadStudent(test.tensors, test.model, 0)
		_, frozen := ReadFrozen(test.tensors, test.model, Auto)
		for _, err := range []error{trained, frozen} {
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%s: have error %v\nwant %s", test.what, err, test.want)
			}
		}
	}
	// An equal head is fine too where the embedding has no prefix.
	bare := tensors.with(head(safetensors.F32, 0), gone(embedding))
	e := tensors[embedding]
	e.Name = "embed_tokens.weight"
	if _, _, err := ReadStudent(bare.with(e), m, 0); err != nil {
		t.Errorf("equal head beside an embedding without prefix: %v", err)
	}
	// Without tied embeddings the head is a weight of its own.
	u, untied := openGoldenModel(t, "llama-gqa-untied")
	if _, _, err := ReadStudent(untied.with(gone("lm_head.weight")), u, 0); err == nil || !strings.Contains(err.Error(), "1 of 30 tensors of LlamaForCausalLM are missing: lm_head.weight") {
		t.Errorf("no head: have error %v", err)
	}
}

// TestEncoderNames reads an encoder under the names of published files, and leaves out what other tasks need.
func TestEncoderNames(t *testing.T) {
	copied := func(x safetensors.Tensor, name string, change float32) safetensors.Tensor {
		values := make([]float32, x.Len())
		if err := x.Float32s(values); err != nil {
			t.Fatal(err)
		}
		values[0] += change
		return encoded(t, name, safetensors.F32, x.Shape, values)
	}
	one := func(name string) safetensors.Tensor { return encoded(t, name, safetensors.F32, []int{1}, []float32{1}) }
	bert, tensors := openGoldenModel(t, "bert-mlm")
	roberta, robertas := openGoldenModel(t, "roberta-mlm")
	classifier, classifiers := openGoldenModel(t, "bert-sequence-classification")
	old := memoryTensors{}
	for n, x := range tensors {
		x.Name = strings.NewReplacer("LayerNorm.weight", "LayerNorm.gamma", "LayerNorm.bias", "LayerNorm.beta").Replace(n)
		old[x.Name] = x
	}
	if len(old) != len(tensors) || slices.Equal(old.Names(), tensors.Names()) {
		t.Fatal("no old names")
	}
	const words, bias = "bert.embeddings.word_embeddings.weight", "cls.predictions.bias"
	ids := safetensors.Tensor{Name: "bert.embeddings.position_ids", DType: "I64", Shape: []int{1}, Data: make([]byte, 8)}
	for _, test := range []struct {
		what    string
		model   model.Model
		tensors memoryTensors
		want    string
	}{
		{"gamma and beta", bert, old, ""},
		{"position ids", bert, tensors.with(ids), ""},
		{"the pooler and the next-sentence head", bert, tensors.with(one("bert.pooler.dense.weight"), one("cls.seq_relationship.bias")), ""},
		{"the pooler without its prefix", bert, tensors.with(one("pooler.dense.weight")), ""},
		{"copies of head and bias", bert, tensors.with(copied(tensors[words], "cls.predictions.decoder.weight", 0), copied(tensors[bias], "cls.predictions.decoder.bias", 0)), ""},
		{"a copy in place of the embedding", bert, tensors.with(copied(tensors[words], "cls.predictions.decoder.weight", 0), gone(words)), ""},
		{"a head that is no copy", bert, tensors.with(copied(tensors[words], "cls.predictions.decoder.weight", 1)), "cls.predictions.decoder.weight differs from " + words},
		{"a bias that is no copy", bert, tensors.with(copied(tensors[bias], "cls.predictions.decoder.bias", 1)), "cls.predictions.decoder.bias differs from " + bias},
		{"RoBERTa's bias under its other name", roberta, robertas.with(copied(robertas["lm_head.bias"], "lm_head.decoder.bias", 0), gone("lm_head.bias")), ""},
		{"the other head", classifier, classifiers.with(one("cls.predictions.bias")), ""},
		{"no classifier", classifier, classifiers.with(gone("classifier.bias")), "1 of 41 tensors of BertForSequenceClassification are missing: classifier.bias"},
		{"no embedding", bert, tensors.with(gone(words)), "1 of 42 tensors of BertForMaskedLM are missing: " + words},
		{"something else", bert, tensors.with(one("bert.encoder.layer.7.output.dense.bias")), "1 tensors that a bert model doesn't have"},
	} {
		_, err := ReadFrozen(test.tensors, test.model, Auto)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: have error %v\nwant %s", test.what, err, test.want)
		}
		if test.model == bert && err == nil {
			have, _, err := ReadStudent(test.tensors, bert, 0)
			want, _, wrong := ReadStudent(tensors, bert, 0)
			if err != nil || wrong != nil || !slices.Equal(have.Values, want.Values) {
				t.Errorf("%s: other values (%v, %v)", test.what, err, wrong)
			}
		}
	}
}

// TestReadStudent draws a task head that the checkpoint lacks, by the seed, and nothing else.
func TestReadStudent(t *testing.T) {
	m, tensors := openGoldenModel(t, "bert-sequence-classification")
	whole, _, err := ReadStudent(tensors, m, 0)
	if err != nil {
		t.Fatal(err)
	}
	bare := tensors.with(gone("classifier.weight"), gone("classifier.bias"))
	var drawn [3][]float32
	for i, seed := range []uint64{1, 1, 2} {
		flat, fresh, err := ReadStudent(bare, m, seed)
		if err != nil || !slices.Equal(fresh, []string{"classifier.weight", "classifier.bias"}) {
			t.Fatalf("have fresh %v, error %v", fresh, err)
		}
		for _, s := range flat.Specs {
			have := flat.Get(s.Name).Value.Float32s()
			if !slices.Contains(fresh, s.Name) && !slices.Equal(have, whole.Get(s.Name).Value.Float32s()) {
				t.Errorf("%s: not as in the checkpoint", s.Name)
			}
		}
		drawn[i] = flat.Get("classifier.weight").Value.Float32s()
	}
	if !slices.Equal(drawn[0], drawn[1]) || slices.Equal(drawn[0], drawn[2]) {
		t.Error("the seed does not decide on the head")
	}
	if _, fresh, err := ReadStudent(tensors, m, 1); err != nil || fresh != nil {
		t.Errorf("whole: have fresh %v, error %v", fresh, err)
	}
	if _, _, err := ReadStudent(tensors.with(gone("bert.embeddings.word_embeddings.weight")), m, 1); err == nil {
		t.Error("a missing embedding was drawn")
	}
	masked, mlm := openGoldenModel(t, "bert-mlm")
	if _, _, err := ReadStudent(mlm.with(gone("bert.embeddings.word_embeddings.weight")), masked, 1); err == nil {
		t.Error("a missing tied embedding was drawn")
	}
}

// TestStorage: a frozen bfloat16 matrix stays as its bits lie in the file, everything else becomes float32; both on demand.
func TestStorage(t *testing.T) {
	for name, stored := range map[string]safetensors.DType{"llama-bf16": safetensors.BF16, "llama-f16": safetensors.F16, "llama-mha-tied": safetensors.F32} {
		m, tensors := openGoldenModel(t, name)
		trained, _, err := ReadStudent(tensors, m, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, storage := range []string{Auto, Float32, BFloat16} {
			store, err := ReadFrozen(tensors, m, storage)
			if err != nil {
				t.Fatal(err)
			}
			bytes := 0
			for _, s := range store.Specs {
				p, x := store.Get(s.Name), tensors[s.Name]
				if x.DType != stored {
					t.Fatalf("%s: have %v in %s, want %v", s.Name, x.DType, name, stored)
				}
				if p.Grad != nil {
					t.Errorf("%s: a frozen weight with a gradient", s.Name)
				}
				want := trained.Get(s.Name).Value.Float32s()
				if half := len(s.Shape) > 1 && (storage == BFloat16 || storage == Auto && stored == safetensors.BF16); !half {
					bytes += 4 * len(want)
					if p.Value.Dtype() != tensor.Float32 || !slices.Equal(p.Value.Float32s(), want) {
						t.Errorf("%s, %s, %s: have %v, want the same numbers in float32", name, storage, s.Name, p.Value.Dtype())
					}
					if view, err := x.FrozenFloat32s(); stored == safetensors.F32 && (err != nil || &view[0] != &p.Value.Float32s()[0]) {
						t.Errorf("%s, %s, %s: copied, want the file's own mapping (%v)", name, storage, s.Name, err)
					}
					continue
				}
				bytes += 2 * len(want)
				if p.Value.Dtype() != tensor.Uint16 {
					t.Errorf("%s, %s, %s: have %v, want bfloat16 bits", name, storage, s.Name, p.Value.Dtype())
					continue
				}
				bits := p.Value.Uint16s()
				for i, v := range want {
					if bits[i] != kernel.BF16(v) {
						t.Errorf("%s, %s, %s[%d]: have bits %04x, want %04x", name, storage, s.Name, i, bits[i], kernel.BF16(v))
						break
					}
				}
				if view, err := x.Uint16s(); stored == safetensors.BF16 && (err != nil || &view[0] != &bits[0]) {
					t.Errorf("%s, %s, %s: copied, want the file's own mapping (%v)", name, storage, s.Name, err)
				}
			}
			if store.Bytes() != bytes {
				t.Errorf("%s, %s: have %d bytes, want %d", name, storage, store.Bytes(), bytes)
			}
		}
	}
}
