package tokenizer

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// component is a normalizer, pre-tokenizer, post-processor or decoder of tokenizer.json: the settings of all of them.
type component struct {
	Type string `json:"type"`

	Normalizers   []component `json:"normalizers,omitempty"`
	PreTokenizers []component `json:"pretokenizers,omitempty"`
	Processors    []component `json:"processors,omitempty"`
	Decoders      []component `json:"decoders,omitempty"`

	Pattern  *patternConfig `json:"pattern,omitempty"`
	Content  *string        `json:"content,omitempty"`
	Behavior string         `json:"behavior,omitempty"`
	Invert   bool           `json:"invert,omitempty"`

	Prepend    *string `json:"prepend,omitempty"`
	StripLeft  *bool   `json:"strip_left,omitempty"`
	StripRight *bool   `json:"strip_right,omitempty"`
	Charsmap   []byte  `json:"precompiled_charsmap,omitempty"`

	CleanText    *bool `json:"clean_text,omitempty"`
	ChineseChars *bool `json:"handle_chinese_chars,omitempty"`
	StripAccents *bool `json:"strip_accents,omitempty"`
	Lowercase    *bool `json:"lowercase,omitempty"`

	AddPrefixSpace   *bool   `json:"add_prefix_space,omitempty"`
	TrimOffsets      *bool   `json:"trim_offsets,omitempty"`
	UseRegex         *bool   `json:"use_regex,omitempty"`
	Replacement      *string `json:"replacement,omitempty"`
	PrependScheme    *string `json:"prepend_scheme,omitempty"`
	Split            *bool   `json:"split,omitempty"`
	IndividualDigits bool    `json:"individual_digits,omitempty"`
	Delimiter        *string `json:"delimiter,omitempty"`
	Length           *int    `json:"length,omitempty"`

	Single        []templateItem          `json:"single,omitempty"`
	Pair          []templateItem          `json:"pair,omitempty"`
	SpecialTokens map[string]templateText `json:"special_tokens,omitempty"`
	Sep           json.RawMessage         `json:"sep,omitempty"`
	Cls           json.RawMessage         `json:"cls,omitempty"`

	Prefix        *string `json:"prefix,omitempty"`
	Suffix        *string `json:"suffix,omitempty"`
	Cleanup       *bool   `json:"cleanup,omitempty"`
	PadToken      *string `json:"pad_token,omitempty"`
	WordDelimiter *string `json:"word_delimiter_token,omitempty"`
	Start         int     `json:"start,omitempty"`
	Stop          int     `json:"stop,omitempty"`
}

// patternConfig is what a Replace or Split looks for: one of the two.
type patternConfig struct {
	String *string `json:"String,omitempty"`
	Regex  *string `json:"Regex,omitempty"`
}

// parseComponent reads the section called name of tokenizer.json; nil where it is absent or null.
func parseComponent(name, raw string) (*component, error) {
	if raw == "" || raw == "null" {
		return nil, nil
	}
	c := new(component)
	if err := json.Unmarshal([]byte(raw), c); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// or returns *p, or otherwise where p is nil.
func or[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// need returns *p, an error that names the missing setting where p is nil.
func need[T any](p *T, c component, setting string) (T, error) {
	if p == nil {
		var zero T
		return zero, fmt.Errorf("%s: %q is missing", c.Type, setting)
	}
	return *p, nil
}

// needRune returns the one character of a setting.
func needRune(p *string, c component, setting string) (rune, error) {
	s, err := need(p, c, setting)
	if err != nil {
		return 0, err
	}
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 || n != len(s) {
		return 0, fmt.Errorf("%s: %s: have %q, want one character", c.Type, setting, s)
	}
	return r, nil
}

// flatten returns the members of nested Sequences in order; a nil component has none.
func flatten(c *component, members func(component) []component) []component {
	if c == nil {
		return nil
	}
	if c.Type != "Sequence" {
		return []component{*c}
	}
	var all []component
	for _, m := range members(*c) {
		all = append(all, flatten(&m, members)...)
	}
	return all
}
