// Package kernel is the numeric core on plain slices: matrix products, attention, norms, activations, AdamW, and the workers they share.
// It knows no graph, no model and no file; lengths are the caller's duty, a wrong one panics as an index out of range.
package kernel

import "math"

// Float is the type of the numbers that are computed with. float32 is the type to train in;
// float64 always runs the portable code and serves gradient tests.
type Float interface{ float32 | float64 }

// Storage is a type in which weights may be stored; uint16 is a bfloat16's bits.
type Storage interface{ float32 | float64 | uint16 }

// BF16 rounds f to bfloat16, ties to even. A NaN stays a NaN.
func BF16(f float32) uint16 {
	b := math.Float32bits(f)
	if b&0x7fffffff > 0x7f800000 {
		return uint16(b>>16) | 0x40 // quiet, so that the mantissa cannot become zero
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// FromBF16 returns the value of a bfloat16, exactly.
func FromBF16(b uint16) float32 { return math.Float32frombits(uint32(b) << 16) }
