// Package task asks a model the questions of a file and hands its answers to package eval: what it writes, or which of several choices it finds likeliest.
// It makes the prompts, with demonstrations or as a chat; it measures nothing itself.
package task

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"kdistill/internal/answer"
	"kdistill/internal/data"
	"kdistill/internal/eval"
	"kdistill/internal/suggest"
)

// Record is one question of a file, or one answer from elsewhere.
type Record struct {
	eval.Example
	Place string // FILE:LINE

	fields map[string]string // what templates may name: its texts and numbers
	source string            // the field of the question, whose text fields has as "prompt" too; "": a template must say what to ask
}

// roles are what Fields may map, each with the names that are tried, in this order.
var roles = map[string][]string{
	"prompt":     {"prompt", "question", "instruction", "input"},
	"reference":  {"reference", "references", "gold", "answer", "answerKey", "output", "completion", "response", "label"},
	"choices":    {"choices", "options"},
	"prediction": {"prediction"},
}

// Fields maps roles (prompt, reference, choices, prediction) to the fields of a file's records; a role that is not in it is found by the usual names.
type Fields map[string]string

// Check refuses unknown roles.
func (f Fields) Check() error {
	known := slices.Sorted(maps.Keys(roles))
	for role := range f {
		if !slices.Contains(known, role) {
			return suggest.Unknown("role", role, known)
		}
	}
	return nil
}

// find returns the record's field for a role, "" where there is none.
func (f Fields) find(role string, have map[string]json.RawMessage) (string, error) {
	if name, ok := f[role]; ok {
		if _, ok := have[name]; !ok {
			return "", fmt.Errorf("no field %q (%s): have %s", name, role, strings.Join(slices.Sorted(maps.Keys(have)), ", "))
		}
		return name, nil
	}
	for _, name := range roles[role] {
		if raw, ok := have[name]; ok && string(raw) != "null" {
			return name, nil
		}
	}
	return "", nil
}

// Read reads the questions of a file, or, with predictions, answers that were given elsewhere.
func Read(path string, f Fields, predictions bool) ([]Record, error) {
	objects, err := data.Objects(path)
	if err != nil {
		return nil, err
	}
	records := make([]Record, len(objects))
	for i, o := range objects {
		r := &records[i]
		if err := r.parse(o.Fields, f, predictions); err != nil {
			return nil, fmt.Errorf("%s: %w", o.Place, err)
		}
		r.Place = o.Place
	}
	return records, nil
}

func (r *Record) parse(o map[string]json.RawMessage, f Fields, predictions bool) error {
	r.fields = map[string]string{}
	for name, raw := range o {
		if text, ok := scalar(raw); ok {
			r.fields[name] = text
		}
	}
	choices, err := f.find("choices", o)
	if err != nil {
		return err
	}
	var labels []string
	if choices != "" {
		if r.Choices, labels, err = parseChoices(o[choices]); err != nil {
			return fmt.Errorf("field %q: %w", choices, err)
		}
	}
	reference, err := f.find("reference", o)
	if err != nil {
		return err
	}
	r.Gold = -1
	switch {
	case reference == "":
	case r.Choices != nil:
		if r.Gold, err = gold(o[reference], r.Choices, labels); err != nil {
			return fmt.Errorf("field %q: %w", reference, err)
		}
		r.References = []string{r.Choices[r.Gold]}
	default:
		if r.References, err = texts(o[reference]); err != nil {
			return fmt.Errorf("field %q: %w", reference, err)
		}
	}
	if predictions {
		name, err := f.find("prediction", o)
		if err != nil {
			return err
		}
		text, ok := scalar(o[name])
		if !ok {
			return errors.New(`want a field "prediction" with a text`)
		}
		r.Prediction = text
		return nil
	}
	if r.source, err = f.find("prompt", o); err != nil {
		return err
	}
	if _, ok := r.fields[r.source]; r.source != "" && !ok {
		return fmt.Errorf("field %q: want a text, have %.60s", r.source, o[r.source])
	}
	if _, ok := r.fields["prompt"]; !ok {
		r.fields["prompt"] = r.fields[r.source]
	}
	return nil
}

// scalar returns a text, or a number or truth value as it is written.
func scalar(raw json.RawMessage) (text string, ok bool) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0 || raw[0] == '{' || raw[0] == '[' || string(raw) == "null":
		return "", false
	case raw[0] == '"':
		return text, json.Unmarshal(raw, &text) == nil
	}
	return string(raw), true
}

// texts reads a text or a list of them.
func texts(raw json.RawMessage) (all []string, err error) {
	if text, ok := scalar(raw); ok {
		return []string{text}, nil
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil || len(list) == 0 {
		return nil, fmt.Errorf("want a text or a list of texts, have %.60s", raw)
	}
	for i, item := range list {
		text, ok := scalar(item)
		if !ok {
			return nil, fmt.Errorf("item %d: want a text, have %.60s", i, item)
		}
		all = append(all, text)
	}
	return all, nil
}

// parseChoices reads a list of texts, or texts with labels as in ARC: {"text": […], "label": […]}.
func parseChoices(raw json.RawMessage) (choices, labels []string, err error) {
	var labelled struct{ Text, Label []string }
	if json.Unmarshal(raw, &labelled) == nil && labelled.Text != nil {
		choices, labels = labelled.Text, labelled.Label
		if labels != nil && len(labels) != len(choices) {
			return nil, nil, fmt.Errorf("have %d texts and %d labels", len(choices), len(labels))
		}
	} else if choices, err = texts(raw); err != nil {
		return nil, nil, err
	}
	if len(choices) < 2 || len(choices) > answer.MaxChoices {
		return nil, nil, fmt.Errorf("have %d choices, want 2 to %d", len(choices), answer.MaxChoices)
	}
	return choices, labels, nil
}

// gold returns the index of the right choice, which is told by its index from 0, its label, its text, or its letter.
func gold(raw json.RawMessage, choices, labels []string) (int, error) {
	text, ok := scalar(raw)
	if !ok {
		return 0, fmt.Errorf("want the index, label, letter or text of the right choice, have %.60s", raw)
	}
	number := bytes.TrimSpace(raw)[0] != '"'
	if !number {
		for _, names := range [][]string{labels, choices} {
			if i := slices.Index(names, text); i >= 0 {
				return i, nil
			}
		}
		for i := range choices {
			if labels == nil && strings.EqualFold(text, answer.Letter(i)) {
				return i, nil
			}
		}
	}
	i, err := strconv.Atoi(text)
	if err != nil || i < 0 || i >= len(choices) {
		return 0, fmt.Errorf("have %q, want the index (0 to %d), label, letter or text of one of %q", text, len(choices)-1, choices)
	}
	return i, nil
}
