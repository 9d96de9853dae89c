package model

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/graph"
	"kdistill/internal/kernel"
	"kdistill/internal/testutil"
)

// goldenConfig is what transformers makes of a config.json: scripts/golden/model_configs.py.
type goldenConfig struct {
	Config     json.RawMessage
	Class      string
	Vocab      int
	Width      int
	Layers     int
	Positions  int
	Heads      int
	KV         int `json:"kv_heads"`
	D          int `json:"head_dim"`
	Eps        float64
	Padding    int32
	Tied       bool
	Scales     []float64
	Activation string
	Windows    []int
	Tensors    int
	Weights    int
	Labels     []string         // of a classifier
	Parameters map[string][]int // of the first layer
	Ropes      []struct {
		Frequencies []float32
		Factor      float64
	}
	LayerRopes []int `json:"layer_ropes"`
}

type goldenConfigs struct {
	Cases   []goldenConfig
	Initial []struct {
		Config     json.RawMessage
		Parameters map[string]struct {
			Mean, Std float64
			ZeroRows  []int `json:"zero_rows"`
		}
	}
}

func readGolden(t *testing.T) (g goldenConfigs) {
	t.Helper()
	text, err := os.ReadFile(testutil.Testdata(t, "golden/model_configs.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// TestGoldenConfigs compares every setting with transformers', the defaults of absent keys above all.
func TestGoldenConfigs(t *testing.T) {
	empty := map[string]bool{}
	for _, want := range readGolden(t).Cases {
		m, err := New(want.Config)
		if err != nil {
			t.Errorf("%s: %v", want.Config, err)
			continue
		}
		info := m.Info()
		if strings.Count(string(want.Config), ":") == 1 {
			empty[info.Type] = true
		}
		have := goldenConfig{Config: want.Config, Class: info.Class, Vocab: info.Vocab, Width: info.Width, Layers: info.Layers, Positions: info.Positions,
			Tied: info.Tied != "", Labels: info.Labels, Parameters: map[string][]int{}, Windows: make([]int, info.Layers), Padding: -1}
		kind := kernel.SiLU
		var heads graph.Heads
		switch m := m.(type) {
		case *decoder:
			heads, have.Eps, have.Padding, have.Windows, kind = info.Heads, m.eps, m.padding, m.windows, m.act
			for i, r := range m.ropes {
				if want.LayerRopes[i] < 0 && r == nil {
					continue
				}
				if golden := want.Ropes[want.LayerRopes[i]]; !sameRope(r, golden.Frequencies, golden.Factor) {
					t.Errorf("%s: rotary embedding of layer %d: have %v, want %v", want.Config, i, r, golden)
				}
			}
		case *gptNeoX:
			heads, have.Eps, kind = info.Heads, m.eps, m.act
			if golden := want.Ropes[want.LayerRopes[0]]; !sameRope(m.rope, golden.Frequencies, golden.Factor) {
				t.Errorf("%s: rotary embedding: have %v, want %v", want.Config, m.rope, golden)
			}
		case *gpt2:
			heads, have.Eps, kind = m.heads, m.eps, m.act
		case *opt:
			heads, have.Eps, have.Padding, kind = m.heads, optEps, m.padding, m.act
		case *encoder:
			heads, have.Eps, have.Padding, kind = info.Heads, m.eps, m.padding, m.act
		default:
			t.Errorf("%s: this test does not know the fields of %T", want.Config, m)
		}
		have.Heads, have.KV, have.D = heads.H, heads.KV, heads.D
		if names := map[string]kernel.Activation{"relu": kernel.ReLU, "gelu": kernel.GELU, "gelu_new": kernel.GELUTanh, "gelu_pytorch_tanh": kernel.GELUTanh, "silu": kernel.SiLU}; names[want.Activation] != kind {
			t.Errorf("%s: have activation %v, want %s", want.Config, kind, want.Activation)
		}
		specs, err := Parameters(m)
		if err != nil {
			t.Errorf("%s: %v", want.Config, err)
		}
		for _, s := range specs {
			have.Tensors++
			n := 1
			for _, d := range s.Shape {
				n *= d
			}
			have.Weights += n
			rest, inLayer := strings.CutPrefix(s.Name, info.LayerName)
			if !inLayer || strings.HasPrefix(rest, "0.") {
				have.Parameters[s.Name] = s.Shape
			}
		}
		// Scales are checked by what they do, in testdata/golden/models; rotary embedding and activation above.
		want.Scales, want.Ropes, want.LayerRopes, want.Activation = nil, nil, nil, ""
		if !reflect.DeepEqual(have, want) {
			t.Errorf("have %+v\nwant %+v", have, want)
		}
	}
	for _, name := range Types() {
		if !empty[name] {
			t.Errorf("%s: no golden for an empty config.json: add it to scripts/golden/model_configs.py", name)
		}
	}
}

func sameRope(r *graph.RotaryTable, frequencies []float32, factor float64) bool {
	return math.Abs(r.Factor-factor) <= 1e-12 && slices.EqualFunc(r.Frequencies, frequencies, func(a, b float32) bool {
		return math.Abs(float64(a-b)) <= 1e-6*float64(b) // powers of two libraries differ in the last bit
	})
}

// tiny is a small config.json of a model type with more keys set: of encoders, with the head of a masked language model.
func tiny(modelType, more string) []byte {
	base := `"num_hidden_layers": 2, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24, "ffn_dim": 24, "vocab_size": 20, "max_position_embeddings": 32`
	switch modelType {
	case "gpt2":
		base = `"n_layer": 2, "n_embd": 16, "n_head": 2, "vocab_size": 20, "n_positions": 32`
	case "distilbert":
		base = `"n_layers": 2, "dim": 16, "n_heads": 2, "hidden_dim": 24, "vocab_size": 20, "max_position_embeddings": 32`
	case "roberta":
		base += `, "max_position_embeddings": 34`
	case "gpt_neox":
		base += `, "rotary_pct": 1`
	case "gemma2", "gemma3_text":
		base += `, "num_key_value_heads": 1, "head_dim": 8`
	case "phi3", "olmo2", "smollm3":
		base += `, "num_key_value_heads": 1, "pad_token_id": 0`
	case "bert", "opt":
	default:
		base += `, "num_key_value_heads": 1`
	}
	if class := map[string]string{"bert": "Bert", "distilbert": "DistilBert", "roberta": "Roberta"}[modelType]; class != "" {
		base += fmt.Sprintf(`, "architectures": [%q]`, class+"ForMaskedLM")
	}
	text := fmt.Sprintf(`{"model_type": %q, %s`, modelType, base)
	if more != "" {
		text += ", " + more
	}
	return []byte(text + "}")
}

func TestRefused(t *testing.T) {
	type refusal struct{ types, more, want string }
	const decoders, encoders = "llama mistral qwen2 qwen3", "bert distilbert roberta"
	const gemmas, later = "gemma2 gemma3_text", "olmo2 smollm3"
	const all = decoders + " gpt2 opt gpt_neox phi3 " + gemmas + " " + later + " " + encoders
	for _, r := range []refusal{
		{all, `"quantization_config": {"bits": 4}`, `quantization_config = {"bits":4}: quantized weights are not supported`},
		{all, `"per_layer_config": {"0": {}}`, "per_layer_config"},
		{all, `"is_causal": false`, "is_causal = false"},
		{all, `"vocab_size": 0`, "vocab_size: have 0, want 1 to"},
		{all, `"vocab_size": -5`, "vocab_size: have -5"},
		{all, `"vocab_size": 1000000000`, "vocab_size: have 1000000000, want 1 to 16777216"},
		{all, `"vocab_size": 1e300`, "vocab_size: have 1e300, want a whole number"},
		{all, `"vocab_size": 20.5`, "vocab_size: have 20.5, want a whole number"},
		{all, `"vocab_size": "20"`, `vocab_size: have "20", want a whole number`},
		{all, `"tie_word_embeddings": 1`, "tie_word_embeddings: have 1, want true or false"},
		{"llama mistral qwen2 qwen3 opt bert roberta", `"num_hidden_layers": 5000`, "num_hidden_layers: have 5000, want 1 to 1024"},
		{"gpt2", `"n_layer": 5000`, "n_layer: have 5000, want 1 to 1024"},
		{"llama mistral qwen2 qwen3 opt", `"pad_token_id": 20`, "pad_token_id: have 20, want a row of the embedding, which has vocab_size 20"},
		{"llama mistral qwen2 qwen3 opt", `"pad_token_id": 4294967296`, "pad_token_id: have 4294967296"},
		{"llama mistral qwen2 qwen3 opt", `"pad_token_id": -21`, "pad_token_id: have -21"},
		{decoders, `"hidden_act": "gelu"`, `hidden_act = "gelu": supported: silu, swish`},
		{decoders, `"num_key_value_heads": 3`, "num_attention_heads: have 2, want a multiple of num_key_value_heads 3"},
		{"llama mistral qwen2", `"num_attention_heads": 3, "num_key_value_heads": 1`, "hidden_size: have 16, want a multiple of num_attention_heads 3"},
		{decoders, `"head_dim": 7`, "head_dim: have 7 rotated dimensions of 7, want an even number (rope_type default)"},
		{decoders, `"partial_rotary_factor": 0.5`, "partial_rotary_factor: have 0.5, want 1"},
		{decoders, `"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25}`, "partial_rotary_factor: have 0.25, want 1"},
		{decoders, `"rope_scaling": {"rope_type": "dynamic", "factor": 2}`, `rope_scaling.rope_type = "dynamic": supported: default, linear, llama3, yarn`},
		{decoders, `"rope_scaling": {"type": "longrope", "factor": 2}`, `rope_scaling.type = "longrope"`},
		{decoders, `"rope_parameters": {"rope_type": "proportional", "rope_theta": 1e4}`, `rope_parameters.rope_type = "proportional"`},
		{decoders, `"rope_scaling": {"rope_type": "linear"}`, "rope_scaling.factor is missing, rope_type linear needs it"},
		{decoders, `"rope_scaling": {"rope_type": "linear", "factor": 0}`, "rope_scaling.factor: have 0, want a number above 0"},
		{decoders, `"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1}`, "rope_scaling.high_freq_factor is missing"},
		{decoders, `"rope_scaling": "linear"`, `rope_scaling: have "linear", want an object`},
		{decoders, `"rope_theta": -1`, "rope_theta: have -1, want a number above 0"},
		{decoders, `"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}`, "rope_parameters.full_attention"},
		{"qwen2 qwen3", `"layer_types": ["full_attention"]`, "layer_types: have 1 entries, want num_hidden_layers 2"},
		{"qwen2 qwen3", `"layer_types": ["full_attention", "chunked_attention"]`, `layer_types = ["full_attention","chunked_attention"]: supported: full_attention, sliding_attention`},
		{"qwen2 qwen3", `"layer_types": [1, 2]`, "layer_types: have [1,2], want a list of texts"},
		{"gpt2", `"n_head": 3`, "n_embd: have 16, want a multiple of n_head 3"},
		{"gpt2", `"activation_function": "mish"`, `activation_function = "mish": supported: relu, gelu,`},
		{"gpt2", `"add_cross_attention": true`, "add_cross_attention = true: there is no encoder here"},
		{"gpt2", `"num_hidden_layers": 5`, "num_hidden_layers = 5: n_layer means the same and says 2"},
		{"opt", `"num_attention_heads": 3`, "hidden_size: have 16, want a multiple of num_attention_heads 3"},
		{"opt", `"activation_function": "tanh"`, `activation_function = "tanh"`},
		{gemmas, `"use_bidirectional_attention": true`, "use_bidirectional_attention = true: attention to later tokens is not supported"},
		{gemmas, `"sliding_window": null`, "sliding_window = null: some layers have a window"},
		{gemmas, `"query_pre_attn_scalar": 0`, "query_pre_attn_scalar: have 0, want a number above 0"},
		{gemmas, `"final_logit_softcapping": -1`, "final_logit_softcapping: have -1, want a number above 0"},
		{gemmas, `"hidden_activation": "mish"`, `hidden_activation = "mish"`},
		{gemmas, `"layer_types": ["full_attention"]`, "layer_types: have 1 entries"},
		{"gemma2", `"partial_rotary_factor": 0.5`, "partial_rotary_factor: have 0.5, want 1"},
		{"gemma2", `"rope_parameters": {"full_attention": {"rope_type": "default"}}`, "a rotary embedding of its own for each kind of layer is not supported"},
		{"gemma3_text", `"attn_logit_softcapping": 50.0`, "attn_logit_softcapping = 50.0: Gemma 3 has no cap on scores"},
		{"gemma3_text", `"rope_parameters": {"sliding_attention": {"rope_type": "dynamic", "factor": 2}}`, `rope_type = "dynamic": supported: default, linear`},
		{"gemma3_text", `"rope_scaling": {"rope_type": "linear"}`, "rope_scaling.factor is missing"},
		{"phi3 olmo2 smollm3", `"hidden_act": "gelu"`, `hidden_act = "gelu": supported: silu, swish`},
		{"phi3", `"rope_scaling": {"type": "linear", "factor": 2}`, `rope_scaling.type = "linear": supported: default, longrope, su, yarn`},
		{"phi3", `"rope_scaling": {"type": "longrope"}`, "rope_scaling.short_factor: have 0 numbers, want 4"},
		{"phi3", `"rope_scaling": {"type": "su", "short_factor": [1, 2, 3]}`, "rope_scaling.short_factor: have 3 numbers, want 4"},
		{"phi3", `"rope_scaling": {"type": "su", "short_factor": [1, 2, 3, 0]}`, "short_factor = [1,2,3,0]: want numbers above 0"},
		{"phi3", `"rope_scaling": {"type": "su", "short_factor": ["a"]}`, `rope_scaling.short_factor: have ["a"], want a list of numbers`},
		{"phi3", `"partial_rotary_factor": 1.5`, "partial_rotary_factor: have 1.5, want up to 1"},
		{"phi3", `"partial_rotary_factor": 0.1`, "partial_rotary_factor: have 0.1, want up to 1, and at least one of a head's 8 dimensions"},
		{"gpt_neox", `"rotary_pct": 0.4, "rope_scaling": {"rope_type": "yarn", "factor": 2}`, "head_dim: have 3 rotated dimensions of 8, want an even number (rope_type yarn)"},
		{"gpt_neox", `"num_attention_heads": 3`, "hidden_size: have 16, want a multiple of num_attention_heads 3"},
		{"smollm3", `"no_rope_layers": [1]`, "no_rope_layers: have 1 entries, want num_hidden_layers 2"},
		{"smollm3", `"no_rope_layers": "all"`, `no_rope_layers: have "all", want a list of numbers`},
		{"smollm3", `"no_rope_layer_interval": 0`, "no_rope_layer_interval: have 0, want 1 to"},
		{encoders, `"architectures": ["T5Model"]`, `architectures = ["T5Model"]: supported: `},
		{"bert", `"architectures": ["BertLMHeadModel"]`, `architectures = ["BertLMHeadModel"]: supported: BertForMaskedLM, BertForSequenceClassification, BertModel`},
		{"roberta", `"architectures": ["RobertaForCausalLM"]`, `architectures = ["RobertaForCausalLM"]: supported: `},
		{encoders, `"is_decoder": true`, "is_decoder = true: encoders that generate are not supported"},
		{"bert roberta", `"position_embedding_type": "relative_key"`, `position_embedding_type = "relative_key": supported: absolute`},
		{"bert roberta", `"num_attention_heads": 3`, "hidden_size: have 16, want a multiple of num_attention_heads 3"},
		{"distilbert", `"n_heads": 3`, "dim: have 16, want a multiple of n_heads 3"},
		{"bert", `"architectures": ["BertForSequenceClassification"], "id2label": {"0": "a", "2": "b"}`, `id2label = {"0":"a","2":"b"}: want a name for every number from 0 on`},
		{"bert", `"architectures": ["BertForSequenceClassification"], "id2label": {}`, "id2label: have 0 labels, want 1 to"},
		{"bert", `"architectures": ["BertForSequenceClassification"], "id2label": {"0": 1}`, "id2label.0: have 1, want a text"},
		{"bert", `"architectures": ["BertForSequenceClassification"], "num_labels": 0`, "num_labels: have 0, want 1 to"},
		{"bert", `"architectures": ["BertForSequenceClassification"], "problem_type": "ranking"`, `problem_type = "ranking": supported: single_label_classification,`},
		{"bert", `"architectures": ["BertForSequenceClassification"], "problem_type": "single_label_classification", "num_labels": 1`, "one label leaves nothing to choose"},
		{"roberta", `"pad_token_id": null`, "pad_token_id = null: positions begin behind it"},
		{"roberta", `"pad_token_id": 19, "max_position_embeddings": 20`, "max_position_embeddings: have 20, want more than pad_token_id 19 + 1"},
		{"opt", `"layer_norm_elementwise_affine": false`, "layer_norm_elementwise_affine = false: norms without weights are not supported"},
	} {
		for _, name := range strings.Fields(r.types) {
			if _, err := New(tiny(name, "")); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			_, err := New(tiny(name, r.more))
			if err == nil || !strings.Contains(err.Error(), r.want) || !strings.Contains(err.Error(), "config.json: ") {
				t.Errorf("%s with %s:\nhave error %v\nwant %s", name, r.more, err, r.want)
			}
		}
	}
	for text, want := range map[string]string{
		`{}`:                      "model_type is missing",
		`{"model_type": null}`:    "model_type is missing",
		`{"model_type": 3}`:       "model_type: have 3, want a text",
		`{"model_type": "mamba"}`: `model_type "mamba" is not supported; supported: bert, distilbert, gemma2, gemma3_text, gpt2, gpt_neox, llama, mistral, olmo2, opt, phi3, qwen2, qwen3, roberta, smollm3`,
		`[1]`:                     "config.json: ",
		`null`:                    "model_type is missing",
		`{"model_type": "llama",`: "config.json: unexpected EOF",
		``:                        "config.json: ",
		"\xff":                    "config.json: ",
		`{"model_type": "llama", "num_key_value_heads": 8, "num_attention_heads": 12, "head_dim": 4}`: "num_attention_heads: have 12, want a multiple of num_key_value_heads 8",
	} {
		if _, err := New([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: have error %v, want %s", text, err, want)
		}
	}
}

// TestTooLarge: sizes that are each possible but not together are an error, not an attempt to make room.
func TestTooLarge(t *testing.T) {
	m, err := New([]byte(`{"model_type": "llama", "vocab_size": 16000000, "hidden_size": 16777216, "intermediate_size": 16777216}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parameters(m); err == nil || !strings.Contains(err.Error(), "weights, want at most") {
		t.Errorf("have error %v, want one about the number of weights", err)
	}
}

// TestNotes: what a user should know of a model is not lost.
func TestNotes(t *testing.T) {
	for name, more := range map[string]string{"llama": `"attention_dropout": 0.1`, "gpt2": `"resid_pdrop": 0.1`, "opt": `"dropout": 0.1`,
		"bert": `"hidden_dropout_prob": 0.1`, "gpt_neox": `"hidden_dropout": 0.1`, "gemma2": `"attention_dropout": 0.1`, "roberta": `"classifier_dropout": 0.1`, "distilbert": `"seq_classif_dropout": 0.1, "architectures": ["DistilBertForSequenceClassification"]`} {
		m, err := New(tiny(name, more))
		if err != nil {
			t.Fatal(err)
		}
		if notes := strings.Join(m.Info().Notes, "\n"); !strings.Contains(notes, "dropout is not applied") || !strings.Contains(notes, "0.1") {
			t.Errorf("%s: have notes %q, want one about dropout", name, notes)
		}
	}
}

// TestLongRope: the factors of the trained context are used, and nothing longer is offered; older names mean the same.
func TestLongRope(t *testing.T) {
	var first *graph.RotaryTable
	for _, kind := range []string{"longrope", "su", "yarn"} {
		m, err := New(tiny("phi3", fmt.Sprintf(`"max_position_embeddings": 512, "original_max_position_embeddings": 64,
			"rope_scaling": {"type": %q, "short_factor": [1, 2, 3, 4], "long_factor": [5, 6, 7, 8]}`, kind)))
		if err != nil {
			t.Fatal(err)
		}
		if i := m.Info(); i.Positions != 64 || !strings.Contains(strings.Join(i.Notes, ""), "sequences up to original_max_position_embeddings 64 only") {
			t.Errorf("%s: have %d positions and notes %q", kind, i.Positions, i.Notes)
		}
		r := m.(*decoder).ropes[1]
		if first == nil {
			first = r
		}
		// sqrt(1 + ln 8 / ln 64) = sqrt(1.5)
		if !sameRope(r, first.Frequencies, math.Sqrt(1.5)) || math.Abs(float64(r.Frequencies[3])-0.00025) > 1e-9 {
			t.Errorf("%s: have %v", kind, r)
		}
	}
}

// TestTasks: config.json's architectures decides on the head, and what is left out of the model is told.
func TestTasks(t *testing.T) {
	for _, want := range []struct {
		class, name string
		task        Task
		note        string
		logits      int
		head        string
	}{
		{"BertForMaskedLM", "BertForMaskedLM", Masked, "", 20, "cls.predictions.bias"},
		{"BertForPreTraining", "BertForMaskedLM", Masked, "the head of next-sentence prediction is left out", 20, "cls.predictions.bias"},
		{"BertForSequenceClassification", "BertForSequenceClassification", Classification, "", 2, "classifier.bias"},
		{"BertForTokenClassification", "BertModel", NoTask, "the head of BertForTokenClassification is not supported", 20, ""},
		{"BertModel", "BertModel", NoTask, "", 20, ""},
	} {
		m, err := New(tiny("bert", fmt.Sprintf(`"architectures": [%q], "hidden_dropout_prob": 0, "attention_probs_dropout_prob": 0`, want.class)))
		if err != nil {
			t.Errorf("%s: %v", want.class, err)
			continue
		}
		specs, err := Parameters(m)
		if err != nil {
			t.Fatal(err)
		}
		i := m.Info()
		if i.Class != want.name || i.Task != want.task || i.Logits() != want.logits || strings.Join(i.Notes, "") == "" != (want.note == "") || !strings.Contains(strings.Join(i.Notes, ""), want.note) {
			t.Errorf("%s: have %+v, want %+v", want.class, i, want)
		}
		if last := specs[len(specs)-1].Name; want.head != "" && last != want.head || want.head == "" && !strings.HasPrefix(last, i.Base) {
			t.Errorf("%s: have %s as its last parameter, want %s", want.class, last, want.head)
		}
	}
}

// TestTaskKeys: the keys make config.json describe the task, and no others do.
func TestTaskKeys(t *testing.T) {
	for _, c := range []struct {
		task    Task
		names   []string
		problem string
	}{{Masked, nil, ""}, {Classification, []string{"no", "yes"}, "single_label_classification"}, {Classification, []string{"score"}, "regression"}} {
		for _, name := range []string{"bert", "distilbert", "roberta"} {
			keys, err := TaskKeys(name, c.task, c.names)
			if err != nil {
				t.Fatal(err)
			}
			more, err := json.Marshal(keys)
			if err != nil {
				t.Fatal(err)
			}
			m, err := New(tiny(name, string(more[1:len(more)-1])))
			if err != nil {
				t.Fatal(err)
			}
			if i := m.Info(); i.Task != c.task || i.Problem != c.problem || !slices.Equal(i.Labels, c.names) {
				t.Errorf("%s: have %+v, want %+v", name, i, c)
			}
		}
	}
	for _, c := range []struct {
		name  string
		task  Task
		names []string
		want  string
	}{
		{"llama", Masked, nil, "model_type llama has its own head: task heads are for bert, distilbert, roberta"},
		{"bert", Classification, nil, "want at least one and no two alike"}, {"bert", Classification, []string{"a", "a"}, "no two alike"},
		{"bert", Causal, nil, "task causal: want masked or classification"},
	} {
		if _, err := TaskKeys(c.name, c.task, c.names); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: have error %v", c, err)
		}
	}
}

func TestAliases(t *testing.T) {
	m, err := New([]byte(`{"model_type": "gpt2", "num_hidden_layers": 3, "hidden_size": 32, "num_attention_heads": 4, "max_position_embeddings": 7}`))
	if err != nil {
		t.Fatal(err)
	}
	if i := m.Info(); i.Layers != 3 || i.Width != 32 || i.Positions != 7 || m.(*gpt2).heads.H != 4 {
		t.Errorf("have %+v, want the sizes under their common names", i)
	}
	if have := Key("gpt2", "num_hidden_layers"); have != "n_layer" {
		t.Errorf("have %s, want n_layer", have)
	}
	if have := Key("llama", "num_hidden_layers"); have != "num_hidden_layers" {
		t.Errorf("have %s, want num_hidden_layers", have)
	}
}

func TestRegisterTwice(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a second registration of llama went unnoticed")
		}
	}()
	register("llama", newLlama)
}

// FuzzConfig: any bytes give a model or an error, and no sizes make it take much memory.
func FuzzConfig(f *testing.F) {
	for _, name := range Types() {
		f.Add(tiny(name, ""))
		f.Add(tiny(name, `"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 0}, "layer_types": ["full_attention", "sliding_attention"]`))
		f.Add(tiny(name, `"max_position_embeddings": 1000000000, "vocab_size": 1e9, "n_positions": 1e9, "num_key_value_heads": null`))
	}
	f.Add([]byte(`{"model_type": "llama", "max_position_embeddings": 16777216, "head_dim": 16777216, "num_hidden_layers": 1024}`))
	f.Add([]byte(`{"model_type": "qwen3", "rope_parameters": {"rope_type": "llama3", "factor": 1e-300, "low_freq_factor": 1e300, "high_freq_factor": 1}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := New(text)
		if err != nil {
			return
		}
		i := m.Info()
		if i.Layers > 4 || i.Width > 1<<12 || i.Vocab > 1<<16 {
			return
		}
		if i.Heads.H > 1<<12 {
			return
		}
		specs, err := Parameters(m)
		if err != nil {
			return
		}
		for _, s := range specs {
			for _, d := range s.Shape {
				if d < 1 {
					t.Errorf("%s: have shape %v", s.Name, s.Shape)
				}
			}
		}
	})
}
