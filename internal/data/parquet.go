package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"os"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
)

func init() {
	register("parquet", format{extensions: []string{".parquet"}, text: true, fields: true, read: readFields})
}

// isParquet tells whether a file begins as a parquet file does.
func isParquet(src *os.File) bool {
	magic := make([]byte, 4)
	n, err := src.ReadAt(magic, 0)
	return n == 4 && (err == nil || err == io.EOF) && string(magic) == "PAR1"
}

// splitParquet sends the rows of a parquet file as JSON objects, lists and groups of columns as JSON's. The library panics on some damaged files; that becomes an error.
func splitParquet(f *File, src *os.File, send func(unit string, number int, raw []byte) error) (err error) {
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
	number := 0
	for _, group := range file.RowGroups() {
		if number, err = splitRows(f, file.Schema(), group.Rows(), number, send); err != nil {
			return err
		}
	}
	return nil
}

// splitRows sends the rows of a group and returns the number of rows so far in the file.
func splitRows(f *File, schema *parquet.Schema, rows parquet.Rows, number int, send func(unit string, number int, raw []byte) error) (int, error) {
	defer rows.Close()
	some := make([]parquet.Row, 64)
	for {
		n, end := rows.ReadRows(some)
		for _, row := range some[:n] {
			number++
			values := map[string]any{}
			err := schema.Reconstruct(&values, row)
			var raw []byte
			if err == nil {
				raw, err = json.Marshal(forJSON(values))
			}
			if err != nil {
				return number, fmt.Errorf("%s: row %d: %w", f.Path, number, err)
			}
			if err := send("row", number, raw); err != nil {
				return number, err
			}
		}
		switch {
		case errors.Is(end, io.EOF):
			return number, nil
		case end != nil:
			return number, fmt.Errorf("%s: row %d: %w", f.Path, number+1, end)
		}
	}
}

// forJSON makes JSON's values of a column's: what JSON cannot hold (bytes that are no text, NaN) is null there.
func forJSON(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = forJSON(v[key])
		}
	case []any:
		for i := range v {
			v[i] = forJSON(v[i])
		}
	case []byte:
		return forJSON(string(v))
	case string:
		if !utf8.ValidString(v) {
			return nil
		}
	case float32:
		return forJSON(float64(v))
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil
		}
	case *big.Float:
		return json.Number(v.Text('f', -1))
	}
	return v
}
