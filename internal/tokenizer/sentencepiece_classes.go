package tokenizer

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// readSentencePiece reads a folder's SentencePiece model, and prepares the settings for it.
func (v *converter) readSentencePiece(names ...string) (*sentencePiece, error) {
	data, name, err := v.read(names...)
	if err != nil {
		return nil, err
	}
	m, err := parseSentencePiece(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	v.note(m.suffixSpaces, "writes spaces at the ends of words")
	return m, nil
}

// added returns the model's control and user-defined pieces, and more special ones; none where the settings name
// special tokens of their own, for then transformers forgets the model's.
func (v *converter) added(m *sentencePiece, more ...AddedToken) []AddedToken {
	delete(v.config, keyAdditional)
	if raw, ok := v.config[keyExtra]; ok && !strings.HasPrefix(string(raw), "{") {
		return nil
	}
	return append(m.added(), more...)
}

// byID returns the ids of the pieces in their order, which transformers takes for the order of the merges.
func (m *sentencePiece) byID() []int {
	order := make([]int, len(m.pieces))
	for id := range order {
		order[id] = id
	}
	return order
}

// byScore returns the ids of the pieces, the best first, which is SentencePiece's order of merging.
func (m *sentencePiece) byScore() []int {
	order := m.byID()
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(m.pieces[b].score, m.pieces[a].score) })
	return order
}

// precompiled returns the normalizer section of the model's character map, "" where it has none.
func (m *sentencePiece) precompiled() string {
	if len(m.charsmap) == 0 {
		return ""
	}
	return fmt.Sprintf(`{"type":"Precompiled","precompiled_charsmap":%q}`, base64.StdEncoding.EncodeToString(m.charsmap))
}

// sequence joins sections, leaving empty ones out.
func sequence(members string, sections ...string) string {
	sections = slices.DeleteFunc(sections, func(s string) bool { return s == "" })
	return fmt.Sprintf(`{"type":"Sequence",%q:[%s]}`, members, strings.Join(sections, ","))
}

const (
	markSpaces    = `{"type":"Replace","pattern":{"String":" "},"content":"▁"}`
	unmarkSpaces  = `{"type":"Replace","pattern":{"String":"▁"},"content":" "}`
	joinBytes     = `{"type":"ByteFallback"},{"type":"Fuse"}`
	stripOneSpace = `{"type":"Strip","content":" ","start":1,"stop":0}`
)

// generic is what transformers makes of a model whose class it does not know.
func (v *converter) generic() (*document, error) {
	m, err := v.readSentencePiece("tokenizer.model")
	if err != nil {
		return nil, err
	}
	v.note(m.dummyPrefix, "puts a space before each text")
	v.note(m.squeeze, "makes one space of several")
	v.defaults = m.specialTokens()
	v.startAndEnd()
	d := &document{sections: map[string]string{"normalizer": sequence("normalizers", m.precompiled(), markSpaces)}, added: v.added(m)}
	d.sections["decoder"] = sequence("decoders", unmarkSpaces)
	if m.byteFallback {
		d.sections["decoder"] = sequence("decoders", unmarkSpaces, joinBytes)
	}
	if m.algorithm == algorithmUnigram {
		d.model = m.unigram()
		return d, nil
	}
	d.model = m.bpe(m.byID())
	return d, v.fillPlaceholders(d.model)
}

// fillPlaceholders gives tokens the names that added_tokens_decoder has for their ids.
func (v *converter) fillPlaceholders(c *modelConfig) error {
	names, err := setting(v.config, keyAdded, map[string]AddedToken{})
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, e := range c.entries {
		known[e.token] = true
	}
	for i := range c.entries {
		e := &c.entries[i]
		if name := names[fmt.Sprint(e.id)].Content; name != "" && !known[name] {
			e.token = name
		}
	}
	return nil
}

// specialTokens returns the special tokens that the model itself names.
func (m *sentencePiece) specialTokens() map[string]string {
	tokens := map[string]string{}
	for _, t := range []struct {
		key, piece, otherwise string
		id                    int32
	}{
		{"bos_token", m.bosPiece, "<s>", m.bos},
		{"eos_token", m.eosPiece, "</s>", m.eos},
		{"unk_token", m.unkPiece, "<unk>", m.unk},
	} {
		if t.id >= 0 {
			tokens[t.key] = cmp.Or(t.piece, t.otherwise)
		}
	}
	return tokens
}

func (v *converter) llama() (*document, error) {
	m, err := v.readSentencePiece("tokenizer.model")
	if err != nil {
		return nil, err
	}
	v.defaults = map[string]string{"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
	v.startAndEnd()
	scheme, strip := "first", stripOneSpace
	switch {
	case !v.flag("add_prefix_space", true):
		scheme, strip = "never", ""
	case v.flag("legacy", false):
		scheme = "always"
	}
	v.note(m.dummyPrefix && scheme == "never", "puts a space before each text")
	v.note(m.squeeze, "makes one space of several")
	v.note(len(m.charsmap) > 0, "normalizes characters")
	v.note(!m.byteFallback, "has an unknown token for characters without a piece")
	d := &document{model: m.bpe(m.byID()), added: v.added(m), sections: map[string]string{
		"pre_tokenizer": fmt.Sprintf(`{"type":"Metaspace","replacement":"▁","prepend_scheme":%q,"split":false}`, scheme),
		"decoder":       sequence("decoders", unmarkSpaces, joinBytes, strip),
	}}
	d.model.UnkToken, d.model.ByteFallback = nil, true
	return d, nil
}

func (v *converter) gemma() (*document, error) {
	m, err := v.readSentencePiece("tokenizer.model")
	if err != nil {
		return nil, err
	}
	v.defaults = map[string]string{"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
	v.startAndEnd()
	v.note(m.dummyPrefix, "puts a space before each text")
	v.note(m.squeeze, "makes one space of several")
	v.note(len(m.charsmap) > 0, "normalizes characters")
	d := &document{model: m.bpe(m.byID()), added: v.added(m), sections: map[string]string{
		"normalizer":    markSpaces,
		"pre_tokenizer": `{"type":"Split","pattern":{"String":" "},"behavior":"MergedWithPrevious"}`,
		"decoder":       sequence("decoders", unmarkSpaces, joinBytes),
	}}
	d.model.UnkToken, d.model.ByteFallback = new(v.tokenName("unk_token")), true
	return d, nil
}

func (v *converter) t5() (*document, error) {
	m, err := v.readSentencePiece("tokenizer.model", "spiece.model")
	if err != nil {
		return nil, err
	}
	v.note(m.byteFallback, "writes characters without a piece as bytes")
	v.defaults = map[string]string{"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
	v.after = []string{"eos_token"}
	sentinels, err := setting(v.config, "extra_ids", 100)
	if err != nil {
		return nil, err
	}
	own := 0 // sentinels that the model has
	for _, t := range m.added() {
		if strings.Contains(t.Content, "<extra_id_") {
			own++
		}
	}
	if own > 0 && sentinels > 0 && own != sentinels || sentinels < 0 || sentinels > 1<<16 {
		return nil, fmt.Errorf("extra_ids: have %d, want the number of the model's own <extra_id_…> tokens, %d, or 0", sentinels, own)
	}
	d := &document{model: m.unigram(), sections: map[string]string{
		"normalizer":    m.precompiled(),
		"pre_tokenizer": `{"type":"Sequence","pretokenizers":[{"type":"WhitespaceSplit"},{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true}]}`,
		"decoder":       `{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true}`,
	}}
	d.model.UnkID, d.model.ByteFallback = new(int32(2)), false
	var more []AddedToken
	for i := range sentinels {
		id, name := int32(len(m.pieces)+i), fmt.Sprintf("<extra_id_%d>", sentinels-1-i)
		d.model.entries = append(d.model.entries, entry{name, id})
		d.model.scores = append(d.model.scores, 0)
		if own == 0 {
			more = append(more, AddedToken{ID: id, Content: name, Special: true})
		}
	}
	d.added = v.added(m, more...)
	return d, nil
}

// loadSentencePiece reads a SentencePiece model that is no part of a folder. Its reference is the sentencepiece library,
// which recognizes no special tokens in a text; what would differ from it is refused.
func loadSentencePiece(data []byte) (*Tokenizer, error) {
	m, err := parseSentencePiece(data)
	if err != nil {
		return nil, err
	}
	odd := slices.ContainsFunc(m.pieces, func(p piece) bool { return p.kind == pieceUser || p.kind == pieceUnused })
	if m.algorithm != algorithmBPE || odd || len(m.charsmap) > 0 || m.suffixSpaces || !m.escape {
		return nil, errors.New("of SentencePiece models alone only BPE without normalization, user-defined and unused pieces is supported; " +
			"name it tokenizer.model in a folder whose tokenizer_config.json has its tokenizer_class")
	}
	order := slices.DeleteFunc(m.byScore(), func(id int) bool { return m.pieces[id].kind != pieceNormal })
	normalizers, decoders := []string{markSpaces}, []string{unmarkSpaces, `{"type":"Fuse"}`}
	if m.byteFallback {
		decoders = []string{unmarkSpaces, joinBytes}
	}
	if m.dummyPrefix {
		normalizers = append(normalizers, `{"type":"Prepend","prepend":"▁"}`)
		decoders = append(decoders, stripOneSpace)
	}
	if m.squeeze { // a literal '▁' counts as a space at the end only
		normalizers = slices.Concat([]string{replaceRegex(" {2,}", " "), replaceRegex(`\A `, "")}, normalizers, []string{replaceRegex(`(?<!▁)▁+\z`, "")})
	}
	d := &document{model: m.bpe(order), sections: map[string]string{
		"normalizer": sequence("normalizers", normalizers...), "decoder": sequence("decoders", decoders...),
	}}
	t, err := d.build()
	if err != nil {
		return nil, err
	}
	for _, p := range m.pieces {
		if p.kind == pieceControl || p.kind == pieceUnknown {
			t.added.special[p.text] = true
		}
	}
	for key, id := range map[string]*int32{"bos_token": &t.settings.bos, "eos_token": &t.settings.eos, "unk_token": &t.settings.unk} {
		if found, ok := t.ID(m.specialTokens()[key]); ok {
			*id = found
		}
	}
	return t, nil
}

func replaceRegex(pattern, content string) string {
	return fmt.Sprintf(`{"type":"Replace","pattern":{"Regex":%q},"content":%q}`, pattern, content)
}
