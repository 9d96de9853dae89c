package model

func init() { register("qwen3", newQwen3) }

// newQwen3 is the dense Qwen 3: RMSNorm on each head of queries and keys before the rotary embedding.
func newQwen3(c *Config) Model {
	def := qwenSizes
	def.head = 128
	d := llamaLike(c, "Qwen3ForCausalLM", def)
	d.headNorm = true
	d.biasQKV = c.Bool("attention_bias", false)
	d.biasO = d.biasQKV
	qwenWindows(c, d)
	return d
}
