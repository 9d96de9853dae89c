package model

import (
	"fmt"

	"kdistill/internal/graph"
	"kdistill/internal/kernel"
	"kdistill/internal/nn"
)

func init() { register("gpt_neox", newGPTNeoX) }

// gptNeoX is GPT-NeoX (Black et al. 2022) and Pythia: attention and feed-forward layer side by side on the same residual, a rotary embedding on a part of
// each head, queries, keys and values fused head by head.
type gptNeoX struct {
	info     Info
	ffn      int
	eps      float64
	std      float64
	act      kernel.Activation
	bias     bool // of attention's projections
	parallel bool
	rope     *graph.RotaryTable
}

const neoxHead = "embed_out.weight"

func newGPTNeoX(c *Config) Model {
	const base = "gpt_neox."
	m := &gptNeoX{info: Info{
		Type: c.ModelType, Class: "GPTNeoXForCausalLM", Task: Causal, Vocab: c.Size("vocab_size", 50432), Width: c.Size("hidden_size", 6144),
		Layers: c.Layers("num_hidden_layers", 44), Positions: c.Size("max_position_embeddings", 2048), Base: base, LayerName: base + "layers.",
		LayersKey: "num_hidden_layers",
	}}
	m.info.tie(c, false, base+"embed_in.weight", neoxHead)
	h := c.Size("num_attention_heads", 64)
	if m.info.Width%h != 0 {
		c.fail(fmt.Errorf("config.json: hidden_size: have %d, want a multiple of num_attention_heads %d", m.info.Width, h))
	}
	m.info.Heads = graph.Heads{H: h, KV: h, D: max(1, m.info.Width/h)}
	m.ffn, m.eps, m.std = c.Size("intermediate_size", 24576), c.Float("layer_norm_eps", 1e-5), c.Float("initializer_range", 0.02)
	m.act = activation(c, "hidden_act", "gelu")
	m.bias, m.parallel = c.Bool("attention_bias", true), c.Bool("use_parallel_residual", true)
	style := plainRope
	style.theta, style.part, style.partValue = "rotary_emb_base", "rotary_pct", 0.25
	m.rope = table(c, rope(c, m.info.Heads.D, m.info.Positions, style))
	c.Dropout(0, "attention_dropout", "hidden_dropout")
	m.info.Notes = c.Notes
	return m
}

func (m *gptNeoX) Info() Info { return m.info }

func (m *gptNeoX) Forward(b *nn.Builder) Outputs {
	w, h, init := m.info.Width, m.info.Heads, nn.Normal(m.std)
	x := b.Embedding(b.Weight("gpt_neox.embed_in.weight", init, m.info.Vocab, w), b.Inputs.Tokens, 0, -1)
	hidden, attention := []*graph.Node{x}, []Attention(nil)
	attend := func(x *graph.Node, name string) *graph.Node {
		qkv := b.HeadsApart(b.Project(x, w, nil, nn.Projection{Name: name + "query_key_value", Out: h.Width(), Bias: m.bias, Init: init}), h.H)
		rotated := b.Rotary(qkv, h, m.rope)
		attention = append(attention, Attention{h, qkv, rotated})
		return b.Project(b.Attention(rotated, h), w, nil, nn.Projection{Name: name + "dense", Out: w, Bias: m.bias, Init: init})
	}
	feed := func(x *graph.Node, name string) *graph.Node {
		f := b.Activate(m.act, b.Project(x, w, nil, nn.Projection{Name: name + "dense_h_to_4h", Out: m.ffn, Bias: true, Init: init}))
		return b.Project(f, m.ffn, nil, nn.Projection{Name: name + "dense_4h_to_h", Out: w, Bias: true, Init: init})
	}
	for i := range m.info.Layers {
		name := fmt.Sprintf("gpt_neox.layers.%d.", i)
		skip := graph.Fork(x)
		a := attend(b.Layer(x, name+"input_layernorm", w, m.eps, skip), name+"attention.")
		if m.parallel {
			a = b.Add(a, feed(b.Layer(x, name+"post_attention_layernorm", w, m.eps, nil), name+"mlp."))
			x = b.Close(skip, a)
		} else {
			x = b.Close(skip, a)
			skip = graph.Fork(x)
			x = b.Close(skip, feed(b.Layer(x, name+"post_attention_layernorm", w, m.eps, skip), name+"mlp."))
		}
		hidden = append(hidden, x)
	}
	hidden[len(hidden)-1] = b.Layer(x, "gpt_neox.final_layer_norm", w, m.eps, nil)
	return Outputs{Hidden: hidden, Attention: attention, Head: head(b, m.info, neoxHead, w, init)}
}
