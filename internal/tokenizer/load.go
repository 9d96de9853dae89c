package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// ErrNone is the error of Load for a folder without a tokenizer.
var ErrNone = errors.New("no tokenizer")

// Load reads a tokenizer: a folder, a tokenizer.json or a SentencePiece model (*.model).
//
// A folder's tokenizer.json is read with what tokenizer_config.json, special_tokens_map.json and added_tokens.json add
// to it. Where there is none, the tokenizer is made of tokenizer.model, spiece.model, vocab.json and merges.txt, or
// vocab.txt, as transformers makes it (see folderClass). A folder without any of these gives ErrNone.
func Load(path string) (*Tokenizer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	var t *Tokenizer
	if info.IsDir() {
		if t, err = loadFolder(os.DirFS(path)); err == nil {
			t.chat, err = readChatFiles(path)
		}
	} else {
		t, err = loadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %s: %w", path, err)
	}
	return t, nil
}

func loadFile(path string) (*Tokenizer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(path, ".model") {
		return loadSentencePiece(data)
	}
	return parse(string(data))
}

func loadFolder(folder fs.FS) (*Tokenizer, error) {
	c, err := folderConfig(folder)
	if err != nil {
		return nil, err
	}
	data, err := fs.ReadFile(folder, "tokenizer.json")
	if errors.Is(err, fs.ErrNotExist) {
		return convertFolder(folder, c)
	}
	if err != nil {
		return nil, err
	}
	t, err := parse(string(data))
	if err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	if _, err := t.configure(c, nil); err != nil {
		return nil, err
	}
	return t, t.checkAdded(c)
}

// document is what a tokenizer.json says, read from one or made of other files.
type document struct {
	model    *modelConfig
	sections map[string]string // the other ones, as JSON
	added    []AddedToken
}

// parse builds a tokenizer from the text of a tokenizer.json.
func parse(data string) (*Tokenizer, error) {
	d := &document{sections: map[string]string{}}
	r := &reader{s: strings.TrimPrefix(data, "\uFEFF")}
	err := r.object(func(key string) (err error) {
		d.sections[key], err = r.raw()
		return err
	})
	if err != nil {
		return nil, err
	}
	if r.peek() != 0 {
		return nil, r.fail("the end")
	}
	if d.sections["model"] == "" {
		return nil, errors.New("no model: this is not a tokenizer.json")
	}
	if d.model, err = parseModel(d.sections["model"]); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	if raw := d.sections["added_tokens"]; raw != "" && raw != "null" {
		if err := json.Unmarshal([]byte(raw), &d.added); err != nil {
			return nil, fmt.Errorf("added_tokens: %w", err)
		}
	}
	return d.build()
}

func (d *document) build() (*Tokenizer, error) {
	t := &Tokenizer{settings: settings{bos: -1, eos: -1, pad: -1, unk: -1, mask: -1}, sections: d.sections}
	components := map[string]*component{}
	var err error
	for _, name := range []string{"normalizer", "pre_tokenizer", "post_processor", "decoder"} {
		if components[name], err = parseComponent(name, d.sections[name]); err != nil {
			return nil, err
		}
	}
	if t.normalizers, err = newNormalizers(components["normalizer"]); err != nil {
		return nil, err
	}
	if t.pre, err = newPreTokenizer(components["pre_tokenizer"], d.model.takesBytes()); err != nil {
		return nil, err
	}
	if t.post, err = newPostProcessor(components["post_processor"]); err != nil {
		return nil, err
	}
	if t.decoders, err = newDecoders(components["decoder"]); err != nil {
		return nil, err
	}
	if t.model, err = d.model.build(t.pre.raw); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	t.textUnk = -1
	if m, ok := t.model.(*unigram); ok && len(t.post.trims) > 0 {
		t.textUnk = m.unk
	}
	if err := t.addTokens(d.added); err != nil {
		return nil, err
	}
	t.reportTruncation()
	return t, nil
}

// modelConfig is the model section of tokenizer.json.
type modelConfig struct {
	Type         *string  `json:"type"`
	Dropout      *float64 `json:"dropout"`
	UnkToken     *string  `json:"unk_token"`
	UnkID        *int32   `json:"unk_id"`
	Prefix       *string  `json:"continuing_subword_prefix"`
	Suffix       *string  `json:"end_of_word_suffix"`
	FuseUnk      bool     `json:"fuse_unk"`
	ByteFallback bool     `json:"byte_fallback"`
	IgnoreMerges bool     `json:"ignore_merges"`
	MaxChars     *int     `json:"max_input_chars_per_word"`

	entries []entry // BPE, WordPiece, WordLevel
	scores  []float64
	merges  [][2]string
	pieces  bool // the vocabulary is Unigram's list
}

// parseModel reads the model section, its large parts by the fast reader.
func parseModel(raw string) (*modelConfig, error) {
	c := new(modelConfig)
	small := map[string]json.RawMessage{}
	r := &reader{s: raw}
	err := r.object(func(key string) (err error) {
		switch {
		case key == "vocab" && r.peek() == '{':
			c.entries = make([]entry, 0, len(raw)/40)
			return r.object(func(token string) error {
				id, err := r.id()
				c.entries = append(c.entries, entry{token, id})
				return err
			})
		case key == "vocab" && r.peek() == '[':
			c.pieces = true
			return r.array(func() error { return c.piece(r) })
		case key == "merges" && r.peek() == '[':
			c.merges = make([][2]string, 0, len(raw)/40)
			return r.array(func() error { return c.merge(r) })
		}
		value, err := r.raw()
		small[key] = json.RawMessage(value)
		return err
	})
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(small)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, err
	}
	if c.Type == nil { // files of old versions do not say
		_, longWords := small["max_input_chars_per_word"]
		name := "WordLevel"
		switch {
		case c.pieces:
			name = "Unigram"
		case c.merges != nil:
			name = "BPE"
		case longWords:
			name = "WordPiece"
		}
		c.Type = &name
	}
	return c, nil
}

// merge reads "a b" or ["a", "b"].
func (c *modelConfig) merge(r *reader) error {
	if r.accept('[') {
		left, err := r.str()
		if err == nil && !r.accept(',') {
			err = r.fail("','")
		}
		if err != nil {
			return err
		}
		right, err := r.str()
		if err == nil && !r.accept(']') {
			err = r.fail("']'")
		}
		c.merges = append(c.merges, [2]string{left, right})
		return err
	}
	s, err := r.str()
	if err != nil {
		return err
	}
	return c.addMerge(s)
}

// addMerge adds "a b".
func (c *modelConfig) addMerge(s string) error {
	left, right, ok := strings.Cut(s, " ")
	if !ok || strings.Contains(right, " ") {
		return fmt.Errorf("merge %d: have %q, want two tokens with a space between them", len(c.merges), s)
	}
	c.merges = append(c.merges, [2]string{left, right})
	return nil
}

// piece reads ["token", score].
func (c *modelConfig) piece(r *reader) error {
	i := 0
	err := r.array(func() error {
		i++
		switch i {
		case 1:
			s, err := r.str()
			c.entries = append(c.entries, entry{s, int32(len(c.entries))})
			return err
		case 2:
			f, err := r.number()
			c.scores = append(c.scores, f)
			return err
		}
		return r.fail("a list of a token and its score")
	})
	if err == nil && i != 2 {
		err = r.fail("a list of a token and its score")
	}
	return err
}

// takesBytes tells whether the model gives the same tokens for raw bytes as for the characters that stand for them.
func (c *modelConfig) takesBytes() bool {
	if *c.Type != "BPE" || c.ByteFallback || or(c.Prefix, "") != "" || or(c.Suffix, "") != "" {
		return false
	}
	if c.UnkToken == nil {
		return true
	}
	single := 0 // with an unknown token all bytes must be there
	for _, e := range c.entries {
		if r := []rune(e.token[:min(len(e.token), 4)]); len(r) == 1 && len(string(r)) == len(e.token) {
			if _, ok := runeByte(r[0]); ok {
				single++
			}
		}
	}
	return single >= 256
}

func (c *modelConfig) build(raw bool) (model, error) {
	if c.pieces != (*c.Type == "Unigram") {
		return nil, fmt.Errorf("the vocabulary has not the form that %s wants", *c.Type)
	}
	v, err := newVocabulary(c.entries, raw)
	if err != nil {
		return nil, err
	}
	switch *c.Type {
	case "BPE":
		return newBPE(c, v)
	case "WordPiece":
		return newWordPiece(c, v), nil
	case "WordLevel":
		return newWordLevel(c.UnkToken, v), nil
	case "Unigram":
		return newUnigram(v, c.scores, c.UnkID, c.ByteFallback)
	}
	return nil, fmt.Errorf("%q is not supported", *c.Type)
}

// addedTokens are the tokens that are matched before the model.
type addedTokens struct {
	list            []*AddedToken
	byID            map[int32]*AddedToken
	byContent       map[string]*AddedToken
	special         map[string]bool // contents that Decode can leave out
	end             int32           // the largest id + 1
	raw, normalized *matcher
}

// addTokens adds tokens in order, with the rules of the reference: one that the vocabulary has keeps its id there, a
// new one has the next free id, and of two equal contents the later wins.
func (t *Tokenizer) addTokens(tokens []AddedToken) error {
	a := &t.added
	if a.byID == nil {
		a.byID, a.byContent, a.special = map[int32]*AddedToken{}, map[string]*AddedToken{}, map[string]bool{}
	}
	for _, token := range tokens {
		if token.Content == "" {
			continue
		}
		id, ok := t.ID(token.Content)
		if !ok {
			id = t.nextID()
		}
		if id != token.ID {
			return fmt.Errorf("added token %q: have id %d, want %d: ids must go on from the vocabulary, as Hugging Face's library gives them", token.Content, token.ID, id)
		}
		a.special[token.Content] = a.special[token.Content] || token.Special
		if old := a.byContent[token.Content]; old != nil {
			*old = token
			continue
		}
		a.list = append(a.list, &token)
		a.byID[token.ID] = &token
		a.end = max(a.end, token.ID+1)
		a.byContent[token.Content] = &token
	}
	return t.buildMatchers()
}

// nextID returns the id of a token that is new: the next one after the added tokens, or after as many as the vocabulary
// has.
func (t *Tokenizer) nextID() int32 {
	return max(int32(len(t.model.vocab().keys)), t.added.end)
}

func (t *Tokenizer) buildMatchers() error {
	// Special tokens come first, which matters where two have the same normalized content: the reference takes any of them,
	// not always the same.
	ordered := slices.Clone(t.added.list)
	slices.SortStableFunc(ordered, func(a, b *AddedToken) int {
		switch {
		case a.Special == b.Special:
			return 0
		case a.Special:
			return -1
		}
		return 1
	})
	var raw, normalized []*AddedToken
	for _, token := range ordered {
		token.decoded = token.Content
		if !token.Normalized {
			raw = append(raw, token)
			continue
		}
		n, err := applyAll(t.normalizers, text{s: token.Content})
		if err != nil {
			return err
		}
		if token.decoded = n.s; n.s == "" {
			return fmt.Errorf("added token %q: the normalizer leaves nothing of it, so that it would match everywhere", token.Content)
		}
		normalized = append(normalized, token)
	}
	t.added.raw, t.added.normalized = newMatcher(raw), newMatcher(normalized)
	return nil
}
