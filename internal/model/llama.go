package model

func init() { register("llama", newLlama) }

// newLlama is Llama 1 to 3.3 and what copies it (Touvron et al. 2023).
func newLlama(c *Config) Model {
	d := llamaLike(c, "LlamaForCausalLM", sizes{vocab: 32000, width: 4096, layers: 32, heads: 32, ffn: 11008, positions: 2048, padding: -1})
	bias := c.Bool("attention_bias", false)
	d.biasQKV, d.biasO, d.biasMLP = bias, bias, c.Bool("mlp_bias", false)
	return d
}
