package kernel

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"kdistill/internal/testutil"
)

// runBF16 is run of GemmBF16.
func (p *product[F, S]) runBF16() []float32 {
	c := slices.Clone(any(p.c).([]float32))
	poisonScratch[float32]()
	a := any(p.a).([]float32)
	switch b := any(p.b).(type) {
	case []float32:
		GemmBF16(p.transA, p.transB, p.m, p.n, p.k, a, p.lda, b, p.ldb, p.accumulate, c, p.ldc)
	case []uint16:
		GemmBF16(p.transA, p.transB, p.m, p.n, p.k, a, p.lda, b, p.ldb, p.accumulate, c, p.ldc)
	}
	return c
}

// runRounded is runBF16 with an A whose rows RoundRow has made.
func (p *product[F, S]) runRounded() []float32 {
	c := slices.Clone(any(p.c).([]float32))
	poisonScratch[float32]()
	a := slices.Clone(any(p.a).([]float32))
	rows, length := p.m, p.k
	if p.transA {
		rows, length = p.k, p.m
	}
	for r := range rows {
		row := a[r*p.lda:][:length]
		RoundRow(row, row)
	}
	switch b := any(p.b).(type) {
	case []float32:
		GemmRounded(p.transA, p.transB, p.m, p.n, p.k, a, p.lda, b, p.ldb, p.accumulate, c, p.ldc)
	case []uint16:
		GemmRounded(p.transA, p.transB, p.m, p.n, p.k, a, p.lda, b, p.ldb, p.accumulate, c, p.ldc)
	}
	return c
}

// define computes an element as GemmBF16 is defined, and the sum of its terms' sizes.
func (p *product[F, S]) define(i, j int) (value, size float32) {
	sums := []float32(nil)
	if p.accumulate {
		sums = append(sums, float32(p.c[i*p.ldc+j]))
	}
	depth := runLength(max(1, p.k), blockPairs)
	for p0 := 0; p0 < p.k; p0 += depth {
		var sum float32
		for l := p0; l < min(p.k, p0+depth); l++ {
			a, b := p.at(i, j, l)
			term := FromBF16(BF16(float32(a))) * FromBF16(BF16(float32(b)))
			sum += term
			size += float32(math.Abs(float64(term)))
		}
		sums = append(sums, sum)
	}
	for l, sum := range sums {
		if value += sum; l == 0 {
			value = sum
		}
	}
	return value, size
}

func (p *product[F, S]) checkBF16(t *testing.T) {
	t.Helper()
	c := p.runBF16()
	if !sameBits(c, p.runRounded()) {
		t.Fatalf("%v: an A that is rounded before changes bits", p)
	}
	for i := range c {
		row, column := i/p.ldc, i%p.ldc
		want, tolerance := float32(p.c[i]), 0.0
		if row < p.m && column < p.n {
			var size float32
			if want, size = p.define(row, column); path == avx512BF16 { // other makers' processors may round otherwise
				tolerance = float64(size) / (1 << 23) * math.Sqrt(float64(p.k+4))
			}
		}
		if d := math.Abs(float64(c[i] - want)); !(d <= tolerance) {
			t.Fatalf("%v: C[%d,%d] = %v, want %v", p, row, column, c[i], want)
		}
	}
}

func TestGemmBF16(t *testing.T) {
	onPaths(t, avx512BF16, func(t *testing.T) {
		testGemmBF16[float32](t)
		testGemmBF16[uint16](t)
	})
}

func testGemmBF16[S float32 | uint16](t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	flags := func() (bool, bool, bool) { return r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(2) == 0 }
	for i := range 75 { // every tail of m, n and k
		if testutil.Race && i%8 > 0 { // arithmetic is slow there, and not what is tested
			continue
		}
		x, y, z := flags()
		randomProduct[float32, S](r, i%14, r.IntN(70), r.IntN(40), x, y, z).checkBF16(t)
		randomProduct[float32, S](r, r.IntN(30), i, r.IntN(40), x, y, z).checkBF16(t)
		randomProduct[float32, S](r, r.IntN(30), r.IntN(70), i, x, y, z).checkBF16(t)
	}
	for _, s := range [][3]int{{1, 1, 1}, {1, 300, 800}, {300, 1, 400}, {13, 33, 769}, {24, 64, 1539}, {110, 290, 31}, {97, 20, 50}} {
		if testutil.Race && s[0]*s[1] > 1000 {
			continue
		}
		for transA := range 2 { // A is rounded in blocks, in another way for each
			_, y, z := flags()
			randomProduct[float32, S](r, s[0], s[1], s[2], transA == 1, y, z).checkBF16(t)
		}
	}
}

// As TestGemmBits.
func TestGemmBF16Bits(t *testing.T) {
	onPaths(t, avx512BF16, func(t *testing.T) {
		testGemmBits(t, (*product[float32, float32]).runBF16)
		testGemmBits(t, (*product[float32, uint16]).runBF16)
	})
}

// What is not finite comes out in its row or column, denormals may count as zero, and all paths agree.
func TestGemmBF16SpecialValues(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	specials := []float32{0, float32(math.Copysign(0, -1)), float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), 1e-40, -1e-39,
		math.SmallestNonzeroFloat32, 1e15, -1e15, 1e-15, math.MaxFloat32}
	for flags := range 32 {
		p := randomProduct[float32, float32](r, 1+r.IntN(40), 1+r.IntN(70), 1+r.IntN(40), flags&1 > 0, flags&2 > 0, false)
		for _, x := range [][]float32{p.a, p.b} {
			for range 1 + len(x)/50 {
				x[r.IntN(len(x))] = specials[r.IntN(len(specials))]
			}
		}
		flushed := *p
		flushed.a, flushed.b = flush(p.a), flush(p.b)
		compare := func(p *product[float32, float32], l level, rounding float64) {
			forcePath(t, portable)
			want := p.runBF16()
			forcePath(t, l)
			for i, have := range p.runBF16() {
				if row, column := i/p.ldc, i%p.ldc; row < p.m && column < p.n {
					h, w := float64(have), float64(want[i])
					_, size := p.define(row, column)
					if h != w && !(math.IsNaN(h) && math.IsNaN(w)) && !(math.Abs(h-w) <= 1e-37+rounding*float64(size)) {
						t.Fatalf("%v on %v: C[%d,%d] = %v, portable has %v", p, l, row, column, have, want[i])
					}
				}
			}
		}
		for l := avx2; l <= min(avx512, supported()); l++ {
			compare(p, l, 0)
		}
		if supported() == avx512BF16 {
			compare(&flushed, avx512BF16, 1e-6)
			forcePath(t, avx512BF16)
			if with, without := p.runBF16(), flushed.runBF16(); !sameBits(with, without) {
				t.Errorf("%v: denormals count", p)
			}
			if !sameBits(p.runBF16(), p.runRounded()) {
				t.Errorf("%v: an A that is rounded before changes bits", p)
			}
		}
	}
}

// flush sets denormals to zero.
func flush(x []float32) []float32 {
	x = slices.Clone(x)
	for i, v := range x {
		if math.Abs(float64(v)) < 0x1p-126 {
			x[i] = float32(math.Copysign(0, float64(v)))
		}
	}
	return x
}

func TestRoundBF16(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(9, 1))
		for n := range 70 {
			src := make([]float32, n)
			for i := range src {
				src[i] = math.Float32frombits(r.Uint32())
				if r.IntN(3) == 0 { // ties, infinities, NaN whose low bits alone are set
					src[i] = math.Float32frombits(r.Uint32()&0xff800000 | 1<<r.IntN(23))
				}
			}
			dst := make([]float32, n)
			roundBF16(dst, src)
			for i, x := range src {
				if want := math.Float32bits(FromBF16(BF16(x))); math.Float32bits(dst[i]) != want {
					t.Fatalf("%d of %d: %08x becomes %08x, want %08x", i, n, math.Float32bits(x), math.Float32bits(dst[i]), want)
				}
			}
		}
	})
}

func TestGemmBF16AllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	p, q := randomProduct[float32, float32](r, 100, 100, 100, true, true, true), randomProduct[float32, uint16](r, 3, 500, 400, false, true, true)
	checkAllocations(t, func() {
		GemmBF16(p.transA, p.transB, p.m, p.n, p.k, p.a, p.lda, p.b, p.ldb, p.accumulate, p.c, p.ldc)
		GemmBF16(q.transA, q.transB, q.m, q.n, q.k, q.a, q.lda, q.b, q.ldb, q.accumulate, q.c, q.ldc)
	})
}

// FuzzGemmBF16 compares all paths with the definition on shapes, strides and flags of the fuzzer's choice.
func FuzzGemmBF16(f *testing.F) {
	f.Add(uint64(1), uint16(12), uint16(32), uint16(16), uint8(0))
	f.Add(uint64(2), uint16(1), uint16(1), uint16(1), uint8(7))
	f.Add(uint64(3), uint16(25), uint16(47), uint16(790), uint8(2))
	f.Fuzz(func(t *testing.T, seed uint64, m, n, k uint16, flags uint8) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
		r := rand.New(rand.NewPCG(seed, 0))
		a := randomProduct[float32, float32](r, int(m)%120, int(n)%150, int(k)%1700, flags&1 > 0, flags&2 > 0, flags&4 > 0)
		b := randomProduct[float32, uint16](r, int(m)%120, int(n)%150, int(k)%1700, flags&1 > 0, flags&2 > 0, flags&4 > 0)
		for l := portable; l <= supported(); l++ {
			forcePath(t, l)
			runtime.GOMAXPROCS(1 + r.IntN(3))
			a.checkBF16(t)
			b.checkBF16(t)
		}
	})
}
