package model

import (
	"fmt"
	"math"

	"kdistill/internal/graph"
	"kdistill/internal/kernel"
	"kdistill/internal/nn"
)

func init() {
	register("gpt2", newGPT2, alias{"hidden_size", "n_embd"}, alias{"max_position_embeddings", "n_positions"},
		alias{"num_attention_heads", "n_head"}, alias{"num_hidden_layers", "n_layer"})
}

// gpt2 is GPT-2 (Radford et al. 2019): learned positions, LayerNorm before each sublayer, weights stored [in, out].
type gpt2 struct {
	info     Info
	heads    graph.Heads
	inner    int
	eps      float64
	std      float64
	act      kernel.Activation
	byLayer  bool // scores also divided by the layer's number
	unscaled bool
}

func newGPT2(c *Config) Model {
	m := &gpt2{info: Info{
		Type: c.ModelType, Class: "GPT2LMHeadModel", Task: Causal, Vocab: c.Size("vocab_size", 50257), Width: c.Size("n_embd", 768), Layers: c.Layers("n_layer", 12),
		Positions: c.Size("n_positions", 1024), Base: "transformer.", LayerName: "transformer.h.", LayersKey: "n_layer",
	}}
	m.info.tie(c, true, "transformer.wte.weight", headName)
	h := c.Size("n_head", 12)
	if m.info.Width%h != 0 {
		c.fail(fmt.Errorf("config.json: n_embd: have %d, want a multiple of n_head %d", m.info.Width, h))
	}
	m.heads = graph.Heads{H: h, KV: h, D: max(1, m.info.Width/h)}
	m.info.Heads = m.heads
	m.inner = c.Size("n_inner", 4*m.info.Width)
	m.eps, m.std = c.Float("layer_norm_epsilon", 1e-5), c.Float("initializer_range", 0.02)
	m.act = activation(c, "activation_function", "gelu_new")
	m.unscaled = !c.Bool("scale_attn_weights", true)
	m.byLayer = c.Bool("scale_attn_by_inverse_layer_idx", false)
	c.Must("add_cross_attention", false, "there is no encoder here")
	c.Dropout(0.1, "resid_pdrop", "embd_pdrop", "attn_pdrop")
	m.info.Notes = c.Notes
	return m
}

func (m *gpt2) Info() Info { return m.info }

func (m *gpt2) Forward(b *nn.Builder) Outputs {
	w, h := m.info.Width, m.heads
	init := nn.Normal(m.std)
	residual := nn.Normal(m.std / math.Sqrt(2*float64(m.info.Layers))) // the paper's scaling of what ends on the residual path
	x := b.Add(
		b.Embedding(b.Weight("transformer.wte.weight", init, m.info.Vocab, w), b.Inputs.Tokens, 0, -1),
		b.Embedding(b.Weight("transformer.wpe.weight", init, m.info.Positions, w), b.Inputs.Positions, 0, -1))
	hidden, attention := []*graph.Node{x}, []Attention(nil)
	for i := range m.info.Layers {
		name := fmt.Sprintf("transformer.h.%d.", i)
		h.Scale = 1
		if !m.unscaled {
			h.Scale = 1 / math.Sqrt(float64(h.D))
		}
		if m.byLayer {
			h.Scale /= float64(i + 1)
		}
		skip := graph.Fork(x)
		n := b.Layer(x, name+"ln_1", w, m.eps, skip)
		qkv := b.Conv1D(n, w, nn.Projection{Name: name + "attn.c_attn", Out: 3 * w, Bias: true, Init: init})
		attention = append(attention, Attention{h, qkv, qkv})
		x = b.Close(skip, b.Conv1D(b.Attention(qkv, h), w, nn.Projection{Name: name + "attn.c_proj", Out: w, Bias: true, Init: residual}))

		skip = graph.Fork(x)
		n = b.Layer(x, name+"ln_2", w, m.eps, skip)
		f := b.Activate(m.act, b.Conv1D(n, w, nn.Projection{Name: name + "mlp.c_fc", Out: m.inner, Bias: true, Init: init}))
		x = b.Close(skip, b.Conv1D(f, m.inner, nn.Projection{Name: name + "mlp.c_proj", Out: w, Bias: true, Init: residual}))
		hidden = append(hidden, x)
	}
	hidden[len(hidden)-1] = b.Layer(x, "transformer.ln_f", w, m.eps, nil)
	return Outputs{Hidden: hidden, Attention: attention, Head: head(b, m.info, headName, w, init)}
}

// activation reads the name of an elementwise activation as transformers spells it.
func activation(c *Config, key, def string) kernel.Activation {
	known := map[string]kernel.Activation{
		"relu": kernel.ReLU, "gelu": kernel.GELU, "gelu_new": kernel.GELUTanh, "gelu_pytorch_tanh": kernel.GELUTanh, "gelu_fast": kernel.GELUTanh,
		"silu": kernel.SiLU, "swish": kernel.SiLU, "quick_gelu": kernel.QuickGELU,
	}
	name := c.Text(key, def)
	kind, ok := known[name]
	if !ok {
		c.Refuse(key, "supported: relu, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, silu, swish, quick_gelu")
	}
	return kind
}
