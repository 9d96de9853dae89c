package data

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parquet-go/parquet-go"
)

func init() {
	register("parquet", format{extensions: []string{".parquet"}, text: true, fields: true, read: readParquet})
}

// readParquet emits the rows of the columns that f.fields() names: strings, and labels of any kind. The library panics on some damaged files; that becomes an error.
func readParquet(f *File, src *os.File, emit func(record) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%s: damaged parquet file: %v", f.Path, r)
		}
	}()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	file, err := parquet.OpenFile(src, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return fmt.Errorf("%s: not a parquet file, or a damaged one: %w", f.Path, err)
	}
	var columns []int
	for _, name := range f.fields() {
		column, err := leafColumn(f, file.Schema(), name)
		if err != nil {
			return err
		}
		columns = append(columns, column)
	}
	row := 0
	for _, group := range file.RowGroups() {
		if row, err = readRowGroup(f, group, columns, row, emit); err != nil {
			return err
		}
	}
	return nil
}

// leafColumn returns the index of a top-level column of strings, or of labels.
func leafColumn(f *File, schema *parquet.Schema, name string) (int, error) {
	leaf, ok := schema.Lookup(name)
	if !ok {
		var have []string
		for _, path := range schema.Columns() {
			if len(path) == 1 {
				have = append(have, path[0])
			}
		}
		return 0, fmt.Errorf("%s: %w", f.Path, missingField(f, name, have))
	}
	text := leaf.Node.Type().Kind() == parquet.ByteArray
	if leaf.MaxRepetitionLevel > 0 || !text && name != f.LabelField {
		return 0, fmt.Errorf("%s: field %q: want strings, have %s", f.Path, name, leaf.Node)
	}
	return leaf.ColumnIndex, nil
}

// readRowGroup reads the columns side by side and returns the number of rows read so far in the file.
func readRowGroup(f *File, group parquet.RowGroup, columns []int, row int, emit func(record) error) (int, error) {
	chunks := group.ColumnChunks()
	readers := make([]parquet.ColumnChunkValueReader, len(columns))
	for i, column := range columns {
		readers[i] = parquet.NewColumnChunkValueReader(chunks[column])
		defer readers[i].Close()
	}
	cell := make([]parquet.Value, 1)
	for range group.NumRows() {
		row++
		values := make([]string, len(columns))
		var null error
		for i, r := range readers {
			if err := readValue(r, cell); err != nil {
				return row, fmt.Errorf("%s: row %d: %w", f.Path, row, err)
			}
			if cell[0].IsNull() {
				null = fmt.Errorf("field %q: want a string, have null", f.fields()[i])
			}
			values[i] = cell[0].String()
		}
		parse := func() (example, error) { return f.compose(values), null }
		if err := emit(record{f, "row", row, parse}); err != nil {
			return row, err
		}
	}
	return row, nil
}

func readValue(r parquet.ValueReader, cell []parquet.Value) error {
	for {
		n, err := r.ReadValues(cell)
		switch {
		case n == 1:
			return nil
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
}
