package model

import (
	"errors"
	"fmt"

	"kdistill/internal/kernel"
)

func init() { register("roberta", newRoBERTa) }

// newRoBERTa is RoBERTa (Liu et al. 2019): BERT whose positions begin behind the padding id.
func newRoBERTa(c *Config) Model {
	m := newBERTLike(c, "roberta.", 50265, 1)
	m.rows, m.first = m.info.Positions, int(m.padding)+1
	if m.info.Positions -= m.first; c.err == nil && m.info.Positions < 1 {
		c.fail(fmt.Errorf("config.json: max_position_embeddings: have %d, want more than pad_token_id %d + 1: positions begin there", m.rows, m.padding))
	}
	if m.padding < 0 {
		c.fail(errors.New("config.json: pad_token_id = null: positions begin behind it, so there must be one"))
	}
	m.info.Unused = []string{"roberta.pooler.", "classifier.", "qa_outputs."}
	m.choose(c,
		taskHead{"lm_head.dense", kernel.GELU, "lm_head.layer_norm", "lm_head.decoder.weight", "lm_head.bias"},
		taskHead{"classifier.dense", kernel.Tanh, "", "classifier.out_proj.weight", "classifier.out_proj.bias"})
	return m.finish(c, c.Size("num_attention_heads", 12))
}
