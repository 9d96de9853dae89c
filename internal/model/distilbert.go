package model

import "kdistill/internal/kernel"

func init() {
	register("distilbert", newDistilBERT, alias{"hidden_size", "dim"}, alias{"num_attention_heads", "n_heads"}, alias{"num_hidden_layers", "n_layers"})
}

// newDistilBERT is DistilBERT (Sanh et al. 2019): BERT without sentences to tell apart, with names of its own.
func newDistilBERT(c *Config) Model {
	const base = "distilbert."
	m := &encoder{info: Info{
		Type: c.ModelType, Vocab: c.Size("vocab_size", 30522), Width: c.Size("dim", 768), Layers: c.Layers("n_layers", 6),
		Positions: c.Size("max_position_embeddings", 512), Base: base, LayerName: base + "transformer.layer.", LayersKey: "n_layers",
		Unused: []string{"classifier.", "pre_classifier.", "vocab_", "qa_outputs."},
	}, names: encoderNames{
		embeddings: base + "embeddings.",
		query:      "attention.q_lin", key: "attention.k_lin", value: "attention.v_lin",
		attention: "attention.out_lin", attended: "sa_layer_norm",
		up: "ffn.lin1", down: "ffn.lin2", normalized: "output_layer_norm",
	}}
	m.rows = m.info.Positions
	m.ffn, m.eps = c.Size("hidden_dim", 4*768), 1e-12
	m.act = activation(c, "activation", "gelu")
	m.padding = c.Padding(0, m.info.Vocab)
	c.Dropout(0.1, "dropout", "attention_dropout")
	m.info.Class, m.info.Task = encoderTask(c)
	if m.info.Task == Classification {
		c.Dropout(0.2, "seq_classif_dropout")
	}
	m.choose(c,
		taskHead{"vocab_transform", m.act, "vocab_layer_norm", "vocab_projector.weight", "vocab_projector.bias"},
		taskHead{"pre_classifier", kernel.ReLU, "", "classifier.weight", "classifier.bias"})
	return m.finish(c, c.Size("n_heads", 12))
}
