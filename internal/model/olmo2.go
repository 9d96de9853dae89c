package model

func init() { register("olmo2", newOLMo2) }

// newOLMo2 is OLMo 2 (arXiv:2501.00656): norms after each sublayer only, and on all queries and all keys.
func newOLMo2(c *Config) Model {
	d := llamaLike(c, "Olmo2ForCausalLM", sizes{vocab: 50304, width: 4096, layers: 32, heads: 32, ffn: 11008, positions: 2048, padding: 1, eps: 1e-5})
	d.before, d.after = [2]string{}, [2]string{"post_attention_layernorm", "post_feedforward_layernorm"}
	d.wholeNorm = true
	bias := c.Bool("attention_bias", false)
	d.biasQKV, d.biasO = bias, bias
	return d
}
