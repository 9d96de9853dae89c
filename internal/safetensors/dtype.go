package safetensors

import "slices"

// DType is the element type of a tensor, as the file names it.
type DType string

// The types whose values this package can convert from and to float32; a file may hold others.
const (
	F64  DType = "F64"
	F32  DType = "F32"
	F16  DType = "F16"
	BF16 DType = "BF16"
)

// dtypes lists every type of the format with its size, in the reference library's order (by alignment):
// tensors of later types are written first.
var dtypes = []struct {
	name DType
	bits uint64
}{
	{"BOOL", 8}, {"F4", 4}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8}, {"I8", 8}, {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
	{"F8_E5M2FNUZ", 8}, {"I16", 16}, {"U16", 16}, {F16, 16}, {BF16, 16}, {"I32", 32}, {"U32", 32}, {F32, 32}, {"C64", 64}, {F64, 64}, {"I64", 64}, {"U64", 64},
}

// rank is the position in dtypes, -1 for an unknown type.
func (d DType) rank() int {
	for i, t := range dtypes {
		if t.name == d {
			return i
		}
	}
	return -1
}

// Bytes returns the size of one element of F64, F32, F16 or BF16, 0 for other types.
func (d DType) Bytes() int {
	if !slices.Contains([]DType{F64, F32, F16, BF16}, d) {
		return 0
	}
	return int(dtypes[d.rank()].bits / 8)
}
