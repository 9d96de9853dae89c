package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"kdistill/internal/testutil"
)

func open(t *testing.T, path string) *File {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func all(f *File) []Tensor {
	var out []Tensor
	for _, name := range f.Names() {
		t, _ := f.Tensor(name)
		out = append(out, t)
	}
	return out
}

// The reference library's files, read and written again, are the same bytes.
func TestSameBytesAsReference(t *testing.T) {
	for _, name := range []string{"kinds.safetensors", "halves.safetensors"} {
		path := testutil.Testdata(t, "safetensors/"+name)
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f := open(t, path)
		var got bytes.Buffer
		if err := Write(&got, all(f), f.Metadata()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: written again it differs:\nhave %.300q\nwant %.300q", name, got.Bytes(), want)
		}
	}
}

func TestReadReference(t *testing.T) {
	f := open(t, testutil.Testdata(t, "safetensors/kinds.safetensors"))
	if got := f.Metadata(); !reflect.DeepEqual(got, map[string]string{"format": "pt"}) {
		t.Errorf("metadata: have %v", got)
	}
	for _, want := range []struct {
		name  string
		dtype DType
		shape []int
	}{
		{"t.bfloat16", BF16, []int{2, 3}}, {"t.float64", F64, []int{2, 3}}, {"t.float4_e2m1fn_x2", "F4", []int{2, 6}},
		{"z.scalar", F32, []int{}}, {"a.empty", F32, []int{0, 4}}, {"quoted \"é\"\n", F32, []int{3}},
	} {
		got, ok := f.Tensor(want.name)
		if !ok || got.DType != want.dtype || !reflect.DeepEqual(got.Shape, want.shape) {
			t.Errorf("%q: have %v %s %v, want %+v", want.name, ok, got.DType, got.Shape, want)
		}
	}
	scalar, _ := f.Tensor("z.scalar")
	var x [1]float32
	if err := scalar.Float32s(x[:]); err != nil || x[0] != 2.5 {
		t.Errorf("scalar: have %v %v, want 2.5", x, err)
	}
	integers, _ := f.Tensor("t.int64")
	if err := integers.Float32s(make([]float32, 6)); err == nil || !strings.Contains(err.Error(), `"t.int64": have dtype I64`) {
		t.Errorf("int64 as float32: have %v", err)
	}
	if err := scalar.Float32s(make([]float32, 2)); err == nil || !strings.Contains(err.Error(), "have 1 elements, want 2") {
		t.Errorf("wrong length: have %v", err)
	}
	if _, err := scalar.Uint16s(); err == nil {
		t.Error("Uint16s of F32: no error")
	}
}

func float32s(t *testing.T, f *File, name string) []float32 {
	t.Helper()
	tensor, ok := f.Tensor(name)
	if !ok {
		t.Fatalf("no tensor %q", name)
	}
	out := make([]float32, tensor.Len())
	if err := tensor.Float32s(out); err != nil {
		t.Fatal(err)
	}
	return out
}

func sameBits(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// Rounding to and widening from every type agrees with torch, edges included.
func TestConversion(t *testing.T) {
	f := open(t, testutil.Testdata(t, "safetensors/halves.safetensors"))
	for _, name := range []string{"x", "bf16", "f16", "f64"} {
		got, want := float32s(t, f, name), float32s(t, f, name+".float32")
		for i := range want {
			if !sameBits(got[i], want[i]) {
				t.Errorf("%s[%d]: have %v, want %v", name, i, got[i], want[i])
			}
		}
	}
	x := float32s(t, f, "x")
	for name, dtype := range map[string]DType{"x": F32, "bf16": BF16, "f16": F16} {
		got, err := Encode(name, dtype, []int{len(x)}, x)
		if err != nil {
			t.Fatal(err)
		}
		back := make([]float32, len(x))
		if err := got.Float32s(back); err != nil {
			t.Fatal(err)
		}
		for i, want := range float32s(t, f, name+".float32") {
			if !sameBits(back[i], want) {
				t.Errorf("%v to %s: have %v, want %v", x[i], dtype, back[i], want)
			}
		}
	}
	for _, wrong := range []struct {
		dtype DType
		shape []int
	}{{"I32", []int{2}}, {F32, []int{3}}, {BF16, []int{}}} {
		if _, err := Encode("x", wrong.dtype, wrong.shape, x[:2]); err == nil {
			t.Errorf("Encode %v of 2 values: no error", wrong)
		}
	}
}

func TestUint16sUnaligned(t *testing.T) {
	raw := []byte{0, 0x80, 0x3f, 0x00, 0xc0, 0}
	for start := range 2 {
		tensor := Tensor{Name: "x", DType: BF16, Shape: []int{2}, Data: raw[start : start+4]}
		got, err := tensor.Uint16s()
		want := []uint16{binary.LittleEndian.Uint16(raw[start:]), binary.LittleEndian.Uint16(raw[start+2:])}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("start %d: have %v %v, want %v", start, got, err, want)
		}
		aligned := uintptr(unsafe.Pointer(&raw[start]))%2 == 0
		raw[start] ^= 1
		if view := got[0] != want[0]; view != aligned {
			t.Errorf("start %d: have a view %v, want %v", start, view, aligned)
		}
	}
}

func TestFrozenFloat32s(t *testing.T) {
	raw := make([]byte, 16)
	for i := range raw {
		raw[i] = byte(7 * i)
	}
	for start := range 5 {
		tensor := Tensor{Name: "x", DType: F32, Shape: []int{2}, Data: raw[start : start+8]}
		have, err := tensor.FrozenFloat32s()
		want := make([]float32, 2)
		if err := errors.Join(err, tensor.Float32s(want)); err != nil || !reflect.DeepEqual(have, want) {
			t.Errorf("start %d: have %v %v, want %v", start, have, err, want)
		}
		aligned := uintptr(unsafe.Pointer(&raw[start]))%4 == 0
		raw[start] ^= 1
		if view := have[0] != want[0]; view != aligned {
			t.Errorf("start %d: have a view %v, want %v", start, view, aligned)
		}
	}
	f := open(t, testutil.Testdata(t, "safetensors/halves.safetensors"))
	for _, name := range []string{"bf16", "f16", "f64"} {
		x, _ := f.Tensor(name)
		have, err := x.FrozenFloat32s()
		want := float32s(t, f, name)
		if err != nil || len(have) != len(want) {
			t.Fatalf("%s: have %d values, error %v", name, len(have), err)
		}
		for i := range want {
			if !sameBits(have[i], want[i]) {
				t.Errorf("%s[%d]: have %v, want %v", name, i, have[i], want[i])
			}
		}
	}
	empty := Tensor{Name: "x", DType: F32, Shape: []int{0}}
	if have, err := empty.FrozenFloat32s(); err != nil || len(have) != 0 {
		t.Errorf("empty: have %v %v", have, err)
	}
	if _, err := (Tensor{Name: "x", DType: "I64", Shape: []int{1}, Data: raw[:8]}).FrozenFloat32s(); err == nil || !strings.Contains(err.Error(), "I64") {
		t.Errorf("I64: have %v", err)
	}
}

// file puts a header of the given size before data; size < 0: the true one.
func file(header string, data string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header+data...)
}

func TestWrongFiles(t *testing.T) {
	entry := func(fields string) []byte { return file(`{"a":{`+fields+`}}`, "0000") }
	const good = `"dtype":"F32","shape":[1],"data_offsets":[0,4]`
	for _, c := range []struct {
		name string
		data []byte
		want string // "" where the file is right
	}{
		{"right", entry(good), ""},
		{"right, padded", file(`{"a":{`+good+`}}     `, "0000"), ""},
		{"right, unknown field", entry(good + `,"x":[1]`), ""},
		{"right, no tensor", file(`{}`, ""), ""},
		{"right, empty tensor first", file(`{"b":{`+good+`},"a":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]}}`, "0000"), ""},
		{"empty", nil, "have 0 bytes"},
		{"seven bytes", make([]byte, 7), "have 7 bytes"},
		{"lfs pointer", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:"), "git lfs pull"},
		{"html", []byte("<!DOCTYPE html><html>"), "above the format's limit"},
		{"header cut", file(`{"a":{`+good+`}}`, "0000")[:30], "truncated"},
		{"header of size 0", file("", "0000"), "want a JSON object"},
		{"header not JSON", file("\x00\x01\x02\x03", ""), "want a JSON object"},
		{"header not an object", file("[1]", ""), "want a JSON object"},
		{"header not closed", file(`{"a":{`+good+`}`, "0000"), "invalid JSON"},
		{"header with a tail", file(`{"a":{`+good+`}}{}`, "0000"), "more than one JSON value"},
		{"header not UTF-8", file("{\"a\xff\":{"+good+"}}", "0000"), "UTF-8"},
		{"name twice", file(`{"a":{`+good+`},"a":{`+good+`}}`, "0000"), `tensor "a" is there twice`},
		{"metadata twice", file(`{"__metadata__":{},"__metadata__":{}}`, ""), "twice"},
		{"metadata not text", file(`{"__metadata__":{"a":1}}`, ""), "__metadata__"},
		{"entry not an object", file(`{"a":[1]}`, ""), `tensor "a"`},
		{"no dtype", entry(`"shape":[1],"data_offsets":[0,4]`), "dtype"},
		{"unknown dtype", entry(`"dtype":"F31","shape":[1],"data_offsets":[0,4]`), `"F31" is unknown`},
		{"no shape", entry(`"dtype":"F32","data_offsets":[0,4]`), "shape"},
		{"shape null", entry(`"dtype":"F32","shape":null,"data_offsets":[0,4]`), "shape"},
		{"shape negative", entry(`"dtype":"F32","shape":[-1],"data_offsets":[0,4]`), `have "-1"`},
		{"shape fraction", entry(`"dtype":"F32","shape":[1.0],"data_offsets":[0,4]`), `have "1.0"`},
		{"shape too small", entry(`"dtype":"F32","shape":[2],"data_offsets":[0,4]`), "have 4 bytes by its data_offsets, want 8"},
		{"shape overflows", entry(`"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,4]`), "too large"},
		{"shape wraps to 4 bytes", entry(`"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]`), "too large"},
		{"shape beyond int", entry(`"dtype":"F32","shape":[0,18446744073709551615],"data_offsets":[0,0]`), "too large"},
		{"half a byte", entry(`"dtype":"F4","shape":[7],"data_offsets":[0,4]`), "whole byte"},
		{"no offsets", entry(`"dtype":"F32","shape":[1]`), "data_offsets"},
		{"one offset", entry(`"dtype":"F32","shape":[1],"data_offsets":[0]`), "data_offsets"},
		{"offsets backwards", entry(`"dtype":"F32","shape":[1],"data_offsets":[4,0]`), "data_offsets"},
		{"offset negative", entry(`"dtype":"F32","shape":[1],"data_offsets":[-4,0]`), "data_offsets"},
		{"data cut", file(`{"a":{`+good+`}}`, "000"), "truncated"},
		{"data too long", file(`{"a":{`+good+`}}`, "00000"), "have 5 bytes of tensors, want 4"},
		{"gap", file(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, "00"), "without gap"},
		{"overlap", file(`{"a":{`+good+`},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}`, "000000"), "without gap or overlap"},
		{"same bytes", file(`{"a":{`+good+`},"b":{`+good+`}}`, "0000"), "without gap or overlap"},
		{"far away", entry(`"dtype":"F32","shape":[1],"data_offsets":[18446744073709551611,18446744073709551615]`), "begins at byte"},
	} {
		path := filepath.Join(t.TempDir(), "x.safetensors")
		if err := os.WriteFile(path, c.data, 0o666); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err == nil {
			err = f.Close()
			if c.want != "" {
				t.Errorf("%s: no error", c.name)
			}
			if err != nil {
				t.Errorf("%s: close: %v", c.name, err)
			}
			continue
		}
		if c.want == "" || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: have %v, want %q with the path", c.name, err, c.want)
		}
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "want a safetensors file") {
		t.Errorf("folder: have %v", err)
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: have %v", err)
	}
}

func TestWrongWrites(t *testing.T) {
	x := Tensor{Name: "x", DType: F32, Shape: []int{1}, Data: make([]byte, 4)}
	for _, c := range []struct {
		tensors []Tensor
		want    string
	}{
		{[]Tensor{x, x}, "taken"},
		{[]Tensor{{Name: "__metadata__", DType: F32, Shape: []int{0}}}, "taken"},
		{[]Tensor{{Name: "\xff", DType: F32, Shape: []int{0}}}, "UTF-8"},
		{[]Tensor{{Name: "x", DType: F32, Shape: []int{2}, Data: make([]byte, 4)}}, "have 4 bytes, want 8"},
		{[]Tensor{{Name: "x", DType: F32, Shape: []int{-1}, Data: make([]byte, 4)}}, "negative"},
		{[]Tensor{{Name: "x", DType: "Q8", Shape: []int{1}, Data: make([]byte, 4)}}, "unknown"},
	} {
		var out bytes.Buffer
		if err := Write(&out, c.tensors, nil); err == nil || !strings.Contains(err.Error(), c.want) || out.Len() > 0 {
			t.Errorf("%v: have %v and %d bytes, want %q and nothing written", c.tensors, err, out.Len(), c.want)
		}
	}
}

// full is a disk with room for so many bytes.
type full int

func (f *full) Write(p []byte) (int, error) {
	if len(p) > int(*f) {
		return int(*f), errors.New("no space left on device")
	}
	*f -= full(len(p))
	return len(p), nil
}

func TestWriteToFullDisk(t *testing.T) {
	x, err := Encode("x", F32, []int{1 << 20}, make([]float32, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	for _, room := range []full{0, 10, 1 << 20, 1<<22 + 71} {
		if err := Write(&room, []Tensor{x}, nil); err == nil || !strings.Contains(err.Error(), "no space") {
			t.Errorf("room %d: have %v", room, err)
		}
	}
}

// Whatever is read within its limits can be written and read again, the same.
func FuzzParse(f *testing.F) {
	kinds, err := os.ReadFile(testutil.Testdata(f, "safetensors/kinds.safetensors"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(kinds)
	f.Add(file(`{"a":{"dtype":"F4","shape":[2,1],"data_offsets":[0,1]},"__metadata__":{"a":""}}`, "0"))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := parse(data)
		if err != nil {
			return
		}
		for _, tensor := range all(first) {
			out := make([]float32, min(tensor.Len(), len(data)))
			if err := tensor.Float32s(out); tensor.DType.Bytes() > 0 && err != nil {
				t.Fatal(err)
			}
		}
		var again bytes.Buffer
		if err := Write(&again, all(first), first.Metadata()); err != nil {
			t.Fatal(err)
		}
		second, err := parse(again.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if a, b := fmt.Sprint(all(first), first.Metadata()), fmt.Sprint(all(second), second.Metadata()); a != b {
			t.Fatalf("have %s, want %s", b, a)
		}
	})
}
