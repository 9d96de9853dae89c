package data

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"kdistill/internal/tokenizer"
)

// document is the tokens of one record, as Dataset has them.
type document struct {
	ids, labels, bytes, types []int32
	weights                   []float32 // nil: all 1
	rationale                 bool      // of style multitask
	chat                      bool      // its record has messages, which its format does not read
	told                      *Told
	begins                    []bool
	given                     bool
	second, class             int32
	target                    float32
}

var errNoTokens = errors.New("a document without tokens: remove it")

func encodeRecord(r record, encoder Encoder, o LoadOptions) (document, error) {
	ex, err := r.parse()
	if err != nil {
		return document{}, err
	}
	doc := document{ids: ex.ids, labels: ex.labels, types: ex.types, given: o.Task == Masked && ex.labels != nil}
	switch {
	case o.Task == Classification:
		doc, err = encodeClassified(ex, encoder, o.Classes)
	case formats[r.file.Format].text:
		for doc, err = encodeText(r.file, ex, encoder, o); err == nil && ex.shorter != nil && o.Length > 0 && len(doc.ids) > o.Length; {
			ex = ex.shorter()
			doc, err = encodeText(r.file, ex, encoder, o)
		}
	case o.WholeWords:
		doc.begins = slices.Repeat([]bool{true}, len(doc.ids)) // ids alone know no words
	}
	if err != nil {
		return document{}, err
	}
	doc.rationale, doc.chat, doc.told = ex.rationale, ex.chat, ex.told
	if len(doc.ids) == 0 {
		return document{}, errNoTokens
	}
	if err := inVocabulary("token", doc.ids, o.Vocab, false); err != nil {
		return document{}, err
	}
	if len(doc.types) > 0 && slices.Min(doc.types) < 0 {
		return document{}, fmt.Errorf("token_type_ids: have %d, want no negative number", slices.Min(doc.types))
	}
	return doc, inVocabulary("label", doc.labels, o.Vocab, true)
}

// encodeText encodes a text, or a prompt and its completion as the one text prompt + completion, since that is what the model will see:
// encoded apart, many tokenizers would put a space that nobody wrote in front of the completion. A token belongs to the completion if
// it covers at least one of its bytes; so with every part of a text that alone is learned. (So end prompts without a space and begin completions with one, or the space, joined to the
// completion's first word, is learned too.) An end token follows according to append_eos, unless the text already ends with it.
// None follows where a limit of tokens ended the text, unless append_eos is true.
// The end token is a Causal document's own; around others the tokenizer's tokens come with each piece.
func encodeText(f *File, ex example, encoder Encoder, o LoadOptions) (document, error) {
	e, err := encodeValid(ex.text, encoder)
	if err != nil {
		return document{}, err
	}
	doc := document{ids: e.IDs}
	if o.Bytes {
		doc.bytes = coveredBytes(e.Spans)
	}
	if o.WholeWords {
		doc.begins = wordBegins(ex.text, e.Spans)
	}
	if ex.parts != nil {
		doc.learn(e, ex.parts)
	}
	if f.AppendEOS != "false" && o.Task == Causal {
		end := encoder.Suffix()
		if ex.written || ex.cut {
			end = nil
		}
		if eos := encoder.EOS(); eos >= 0 && (f.AppendEOS == "true" || ex.pair && !ex.cut) && !slices.Contains(end, eos) {
			end = append(slices.Clip(end), eos)
		}
		if !hasSuffix(doc.ids, end) {
			doc.append(end, o.Bytes)
		}
	}
	return doc, nil
}

// learn makes labels of the tokens of the parts alone.
func (doc *document) learn(e tokenizer.Encoding, parts []part) {
	doc.labels = slices.Repeat([]int32{Ignore}, len(doc.ids))
	for _, p := range parts {
		for i, in := range e.Mask([]tokenizer.Span{p.Span}) {
			if !in {
				continue
			}
			doc.labels[i] = doc.ids[i]
			if p.weight == 1 {
				continue
			}
			if doc.weights == nil {
				doc.weights = slices.Repeat([]float32{1}, len(doc.ids))
			}
			doc.weights[i] = p.weight
		}
	}
}

// append adds tokens that no byte of the text stands for, and that are learned.
func (doc *document) append(ids []int32, bytes bool) {
	doc.ids = append(doc.ids, ids...)
	if doc.labels != nil {
		doc.labels = append(doc.labels, ids...)
	}
	if doc.weights != nil {
		doc.weights = append(doc.weights, slices.Repeat([]float32{1}, len(ids))...)
	}
	if bytes {
		doc.bytes = append(doc.bytes, make([]int32, len(ids))...)
	}
}

func encodeValid(text string, encoder Encoder) (tokenizer.Encoding, error) {
	if !utf8.ValidString(text) {
		return tokenizer.Encoding{}, invalidUTF8(text)
	}
	e, err := encoder.Encode(text, false)
	if err == nil && len(e.IDs) == 0 {
		err = errNoTokens
	}
	return e, err
}

// coveredBytes counts each byte once, for the first token that covers it: the bytes of one character may be several tokens with the same span.
func coveredBytes(spans []tokenizer.Span) []int32 {
	covered, counts := 0, make([]int32, len(spans))
	for i, s := range spans {
		counts[i] = int32(max(0, s.End-max(s.Start, covered)))
		covered = max(covered, s.End)
	}
	return counts
}

// inVocabulary checks ids, among which labels may be Ignore.
func inVocabulary(what string, ids []int32, vocab int, labels bool) error {
	for i, id := range ids {
		if (id < 0 || int(id) >= vocab) && !(labels && id == Ignore) {
			return fmt.Errorf("%s %d is %d, outside the vocabulary of %d ids", what, i, id, vocab)
		}
	}
	return nil
}

func hasPrefix(ids, prefix []int32) bool {
	return len(ids) >= len(prefix) && slices.Equal(ids[:len(prefix)], prefix)
}

func hasSuffix(ids, suffix []int32) bool {
	return len(ids) >= len(suffix) && slices.Equal(ids[len(ids)-len(suffix):], suffix)
}
