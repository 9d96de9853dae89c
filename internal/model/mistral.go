package model

func init() { register("mistral", newMistral) }

// newMistral is Mistral 7B and its family (Jiang et al. 2023): a sliding window on every layer where one is set.
func newMistral(c *Config) Model {
	d := newDecoder(c, "MistralForCausalLM", 8, 14336, 4096*32, 32000)
	window := 4096
	if hasKey(c, "sliding_window") {
		window = c.Int("sliding_window", 0) // null: full attention
	}
	for i := range d.windows {
		d.windows[i] = window
	}
	return d
}
