package model

import "math"

func init() { register("gemma2", newGemma2) }

// newGemma2 is Gemma 2 (arXiv:2408.00118): caps on scores and logits, a sliding window on every second layer, norms round each sublayer.
func newGemma2(c *Config) Model {
	d := newGemma(c, "Gemma2ForCausalLM", 256000, 8192)
	d.info.Heads.Softcap, d.softcap = gemmaCap(c, "attn_logit_softcapping", 50), gemmaCap(c, "final_logit_softcapping", 30)
	d.slide(c, windowOf(c, 4096), func(layer int) bool { return layer%2 == 0 })
	d.rotate(c, rope(c, d.info.Heads.D, d.info.Positions, plainRope))
	return d
}

// newGemma reads what Gemma 2 and 3 share.
func newGemma(c *Config, class string, vocab, positions int) *decoder {
	d := newDecoder(c, class, sizes{vocab: vocab, width: 2304, layers: 26, heads: 8, kv: 4, head: 256, ffn: 9216, positions: positions, tied: true})
	d.info.Heads.Scale = 1 / math.Sqrt(c.Positive("query_pre_attn_scalar", 256))
	d.act = activation(c, "hidden_activation", "gelu_pytorch_tanh")
	d.offset, d.embedScale = 1, math.Sqrt(float64(d.info.Width))
	d.before[1], d.after = "pre_feedforward_layernorm", [2]string{"post_attention_layernorm", "post_feedforward_layernorm"}
	bias := c.Bool("attention_bias", false)
	d.biasQKV, d.biasO = bias, bias
	if hasKey(c, "sliding_window") && !c.Has("sliding_window") {
		c.Refuse("sliding_window", "some layers have a window, so there must be a size")
	}
	c.Must("use_bidirectional_attention", false, "attention to later tokens is not supported")
	return d
}

// gemmaCap reads a soft cap; null is none.
func gemmaCap(c *Config, key string, def float64) float64 {
	if !c.Has(key) && (hasKey(c, key) || def == 0) {
		return 0
	}
	return c.Positive(key, def)
}
