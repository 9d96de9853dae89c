package model

import (
	"fmt"
	"slices"

	"kdistill/internal/graph"
	"kdistill/internal/kernel"
	"kdistill/internal/nn"
)

// decoder is the block that Llama (Touvron et al. 2023) made common: RMSNorm before attention with rotary embedding and before a gated
// feed-forward layer. Its families differ in biases, windows, norms, and in what is fused.
type decoder struct {
	info    Info
	ffn     int
	eps     float64
	std     float64
	padding int32
	act     kernel.Activation

	biasQKV, biasO, biasMLP bool
	headNorm                bool // RMSNorm on each head of queries and keys
	wholeNorm               bool // RMSNorm on all queries and all keys of a position
	fused                   bool // queries, keys and values are one projection, gate and up another
	windows                 []int
	ropes                   []*graph.RotaryTable // of each layer; nil: none
	before, after           [2]string            // norms before and after attention and feed-forward layer; "": none

	// Gemma's
	offset     float64 // what is added to the norms' weights
	embedScale float64 // factor of the embedding; 0: none
	softcap    float64 // of the logits; 0: none
}

// sizes are what config.json's keys default to. kv 0: as many as heads; head 0: width / heads.
type sizes struct {
	vocab, width, layers, heads, kv, head, ffn, positions int
	padding                                               int
	tied                                                  bool
	eps, theta                                            float64 // 0: 1e-6, 1e4
}

// newDecoder reads what all of them share but the rotary embedding.
func newDecoder(c *Config, class string, def sizes) *decoder {
	d := &decoder{info: Info{
		Type: c.ModelType, Class: class, Task: Causal, Vocab: c.Size("vocab_size", def.vocab), Width: c.Size("hidden_size", def.width),
		Layers: c.Layers("num_hidden_layers", def.layers), Positions: c.Size("max_position_embeddings", def.positions),
		Base: "model.", LayerName: "model.layers.", LayersKey: "num_hidden_layers",
	}, act: kernel.SiLU, before: [2]string{"input_layernorm", "post_attention_layernorm"}}
	d.info.tie(c, def.tied, "model.embed_tokens.weight", headName)
	h := graph.Heads{H: c.Size("num_attention_heads", def.heads)}
	if def.kv == 0 || c.values["num_key_value_heads"] == nil && hasKey(c, "num_key_value_heads") {
		def.kv = h.H // null means as many as query heads
	}
	h.KV = c.Size("num_key_value_heads", def.kv)
	if h.H%h.KV != 0 {
		c.fail(fmt.Errorf("config.json: num_attention_heads: have %d, want a multiple of num_key_value_heads %d", h.H, h.KV))
		h.KV = h.H
	}
	if def.head == 0 {
		if !c.Has("head_dim") && d.info.Width%h.H != 0 {
			c.fail(fmt.Errorf("config.json: hidden_size: have %d, want a multiple of num_attention_heads %d", d.info.Width, h.H))
		}
		def.head = max(1, d.info.Width/h.H)
	}
	h.D = c.Size("head_dim", def.head)
	d.info.Heads = h
	d.ffn = c.Size("intermediate_size", def.ffn)
	d.eps = c.Float("rms_norm_eps", orDefault(def.eps, 1e-6))
	d.std = c.Float("initializer_range", 0.02)
	d.padding = c.Padding(def.padding, d.info.Vocab)
	d.windows = make([]int, d.info.Layers)
	c.Dropout(0, "attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop")
	d.info.Notes = c.Notes
	return d
}

// llamaLike is newDecoder with the rotary embedding and the activation that most families share.
func llamaLike(c *Config, class string, def sizes) *decoder {
	d := newDecoder(c, class, def)
	c.OneOf("hidden_act", "silu", "silu", "swish")
	style := plainRope
	style.thetaValue = orDefault(def.theta, style.thetaValue)
	d.rotate(c, rope(c, d.info.Heads.D, d.info.Positions, style))
	return d
}

// rotate gives all layers the same rotary embedding.
func (d *decoder) rotate(c *Config, r nn.Rope) {
	d.ropes = slices.Repeat([]*graph.RotaryTable{table(c, r)}, d.info.Layers)
}

func hasKey(c *Config, key string) bool { _, ok := c.values[key]; return ok }

// slide sets each layer's window from layer_types, or where that key is absent by its number.
func (d *decoder) slide(c *Config, window int, slides func(layer int) bool) {
	const full, sliding = "full_attention", "sliding_attention"
	types := c.Texts("layer_types")
	if types == nil {
		for i := range d.windows {
			kind := full
			if slides(i) {
				kind = sliding
			}
			types = append(types, kind)
		}
	}
	if len(types) != d.info.Layers {
		c.fail(fmt.Errorf("config.json: layer_types: have %d entries, want num_hidden_layers %d", len(types), d.info.Layers))
		return
	}
	for i, kind := range types {
		switch kind {
		case full:
		case sliding:
			d.windows[i] = window
		default:
			c.Refuse("layer_types", "supported: full_attention, sliding_attention")
		}
	}
	d.perLayer("layer_types", anys(types))
}

// perLayer notes a setting that belongs to each layer.
func (d *decoder) perLayer(key string, values []any) {
	if d.info.PerLayer == nil {
		d.info.PerLayer = map[string][]any{}
	}
	d.info.PerLayer[key] = values
}

func anys[T any](values []T) (out []any) {
	for _, v := range values {
		out = append(out, v)
	}
	return out
}

func (d *decoder) Info() Info { return d.info }

func (d *decoder) Forward(b *nn.Builder) Outputs {
	w := d.info.Width
	embedding := nn.Normal(d.std)
	embedding.Zero = int(d.padding)
	x := b.Embedding(b.Weight("model.embed_tokens.weight", embedding, d.info.Vocab, w), b.Inputs.Tokens, 0, d.padding)
	if d.embedScale != 0 {
		x = b.Scale(x, d.embedScale)
	}
	hidden, attention := []*graph.Node{x}, []Attention(nil)
	for i := range d.info.Layers {
		name := fmt.Sprintf("model.layers.%d.", i)
		for part := range d.before {
			skip := graph.Fork(x)
			y, first := x, skip // whose gradient the block's first op takes along
			if norm := d.before[part]; norm != "" {
				y, first = b.RMS(x, name+norm, w, d.eps, d.offset, skip), nil
			}
			if part == 0 {
				var a Attention
				y, a = d.attend(b, y, first, i, name)
				attention = append(attention, a)
			} else {
				y = d.feedForward(b, y, first, name)
			}
			if norm := d.after[part]; norm != "" {
				y = b.RMS(y, name+norm, w, d.eps, d.offset, nil)
			}
			x = b.Close(skip, y)
		}
		hidden = append(hidden, x)
	}
	hidden[len(hidden)-1] = b.RMS(x, "model.norm", w, d.eps, d.offset, nil)
	out := Outputs{Hidden: hidden, Attention: attention, Head: head(b, d.info, headName, w, nn.Normal(d.std))}
	out.Head.Softcap = d.softcap
	return out
}

// attend is the attention of layer i over x, and what it is made from.
func (d *decoder) attend(b *nn.Builder, x *graph.Node, skip *graph.Skip, i int, name string) (*graph.Node, Attention) {
	h, init := d.info.Heads, nn.Normal(d.std)
	h.Window = d.windows[i]
	name += "self_attn."
	projections := []nn.Projection{
		{Name: name + "q_proj", Out: h.H * h.D, Bias: d.biasQKV, Init: init},
		{Name: name + "k_proj", Out: h.KV * h.D, Bias: d.biasQKV, Init: init},
		{Name: name + "v_proj", Out: h.KV * h.D, Bias: d.biasQKV, Init: init},
	}
	if d.fused {
		projections = []nn.Projection{{Name: name + "qkv_proj", Out: h.Width(), Bias: d.biasQKV, Init: init}}
	}
	projected := b.Project(x, d.info.Width, skip, projections...)
	qkv := projected
	switch {
	case d.headNorm:
		qkv = b.RMSOfHeads(qkv, name+"q_norm", 0, h.H, h.D, d.eps, d.offset)
		qkv = b.RMSOfHeads(qkv, name+"k_norm", h.H*h.D, h.KV, h.D, d.eps, d.offset)
	case d.wholeNorm:
		qkv = b.RMSOfHeads(qkv, name+"q_norm", 0, 1, h.H*h.D, d.eps, d.offset)
		qkv = b.RMSOfHeads(qkv, name+"k_norm", h.H*h.D, 1, h.KV*h.D, d.eps, d.offset)
	}
	if r := d.ropes[i]; r != nil {
		qkv = b.Rotary(qkv, h, r)
	}
	out := b.Project(b.Attention(qkv, h), h.H*h.D, nil, nn.Projection{Name: name + "o_proj", Out: d.info.Width, Bias: d.biasO, Init: init})
	return out, Attention{h, projected, qkv}
}

// feedForward is the gated feed-forward layer over x.
func (d *decoder) feedForward(b *nn.Builder, x *graph.Node, skip *graph.Skip, name string) *graph.Node {
	init := nn.Normal(d.std)
	name += "mlp."
	projections := []nn.Projection{
		{Name: name + "gate_proj", Out: d.ffn, Bias: d.biasMLP, Init: init},
		{Name: name + "up_proj", Out: d.ffn, Bias: d.biasMLP, Init: init},
	}
	if d.fused {
		projections = []nn.Projection{{Name: name + "gate_up_proj", Out: 2 * d.ffn, Bias: d.biasMLP, Init: init}}
	}
	f := b.GLU(d.act, b.Project(x, d.info.Width, skip, projections...))
	return b.Project(f, d.ffn, nil, nn.Projection{Name: name + "down_proj", Out: d.info.Width, Bias: d.biasMLP, Init: init})
}
