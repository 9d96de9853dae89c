package model

import (
	"fmt"

	"kdistill/internal/graph"
	"kdistill/internal/kernel"
	"kdistill/internal/nn"
)

func init() { register("opt", newOPT) }

// opt is OPT (Zhang et al. 2022): learned positions that begin at row 2, LayerNorm before each sublayer, or after it in the 350M model.
type opt struct {
	info    Info
	heads   graph.Heads
	ffn     int
	embed   int // width of the token embedding; projected where it differs from the model's
	std     float64
	act     kernel.Activation
	bias    bool
	before  bool // norms come before their sublayers
	final   bool // a norm after the last layer
	padding int32
}

const optEps = 1e-5 // torch's LayerNorm default, which OPT's config doesn't name

func newOPT(c *Config) Model {
	m := &opt{info: Info{
		Type: c.ModelType, Class: "OPTForCausalLM", Task: Causal, Vocab: c.Size("vocab_size", 50272), Width: c.Size("hidden_size", 768), Layers: c.Layers("num_hidden_layers", 12),
		Positions: c.Size("max_position_embeddings", 2048), Base: "model.", LayerName: "model.decoder.layers.",
		LayersKey: "num_hidden_layers",
	}}
	m.info.tie(c, true, "model.decoder.embed_tokens.weight", headName)
	h := c.Size("num_attention_heads", 12)
	if m.info.Width%h != 0 {
		c.fail(fmt.Errorf("config.json: hidden_size: have %d, want a multiple of num_attention_heads %d", m.info.Width, h))
	}
	m.heads = graph.Heads{H: h, KV: h, D: max(1, m.info.Width/h)}
	m.info.Heads = m.heads
	m.ffn, m.embed = c.Size("ffn_dim", 3072), c.Size("word_embed_proj_dim", m.info.Width)
	m.std, m.bias = c.Float("init_std", 0.02), c.Bool("enable_bias", true)
	m.act = activation(c, "activation_function", "relu")
	m.before = c.Bool("do_layer_norm_before", true)
	m.final = m.before && !c.Bool("_remove_final_layer_norm", false)
	m.padding = c.Padding(1, m.info.Vocab)
	c.Must("layer_norm_elementwise_affine", true, "norms without weights are not supported")
	c.Dropout(0.1, "dropout")
	c.Dropout(0, "attention_dropout", "layerdrop")
	m.info.Notes = c.Notes
	return m
}

func (m *opt) Info() Info { return m.info }

func (m *opt) Forward(b *nn.Builder) Outputs {
	const base = "model.decoder."
	w := m.info.Width
	init := nn.Normal(m.std)
	embedding := init
	embedding.Zero = int(m.padding)
	project := func(x *graph.Node, skip *graph.Skip, in int, names []string, out int) *graph.Node {
		var ps []nn.Projection
		for _, n := range names {
			ps = append(ps, nn.Projection{Name: n, Out: out, Bias: m.bias, Init: init})
		}
		return b.Project(x, in, skip, ps...)
	}
	x := b.Embedding(b.Weight(base+"embed_tokens.weight", embedding, m.info.Vocab, m.embed), b.Inputs.Tokens, 0, m.padding)
	if m.embed != w {
		x = b.Project(x, m.embed, nil, nn.Projection{Name: base + "project_in", Out: w, Init: init})
	}
	x = b.Add(x, b.Embedding(b.Weight(base+"embed_positions.weight", init, m.info.Positions+2, w), b.Inputs.Positions, 2, -1))
	hidden, attention := []*graph.Node{x}, []Attention(nil)
	// sublayer is x + f(norm(x)), or norm(x + f(x)): the first op of the block takes the residual's gradient along.
	sublayer := func(x *graph.Node, norm string, f func(x *graph.Node, skip *graph.Skip) *graph.Node) *graph.Node {
		skip := graph.Fork(x)
		if m.before {
			return b.Close(skip, f(b.Layer(x, norm, w, optEps, skip), nil))
		}
		return b.Layer(b.Close(skip, f(x, skip)), norm, w, optEps, nil)
	}
	for i := range m.info.Layers {
		name := fmt.Sprintf("%slayers.%d.", base, i)
		x = sublayer(x, name+"self_attn_layer_norm", func(x *graph.Node, skip *graph.Skip) *graph.Node {
			qkv := project(x, skip, w, []string{name + "self_attn.q_proj", name + "self_attn.k_proj", name + "self_attn.v_proj"}, w)
			attention = append(attention, Attention{m.heads, qkv, qkv})
			return project(b.Attention(qkv, m.heads), nil, w, []string{name + "self_attn.out_proj"}, w)
		})
		x = sublayer(x, name+"final_layer_norm", func(x *graph.Node, skip *graph.Skip) *graph.Node {
			return project(b.Activate(m.act, project(x, skip, w, []string{name + "fc1"}, m.ffn)), nil, m.ffn, []string{name + "fc2"}, w)
		})
		hidden = append(hidden, x)
	}
	if m.final {
		x = b.Layer(x, base+"final_layer_norm", w, optEps, nil)
	}
	if m.embed != w {
		x = b.Project(x, w, nil, nn.Projection{Name: base + "project_out", Out: m.embed, Init: init})
	}
	hidden[len(hidden)-1] = x
	return Outputs{Hidden: hidden, Attention: attention, Head: head(b, m.info, headName, m.embed, init)}
}
