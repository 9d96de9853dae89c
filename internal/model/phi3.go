package model

import (
	"fmt"

	"kdistill/internal/nn"
)

func init() { register("phi3", newPhi3) }

// newPhi3 is Phi-3 and Phi-4 (arXiv:2404.14219): Llama with fused projections, of which Phi-4-mini rotates a part of each head.
func newPhi3(c *Config) Model {
	d := newDecoder(c, "Phi3ForCausalLM", sizes{vocab: 32064, width: 3072, layers: 32, heads: 32, ffn: 8192, positions: 4096, padding: 32000, eps: 1e-5})
	c.OneOf("hidden_act", "silu", "silu", "swish")
	d.fused = true
	d.windowEverywhere(windowOf(c, 0))
	style := ropeStyle{theta: "rope_theta", thetaValue: 1e4, part: "partial_rotary_factor", partValue: 1, types: []string{"default", nn.LongRope, "su", "yarn"},
		older: map[string]string{"su": nn.LongRope, "yarn": nn.LongRope}}
	if !c.Has("original_max_position_embeddings") {
		c.values["original_max_position_embeddings"] = number(4096)
	}
	r := rope(c, d.info.Heads.D, d.info.Positions, style)
	if r.Type == nn.LongRope && r.Original < d.info.Positions {
		d.info.Positions = r.Original
		d.info.Notes = append(d.info.Notes, fmt.Sprintf("sequences up to original_max_position_embeddings %d only: beyond, all positions would be rotated otherwise (rope_type longrope)", r.Original))
	}
	d.rotate(c, r)
	return d
}
