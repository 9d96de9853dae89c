package model

func init() { register("qwen2", newQwen2) }

// qwenSizes are the defaults of Qwen 2 and 3.
var qwenSizes = sizes{vocab: 151936, width: 4096, layers: 32, heads: 32, kv: 32, ffn: 22016, positions: 32768, padding: -1}

// newQwen2 is Qwen 1.5 to 2.5: biases on queries, keys and values only, a sliding window on the upper layers on demand.
func newQwen2(c *Config) Model {
	d := llamaLike(c, "Qwen2ForCausalLM", qwenSizes)
	d.biasQKV = true
	qwenWindows(c, d)
	return d
}

// qwenWindows applies sliding_window where use_sliding_window says so, from layer max_window_layers on or by layer_types.
func qwenWindows(c *Config, d *decoder) {
	window, first := 0, 0
	if c.Bool("use_sliding_window", false) {
		window, first = windowOf(c, 4096), c.Int("max_window_layers", 28)
	}
	d.slide(c, window, func(layer int) bool { return window > 0 && layer >= first })
}
