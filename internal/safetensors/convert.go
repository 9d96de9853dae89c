package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime/debug"
	"unsafe"

	"github.com/x448/float16"

	"kdistill/internal/kernel"
)

// littleEndian says that this machine stores numbers as the file does, so that aligned bytes can be used in place.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// Len returns the number of elements.
func (t Tensor) Len() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Float32s converts an F64, F32, F16 or BF16 tensor into dst, which must have its length. F64 is rounded to nearest even.
func (t Tensor) Float32s(dst []float32) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // the mapped file may be cut short while it is read
	defer func() {
		if r := recover(); r != nil {
			if _, fault := r.(interface{ Addr() uintptr }); !fault {
				panic(r)
			}
			err = fmt.Errorf("tensor %q: its memory cannot be read: was the file cut short, or its disk lost, while in use? Restore it and run again", t.Name)
		}
	}()
	if t.DType.Bytes() == 0 {
		return fmt.Errorf("tensor %q: have dtype %s, want F32, F16, BF16 or F64 (quantised checkpoints are not supported)", t.Name, t.DType)
	}
	if have := len(t.Data) / t.DType.Bytes(); have != len(dst) {
		return fmt.Errorf("tensor %q: have %d elements, want %d", t.Name, have, len(dst))
	}
	switch t.DType {
	case F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(t.Data[8*i:])))
		}
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:]))
		}
	case F16:
		for i := range dst {
			dst[i] = float16.Frombits(binary.LittleEndian.Uint16(t.Data[2*i:])).Float32()
		}
	case BF16:
		for i := range dst {
			dst[i] = kernel.FromBF16(binary.LittleEndian.Uint16(t.Data[2*i:]))
		}
	}
	return nil
}

// FrozenFloat32s returns the values of an F64, F32, F16 or BF16 tensor, which must not be written to: a view of Data, valid as long as
// Data is, where these are float32 and aligned, else a converted copy.
func (t Tensor) FrozenFloat32s() ([]float32, error) {
	if v, ok := view[float32](t.Data); ok && t.DType == F32 {
		return v, nil
	}
	if t.DType.Bytes() == 0 {
		return nil, t.Float32s(nil) // which says what is wrong
	}
	out := make([]float32, len(t.Data)/t.DType.Bytes())
	return out, t.Float32s(out)
}

// Uint16s returns the bits of a BF16 tensor: a view of Data, valid as long as Data is, where Data is aligned, else a copy.
// It must not be written to.
func (t Tensor) Uint16s() ([]uint16, error) {
	if t.DType != BF16 {
		return nil, fmt.Errorf("tensor %q: have dtype %s, want BF16", t.Name, t.DType)
	}
	if v, ok := view[uint16](t.Data); ok {
		return v, nil
	}
	out := make([]uint16, len(t.Data)/2)
	for i := range out {
		out[i] = binary.LittleEndian.Uint16(t.Data[2*i:])
	}
	return out, nil
}

// view returns bytes as the numbers that they hold, where this machine can read them in place.
func view[E uint16 | float32](data []byte) ([]E, bool) {
	size := int(unsafe.Sizeof(E(0)))
	start := unsafe.Pointer(unsafe.SliceData(data))
	if len(data) < size || !littleEndian || uintptr(start)%uintptr(size) != 0 {
		return nil, false
	}
	return unsafe.Slice((*E)(start), len(data)/size), true
}

// Encode makes a tensor of type F32, BF16 or F16 (rounded to nearest even) from values.
// The F32 tensor shares the memory of values where the machine is little-endian.
func Encode(name string, dtype DType, shape []int, values []float32) (Tensor, error) {
	t := Tensor{Name: name, DType: dtype, Shape: shape}
	if t.Len() != len(values) {
		return t, fmt.Errorf("tensor %q: have %d values, want %d for shape %v", name, len(values), t.Len(), shape)
	}
	switch {
	case dtype == F32 && littleEndian:
		t.Data = unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), 4*len(values))
		return t, nil
	case dtype != F32 && dtype != BF16 && dtype != F16:
		return t, fmt.Errorf("tensor %q: have dtype %q to write, want F32, BF16 or F16", name, dtype)
	}
	t.Data = make([]byte, 0, dtype.Bytes()*len(values))
	for _, v := range values {
		switch dtype {
		case F32:
			t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(v))
		case BF16:
			t.Data = binary.LittleEndian.AppendUint16(t.Data, kernel.BF16(v))
		case F16:
			t.Data = binary.LittleEndian.AppendUint16(t.Data, float16.Fromfloat32(v).Bits())
		}
	}
	return t, nil
}
