package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"
)

// postProcessor is what happens to the tokens of a text at the end.
type postProcessor struct {
	prefix, suffix []int32 // ids put around the text
	trims          []trim

	pair    *Pair // nil: none
	pairErr error // why it can't be used
}

// trim takes white space off the spans of tokens.
type trim struct {
	addedSpace bool // a single space at the beginning is the tokenizer's own and stays
}

// templateItem is a part of a template: one of the two.
type templateItem struct {
	Sequence     *templateRef `json:"Sequence"`
	SpecialToken *templateRef `json:"SpecialToken"`
}

type templateRef struct {
	ID   string `json:"id"`
	Type int32  `json:"type_id"`
}

type templateText struct {
	IDs []int32 `json:"ids"`
}

func newPostProcessor(c *component) (*postProcessor, error) {
	p := new(postProcessor)
	for _, c := range flatten(c, func(c component) []component { return c.Processors }) {
		if err := p.add(c); err != nil {
			return nil, fmt.Errorf("post-processor: %w", err)
		}
	}
	return p, nil
}

func (p *postProcessor) add(c component) error {
	if c.Type != "ByteLevel" && len(p.prefix)+len(p.suffix) > 0 { // the reference processes each special token by itself then
		return fmt.Errorf("%q after another one that adds special tokens is not supported", c.Type)
	}
	switch c.Type {
	case "ByteLevel":
		if or(c.TrimOffsets, true) {
			p.trims = append(p.trims, trim{or(c.AddPrefixSpace, true)})
		}
		return nil
	case "TemplateProcessing":
		return p.template(c)
	case "RobertaProcessing", "BertProcessing":
		if c.Type == "RobertaProcessing" && or(c.TrimOffsets, true) {
			p.trims = append(p.trims, trim{or(c.AddPrefixSpace, true)})
		}
		cls, err := namedID(c.Cls)
		if err != nil {
			return fmt.Errorf("%s: cls: %w", c.Type, err)
		}
		sep, err := namedID(c.Sep)
		if err != nil {
			return fmt.Errorf("%s: sep: %w", c.Type, err)
		}
		p.prefix, p.suffix = []int32{cls}, []int32{sep}
		pair := bertPair
		if c.Type == "RobertaProcessing" {
			pair = robertaPair
		}
		p.setPair(pair([]int32{cls}, []int32{sep}), nil)
		return nil
	}
	return unknown(c)
}

// namedID reads ["</s>", 2].
func namedID(raw json.RawMessage) (int32, error) {
	var name string
	var id int32
	if err := json.Unmarshal(raw, &[]any{&name, &id}); err != nil || id < 0 {
		return 0, errors.New("want a list of a token and its id")
	}
	return id, nil
}

func (p *postProcessor) template(c component) error {
	var prefix, suffix []int32
	texts := 0
	for _, item := range c.Single {
		switch {
		case item.Sequence != nil:
			if item.Sequence.ID != "A" {
				return fmt.Errorf("TemplateProcessing: single: have sequence %q, want A", item.Sequence.ID)
			}
			texts++
		case item.SpecialToken != nil:
			t, ok := c.SpecialTokens[item.SpecialToken.ID]
			if !ok {
				return fmt.Errorf("TemplateProcessing: special_tokens lacks %q", item.SpecialToken.ID)
			}
			if texts == 0 {
				prefix = append(prefix, t.IDs...)
			} else {
				suffix = append(suffix, t.IDs...)
			}
		default:
			return errors.New("TemplateProcessing: single: have an item that is neither Sequence nor SpecialToken")
		}
	}
	if texts != 1 {
		return fmt.Errorf("TemplateProcessing: single: have the text %d times, want once", texts)
	}
	p.prefix, p.suffix = prefix, suffix
	if pair, err := pairTemplate(c); pair != nil || err != nil {
		p.setPair(pair, err)
	}
	return nil
}

// matched is a token that stands for other texts than its own: which, and the text it was found as. For an added token
// that has the white space that it takes; Unigram's unknown token is the other one.
type matched struct {
	token int // in the whole encoding
	text  string
}

// trimSpans takes white space off the spans: as much as the token begins and ends with. The tokens of the text
// begin at start; content returns the token of an id.
func (p *postProcessor) trimSpans(e *Encoding, start int, input string, found []matched, content func(id int32) (string, bool)) {
	for _, trim := range p.trims {
		rest := found
		for i := start; i < len(e.Spans); i++ {
			span := &e.Spans[i]
			s, _ := content(e.IDs[i])
			if len(rest) > 0 && rest[0].token == i {
				s, rest = rest[0].text, rest[1:]
			}
			lead, trail := countSpaces(s)
			if lead > 0 {
				if trim.addedSpace && lead == 1 && (i == start || span.Start == 0) {
					lead = 0
				}
				for ; lead > 0 && span.Start < span.End; lead-- {
					_, n := utf8.DecodeRuneInString(input[span.Start:span.End])
					span.Start += n
				}
			}
			if trail > 0 && (span.End >= 4*trail || utf8.RuneCountInString(input[:span.End]) >= trail) {
				for ; trail > 0 && span.Start < span.End; trail-- {
					_, n := utf8.DecodeLastRuneInString(input[span.Start:span.End])
					span.End -= n
				}
			}
		}
	}
}

// countSpaces returns how many spaces a token written at the byte level begins and ends with.
func countSpaces(s string) (lead, trail int) {
	if s == "" {
		return 0, 0
	}
	if c := s[0]; c > ' ' && c < utf8.RuneSelf { // most tokens
		if c := s[len(s)-1]; c > ' ' && c < utf8.RuneSelf {
			return 0, 0
		}
	}
	isSpace := func(r rune) bool { return r == byteRunes[' '] || unicode.IsSpace(r) }
	for _, r := range s {
		if !isSpace(r) {
			break
		}
		lead++
	}
	for i := len(s); i > 0; {
		r, n := utf8.DecodeLastRuneInString(s[:i])
		if !isSpace(r) {
			break
		}
		trail++
		i -= n
	}
	return lead, trail
}
