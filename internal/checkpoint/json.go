package checkpoint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// checkObject says where data is not a JSON object: "path:line:column: why".
func checkObject(path string, data []byte) error {
	var object map[string]json.RawMessage
	err := json.Unmarshal(data, &object)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		before := data[:max(0, min(int(syntax.Offset), len(data))-1)] // Offset counts the offending byte
		line := bytes.Count(before, []byte("\n")) + 1
		column := len(before) - bytes.LastIndexByte(before, '\n')
		return fmt.Errorf("%s:%d:%d: invalid JSON: %w", path, line, column, err)
	}
	if err != nil || object == nil {
		return fmt.Errorf("%s: have %.20q, want a JSON object", path, bytes.TrimSpace(data))
	}
	return nil
}

// member is one key of a JSON object with its value as written.
type member struct {
	key   string
	value json.RawMessage
}

// members returns the keys of a valid JSON object in their order, repeated ones as often as they are there.
func members(object []byte) ([]member, error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	var out []member
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, err
		}
		m := member{key: key.(string)}
		if err := d.Decode(&m.value); err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// EditObject sets and removes top-level keys of a JSON object and returns it indented by two spaces, as transformers writes it.
// All other keys, their order and the spelling of their numbers stay; new keys follow in alphabetical order.
func EditObject(object []byte, set map[string]any, remove ...string) ([]byte, error) {
	if err := checkObject("JSON", object); err != nil {
		return nil, err
	}
	all, err := members(object)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(m member) bool { return slices.Contains(remove, m.key) })
	for _, key := range slices.Sorted(maps.Keys(set)) {
		value, err := encode(set[key])
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", key, err)
		}
		if i := slices.IndexFunc(all, func(m member) bool { return m.key == key }); i >= 0 {
			all = slices.DeleteFunc(all, func(m member) bool { return m.key == key })
			all = slices.Insert(all, i, member{key, value})
		} else {
			all = append(all, member{key, value})
		}
	}
	out := []byte{'{'}
	for i, m := range all {
		if i > 0 {
			out = append(out, ',')
		}
		key, err := encode(m.key)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, key...), ':'), m.value...)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, append(out, '}'), "", "  "); err != nil {
		return nil, err
	}
	return append(indented.Bytes(), '\n'), nil
}

// encode is json.Marshal without the escapes for HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}
