package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// twin is a kernel of gen/vec as a call on slices of one length, those that it writes first.
type twin struct {
	name            string
	slices, written int
	scalars         int
	alias           []int // slices that the first one may be
	units           float64
	call            func(s [][]float32, k []float32) []float32
}

// twins are all kernels but those of tiles. units is the difference allowed between paths, in 2^-24 of numbers of size 1, for sums of each 4 elements.
var twins = []twin{
	{"expShift", 2, 1, 2, []int{1}, 8, func(s [][]float32, k []float32) []float32 { return list(expShift(s[0], s[1], k[0]/8, k[1])) }},
	{"expSum", 1, 0, 2, nil, 8, func(s [][]float32, k []float32) []float32 { return list(expSum(s[0], k[0]/8, k[1])) }},
	{"maximum", 1, 0, 0, nil, 0, func(s [][]float32, k []float32) []float32 { return list(maximum(s[0])) }},
	{"sum", 1, 0, 0, nil, 32, func(s [][]float32, k []float32) []float32 { return list(sum(s[0])) }},
	{"dot", 2, 0, 0, nil, 256, func(s [][]float32, k []float32) []float32 { return list(dot(s[0], s[1])) }},
	{"axpy", 2, 1, 1, nil, 32, func(s [][]float32, k []float32) []float32 { axpy(s[0], s[1], k[0]); return nil }},
	{"scaleTo", 2, 1, 1, []int{1}, 0, func(s [][]float32, k []float32) []float32 { scaleTo(s[0], s[1], k[0]); return nil }},
	{"add", 3, 1, 0, []int{1, 2}, 0, func(s [][]float32, k []float32) []float32 { add(s[0], s[1], s[2]); return nil }},

	{"logRatio", 3, 1, 2, []int{1, 2}, 32, func(s [][]float32, k []float32) []float32 { logRatio(s[0], s[1], s[2], k[0], k[1]); return nil }},
	{"expectation", 2, 0, 0, nil, 256, func(s [][]float32, k []float32) []float32 { return list(expectation(s[0], s[1])) }},
	{"logMixture", 4, 2, 4, []int{2, 3}, 16, func(s [][]float32, k []float32) []float32 {
		logMixture(s[0], s[1], s[2], s[3], k[0], k[1], k[2], k[3])
		return nil
	}},
	{"axpyDiff", 3, 1, 1, nil, 32, func(s [][]float32, k []float32) []float32 { axpyDiff(s[0], s[1], s[2], k[0]); return nil }},
	{"axpyCentered", 3, 1, 2, nil, 256, func(s [][]float32, k []float32) []float32 { axpyCentered(s[0], s[1], s[2], k[0], k[1]); return nil }},
	{"axpySoftmax", 2, 1, 3, nil, 256, func(s [][]float32, k []float32) []float32 { axpySoftmax(s[0], s[1], k[0]/8, k[1], k[2]); return nil }},
	{"softmaxDiff", 3, 1, 5, nil, 1024, func(s [][]float32, k []float32) []float32 {
		return list(softmaxDiff(s[0], s[1], s[2], k[0]/8, k[1], k[2], k[3], k[4]))
	}},
	{"softmaxDot", 2, 0, 3, nil, 1024, func(s [][]float32, k []float32) []float32 { return list(softmaxDot(s[0], s[1], k[0]/8, k[1], k[2])) }},

	{"exp2Shift", 1, 1, 2, nil, 8, func(s [][]float32, k []float32) []float32 {
		for i, v := range s[0] { // exponents are at most 1
			s[0][i] = -float32(math.Abs(float64(v)))
		}
		sum, top := exp2Shift(s[0], s[0], float32(math.Abs(float64(k[0]))), max(k[1], -1))
		return []float32{sum, top}
	}},
	{"expectationDiff", 3, 0, 1, nil, 512, func(s [][]float32, k []float32) []float32 { return list(expectationDiff(s[0], s[1], s[2], k[0])) }},
	{"blend", 3, 1, 2, []int{1, 2}, 32, func(s [][]float32, k []float32) []float32 { blend(s[0], s[1], s[2], k[0], k[1]); return nil }},
	{"blendRatio", 5, 1, 4, []int{1, 2, 3, 4}, 512, func(s [][]float32, k []float32) []float32 {
		blendRatio(s[0], s[1], s[2], s[3], s[4], k[0], k[1], k[2], k[3])
		return nil
	}},
	{"mixture", 5, 3, 6, []int{1, 2}, 256, func(s [][]float32, k []float32) []float32 {
		for _, x := range s[1:3] { // probabilities
			for i, v := range x {
				x[i] = max(0, min(1, v))
				if v != v {
					x[i] = 0
				}
			}
		}
		q, p := mixture(s[0], s[1], s[2], s[3], s[4], s[3], float32(math.Abs(float64(k[0]))), float32(math.Abs(float64(k[1]))), k[2], k[3], k[4], k[5])
		return []float32{q, p}
	}},

	{"squaredDeviation", 1, 0, 1, nil, 256, func(s [][]float32, k []float32) []float32 { return list(squaredDeviation(s[0], k[0])) }},
	{"normalize", 3, 1, 3, []int{1}, 128, func(s [][]float32, k []float32) []float32 {
		normalize(s[0], s[1], s[2], nil, k[0], k[1], k[2])
		return nil
	}},
	{"normalize with bias", 4, 1, 3, []int{1}, 128, func(s [][]float32, k []float32) []float32 {
		normalize(s[0], s[1], s[2], s[3], k[0], k[1], k[2])
		return nil
	}},
	{"normSums", 3, 0, 2, nil, 1024, func(s [][]float32, k []float32) []float32 {
		a, b := normSums(s[0], s[1], s[2], k[0], k[1])
		return []float32{a, b}
	}},
	{"normInputGradient", 4, 1, 5, []int{1, 2}, 256, func(s [][]float32, k []float32) []float32 {
		normInputGradient(s[0], s[1], s[2], s[3], nil, k[0], k[1], k[2], k[3], k[4])
		return nil
	}},
	{"normInputGradient with carry", 5, 1, 5, []int{1, 2, 4}, 256, func(s [][]float32, k []float32) []float32 {
		normInputGradient(s[0], s[1], s[2], s[3], s[4], k[0], k[1], k[2], k[3], k[4])
		return nil
	}},
	{"normWeightGradient", 3, 1, 2, nil, 128, func(s [][]float32, k []float32) []float32 {
		normWeightGradient(s[0], nil, s[1], s[2], k[0], k[1])
		return nil
	}},
	{"normWeightGradient with bias", 4, 2, 2, nil, 128, func(s [][]float32, k []float32) []float32 {
		normWeightGradient(s[0], s[1], s[2], s[3], k[0], k[1])
		return nil
	}},

	{"relu", 2, 1, 0, []int{1}, 0, func(s [][]float32, k []float32) []float32 { relu(s[0], s[1]); return nil }},
	{"reluBackward", 3, 1, 0, []int{1, 2}, 0, func(s [][]float32, k []float32) []float32 { reluBackward(s[0], s[1], s[2]); return nil }},
	{"silu", 2, 1, 1, []int{1}, 16, func(s [][]float32, k []float32) []float32 { silu(s[0], s[1], k[0]); return nil }},
	{"siluBackward", 3, 1, 1, []int{1, 2}, 64, func(s [][]float32, k []float32) []float32 { siluBackward(s[0], s[1], s[2], k[0]); return nil }},
	{"swiglu", 3, 1, 0, []int{1, 2}, 64, func(s [][]float32, k []float32) []float32 { swiglu(s[0], s[1], s[2]); return nil }},
	{"swigluBackward", 5, 2, 0, []int{2, 3, 4}, 128, func(s [][]float32, k []float32) []float32 {
		swigluBackward(s[0], s[1], s[2], s[3], s[4])
		return nil
	}},
	{"gelu", 2, 1, 0, []int{1}, 16, func(s [][]float32, k []float32) []float32 { gelu(s[0], s[1]); return nil }},
	{"geluBackward", 3, 1, 0, []int{1, 2}, 64, func(s [][]float32, k []float32) []float32 { geluBackward(s[0], s[1], s[2]); return nil }},
	{"geluTanh", 2, 1, 0, []int{1}, 16, func(s [][]float32, k []float32) []float32 { geluTanh(s[0], s[1]); return nil }},
	{"geluTanhBackward", 3, 1, 0, []int{1, 2}, 64, func(s [][]float32, k []float32) []float32 { geluTanhBackward(s[0], s[1], s[2]); return nil }},

	{"softcap", 2, 1, 2, []int{1}, 32, func(s [][]float32, k []float32) []float32 { softcap(s[0], s[1], k[0], k[1]); return nil }},
	{"softcapBackward", 3, 1, 1, []int{1, 2}, 64, func(s [][]float32, k []float32) []float32 { softcapBackward(s[0], s[1], s[2], k[0]); return nil }},

	{"sumSquares", 1, 0, 0, nil, 1, func(s [][]float32, k []float32) []float32 { return list(float32(sumSquares(s[0]))) }},
	{"adamW", 4, 3, 8, nil, 128, func(s [][]float32, k []float32) []float32 {
		for i, v := range s[2] { // the second moment
			s[2][i] = float32(math.Abs(float64(v)))
		}
		adamW(s[0], s[3], s[1], s[2], k[0], k[1], k[2], 0.9, 0.1, 1.5, 0.5, k[3])
		return nil
	}},
}

func list(v float32) []float32 { return []float32{v} }

// Lengths around the vectors of 8 and 16 elements and what loops unroll.
var lengths = func() []int {
	n := make([]int, 0, 80)
	for i := range 70 {
		n = append(n, i)
	}
	return append(n, 95, 96, 97, 127, 128, 129, 255, 257, 1000, 2048)
}()

func TestTwins(t *testing.T) {
	for _, w := range twins {
		t.Run(w.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			for _, n := range lengths {
				for _, special := range []bool{false, true} {
					w.check(t, r, n, special)
				}
			}
		})
	}
}

func FuzzTwins(f *testing.F) {
	f.Add(uint64(1), uint8(0), uint16(17), true)
	f.Fuzz(func(t *testing.T, seed uint64, which uint8, n uint16, special bool) {
		twins[int(which)%len(twins)].check(t, rand.New(rand.NewPCG(seed, 0)), int(n%4096), special)
	})
}

var specials = []float32{0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()),
	math.SmallestNonzeroFloat32, -1e-40, 1.2e-38, 1e10, -1e10, 88.5, -87.5, -95, -103.9, -105, 30, -30}

// check compares all paths with the portable one, for a call on n elements at places of any alignment, and on each path
// the call at other places and with slices that are one another, which must give the same bits.
func (w twin) check(t *testing.T, r *rand.Rand, n int, special bool) {
	forcePath(t, path) // to restore it
	input := make([][]float32, w.slices)
	ordinary := make([]bool, n) // elements without special values
	for i := range ordinary {
		ordinary[i] = true
	}
	for j := range input {
		input[j] = random[float32](r, n)
		for i := range input[j] {
			if special && r.IntN(6) == 0 {
				input[j][i] = specials[r.IntN(len(specials))]
				ordinary[i] = false
			} else {
				input[j][i] *= 2
			}
		}
	}
	k := random[float32](r, w.scalars)
	want := w.run(t, r, portable, input, k, -1)
	for l := avx2; l <= min(supported(), avx512); l++ {
		got := w.run(t, r, l, input, k, -1)
		for j := range got {
			sums := j == len(got)-1 // what the call returned
			for i, g := range got[j] {
				v := want[j][i]
				tolerance := w.units / (1 << 24) * math.Max(1, math.Abs(float64(v)))
				if sums {
					tolerance *= float64(1 + n/4)
				}
				exact := sums && !special || !sums && ordinary[i]
				if class(g) != class(v) || exact && math.Abs(float64(g)-float64(v)) > tolerance {
					t.Fatalf("%v, n = %d: slice %d [%d] = %g, portable %g (inputs %v, scalars %v)", l, n, j, i, g, v, at(input, i), k)
				}
			}
		}
		for _, alias := range append([]int{-1}, w.alias...) {
			again := w.run(t, r, l, input, k, alias)
			for j := range got {
				if j < w.written && alias == j {
					continue
				}
				if !sameBits(got[j], again[j]) {
					t.Fatalf("%v, n = %d: slice %d changes with where it lies or is %d\n%v\n%v", l, n, j, alias, got[j], again[j])
				}
			}
		}
	}
}

// run returns the written slices and what the call returned. Slice 0 is laid over slice alias.
func (w twin) run(t *testing.T, r *rand.Rand, l level, input [][]float32, k []float32, alias int) [][]float32 {
	path = l
	const guard = 20
	mark := math.Float32frombits(0x7fc12345)
	s := make([][]float32, len(input))
	whole := make([][]float32, len(input))
	for j, x := range input {
		n := len(x)
		whole[j] = make([]float32, n+2*guard+16)
		for i := range whole[j] {
			whole[j][i] = mark
		}
		at := guard + r.IntN(16)
		s[j] = whole[j][at : at+n : at+n]
		copy(s[j], x)
	}
	if alias >= 0 {
		s[0], whole[0] = s[alias], whole[alias]
	}
	sums := w.call(s, k)
	for j := range s {
		if j >= w.written && j != alias && !sameBits(s[j], input[j]) {
			t.Fatalf("%v: slice %d was written", l, j)
		}
		outside := 0
		for _, v := range whole[j] {
			if math.Float32bits(v) == math.Float32bits(mark) {
				outside++
			}
		}
		if outside != 2*guard+16 {
			t.Fatalf("%v: %d elements beyond slice %d were written", l, 2*guard+16-outside, j)
		}
	}
	return append(slices.Clone(s[:w.written]), sums)
}

func class(v float32) string {
	switch {
	case v != v:
		return "NaN"
	case math.IsInf(float64(v), 0):
		return fmt.Sprint(v)
	}
	return "finite"
}

func at(s [][]float32, i int) []float32 {
	var v []float32
	for _, x := range s {
		if i < len(x) {
			v = append(v, x[i])
		}
	}
	return v
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}
