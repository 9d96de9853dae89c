package synth

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"kdistill/internal/data"
)

// example is a record of the input.
type example struct {
	file string
	data.Object
	names map[string]string // the style's names to the record's
}

// readInput reads the records of files, of JSON lines, one JSON array or parquet each, and returns the SHA-256 of all their bytes. limit 0: all records.
func readInput(paths []string, names map[string]string, limit int) (all []example, sum string, err error) {
	h := sha256.New()
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, "", err
		}
		fmt.Fprintf(h, "%d\n", len(text))
		h.Write(text)
		objects, err := data.Objects(path)
		if err != nil {
			return nil, "", err
		}
		for _, o := range objects {
			all = append(all, example{path, o, names})
		}
	}
	if limit > 0 {
		all = all[:min(limit, len(all))]
	}
	return all, hex.EncodeToString(h.Sum(nil)), nil
}

// text returns a field that must be there: a string, or a number or truth value as it is written.
func (e example) text(name string) (string, error) {
	text, ok, err := e.optional(name)
	if err == nil && !ok {
		have := slices.Sorted(maps.Keys(e.Fields))
		err = fmt.Errorf("%s: no field %q, have %s: name the right one in synth.fields, such as {%s: %s}",
			e.Place, e.name(name), strings.Join(have, ", "), name, append(have, "NAME")[0])
	}
	return text, err
}

// optional returns a field, and whether it is there.
func (e example) optional(name string) (text string, ok bool, err error) {
	raw := bytes.TrimSpace(e.Fields[e.name(name)])
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return "", false, nil
	case raw[0] == '"':
		err = json.Unmarshal(raw, &text)
		return text, true, err
	case raw[0] == '{' || raw[0] == '[':
		return "", false, fmt.Errorf("%s: field %q: want a text, have %s", e.Place, e.name(name), excerpt(string(raw)))
	}
	return string(raw), true, nil
}

func (e example) name(name string) string {
	if other, ok := e.names[name]; ok {
		return other
	}
	return name
}
