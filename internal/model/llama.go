package model

func init() { register("llama", newLlama) }

// newLlama is Llama 1 to 3.3 and what copies it (Touvron et al. 2023).
func newLlama(c *Config) Model {
	d := newDecoder(c, "LlamaForCausalLM", 0, 11008, 2048, 32000)
	bias := c.Bool("attention_bias", false)
	d.biasQKV, d.biasO, d.biasMLP = bias, bias, c.Bool("mlp_bias", false)
	return d
}
