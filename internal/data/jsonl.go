package data

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

func init() {
	register("jsonl", format{extensions: []string{".jsonl", ".ndjson", ".json"}, text: true, fields: true, read: readFields})
}

// readFields emits records of named fields.
func readFields(f *File, src *os.File, emit func(record) error) error {
	return readJSON(f, src, parseFields, emit)
}

// object is a JSON object whose values are still undecoded; its keys are matched exactly.
type object map[string]json.RawMessage

// has tells whether a field is there and not null, which a parquet file has where a record has no such field.
func (o object) has(name string) bool {
	raw, ok := o[name]
	return ok && kind(raw) != "null"
}

// readJSON emits the objects that splitJSON finds.
func readJSON(f *File, src *os.File, parse func(*File, object) (example, error), emit func(record) error) error {
	return splitJSON(f, src, func(unit string, number int, raw []byte) error {
		return emit(record{f, unit, number, func() (example, error) {
			o, err := f.object(raw)
			if err != nil {
				return example{}, err
			}
			ex, err := parse(f, o)
			ex.cut = wasCut(o)
			if err == nil && f.keepTold {
				ex.told, err = told(raw, o)
			}
			return ex, err
		}})
	})
}

// object decodes a record. An answer that the limit of tokens ended is skipped.
func (f *File) object(raw []byte) (object, error) {
	o, err := decodeObject(raw)
	if err != nil {
		return nil, err
	}
	if !f.KeepTruncated && wasCut(o) {
		return nil, skipped(`answers that a limit of tokens cut short (finish_reason "length"; keep_truncated: true takes them)`)
	}
	return o, nil
}

// wasCut tells whether a limit of tokens ended an answer.
func wasCut(o object) bool {
	var reason string
	return json.Unmarshal(o["finish_reason"], &reason) == nil && reason == "length"
}

// splitJSON sends each value of JSON lines (of any length) or of one JSON array as it is written, or each row of a parquet file as an object, with where it stands.
func splitJSON(f *File, src *os.File, send func(unit string, number int, raw []byte) error) error {
	if isParquet(src) {
		return splitParquet(f, src, send)
	}
	r := withoutBOM(src)
	line, first, err := firstByte(r)
	if err != nil {
		return err
	}
	if first == '[' {
		return readArray(f, r, send)
	}
	for ; ; line++ {
		raw, err := r.ReadBytes('\n')
		if err != nil && err != io.EOF {
			return err
		}
		if raw := bytes.TrimSpace(raw); len(raw) > 0 {
			if err := send("line", line, raw); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
	}
}

// firstByte skips white space and returns the line that r then stands in, from 1, and the byte that comes next (0 at the end).
func firstByte(r *bufio.Reader) (line int, b byte, err error) {
	for line = 1; ; {
		b, err = r.ReadByte()
		switch {
		case err == io.EOF:
			return line, 0, nil
		case err != nil:
			return line, 0, err
		case b == '\n':
			line++
		case b != ' ' && b != '\t' && b != '\r':
			return line, b, r.UnreadByte()
		}
	}
}

func readArray(f *File, r io.Reader, send func(unit string, number int, raw []byte) error) error {
	d := json.NewDecoder(r)
	number := 0
	_, err := d.Token() // the bracket
	for err == nil && d.More() {
		number++
		var raw json.RawMessage
		if err = d.Decode(&raw); err != nil {
			break
		}
		if err := send("element", number, raw); err != nil {
			return err
		}
	}
	if err == nil {
		if _, err = d.Token(); err == nil { // the closing bracket
			if _, err = d.Token(); err == io.EOF {
				return nil
			}
			err = errors.New("something follows the closing bracket")
		}
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%s: near element %d of the array, byte %d: not valid JSON: %w", f.Path, number, d.InputOffset(), err)
}

func decodeObject(raw []byte) (object, error) {
	if !utf8.Valid(raw) {
		return nil, invalidUTF8(string(raw))
	}
	if have := kind(raw); have != "an object" && json.Valid(raw) {
		return nil, fmt.Errorf("want a JSON object, have %s", have)
	}
	var o object
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, fmt.Errorf("not valid JSON: %w (each line must be one object, or the file one array of objects)", err)
	}
	return o, nil
}

func parseFields(f *File, o object) (example, error) {
	pair := f.pairs && f.task == Causal && !o.has(f.Field) && o.has("prompt") && o.has("completion")
	if pair {
		f = &File{PromptField: "prompt", CompletionField: "completion", MaskPrompt: true}
	}
	var values []string
	for _, name := range f.fields() {
		raw, ok := o[name]
		if !ok {
			return example{}, missingField(f, name, slices.Collect(maps.Keys(o)))
		}
		value, err := parseField(raw, name == f.LabelField)
		if err != nil {
			return example{}, fmt.Errorf("field %q: %w", name, err)
		}
		values = append(values, value)
	}
	ex := f.compose(values)
	ex.chat = pair && o.has("messages")
	return ex, nil
}

// parseField reads a string; of a label, which may be a number, true or false, what is written.
func parseField(raw []byte, label bool) (value string, err error) {
	have := kind(raw)
	if have == "a string" {
		err = json.Unmarshal(raw, &value)
		return value, err
	}
	if !label {
		return "", fmt.Errorf("want a string, have %s", have)
	}
	if have != "a number" && have != "a boolean" {
		return "", fmt.Errorf("want a name or a number, have %s", have)
	}
	return string(bytes.TrimSpace(raw)), nil
}

// missingField says which fields there are, and which setting names another one.
func missingField(f *File, name string, have []string) error {
	setting := "field"
	switch name {
	case f.PromptField:
		setting = "prompt_field"
	case f.CompletionField:
		setting = "completion_field"
	case f.PairField:
		setting = "pair_field"
	case f.LabelField:
		setting = "label_field"
	}
	if len(have) == 0 {
		return fmt.Errorf("no field %q: there are no fields", name)
	}
	if slices.Contains(have, "input_ids") {
		return fmt.Errorf("no field %q, but input_ids: set format: tokens", name)
	}
	slices.Sort(have)
	if len(have) > 12 {
		have = append(have[:12:12], "…")
	}
	return fmt.Errorf("no field %q: set %s to one of %s", name, setting, strings.Join(have, ", "))
}

// lacks is the error of a record without a field that its format knows by a name.
func (f *File) lacks(name string, o object) error {
	return fmt.Errorf("no field %q, have %s: fields: {%s: NAME} names another one", f.name(name), strings.Join(slices.Sorted(maps.Keys(o)), ", "), name)
}

// kind names the type of a JSON value in words.
func kind(raw []byte) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 {
		return "nothing"
	}
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

func invalidUTF8(text string) error {
	at := 0
	for at < len(text) {
		r, size := utf8.DecodeRuneInString(text[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return fmt.Errorf("invalid UTF-8 at byte %d of the document: convert the file to UTF-8", at)
}
