package model

func init() { register("qwen3", newQwen3) }

// newQwen3 is the dense Qwen 3: RMSNorm on each head of queries and keys before the rotary embedding.
func newQwen3(c *Config) Model {
	if !c.Has("head_dim") {
		c.values["head_dim"] = number(128)
	}
	d := newDecoder(c, "Qwen3ForCausalLM", 32, 22016, 32768, 151936)
	d.headNorm = true
	d.biasQKV = c.Bool("attention_bias", false)
	d.biasO = d.biasQKV
	qwenWindows(c, d)
	return d
}
