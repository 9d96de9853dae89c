package model

import (
	"fmt"
	"maps"

	"kdistill/internal/graph"
	"kdistill/internal/nn"
)

// ropeStyle is where a family's config.json has the rotary embedding's settings beside its section, and what they default to.
type ropeStyle struct {
	theta      string
	thetaValue float64
	part       string // share of a head's dimensions that is rotated; "": all, without a choice
	partValue  float64
	types      []string
	older      map[string]string // older names of types
}

var plainRope = ropeStyle{theta: "rope_theta", thetaValue: 1e4, types: []string{"default", "linear", "llama3", "yarn"}}

// rope reads the rotary embedding of heads of dim dimensions, in the style of transformers 5 (rope_parameters) or 4 (rope_scaling and keys beside it).
func rope(c *Config, dim, positions int, style ropeStyle) nn.Rope {
	s := c.Section("rope_scaling") // transformers prefers it where both are there
	if s == nil || len(s.values) == 0 {
		s = c.Section("rope_parameters")
	}
	return ropeOf(c, s, dim, positions, style)
}

// ropesByLayer reads those of full and sliding attention: transformers 5 nests them in rope_parameters, in 4 what scales is that of full attention.
func ropesByLayer(c *Config, dim, positions int, full, sliding ropeStyle) (nn.Rope, nn.Rope) {
	sections := [2]*Config{}
	if both := c.Section("rope_parameters"); both != nil {
		sections = [2]*Config{both.Section("full_attention"), both.Section("sliding_attention")}
		c.Take(both)
	}
	if scaling := c.Section("rope_scaling"); scaling != nil {
		if sections[0] != nil {
			values := maps.Clone(sections[0].values)
			maps.Copy(values, scaling.values)
			scaling.values = values
		}
		sections[0] = scaling
	}
	return ropeOf(c, sections[0], dim, positions, full), ropeOf(c, sections[1], dim, positions, sliding)
}

// ropeOf reads the rotary embedding of a section; nil: an empty one.
func ropeOf(c *Config, s *Config, dim, positions int, style ropeStyle) nn.Rope {
	if s == nil {
		s = &Config{values: map[string]any{}}
	}
	for name, v := range s.values {
		if _, nested := v.(map[string]any); nested {
			s.Refuse(name, "a rotary embedding of its own for each kind of layer is not supported")
		}
	}
	r := nn.Rope{Dim: dim}
	r.Theta = s.Positive("rope_theta", c.Positive(style.theta, style.thetaValue))
	kind := "rope_type"
	if !s.Has(kind) && s.Has("type") {
		kind = "type"
	}
	r.Type = s.OneOf(kind, "default", style.types...)
	if name := style.older[r.Type]; name != "" {
		r.Type = name
	}
	if style.part != "" {
		part := s.Positive("partial_rotary_factor", c.Positive(style.part, style.partValue))
		if r.Dim = int(float64(dim) * part); part > 1 || r.Dim < 1 {
			c.fail(fmt.Errorf("config.json: %s: have %v, want up to 1, and at least one of a head's %d dimensions", style.part, part, dim))
		}
	} else if part := s.Float("partial_rotary_factor", c.Float("partial_rotary_factor", 1)); part != 1 {
		c.fail(fmt.Errorf("config.json: partial_rotary_factor: have %v, want 1 for this model_type", part))
	}
	need := func(name string) float64 {
		if !s.Has(name) {
			s.fail(fmt.Errorf("config.json: %s%s is missing, rope_type %s needs it", s.section, name, r.Type))
		}
		return s.Positive(name, 1)
	}
	original := func() int {
		return c.Size("original_max_position_embeddings", s.Size("original_max_position_embeddings", positions))
	}
	switch r.Type {
	case nn.LongRope:
		r.Original = original()
		r.Factor = s.Positive("factor", float64(positions)/float64(r.Original))
		r.Attention = s.Float("attention_factor", 0)
		if r.Short = s.Floats("short_factor"); len(r.Short) != r.Dim/2 {
			s.fail(fmt.Errorf("config.json: %sshort_factor: have %d numbers, want %d, half of the rotated dimensions", s.section, len(r.Short), r.Dim/2))
		}
		for _, f := range r.Short {
			if !(f > 0) {
				s.Refuse("short_factor", "want numbers above 0")
			}
		}
	case "linear":
		r.Factor = need("factor")
	case "llama3":
		r.Factor, r.Original = need("factor"), original()
		r.LowFreq, r.HighFreq = need("low_freq_factor"), need("high_freq_factor")
	case "yarn":
		r.Original = original()
		r.Factor = s.Positive("factor", float64(positions)/float64(r.Original))
		r.BetaFast, r.BetaSlow = orDefault(s.Float("beta_fast", 32), 32), orDefault(s.Float("beta_slow", 1), 1)
		r.Attention, r.MScale, r.MScaleAll = s.Float("attention_factor", 0), s.Float("mscale", 0), s.Float("mscale_all_dim", 0)
		r.NoTruncate = !s.Bool("truncate", true)
	}
	c.Take(s)
	if r.Dim%2 != 0 && (r.Dim == dim || r.Type == "yarn" || r.Type == nn.LongRope) {
		c.fail(fmt.Errorf("config.json: head_dim: have %d rotated dimensions of %d, want an even number (rope_type %s)", r.Dim, dim, r.Type))
	}
	return r
}

// table makes a rotary embedding's table, nil where config.json is wrong.
func table(c *Config, r nn.Rope) *graph.RotaryTable {
	if c.err != nil {
		return nil
	}
	t, err := r.Table()
	if err != nil {
		c.fail(err)
	}
	return t
}

// orDefault reads 0 as absent, as transformers does for these keys.
func orDefault(x, def float64) float64 {
	if x == 0 {
		return def
	}
	return x
}
