// Package model holds the transformer architectures, one file each, chosen by config.json's model_type.
//
// A model is a config with a Forward that builds graph nodes; it owns no weights and reads no files.
package model

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gorgonia.org/tensor"
	"kdistill/internal/graph"
	"kdistill/internal/loss"
	"kdistill/internal/nn"
)

// Model is an architecture with its sizes fixed by a config.
type Model interface {
	Info() Info
	// Forward builds the model over the graph's inputs.
	Forward(b *nn.Builder) Outputs
}

// Info is what the rest of the program must know of a model.
type Info struct {
	Type      string
	Vocab     int
	Width     int
	Layers    int
	Positions int               // longest sequence
	Base      string            // prefix of the base model's tensors ("model."), which a checkpoint may lack
	LayerName string            // prefix of a layer's tensors before its number ("model.layers.")
	LayersKey string            // config.json's key for the number of layers
	Class     string            // what transformers calls it
	Tied      string            // the input embedding that is also the head; "": a head of its own
	Copies    map[string]string // tensors that a checkpoint may hold beside, or in place of, the one that they equal: a tied head
	Unused    []string          // prefixes of tensors that a checkpoint may hold for models of other tasks

	// HeadTensors are those of the task head, which a bare encoder's checkpoint lacks.
	HeadTensors []string

	// PerLayer are keys of config.json that list a setting for each layer, whether they are there or follow from others.
	PerLayer map[string][]any

	Task          Task
	Bidirectional bool        // a position sees all of its document, not only what comes before
	TokenTypes    int         // sentences of an input that it tells apart; 0, 1: none
	Labels        []string    // names of the classes, in the order of the logits
	Problem       string      // of a classifier, as config.json calls it: single_label_classification, multi_label_classification, regression
	Heads         graph.Heads // of attention

	Notes []string
}

// Task is what a model's head predicts.
type Task string

// The tasks.
const (
	Causal         Task = "causal"         // the next token
	Masked         Task = "masked"         // the token at the position itself
	Classification Task = "classification" // a label of the document, at its first token
	NoTask         Task = "none"           // a bare encoder: it has no head
)

// Logits is the number of logits at a position.
func (i Info) Logits() int {
	if i.Task == Classification {
		return len(i.Labels)
	}
	return i.Vocab
}

// Outputs are the nodes that losses and generation use, [N, D] each.
type Outputs struct {
	// Hidden is indexed as transformers does: 0 is the first layer's input, i the output of layer i, the last after the final norm.
	Hidden []*graph.Node
	// Attention is that of each layer: what an architecture does not list, losses on attention and relations cannot use.
	Attention []Attention
	Head      graph.Head // without a Weight: a bare encoder
	// Transformed is what a task head makes of the last hidden state before its last layer, which is Head; nil: nothing.
	Transformed *graph.Node
}

// Attention is what a layer's scores are made from: queries, keys and values side by side, [N, Heads.Width()].
type Attention struct {
	Heads     graph.Heads
	Projected *graph.Node // as the projections give them
	Rotated   *graph.Node // as the scores are made from them: after the norms of heads and the rotary embedding
}

// Final is what the head reads: the last hidden state, or what a task head makes of it.
func (o Outputs) Final() *graph.Node {
	if o.Transformed != nil {
		return o.Transformed
	}
	return o.Hidden[len(o.Hidden)-1]
}

// Feature names a value inside a model.
type Feature struct {
	Rows  loss.Rows // what it is to make rows of; Logits: the final hidden state, which the head reads
	Layer int       // of hidden states as in Outputs.Hidden, of others from 1; not used for Logits
}

// Feature returns a feature's node: an error says what there is.
func (o Outputs) Feature(f Feature) (*graph.Node, error) {
	from, layers := 1, len(o.Attention)
	switch f.Rows {
	case loss.Logits:
		return o.Final(), nil
	case loss.Hidden:
		from, layers = 0, len(o.Hidden)-1
	default:
		if layers == 0 {
			return nil, errors.New("its architecture shows no attention: losses on hidden states and logits are possible")
		}
	}
	switch {
	case f.Layer < from || f.Layer > layers:
		return nil, fmt.Errorf("have layer %d, want %d to %d", f.Layer, from, layers)
	case f.Rows == loss.Hidden:
		return o.Hidden[f.Layer], nil
	case f.Rows == loss.Scores:
		return o.Attention[f.Layer-1].Rotated, nil
	}
	return o.Attention[f.Layer-1].Projected, nil
}

// architecture is a registered model type.
type architecture struct {
	build   func(*Config) Model
	aliases []alias
}

// alias is another name of a config key: transformers takes the common names for every model type (its attribute_map).
type alias struct{ common, key string }

var registry = map[string]architecture{}

func register(modelType string, build func(*Config) Model, aliases ...alias) {
	if registry[modelType].build != nil {
		panic("model type registered twice: " + modelType)
	}
	registry[modelType] = architecture{build, aliases}
}

// Types lists the supported model types.
func Types() []string { return slices.Sorted(maps.Keys(registry)) }

// Key returns the name that a model type's config.json has for a key, which may be the common name.
func Key(modelType, name string) string {
	for _, a := range registry[modelType].aliases {
		if a.common == name {
			return a.key
		}
	}
	return name
}

// New builds the model that a config.json describes.
func New(configJSON []byte) (Model, error) {
	c, err := ParseConfig(configJSON)
	if err != nil {
		return nil, err
	}
	a, ok := registry[c.ModelType]
	if !ok {
		return nil, fmt.Errorf("model_type %q is not supported; supported: %s", c.ModelType, strings.Join(Types(), ", "))
	}
	for _, a := range a.aliases {
		switch {
		case !c.Has(a.common):
		case !c.Has(a.key):
			c.values[a.key] = c.values[a.common]
		case c.show(a.key) != c.show(a.common):
			c.Refuse(a.common, a.key+" means the same and says "+c.show(a.key))
		}
	}
	m := a.build(c)
	if c.err != nil {
		return nil, fmt.Errorf("%s: %w", c.ModelType, c.err)
	}
	return m, nil
}

// Spec declares one parameter.
type Spec struct {
	Name  string
	Shape []int
	Init  nn.Init
}

// declared collects what a Forward asks for.
type declared struct {
	specs []Spec
	seen  map[string]*graph.Param
}

func (d *declared) Param(name string, init nn.Init, shape ...int) (*graph.Param, error) {
	if p := d.seen[name]; p != nil {
		if !p.Shape.Eq(tensor.Shape(shape)) {
			return nil, fmt.Errorf("%s is used with shapes %v and %v", name, p.Shape, shape)
		}
		return p, nil
	}
	d.specs = append(d.specs, Spec{Name: name, Shape: shape, Init: init})
	d.seen[name] = &graph.Param{Name: name, Shape: shape}
	return d.seen[name], nil
}

// Parameters lists a model's parameters in the order of their first use: Forward is the only place that names them.
func Parameters(m Model) ([]Spec, error) {
	_, specs, err := declare(m)
	return specs, err
}

// Shapes returns the outputs of a model without weights, for a single position: what they are and how wide.
func Shapes(m Model) (Outputs, error) {
	out, _, err := declare(m)
	return out, err
}

func declare(m Model) (Outputs, []Spec, error) {
	d := &declared{seen: map[string]*graph.Param{}}
	b := &nn.Builder{Graph: graph.New(tensor.Float32, 1, 1), Weights: d}
	out := m.Forward(b)
	weights := 0
	for _, s := range d.specs {
		weights += tensor.Shape(s.Shape).TotalSize()
	}
	if weights > maxWeights {
		return out, nil, fmt.Errorf("config.json describes %d weights, want at most %d: check its sizes", weights, maxWeights)
	}
	return out, d.specs, b.Err()
}

// maxWeights is beyond every machine's memory.
const maxWeights = 1 << 42

// headName is what most decoders call their head.
const headName = "lm_head.weight"

// head returns the output head: the tensor of that name, or the input embedding where they are tied.
func head(b *nn.Builder, info Info, name string, width int, init nn.Init) graph.Head {
	if info.Tied != "" {
		name = info.Tied
	}
	return graph.Head{Weight: b.Param(name, init, info.Vocab, width)}
}

// tie notes the embedding where config.json ties it to the head.
func (i *Info) tie(c *Config, def bool, embedding, head string) {
	if c.Bool("tie_word_embeddings", def) {
		i.Tied, i.Copies = embedding, map[string]string{head: embedding}
	}
}
