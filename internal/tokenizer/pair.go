package tokenizer

import (
	"errors"
	"fmt"
)

// Pair is what the post-processor makes of two texts: Prefix, the first text, Middle, the second text, Suffix.
type Pair struct {
	Prefix, Middle, Suffix []int32
	Types                  [5]int32 // the token type of each of the five
}

// Pair tells how two texts become one sequence. The error says why the tokenizer doesn't know.
func (t *Tokenizer) Pair() (Pair, error) {
	if t.post.pairErr != nil {
		return Pair{}, t.post.pairErr
	}
	if t.post.pair == nil {
		return Pair{}, errors.New("the tokenizer has no template for a pair of texts")
	}
	return *t.post.pair, nil
}

// bertPair is [CLS] A [SEP] B [SEP], with a type of its own for the second text.
func bertPair(cls, sep []int32) *Pair {
	return &Pair{Prefix: cls, Middle: sep, Suffix: sep, Types: [5]int32{3: 1, 4: 1}}
}

// robertaPair is <s> A </s></s> B </s>; RoBERTa has one token type.
func robertaPair(cls, sep []int32) *Pair {
	return &Pair{Prefix: cls, Middle: append(append([]int32{}, sep...), sep...), Suffix: sep}
}

// setPair notes a template for pairs. Of two, which would be nested, nothing is known.
func (p *postProcessor) setPair(pair *Pair, err error) {
	if p.pair != nil && err == nil {
		err = errors.New("several post-processors with a template for a pair of texts are not supported")
	}
	if p.pairErr == nil {
		p.pair, p.pairErr = pair, err
	}
}

// pairTemplate reads the pair of a TemplateProcessing; nil where there is none.
func pairTemplate(c component) (*Pair, error) {
	if len(c.Pair) == 0 {
		return nil, nil
	}
	wrong := func(format string, args ...any) (*Pair, error) {
		return nil, fmt.Errorf("TemplateProcessing: pair: "+format, args...)
	}
	p, place := new(Pair), 0 // 0: in the prefix, 2: the middle, 4: the suffix
	parts := [5]*[]int32{0: &p.Prefix, 2: &p.Middle, 4: &p.Suffix}
	for _, item := range c.Pair {
		if s := item.Sequence; s != nil {
			if place == 4 || s.ID != [...]string{"A", "B"}[place/2] {
				return wrong("have sequence %q, want A, then B, once each", s.ID)
			}
			p.Types[place+1] = s.Type
			place += 2
			continue
		}
		if item.SpecialToken == nil {
			return wrong("have an item that is neither Sequence nor SpecialToken")
		}
		t, ok := c.SpecialTokens[item.SpecialToken.ID]
		if !ok {
			return wrong("special_tokens lacks %q", item.SpecialToken.ID)
		}
		if part := parts[place]; len(*part) > 0 && p.Types[place] != item.SpecialToken.Type {
			return wrong("neighbouring special tokens of different types are not supported")
		}
		p.Types[place] = item.SpecialToken.Type
		*parts[place] = append(*parts[place], t.IDs...)
	}
	if place != 4 {
		return wrong("want the texts A and B, once each")
	}
	return p, nil
}
