package model

func init() { register("qwen2", newQwen2) }

// newQwen2 is Qwen 1.5 to 2.5: biases on queries, keys and values only, a sliding window on the upper layers on demand.
func newQwen2(c *Config) Model {
	d := newDecoder(c, "Qwen2ForCausalLM", 32, 22016, 32768, 151936)
	d.biasQKV = true
	qwenWindows(c, d)
	return d
}

// qwenWindows applies sliding_window where use_sliding_window says so, from layer max_window_layers on or by layer_types.
func qwenWindows(c *Config, d *decoder) {
	if c.Bool("use_sliding_window", false) {
		window := 4096
		if hasKey(c, "sliding_window") {
			window = c.Int("sliding_window", 0)
		}
		d.slide(c, window, c.Int("max_window_layers", 28))
	} else {
		d.slide(c, 0, 0)
	}
}
