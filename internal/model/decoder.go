package model

import (
	"fmt"

	"kdistill/internal/graph"
	"kdistill/internal/nn"
)

// decoder is the block that Llama (Touvron et al. 2023) made common: RMSNorm before attention with rotary embedding and before a SwiGLU
// feed-forward layer. Its families differ in biases, windows, and norms of queries and keys.
type decoder struct {
	info    Info
	heads   graph.Heads
	ffn     int
	eps     float64
	std     float64
	padding int32
	rope    *graph.RotaryTable

	biasQKV, biasO, biasMLP bool
	headNorm                bool // RMSNorm on each head of queries and keys
	windows                 []int
}

// newDecoder reads what all of them share. kvDefault is the number of key-value heads where config.json has none; 0: as many as query heads.
func newDecoder(c *Config, class string, kvDefault, ffnDefault, positionsDefault, vocabDefault int) *decoder {
	d := &decoder{info: Info{
		Type: c.ModelType, Class: class, Task: Causal, Vocab: c.Size("vocab_size", vocabDefault), Width: c.Size("hidden_size", 4096), Layers: c.Layers("num_hidden_layers", 32),
		Positions: c.Size("max_position_embeddings", positionsDefault), Base: "model.", LayerName: "model.layers.",
		LayersKey: "num_hidden_layers",
	}}
	d.info.tie(c, false, "model.embed_tokens.weight", headName)
	d.heads.H = c.Size("num_attention_heads", 32)
	if kvDefault == 0 || c.values["num_key_value_heads"] == nil && hasKey(c, "num_key_value_heads") {
		kvDefault = d.heads.H // null means as many as query heads
	}
	d.heads.KV = c.Size("num_key_value_heads", kvDefault)
	if d.heads.H%d.heads.KV != 0 {
		c.fail(fmt.Errorf("config.json: num_attention_heads: have %d, want a multiple of num_key_value_heads %d", d.heads.H, d.heads.KV))
		return d
	}
	if !c.Has("head_dim") && d.info.Width%d.heads.H != 0 {
		c.fail(fmt.Errorf("config.json: hidden_size: have %d, want a multiple of num_attention_heads %d", d.info.Width, d.heads.H))
		return d
	}
	d.heads.D = c.Size("head_dim", max(1, d.info.Width/d.heads.H))
	d.info.Heads = d.heads
	d.ffn = c.Size("intermediate_size", ffnDefault)
	d.eps = c.Float("rms_norm_eps", 1e-6)
	d.std = c.Float("initializer_range", 0.02)
	d.padding = c.Padding(-1, d.info.Vocab)
	d.windows = make([]int, d.info.Layers)
	c.OneOf("hidden_act", "silu", "silu", "swish")
	c.Dropout(0, "attention_dropout", "hidden_dropout", "resid_pdrop", "embd_pdrop")
	d.info.Notes = c.Notes
	d.rope = rope(c, d.heads.D, d.info.Positions)
	return d
}

func hasKey(c *Config, key string) bool { _, ok := c.values[key]; return ok }

// rope reads the rotary embedding in the style of transformers 5 (rope_parameters) or 4 (rope_theta, rope_scaling).
func rope(c *Config, dim, positions int) *graph.RotaryTable {
	s := c.Section("rope_scaling") // transformers prefers it where both are there
	if s == nil || len(s.values) == 0 {
		s = c.Section("rope_parameters")
	}
	if s == nil {
		s = &Config{values: map[string]any{}}
	}
	for name, v := range s.values {
		if _, nested := v.(map[string]any); nested {
			s.Refuse(name, "a rotary embedding of its own for each kind of layer is not supported")
		}
	}
	r := nn.Rope{Dim: dim}
	r.Theta = s.Positive("rope_theta", c.Positive("rope_theta", 10000))
	kind := "rope_type"
	if !s.Has(kind) && s.Has("type") {
		kind = "type"
	}
	r.Type = s.OneOf(kind, "default", "default", "linear", "llama3", "yarn")
	if part := s.Float("partial_rotary_factor", c.Float("partial_rotary_factor", 1)); part != 1 {
		c.fail(fmt.Errorf("config.json: partial_rotary_factor: have %v, want 1 for this model_type", part))
	}
	need := func(name string) float64 {
		if !s.Has(name) {
			s.fail(fmt.Errorf("config.json: %s%s is missing, rope_type %s needs it", s.section, name, r.Type))
		}
		return s.Positive(name, 1)
	}
	if r.Type != "default" && (r.Type != "yarn" || s.Has("factor")) {
		r.Factor = need("factor")
	}
	if r.Type == "llama3" || r.Type == "yarn" {
		r.Original = c.Size("original_max_position_embeddings", s.Size("original_max_position_embeddings", positions))
	}
	switch r.Type {
	case "llama3":
		r.LowFreq, r.HighFreq = need("low_freq_factor"), need("high_freq_factor")
	case "yarn":
		if !s.Has("factor") {
			r.Factor = float64(positions) / float64(r.Original)
		}
		r.BetaFast, r.BetaSlow = orDefault(s.Float("beta_fast", 32), 32), orDefault(s.Float("beta_slow", 1), 1)
		r.Attention, r.MScale, r.MScaleAll = s.Float("attention_factor", 0), s.Float("mscale", 0), s.Float("mscale_all_dim", 0)
		r.NoTruncate = !s.Bool("truncate", true)
	}
	c.Take(s)
	if dim%2 != 0 {
		c.fail(fmt.Errorf("config.json: head_dim: have %d, want an even number for the rotary embedding", dim))
	}
	if c.err != nil {
		return nil
	}
	table, err := r.Table()
	if err != nil {
		c.fail(err)
	}
	return table
}

// orDefault reads 0 as absent, as transformers does for these keys.
func orDefault(x, def float64) float64 {
	if x == 0 {
		return def
	}
	return x
}

// slide sets each layer's window from layer_types, or from layer first on where that key is absent.
func (d *decoder) slide(c *Config, window, first int) {
	types := c.Texts("layer_types")
	if types != nil && len(types) != d.info.Layers {
		c.fail(fmt.Errorf("config.json: layer_types: have %d entries, want num_hidden_layers %d", len(types), d.info.Layers))
		return
	}
	for i := range d.windows {
		sliding := i >= first
		if types != nil {
			switch types[i] {
			case "full_attention":
				sliding = false
			case "sliding_attention":
				sliding = true
			default:
				c.Refuse("layer_types", "supported: full_attention, sliding_attention")
			}
		}
		if sliding {
			d.windows[i] = window
		}
	}
}

func (d *decoder) Info() Info { return d.info }

func (d *decoder) Forward(b *nn.Builder) Outputs {
	w, h := d.info.Width, d.heads
	init := nn.Normal(d.std)
	embedding := init
	embedding.Zero = int(d.padding)
	x := b.Embedding(b.Weight("model.embed_tokens.weight", embedding, d.info.Vocab, w), b.Inputs.Tokens, 0, d.padding)
	hidden, attention := []*graph.Node{x}, []Attention(nil)
	for i := range d.info.Layers {
		name := fmt.Sprintf("model.layers.%d.", i)
		skip := graph.Fork(x)
		n := b.RMS(x, name+"input_layernorm", w, d.eps, skip)
		qkv := b.Project(n, w, nil,
			nn.Projection{Name: name + "self_attn.q_proj", Out: h.H * h.D, Bias: d.biasQKV, Init: init},
			nn.Projection{Name: name + "self_attn.k_proj", Out: h.KV * h.D, Bias: d.biasQKV, Init: init},
			nn.Projection{Name: name + "self_attn.v_proj", Out: h.KV * h.D, Bias: d.biasQKV, Init: init})
		projected := qkv
		if d.headNorm {
			qkv = b.HeadNorm(qkv, b.Weight(name+"self_attn.q_norm.weight", nn.Ones, h.D), 0, h.H, d.eps)
			qkv = b.HeadNorm(qkv, b.Weight(name+"self_attn.k_norm.weight", nn.Ones, h.D), h.H*h.D, h.KV, d.eps)
		}
		h.Window = d.windows[i]
		rotated := b.Rotary(qkv, h, d.rope)
		attention = append(attention, Attention{h, projected, rotated})
		a := b.Attention(rotated, h)
		x = b.Close(skip, b.Project(a, h.H*h.D, nil, nn.Projection{Name: name + "self_attn.o_proj", Out: w, Bias: d.biasO, Init: init}))

		skip = graph.Fork(x)
		n = b.RMS(x, name+"post_attention_layernorm", w, d.eps, skip)
		f := b.SwiGLU(b.Project(n, w, nil,
			nn.Projection{Name: name + "mlp.gate_proj", Out: d.ffn, Bias: d.biasMLP, Init: init},
			nn.Projection{Name: name + "mlp.up_proj", Out: d.ffn, Bias: d.biasMLP, Init: init}))
		x = b.Close(skip, b.Project(f, d.ffn, nil, nn.Projection{Name: name + "mlp.down_proj", Out: w, Bias: d.biasMLP, Init: init}))
		hidden = append(hidden, x)
	}
	hidden[len(hidden)-1] = b.RMS(x, "model.norm", w, d.eps, nil)
	return Outputs{Hidden: hidden, Attention: attention, Head: head(b, d.info, w, init)}
}
