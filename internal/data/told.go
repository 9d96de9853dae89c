package data

import (
	"encoding/json"
	"fmt"
)

// Told is what a teacher told of an answer, when it wrote it.
type Told struct {
	Line    []byte // the record as it is written
	Teacher string
	Tokens  []ToldToken // of the answer; nil: it told no log-probabilities
}

// ToldToken is a token of an answer, and the likeliest ones in its place, in kdistill synth's words.
type ToldToken struct {
	ToldCandidate
	Top []ToldCandidate `json:"top_logprobs"`
}

// ToldCandidate is a token by its text, its id (nil: unknown) or both.
type ToldCandidate struct {
	Token   string  `json:"token"`
	ID      *int32  `json:"id"`
	Logprob float64 `json:"logprob"` // in nats, at temperature 1
}

// told reads what a record has of it.
func told(line []byte, o object) (*Told, error) {
	t := &Told{Line: line}
	if raw, ok := o["teacher"]; ok {
		if err := json.Unmarshal(raw, &t.Teacher); err != nil {
			return nil, fmt.Errorf("field \"teacher\": want a string, have %s", kind(raw))
		}
	}
	if raw, ok := o["logprobs"]; ok {
		if err := json.Unmarshal(raw, &t.Tokens); err != nil {
			return nil, fmt.Errorf("field \"logprobs\": want a list of tokens as kdistill synth writes them: %w", err)
		}
	}
	return t, nil
}

// Told returns what the teacher told of document i, where LoadOptions.Told asked for it and its format is jsonl or chat; nil else.
func (d *Dataset) Told(i int) *Told {
	if d.told == nil {
		return nil
	}
	return d.told[i]
}
