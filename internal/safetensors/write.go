package safetensors

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"
)

// Write writes a file with the reference library's layout, byte for byte: types of larger alignment first, then by name,
// header padded with spaces to a multiple of 8 bytes. Metadata nil: no __metadata__ (transformers wants {"format": "pt"}).
func Write(w io.Writer, tensors []Tensor, metadata map[string]string) error {
	tensors = slices.Clone(tensors)
	slices.SortFunc(tensors, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(b.DType.rank(), a.DType.rank()), cmp.Compare(a.Name, b.Name))
	})
	header, err := encodeHeader(tensors, metadata)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 1<<20)
	out.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(header))))
	out.Write(header)
	for _, t := range tensors {
		if _, err := out.Write(t.Data); err != nil {
			return err
		}
	}
	return out.Flush() // bufio keeps the first error of any write
}

func encodeHeader(tensors []Tensor, metadata map[string]string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	value := func(v any) error {
		if err := e.Encode(v); err != nil {
			return err
		}
		b.Truncate(b.Len() - 1) // the encoder's newline
		return nil
	}
	member := func(name string, v any) error {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		if err := value(name); err != nil {
			return err
		}
		b.WriteByte(':')
		return value(v)
	}
	b.WriteByte('{')
	if metadata != nil {
		if err := member("__metadata__", metadata); err != nil {
			return nil, err
		}
	}
	seen := map[string]bool{"__metadata__": true}
	at := 0
	for _, t := range tensors {
		if seen[t.Name] || !utf8.ValidString(t.Name) {
			return nil, fmt.Errorf("tensor %q: the name is taken or not UTF-8", t.Name)
		}
		seen[t.Name] = true
		shape := make([]uint64, len(t.Shape))
		for i, n := range t.Shape {
			if n < 0 {
				return nil, fmt.Errorf("tensor %q: shape %v is negative", t.Name, t.Shape)
			}
			shape[i] = uint64(n)
		}
		size, err := byteSize(t.DType, shape)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if uint64(len(t.Data)) != size {
			return nil, fmt.Errorf("tensor %q: have %d bytes, want %d for %s %v", t.Name, len(t.Data), size, t.DType, t.Shape)
		}
		err = member(t.Name, struct {
			DType   DType    `json:"dtype"`
			Shape   []uint64 `json:"shape"`
			Offsets [2]int   `json:"data_offsets"`
		}{t.DType, shape, [2]int{at, at + len(t.Data)}})
		if err != nil {
			return nil, err
		}
		at += len(t.Data)
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	if b.Len() > maxHeader {
		return nil, fmt.Errorf("header: have %d bytes, want at most %d", b.Len(), maxHeader)
	}
	return b.Bytes(), nil
}
