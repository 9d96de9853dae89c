package kernel

import (
	"fmt"
	"os"
)

// level is a set of instructions that kernels are written for; each has its own rounding, within which results never vary.
type level int

const (
	portable   level = iota
	avx2             // AVX2, FMA3
	avx512           // AVX-512 F, BW, DQ, VL
	avx512BF16       // AVX-512 BF16 too
)

func (l level) String() string { return [...]string{"portable", "avx2", "avx512", "avx512_bf16"}[l] }

// path is what kernels run on: the best that the processor has, or what KDISTILL_KERNEL says.
var path, errPath = choosePath(os.Getenv("KDISTILL_KERNEL"), supported())

func choosePath(name string, best level) (level, error) {
	if name == "" {
		return best, nil
	}
	for l := portable; l <= avx512BF16; l++ {
		if l.String() != name {
			continue
		}
		if l > best {
			return best, fmt.Errorf("KDISTILL_KERNEL: this machine has no %s, the best it can run is %s", name, best)
		}
		return l, nil
	}
	return best, fmt.Errorf("KDISTILL_KERNEL: have %q, want portable, avx2, avx512 or avx512_bf16 (unset: %s)", name, best)
}

// Path names the instructions that kernels use: portable, avx2, avx512 or avx512_bf16, which is avx512 but in GemmBF16.
func Path() string { return path.String() }

// CheckPath returns an error when the environment's KDISTILL_KERNEL is unknown or asks for what this machine lacks.
func CheckPath() error { return errPath }
