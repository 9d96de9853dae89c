package model

import "kdistill/internal/graph"

func init() { register("gemma3_text", newGemma3) }

// newGemma3 is the text model of Gemma 3 (arXiv:2503.19786): norms on heads of queries and keys, five layers with a sliding window and a rotary embedding
// of their own to one with full attention.
func newGemma3(c *Config) Model {
	d := newGemma(c, "Gemma3ForCausalLM", 262208, 131072)
	d.headNorm = true
	d.softcap = gemmaCap(c, "final_logit_softcapping", 0)
	if c.Has("attn_logit_softcapping") {
		c.Refuse("attn_logit_softcapping", "Gemma 3 has no cap on scores; remove the key")
	}
	pattern := c.Size("sliding_window_pattern", 6)
	d.slide(c, windowOf(c, 4096), func(layer int) bool { return (layer+1)%pattern != 0 })
	full, sliding := plainRope, plainRope
	full.thetaValue = 1e6
	sliding.theta = "rope_local_base_freq"
	f, s := ropesByLayer(c, d.info.Heads.D, d.info.Positions, full, sliding)
	global, local := table(c, f), table(c, s)
	d.ropes = make([]*graph.RotaryTable, d.info.Layers)
	for i, window := range d.windows {
		if d.ropes[i] = global; window > 0 {
			d.ropes[i] = local
		}
	}
	return d
}
