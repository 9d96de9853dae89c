package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// settings are what the files beside a tokenizer add to it.
type settings struct {
	bos, eos, pad, unk, mask int32
	cleanUp                  bool // Decode takes spaces before punctuation away
	warnings                 []string
}

// config is tokenizer_config.json with what special_tokens_map.json and added_tokens.json add to it.
type config map[string]json.RawMessage

// Keys of config.
const (
	keyAdded      = "added_tokens_decoder"
	keyExtra      = "extra_special_tokens"
	keyAdditional = "additional_special_tokens" // the old name of keyExtra
)

// tokenKeys are the special tokens that every tokenizer may have.
var tokenKeys = []string{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}

// readConfig is folderConfig of a path.
func readConfig(dir string) (config, error) { return folderConfig(os.DirFS(dir)) }

// folderConfig reads a folder's settings with transformers' precedence: a tokenizer_config.json with
// added_tokens_decoder has the whole truth; the other files win over one without.
func folderConfig(folder fs.FS) (config, error) {
	c, err := readSettings(folder, "tokenizer_config.json")
	if err != nil {
		return nil, err
	}
	if c == nil {
		c = config{}
	}
	if old, ok := c[keyAdditional]; ok && slices.Contains([]string{"", "null", "[]", "{}"}, string(c[keyExtra])) {
		c[keyExtra] = old
		delete(c, keyAdditional)
	}
	if _, ok := c[keyAdded]; ok {
		return c, nil
	}
	tokens, err := readSettings(folder, "special_tokens_map.json")
	if err != nil {
		return nil, err
	}
	maps.Copy(c, tokens)
	added, err := readSettings(folder, "added_tokens.json")
	if err != nil || added == nil {
		return c, err
	}
	return c, c.addLegacy(added)
}

// readSettings reads a file that holds a JSON object; nil where there is none.
func readSettings(folder fs.FS, name string) (config, error) {
	data, err := fs.ReadFile(folder, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var c config
	if err := json.Unmarshal([]byte(strings.TrimPrefix(string(data), "\uFEFF")), &c); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// addLegacy makes added_tokens.json, which knows contents and ids only, the added_tokens_decoder.
func (c config) addLegacy(added config) error {
	special := map[string]bool{}
	for _, name := range tokenKeys {
		token, _, err := c.token(name)
		if err != nil {
			return err
		}
		special[token.Content] = true
	}
	extra, err := c.extra(keyExtra)
	if err != nil {
		return err
	}
	for _, token := range extra {
		special[token.Content] = true
	}
	tokens := map[string]AddedToken{}
	for content, id := range added {
		tokens[string(id)] = AddedToken{Content: content, Special: special[content], Normalized: !special[content]}
	}
	c[keyAdded], err = json.Marshal(tokens)
	return err
}

// setting returns the value of a key, otherwise where it is absent or null.
func setting[T any](c config, key string, otherwise T) (T, error) {
	var value *T
	if raw, ok := c[key]; ok {
		if err := json.Unmarshal(raw, &value); err != nil {
			return otherwise, fmt.Errorf("tokenizer_config.json: %s: %w", key, err)
		}
	}
	return or(value, otherwise), nil
}

// specialToken is written as its content or as an object.
type specialToken AddedToken

func (t *specialToken) UnmarshalJSON(data []byte) error {
	if len(data) == 0 || data[0] != '{' {
		t.Special = true
		return json.Unmarshal(data, &t.Content)
	}
	var object struct {
		AddedToken
		Type string `json:"__type"`
	}
	err := json.Unmarshal(data, &object)
	*t = specialToken(object.AddedToken)
	t.Special = t.Special || object.Type == "" // an object of transformers itself says it
	return err
}

// token returns a special token, its content empty where the key is null; false where it is absent.
func (c config) token(key string) (AddedToken, bool, error) {
	_, ok := c[key]
	t, err := setting(c, key, specialToken{})
	return AddedToken(t), ok, err
}

// extra returns a list of special tokens, or the values of an object of them.
func (c config) extra(key string) ([]AddedToken, error) {
	var list []specialToken
	var err error
	if raw := c[key]; len(raw) > 0 && raw[0] == '{' {
		named, nameErr := setting(c, key, map[string]specialToken{})
		for _, name := range slices.Sorted(maps.Keys(named)) {
			list = append(list, named[name])
		}
		err = nameErr
	} else {
		list, err = setting(c, key, list)
	}
	var tokens []AddedToken
	for _, t := range list {
		tokens = append(tokens, AddedToken(t))
	}
	return tokens, err
}

// configure takes over the settings. defaults are special tokens that no file needs to name. It returns the ids of the
// special tokens by their keys.
func (t *Tokenizer) configure(c config, defaults map[string]string) (map[string]int32, error) {
	if err := t.addConfigured(c); err != nil {
		return nil, err
	}
	ids, err := t.addSpecial(c, defaults)
	if err != nil {
		return nil, err
	}
	s := &t.settings
	for key, id := range map[string]*int32{"bos_token": &s.bos, "eos_token": &s.eos, "pad_token": &s.pad, "unk_token": &s.unk, "mask_token": &s.mask} {
		if found, ok := ids[key]; ok {
			*id = found
		}
	}
	clean, err := setting(c, "clean_up_tokenization_spaces", false)
	if err != nil {
		return nil, err
	}
	cleanBPE, err := setting(c, "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", false)
	if err != nil {
		return nil, err
	}
	// transformers leaves the output of a BPE alone, since its spaces are true.
	_, isBPE := t.model.(*bpe)
	s.cleanUp = clean && (!isBPE || cleanBPE)
	return ids, nil
}

// addConfigured adds the tokens of added_tokens_decoder that the tokenizer lacks or describes otherwise.
func (t *Tokenizer) addConfigured(c config) error {
	tokens, err := setting(c, keyAdded, map[string]AddedToken{})
	if err != nil {
		return err
	}
	var fresh []AddedToken
	for id, token := range tokens {
		n, err := strconv.ParseInt(id, 10, 32)
		if err != nil {
			return fmt.Errorf("tokenizer_config.json: %s: have %q, want a token id", keyAdded, id)
		}
		token.ID = int32(n)
		old := t.added.byID[token.ID]
		if old != nil {
			token.decoded = old.decoded
		}
		if old == nil || *old != token {
			fresh = append(fresh, token)
		}
	}
	slices.SortFunc(fresh, func(a, b AddedToken) int { return int(a.ID - b.ID) })
	return t.addTokens(fresh)
}

// addSpecial makes the named special tokens added tokens, and returns their ids. One that the vocabulary lacks gets no
// id: the model would have no row for it.
func (t *Tokenizer) addSpecial(c config, defaults map[string]string) (map[string]int32, error) {
	keys := slices.Clone(tokenKeys)
	for _, key := range slices.Sorted(maps.Keys(c)) { // a model's own ones, such as image_token
		if raw := c[key]; strings.HasSuffix(key, "_token") && !slices.Contains(tokenKeys, key) && len(raw) > 0 && (raw[0] == '"' || raw[0] == '{') {
			keys = append(keys, key)
		}
	}
	ids := map[string]int32{}
	var fresh []AddedToken
	add := func(key string, token AddedToken, report bool) {
		if token.Content == "" {
			return
		}
		id, ok := t.ID(token.Content)
		if !ok && report {
			t.settings.warnings = append(t.settings.warnings, fmt.Sprintf("%s: the vocabulary has no token %q", key, token.Content))
		}
		if !ok {
			return
		}
		ids[key] = id
		if old := t.added.byContent[token.Content]; old != nil { // keeps its rules, but is special now
			special := old.Special || token.Special
			token = *old
			token.Special = special
		}
		token.ID = id
		fresh = append(fresh, token)
	}
	var none []string
	for _, key := range keys {
		token, named, err := c.token(key)
		if err != nil {
			return nil, err
		}
		if named && token.Content == "" {
			none = append(none, key)
		}
		if !named {
			token.Content = defaults[key]
		}
		token.Special = true
		add(key, token, named)
	}
	if len(none) > 0 {
		t.settings.warnings = append(t.settings.warnings, strings.Join(none, ", ")+": empty or null, so the tokenizer has none")
	}
	extraKey := keyExtra
	if _, ok := c[keyExtra]; !ok {
		extraKey = keyAdditional
	}
	for _, key := range []string{extraKey, "model_specific_special_tokens"} {
		tokens, err := c.extra(key)
		if err != nil {
			return nil, err
		}
		for _, token := range tokens {
			add(key, token, true)
		}
	}
	return ids, t.addTokens(fresh)
}

// checkAdded reports where a tokenizer.json puts other tokens around a text than tokenizer_config.json wants: what
// tokenizer.json says is followed, as in transformers 5.
func (t *Tokenizer) checkAdded(c config) error {
	for _, k := range []struct {
		name string
		has  bool
	}{
		{"add_bos_token", slices.Contains(t.post.prefix, t.settings.bos)},
		{"add_eos_token", slices.Contains(t.post.suffix, t.settings.eos)},
	} {
		want, err := setting(c, k.name, k.has)
		if err != nil {
			return err
		}
		if want != k.has {
			t.settings.warnings = append(t.settings.warnings, fmt.Sprintf("%s: tokenizer_config.json says %v, but what tokenizer.json puts around a text is followed", k.name, want))
		}
	}
	return nil
}

// reportTruncation keeps what tokenizer.json says of truncation and padding; neither is applied.
func (t *Tokenizer) reportTruncation() {
	for _, name := range []string{"truncation", "padding"} {
		if s := t.sections[name]; s != "" && s != "null" {
			t.settings.warnings = append(t.settings.warnings, fmt.Sprintf("%s: tokenizer.json asks for %s, which is not applied", name, s))
		}
	}
}
