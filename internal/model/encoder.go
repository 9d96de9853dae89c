package model

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"kdistill/internal/graph"
	"kdistill/internal/kernel"
	"kdistill/internal/nn"
)

// encoder is BERT's block (Devlin et al. 2019): attention to the whole document and a feed-forward layer, LayerNorm after each with its residual.
// Its families differ in names, in the embeddings, and in what their task heads do.
type encoder struct {
	info    Info
	names   encoderNames
	ffn     int
	eps     float64
	std     float64
	act     kernel.Activation
	padding int32
	first   int // row of the position embedding where a document begins
	rows    int // of the position embedding
	head    *taskHead
}

// encoderNames are the tensors of a family, those of a layer after its prefix.
type encoderNames struct {
	embeddings           string // prefix of the embeddings and their norm
	query, key, value    string
	attention, attended  string // projection after attention, and its norm
	up, down, normalized string // feed-forward layer, and its norm
}

// taskHead is dense, activation and perhaps a norm, then a linear layer with a bias.
type taskHead struct {
	dense  string
	act    kernel.Activation
	norm   string // "": none
	weight string // of the last layer
	bias   string
}

// encoderClasses are what transformers' class names of a model type begin with.
var encoderClasses = map[string]string{"bert": "Bert", "distilbert": "DistilBert", "roberta": "Roberta"}

// TaskKeys returns the keys of config.json that give a model the head of a task. names are the classes of a classifier, one for a regression.
func TaskKeys(modelType string, task Task, names []string) (map[string]any, error) {
	class, ok := encoderClasses[modelType]
	if !ok {
		return nil, fmt.Errorf("model_type %s has its own head: task heads are for %s", modelType, strings.Join(slices.Sorted(maps.Keys(encoderClasses)), ", "))
	}
	switch task {
	case Masked:
		return map[string]any{"architectures": []string{class + "ForMaskedLM"}}, nil
	case Classification:
		ids, labels := map[string]int{}, map[string]string{}
		for i, name := range names {
			ids[name], labels[strconv.Itoa(i)] = i, name
		}
		if len(names) == 0 || len(ids) < len(names) {
			return nil, fmt.Errorf("labels: have %q, want at least one and no two alike", names)
		}
		problem := "single_label_classification"
		if len(names) == 1 {
			problem = "regression"
		}
		return map[string]any{"architectures": []string{class + "ForSequenceClassification"}, "id2label": labels, "label2id": ids, "problem_type": problem}, nil
	}
	return nil, fmt.Errorf("task %s: want %s or %s", task, Masked, Classification)
}

// encoderTask reads config.json's architectures: the classes that this family has are class + ForMaskedLM, ForSequenceClassification and Model.
// The heads of other classes are left out, so that their encoder can be a teacher of features.
func encoderTask(c *Config) (name string, task Task) {
	class := encoderClasses[c.ModelType]
	switch names := c.Texts("architectures"); {
	case len(names) == 0:
		name = class + "Model"
	default:
		name = names[0]
	}
	suffix, known := strings.CutPrefix(name, class)
	switch suffix {
	case "ForMaskedLM":
		return name, Masked
	case "ForPreTraining":
		c.Notes = append(c.Notes, name+" is read as "+class+"ForMaskedLM: the head of next-sentence prediction is left out")
		return class + "ForMaskedLM", Masked
	case "ForSequenceClassification":
		return name, Classification
	case "ForCausalLM", "LMHeadModel":
		known = false
	}
	if !known {
		c.Refuse("architectures", fmt.Sprintf("supported: %[1]sForMaskedLM, %[1]sForSequenceClassification, %[1]sModel", class))
	}
	if suffix != "Model" {
		c.Notes = append(c.Notes, fmt.Sprintf("the head of %s is not supported: only the encoder is read, as %sModel", name, class))
	}
	return class + "Model", NoTask
}

// labels reads the classes of a classifier: id2label, or as many as num_labels says, two by default.
func labels(c *Config) []string {
	s := c.Section("id2label")
	if s == nil {
		out := make([]string, c.within("num_labels", 2, maxLabels))
		for i := range out {
			out[i] = fmt.Sprintf("LABEL_%d", i)
		}
		return out
	}
	out := make([]string, len(s.values))
	for i := range out {
		key := strconv.Itoa(i)
		if !s.Has(key) {
			c.Refuse("id2label", "want a name for every number from 0 on")
			return nil
		}
		out[i] = s.Text(key, "")
	}
	if len(out) == 0 || len(out) > maxLabels {
		c.fail(fmt.Errorf("config.json: id2label: have %d labels, want 1 to %d", len(out), maxLabels))
	}
	c.Take(s)
	return out
}

const maxLabels = 1 << 16

// problem reads what a classifier's labels are.
func problem(c *Config, labels int) string {
	const single, multi, regression = "single_label_classification", "multi_label_classification", "regression"
	def := single
	if labels == 1 {
		def = regression
	}
	kind := c.OneOf("problem_type", def, single, multi, regression)
	if kind == single && labels == 1 {
		c.Refuse("problem_type", "one label leaves nothing to choose; regression has one")
	}
	return kind
}

// finish sets what all families share, once info's sizes and the number of heads are known.
func (m *encoder) finish(c *Config, heads int) Model {
	if m.info.Width%heads != 0 {
		c.fail(fmt.Errorf("config.json: %s: have %d, want a multiple of %s %d", Key(m.info.Type, "hidden_size"), m.info.Width, Key(m.info.Type, "num_attention_heads"), heads))
	}
	m.info.Heads = graph.Heads{H: heads, KV: heads, D: max(1, m.info.Width/heads)}
	m.info.Bidirectional = true
	m.std = c.Float("initializer_range", 0.02)
	if m.info.Task == Classification {
		m.info.Labels = labels(c)
		m.info.Problem = problem(c, len(m.info.Labels))
	}
	c.Must("is_decoder", false, "encoders that generate are not supported")
	c.Must("add_cross_attention", false, "there is no other model to attend to")
	c.OneOf("position_embedding_type", "absolute", "absolute")
	m.info.Notes = c.Notes
	return m
}

// choose takes the head of the model's task and says how its tensors may be spelled. What belongs to the other head is unused.
func (m *encoder) choose(c *Config, masked, classifier taskHead) {
	switch m.info.Task {
	case Masked:
		m.head = &masked
		m.info.HeadTensors = []string{masked.dense + ".weight", masked.dense + ".bias", masked.norm + ".weight", masked.norm + ".bias"}
		// transformers saves the last layer's bias under a second name, which counts where the weight is not tied.
		layer, bias := strings.TrimSuffix(masked.weight, ".weight")+".bias", masked.bias
		if m.info.tie(c, true, m.names.embeddings+"word_embeddings.weight", masked.weight); m.info.Tied != "" {
			m.head.weight = m.info.Tied
			if layer != bias {
				m.info.Copies[layer] = bias
			}
		} else if layer != bias {
			m.head.bias, m.info.Copies = layer, map[string]string{bias: layer}
			m.info.Unused = append(m.info.Unused, bias)
		}
	case Classification:
		m.head = &classifier
		m.info.HeadTensors = []string{classifier.dense + ".weight", classifier.dense + ".bias"}
		m.info.Unused = append(m.info.Unused, before(masked.dense)+".")
	case NoTask:
		m.info.Unused = append(m.info.Unused, before(masked.dense)+".")
	}
	if m.head != nil {
		m.info.HeadTensors = append(m.info.HeadTensors, m.head.bias)
		if m.head.weight != m.info.Tied {
			m.info.HeadTensors = append(m.info.HeadTensors, m.head.weight)
		}
	}
}

// before is the part of a tensor's name before the first dot.
func before(name string) string { part, _, _ := strings.Cut(name, "."); return part }

func (m *encoder) Info() Info { return m.info }

func (m *encoder) Forward(b *nn.Builder) Outputs {
	w, h, n := m.info.Width, m.info.Heads, m.names
	init := nn.Normal(m.std)
	x := m.embed(b, init)
	hidden, attention := []*graph.Node{x}, []Attention(nil)
	for i := range m.info.Layers {
		name := fmt.Sprintf("%s%d.", m.info.LayerName, i)
		linear := func(name string, out int) nn.Projection {
			return nn.Projection{Name: name, Out: out, Bias: true, Init: init}
		}
		skip := graph.Fork(x)
		qkv := b.Project(x, w, skip, linear(name+n.query, w), linear(name+n.key, w), linear(name+n.value, w))
		attention = append(attention, Attention{h, qkv, qkv})
		a := b.Project(b.Attention(qkv, h), w, nil, linear(name+n.attention, w))
		x = b.Layer(b.Close(skip, a), name+n.attended, w, m.eps, nil)

		skip = graph.Fork(x)
		f := b.Activate(m.act, b.Project(x, w, skip, linear(name+n.up, m.ffn)))
		x = b.Layer(b.Close(skip, b.Project(f, m.ffn, nil, linear(name+n.down, w))), name+n.normalized, w, m.eps, nil)
		hidden = append(hidden, x)
	}
	out := Outputs{Hidden: hidden, Attention: attention}
	if t := m.head; t != nil {
		x = b.Activate(t.act, b.Project(x, w, nil, nn.Projection{Name: t.dense, Out: w, Bias: true, Init: init}))
		if t.norm != "" {
			x = b.Layer(x, t.norm, w, m.eps, nil)
		}
		out.Transformed = x
		out.Head = graph.Head{Weight: b.Param(t.weight, init, m.info.Logits(), w), Bias: b.Param(t.bias, nn.Zeros, m.info.Logits())}
	}
	return out
}

// embed adds up what a token is, where it stands and which sentence it is of.
func (m *encoder) embed(b *nn.Builder, init nn.Init) *graph.Node {
	w, name := m.info.Width, m.names.embeddings
	words, positions := init, init
	words.Zero = int(m.padding)
	positions.Zero = m.first - 1
	x := b.Add(
		b.Embedding(b.Weight(name+"word_embeddings.weight", words, m.info.Vocab, w), b.Inputs.Tokens, 0, m.padding),
		b.Embedding(b.Weight(name+"position_embeddings.weight", positions, m.rows, w), b.Inputs.Positions, int32(m.first), -1))
	if m.info.TokenTypes > 0 {
		x = b.Add(x, b.Embedding(b.Weight(name+"token_type_embeddings.weight", init, m.info.TokenTypes, w), b.Inputs.TokenTypes, 0, -1))
	}
	return b.Layer(x, name+"LayerNorm", w, m.eps, nil)
}
