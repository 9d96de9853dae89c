package model

import "kdistill/internal/kernel"

func init() { register("bert", newBERT) }

// newBERT is BERT (Devlin et al. 2019).
func newBERT(c *Config) Model {
	m := newBERTLike(c, "bert.", 30522, 0)
	m.rows = m.info.Positions
	m.info.Unused = []string{"bert.pooler.", "cls.seq_relationship.", "classifier.", "qa_outputs."}
	m.choose(c,
		taskHead{"cls.predictions.transform.dense", m.act, "cls.predictions.transform.LayerNorm", "cls.predictions.decoder.weight", "cls.predictions.bias"},
		taskHead{"bert.pooler.dense", kernel.Tanh, "", "classifier.weight", "classifier.bias"})
	return m.finish(c, c.Size("num_attention_heads", 12))
}

// newBERTLike reads what BERT and RoBERTa share.
func newBERTLike(c *Config, base string, vocab, padding int) *encoder {
	m := &encoder{info: Info{
		Type: c.ModelType, Vocab: c.Size("vocab_size", vocab), Width: c.Size("hidden_size", 768), Layers: c.Layers("num_hidden_layers", 12),
		Positions: c.Size("max_position_embeddings", 512), Base: base, LayerName: base + "encoder.layer.", LayersKey: "num_hidden_layers",
		TokenTypes: c.Size("type_vocab_size", 2),
	}, names: encoderNames{
		embeddings: base + "embeddings.",
		query:      "attention.self.query", key: "attention.self.key", value: "attention.self.value",
		attention: "attention.output.dense", attended: "attention.output.LayerNorm",
		up: "intermediate.dense", down: "output.dense", normalized: "output.LayerNorm",
	}}
	m.ffn, m.eps = c.Size("intermediate_size", 3072), c.Float("layer_norm_eps", 1e-12)
	m.act = activation(c, "hidden_act", "gelu")
	m.padding = c.Padding(padding, m.info.Vocab)
	c.Dropout(0.1, "hidden_dropout_prob", "attention_probs_dropout_prob")
	c.Dropout(0, "classifier_dropout")
	m.info.Class, m.info.Task = encoderTask(c)
	return m
}
