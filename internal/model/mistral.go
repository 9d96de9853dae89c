package model

func init() { register("mistral", newMistral) }

// newMistral is Mistral 7B and its family (Jiang et al. 2023): a sliding window on every layer where one is set.
func newMistral(c *Config) Model {
	d := llamaLike(c, "MistralForCausalLM", sizes{vocab: 32000, width: 4096, layers: 32, heads: 32, kv: 8, ffn: 14336, positions: 4096 * 32, padding: -1})
	d.windowEverywhere(windowOf(c, 4096))
	return d
}

// windowOf reads sliding_window; null is full attention.
func windowOf(c *Config, def int) int {
	if hasKey(c, "sliding_window") {
		def = 0
	}
	return c.Int("sliding_window", def)
}

func (d *decoder) windowEverywhere(window int) {
	for i := range d.windows {
		d.windows[i] = window
	}
}
