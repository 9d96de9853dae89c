// Package safetensors reads and writes one safetensors file (https://github.com/huggingface/safetensors).
// It knows no models, no shards and no folders; values are converted to and from float32 only.
package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/bits"
	"os"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/edsrzf/mmap-go"
)

// maxHeader is the reference library's limit on the header, in bytes.
const maxHeader = 100_000_000

// Tensor is one named array, row-major. Data holds its little-endian bytes; of a tensor that was read it points
// into the read-only mapping, which ends with File.Close.
type Tensor struct {
	Name  string
	DType DType
	Shape []int
	Data  []byte
}

// File is an open, memory-mapped file. Its methods except Close may be called concurrently.
type File struct {
	mapping  mmap.MMap
	tensors  map[string]Tensor
	metadata map[string]string
}

// Open maps the file and checks its whole header: sizes, offsets without gaps or overlaps, shapes that fit their bytes.
func Open(path string) (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: have %s, want a safetensors file", path, info.Mode().Type())
	}
	if info.Size() < 8 { // an empty file cannot be mapped
		return nil, fmt.Errorf("%s: have %d bytes, want a safetensors file, which begins with 8 bytes of header size: fetch the file again", path, info.Size())
	}
	mapping, err := mmap.Map(file, mmap.RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: memory-mapping: %w", path, err)
	}
	f, err := parse(mapping)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), mapping.Unmap())
	}
	f.mapping = mapping
	return f, nil
}

// Names returns the names of all tensors, sorted.
func (f *File) Names() []string { return slices.Sorted(maps.Keys(f.tensors)) }

// Tensor returns a tensor by name.
func (f *File) Tensor(name string) (Tensor, bool) {
	t, ok := f.tensors[name]
	return t, ok
}

// Metadata returns the free-form text map of the header, nil where there is none.
func (f *File) Metadata() map[string]string { return f.metadata }

// Bytes is the size of the mapping.
func (f *File) Bytes() int64 { return int64(len(f.mapping)) }

// Release lets go of the memory of what was read of the mapping so far. What is read again comes from the file anew.
func (f *File) Release() { release(f.mapping) }

// Close ends the mapping: the Data of every tensor of the file, and views of it, must not be used afterwards.
func (f *File) Close() error {
	f.tensors = nil
	if f.mapping == nil {
		return nil
	}
	return f.mapping.Unmap()
}

// parse reads a whole file: 8 bytes of header size (little-endian), the header in JSON, the tensors' bytes.
func parse(data []byte) (*File, error) {
	if bytes.HasPrefix(data, []byte("version https://git-lfs")) {
		return nil, errors.New("this is a git-lfs pointer, not the weights: run `git lfs pull` in its folder")
	}
	if len(data) < 8 {
		return nil, fmt.Errorf("have %d bytes, want at least 8", len(data))
	}
	size, data := binary.LittleEndian.Uint64(data), data[8:]
	if size > maxHeader {
		return nil, fmt.Errorf("header: size %d is above the format's limit of %d bytes: not a safetensors file", size, maxHeader)
	}
	if size > uint64(len(data)) {
		return nil, fmt.Errorf("header: have %d bytes, want %d: the file is truncated, fetch it again", len(data), size)
	}
	f := &File{tensors: map[string]Tensor{}}
	spans, err := f.readHeader(data[:size])
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	return f, f.cut(data[size:], spans)
}

// span is where a tensor says that its bytes lie after the header.
type span struct {
	name       string
	begin, end uint64
}

func (f *File) readHeader(header []byte) ([]span, error) {
	if !utf8.Valid(header) {
		return nil, errors.New("not valid UTF-8: not a safetensors file")
	}
	d := json.NewDecoder(bytes.NewReader(header))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return nil, fmt.Errorf("have %.20q, want a JSON object: not a safetensors file", header)
	}
	var spans []span
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, fmt.Errorf("invalid JSON at byte %d: %w", d.InputOffset(), err)
		}
		name := key.(string) // the decoder accepts nothing else as a key
		if name == "__metadata__" {
			if f.metadata != nil {
				return nil, errors.New("__metadata__ is there twice")
			}
			if err := d.Decode(&f.metadata); err != nil {
				return nil, fmt.Errorf("__metadata__: %w", err)
			}
			continue
		}
		if _, twice := f.tensors[name]; twice {
			return nil, fmt.Errorf("tensor %q is there twice", name)
		}
		var fields map[string]json.RawMessage
		if err := d.Decode(&fields); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		t, s, err := readEntry(name, fields)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		f.tensors[name] = t
		spans = append(spans, s)
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return nil, fmt.Errorf("invalid JSON at byte %d: %w", d.InputOffset(), err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("more than one JSON value (byte %d)", d.InputOffset())
	}
	return spans, nil
}

func readEntry(name string, fields map[string]json.RawMessage) (Tensor, span, error) {
	t, s := Tensor{Name: name}, span{name: name}
	if err := json.Unmarshal(fields["dtype"], &t.DType); err != nil {
		return t, s, fmt.Errorf("dtype: %w", err)
	}
	shape, err := unsigned(fields["shape"])
	if err != nil {
		return t, s, fmt.Errorf("shape: %w", err)
	}
	offsets, err := unsigned(fields["data_offsets"])
	if err != nil || len(offsets) != 2 || offsets[0] > offsets[1] {
		return t, s, fmt.Errorf("data_offsets: have %s, want [begin, end]", fields["data_offsets"])
	}
	s.begin, s.end = offsets[0], offsets[1]
	size, err := byteSize(t.DType, shape)
	if err != nil {
		return t, s, err
	}
	if have := s.end - s.begin; have != size {
		return t, s, fmt.Errorf("have %d bytes by its data_offsets, want %d for %s %v", have, size, t.DType, shape)
	}
	t.Shape = make([]int, len(shape))
	for i, n := range shape {
		if n > math.MaxInt { // possible beside a 0
			return t, s, fmt.Errorf("shape %v is too large", shape)
		}
		t.Shape[i] = int(n)
	}
	return t, s, nil
}

// unsigned reads a JSON array of whole numbers from 0.
func unsigned(raw json.RawMessage) ([]uint64, error) {
	var numbers []json.Number
	if err := json.Unmarshal(raw, &numbers); err != nil {
		return nil, err
	}
	if numbers == nil {
		return nil, errors.New("have null, want an array")
	}
	out := make([]uint64, len(numbers))
	for i, n := range numbers {
		var err error
		if out[i], err = strconv.ParseUint(string(n), 10, 64); err != nil {
			return nil, fmt.Errorf("have %q, want a whole number from 0", n)
		}
	}
	return out, nil
}

// byteSize returns the bytes that a tensor takes.
func byteSize(dtype DType, shape []uint64) (uint64, error) {
	rank := dtype.rank()
	if rank < 0 {
		return 0, fmt.Errorf("dtype %q is unknown", dtype)
	}
	size := uint64(1)
	for _, n := range append(slices.Clone(shape), dtypes[rank].bits) {
		high, low := bits.Mul64(size, n)
		if high != 0 {
			return 0, fmt.Errorf("%s %v is too large", dtype, shape)
		}
		size = low
	}
	if size%8 != 0 {
		return 0, fmt.Errorf("%s %v does not end on a whole byte", dtype, shape)
	}
	return size / 8, nil
}

// cut gives every tensor its bytes; together they must cover data exactly, in order.
func (f *File) cut(data []byte, spans []span) error {
	slices.SortFunc(spans, func(a, b span) int {
		if a.begin != b.begin {
			return cmp.Compare(a.begin, b.begin)
		}
		return cmp.Compare(a.end, b.end)
	})
	at := uint64(0)
	for _, s := range spans {
		if s.begin != at {
			return fmt.Errorf("tensor %q begins at byte %d, want %d: tensors must follow each other without gap or overlap", s.name, s.begin, at)
		}
		if s.end > uint64(len(data)) {
			return fmt.Errorf("tensor %q ends at byte %d of %d: the file is truncated, fetch it again", s.name, s.end, len(data))
		}
		t := f.tensors[s.name]
		t.Data = data[s.begin:s.end:s.end]
		f.tensors[s.name] = t
		at = s.end
	}
	if at != uint64(len(data)) {
		return fmt.Errorf("have %d bytes of tensors, want %d by the header", len(data), at)
	}
	return nil
}
