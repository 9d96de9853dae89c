package model

import "fmt"

func init() { register("smollm3", newSmolLM3) }

// newSmolLM3 is SmolLM3: Llama without a rotary embedding on every fourth layer (Yang et al. 2025, RoPE to NoPE and Back Again).
func newSmolLM3(c *Config) Model {
	d := llamaLike(c, "SmolLM3ForCausalLM", sizes{vocab: 128256, width: 2048, layers: 36, heads: 16, kv: 4, ffn: 11008, positions: 32768, padding: 128004, tied: true,
		theta: 2e6})
	bias := c.Bool("attention_bias", false)
	d.biasQKV, d.biasO, d.biasMLP = bias, bias, c.Bool("mlp_bias", false)
	const key = "no_rope_layers" // 1: it has one
	rotated := c.Floats(key)
	if rotated == nil {
		interval := c.Size("no_rope_layer_interval", 4)
		for i := range d.info.Layers {
			rotated = append(rotated, float64(min(1, (i+1)%interval)))
		}
	}
	if len(rotated) != d.info.Layers {
		c.fail(fmt.Errorf("config.json: %s: have %d entries, want num_hidden_layers %d", key, len(rotated), d.info.Layers))
		return d
	}
	for i, r := range rotated {
		if r == 0 {
			d.ropes[i] = nil
		}
	}
	window := 0
	if c.Bool("use_sliding_window", false) {
		window = c.Int("sliding_window", 0)
	}
	d.slide(c, window, func(layer int) bool { return window > 0 && rotated[layer] == 0 })
	d.perLayer(key, anys(rotated))
	return d
}
