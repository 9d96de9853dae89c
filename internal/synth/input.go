package synth

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
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

// example is a record of the input.
type example struct {
	file   string
	place  string // FILE:LINE, for errors
	values map[string]json.RawMessage
	fields map[string]string // the style's names to the record's
}

// readInput reads the records of files, JSON lines or one JSON array each, and returns the SHA-256 of all their bytes. limit 0: all records.
func readInput(paths []string, fields map[string]string, limit int) (all []example, sum string, err error) {
	h := sha256.New()
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, "", err
		}
		fmt.Fprintf(h, "%d\n", len(text))
		h.Write(text)
		read, err := parseRecords(path, bytes.TrimPrefix(text, []byte("\ufeff")))
		if err != nil {
			return nil, "", err
		}
		for _, e := range read {
			e.file, e.fields = path, fields
			all = append(all, e)
		}
	}
	if limit > 0 {
		all = all[:min(limit, len(all))]
	}
	if len(paths) > 0 && len(all) == 0 {
		return nil, "", fmt.Errorf("%s: no records in it", strings.Join(paths, ", "))
	}
	return all, hex.EncodeToString(h.Sum(nil)), nil
}

func parseRecords(path string, text []byte) (all []example, err error) {
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("%s: invalid UTF-8: convert the file to UTF-8", path)
	}
	if trimmed := bytes.TrimSpace(text); bytes.HasPrefix(trimmed, []byte("[")) {
		var list []map[string]json.RawMessage
		if err := json.Unmarshal(trimmed, &list); err != nil {
			return nil, fmt.Errorf("%s: want one JSON array of objects: %w", path, err)
		}
		for i, values := range list {
			all = append(all, example{place: fmt.Sprintf("%s: element %d", path, i+1), values: values})
		}
		return all, nil
	}
	r := bufio.NewReader(bytes.NewReader(text))
	for number := 1; ; number++ {
		line, err := r.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			e := example{place: fmt.Sprintf("%s:%d", path, number)}
			if err := json.Unmarshal(line, &e.values); err != nil {
				return nil, fmt.Errorf("%s: want one JSON object in a line, or one array of objects: %w", e.place, err)
			}
			all = append(all, e)
		}
		if errors.Is(err, io.EOF) {
			return all, nil
		}
	}
}

// text returns a field that must be there: a string, or a number or truth value as it is written.
func (e example) text(name string) (string, error) {
	text, ok, err := e.optional(name)
	if err == nil && !ok {
		have := slices.Sorted(maps.Keys(e.values))
		err = fmt.Errorf("%s: no field %q, have %s: name the right one in synth.fields, such as {%s: %s}",
			e.place, e.name(name), strings.Join(have, ", "), name, append(have, "NAME")[0])
	}
	return text, err
}

// optional returns a field, and whether it is there.
func (e example) optional(name string) (text string, ok bool, err error) {
	raw := bytes.TrimSpace(e.values[e.name(name)])
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return "", false, nil
	case raw[0] == '"':
		err = json.Unmarshal(raw, &text)
		return text, true, err
	case raw[0] == '{' || raw[0] == '[':
		return "", false, fmt.Errorf("%s: field %q: want a text, have %s", e.place, e.name(name), excerpt(string(raw)))
	}
	return string(raw), true, nil
}

func (e example) name(name string) string {
	if other, ok := e.fields[name]; ok {
		return other
	}
	return name
}
