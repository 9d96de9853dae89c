package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"slices"
)

// Fingerprint returns a hash of all that decides which ids a text gets: vocabulary, merges or scores, added tokens,
// normalizer and pre-tokenizer. What surrounds a text (Prefix, Suffix) and how ids are decoded is no part of it.
func (t *Tokenizer) Fingerprint() string {
	h := sha256.New()
	write(h, t.model.rules())
	for id := range int32(t.VocabSize()) {
		if s, ok := t.Token(id); ok {
			write(h, id, s)
		}
	}
	if m, ok := t.model.(*bpe); ok {
		write(h, m.merges.ranked())
	}
	if m, ok := t.model.(*unigram); ok {
		write(h, m.scores)
	}
	write(h, t.addedRules(), t.steps("normalizer"), t.steps("pre_tokenizer"))
	return hex.EncodeToString(h.Sum(nil))
}

func write(h hash.Hash, values ...any) {
	for _, v := range values {
		_ = json.NewEncoder(h).Encode(v)
	}
}

// Difference tells what makes two tokenizers give different ids, "" where nothing does.
func Difference(a, b *Tokenizer) string {
	if s := differentTokens(a, b); s != "" {
		return s
	}
	if x, y := a.model.rules(), b.model.rules(); x != y {
		return fmt.Sprintf("the models differ: %s and %s", x, y)
	}
	if m, ok := a.model.(*bpe); ok {
		x, y := m.merges.ranked(), b.model.(*bpe).merges.ranked()
		for i := range max(len(x), len(y)) {
			switch {
			case i >= len(x) || i >= len(y):
				return fmt.Sprintf("the number of merges differs: %d and %d", len(x), len(y))
			case x[i] != y[i]:
				return fmt.Sprintf("merge %d differs: %q + %q and %q + %q", i,
					name(a, x[i][0]), name(a, x[i][1]), name(b, y[i][0]), name(b, y[i][1]))
			}
		}
	}
	if m, ok := a.model.(*unigram); ok {
		for id, score := range m.scores {
			if other := b.model.(*unigram).scores[id]; score != other {
				return fmt.Sprintf("the score of token %d (%q) differs: %v and %v", id, name(a, int32(id)), score, other)
			}
		}
	}
	x, y := a.addedRules(), b.addedRules()
	for i := range max(len(x), len(y)) {
		switch {
		case i >= len(x):
			return fmt.Sprintf("only the second matches the added token %q", y[i].Content)
		case i >= len(y):
			return fmt.Sprintf("only the first matches the added token %q", x[i].Content)
		case x[i] != y[i]:
			return fmt.Sprintf("the added tokens differ: %+v and %+v", x[i], y[i])
		}
	}
	for _, name := range []string{"normalizer", "pre_tokenizer"} {
		if x, y := a.steps(name), b.steps(name); x != y {
			return fmt.Sprintf("the %ss differ: %.200s and %.200s", name, x, y)
		}
	}
	return ""
}

func name(t *Tokenizer, id int32) string {
	s, _ := t.Token(id)
	return s
}

func differentTokens(a, b *Tokenizer) string {
	for id := range int32(max(a.VocabSize(), b.VocabSize())) {
		x, inA := a.Token(id)
		y, inB := b.Token(id)
		switch {
		case inA && !inB:
			return fmt.Sprintf("token %d is %q in the first and none in the second (vocabularies of %d and %d)", id, x, a.VocabSize(), b.VocabSize())
		case inB && !inA:
			return fmt.Sprintf("token %d is none in the first and %q in the second (vocabularies of %d and %d)", id, y, a.VocabSize(), b.VocabSize())
		case x != y:
			return fmt.Sprintf("token %d is %q in the first and %q in the second", id, x, y)
		}
	}
	return ""
}

// addedRules returns the added tokens by id, without what does not touch ids.
func (t *Tokenizer) addedRules() []AddedToken {
	var all []AddedToken
	for _, token := range t.added.list {
		rule := *token
		rule.Special = false
		all = append(all, rule)
	}
	slices.SortFunc(all, func(a, b AddedToken) int { return int(a.ID - b.ID) })
	return all
}

// steps writes a section of tokenizer.json in one form whatever the version that wrote it.
func (t *Tokenizer) steps(section string) string {
	c, err := parseComponent(section, t.sections[section])
	if err != nil {
		return err.Error() // Load has refused it
	}
	all := flatten(c, func(c component) []component { return append(c.Normalizers, c.PreTokenizers...) })
	for i := range all {
		c := &all[i]
		c.TrimOffsets = nil
		switch c.Type {
		case "ByteLevel":
			fill(&c.AddPrefixSpace, true)
			fill(&c.UseRegex, true)
		case "Metaspace":
			m, _ := newMetaspace(*c)
			c.AddPrefixSpace, c.PrependScheme, c.Split = nil, &m.scheme, &m.split
		}
	}
	data, _ := json.Marshal(all)
	return string(data)
}

func fill(p **bool, value bool) {
	if *p == nil {
		*p = &value
	}
}

// rules tells how a model uses its vocabulary.
func (m *bpe) rules() string {
	return fmt.Sprintf("BPE (unknown token %d, fuse_unk %v, byte_fallback %v, ignore_merges %v, prefix %q, suffix %q)",
		m.unk, m.fuseUnk, m.fallback != nil, m.ignoreMerges, m.prefix, m.suffix)
}

func (m *wordPiece) rules() string {
	return fmt.Sprintf("WordPiece (unknown token %d, prefix %q, at most %d characters)", m.unk, m.prefix, m.maxChars)
}

func (m *wordLevel) rules() string { return fmt.Sprintf("WordLevel (unknown token %d)", m.unk) }

func (m *unigram) rules() string {
	return fmt.Sprintf("Unigram (unknown token %d, byte_fallback %v)", m.unk, m.fallback != nil)
}
