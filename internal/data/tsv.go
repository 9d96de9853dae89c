package data

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

func init() {
	register("tsv", format{extensions: []string{".tsv"}, text: true, fields: true, read: readTSV})
}

// readTSV emits the lines of a file of values with tabs between them, under a line with their names unless f.Columns has these.
// As in GLUE's files quotes mean nothing and a value holds no tab and no line break.
func readTSV(f *File, src *os.File, emit func(record) error) error {
	r := withoutBOM(src)
	names := f.Columns
	var columns []int
	for number := 1; ; number++ {
		line, err := r.ReadString('\n')
		if err != nil && err != io.EOF {
			return err
		}
		ended := err == io.EOF
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		switch {
		case line == "":
		case names == nil:
			names = strings.Split(line, "\t")
		default:
			if columns == nil {
				if columns, err = tsvColumns(f, names); err != nil {
					return fmt.Errorf("%s: %w", f.Path, err)
				}
			}
			if err := emit(record{f, "line", number, func() (example, error) { return parseTSV(f, line, names, columns) }}); err != nil {
				return err
			}
		}
		if ended {
			return nil
		}
	}
}

// tsvColumns finds the columns of f.fields().
func tsvColumns(f *File, names []string) ([]int, error) {
	var columns []int
	for _, name := range f.fields() {
		column := slices.Index(names, name)
		if column < 0 {
			err := missingField(f, name, slices.Clone(names))
			if f.Columns == nil {
				err = fmt.Errorf("%w (the first line was read as the columns' names: if it is a record, set columns)", err)
			}
			return nil, err
		}
		columns = append(columns, column)
	}
	return columns, nil
}

func parseTSV(f *File, line string, names []string, columns []int) (example, error) {
	cells := strings.Split(line, "\t")
	if len(cells) != len(names) {
		return example{}, fmt.Errorf("have %d values, want %d: %.80s", len(cells), len(names), strings.Join(names, ", "))
	}
	if !utf8.ValidString(line) {
		return example{}, errors.New("invalid UTF-8: convert the file to UTF-8")
	}
	values := make([]string, len(columns))
	for i, column := range columns {
		values[i] = cells[column]
	}
	return f.compose(values), nil
}
