package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// readBPE reads GPT-2's vocab.json, the ids by token, and merges.txt, a pair of tokens in each line.
func (v *converter) readBPE() (*modelConfig, error) {
	c := &modelConfig{Type: new("BPE")}
	vocab, _, err := v.read("vocab.json")
	if err != nil {
		return nil, err
	}
	r := &reader{s: strings.TrimPrefix(string(vocab), "\uFEFF")}
	err = r.object(func(token string) error {
		id, err := r.id()
		c.entries = append(c.entries, entry{token, id})
		return err
	})
	if err == nil && r.peek() != 0 {
		err = r.fail("the end")
	}
	if err != nil {
		return nil, fmt.Errorf("vocab.json: %w", err)
	}
	merges, _, err := v.read("merges.txt")
	if err != nil {
		return nil, err
	}
	err = eachLine(merges, func(line string) error {
		if strings.HasPrefix(line, "#version") {
			return nil
		}
		return c.addMerge(line)
	})
	if err != nil {
		return nil, fmt.Errorf("merges.txt: %w", err)
	}
	return c, nil
}

// readWordPiece reads BERT's vocab.txt, a token in each line.
func (v *converter) readWordPiece() (*modelConfig, error) {
	data, _, err := v.read("vocab.txt")
	if err != nil {
		return nil, err
	}
	id, ids := int32(0), map[string]int32{} // of two equal tokens the later counts
	err = eachLine(data, func(line string) error {
		ids[strings.TrimRightFunc(line, unicode.IsSpace)] = id
		id++
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("vocab.txt: %w", err)
	}
	c := &modelConfig{Type: new("WordPiece"), UnkToken: new(v.tokenName("unk_token"))}
	for token, id := range ids {
		c.entries = append(c.entries, entry{token, id})
	}
	return c, nil
}

// eachLine calls f with each line of a text file, without its end.
func eachLine(data []byte, f func(line string) error) error {
	if !utf8.Valid(data) {
		return errors.New("it is not UTF-8")
	}
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		if err := f(strings.TrimSuffix(line, "\r")); err != nil {
			return err
		}
	}
	return nil
}
