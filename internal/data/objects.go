package data

import (
	"encoding/json"
	"fmt"
	"os"
)

// Object is an object of a file, and where it stands there: "FILE:LINE", or "FILE: element N".
type Object struct {
	Place  string
	Fields map[string]json.RawMessage
}

// Objects reads a file of JSON lines, or of one JSON array, whose values must be objects, or a parquet file's rows.
func Objects(path string) (all []Object, err error) {
	src, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	f := &File{Path: path}
	err = splitJSON(f, src, func(unit string, number int, raw []byte) error {
		place := record{file: f, unit: unit, number: number}.String()
		o, err := decodeObject(raw)
		if err != nil {
			return fmt.Errorf("%s: %w", place, err)
		}
		all = append(all, Object{place, o})
		return nil
	})
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%s: no records in it", path)
	}
	return all, err
}
