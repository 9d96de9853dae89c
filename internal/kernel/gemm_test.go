package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"kdistill/internal/testutil"
)

// product is a Gemm with its operands, between guard elements that it must not touch.
type product[F Float, S Storage] struct {
	transA, transB bool
	m, n, k        int
	lda, ldb, ldc  int
	accumulate     bool
	a, c           []F
	b              []S
}

func randomProduct[F Float, S Storage](r *rand.Rand, m, n, k int, transA, transB, accumulate bool) *product[F, S] {
	p := &product[F, S]{transA: transA, transB: transB, m: m, n: n, k: k, accumulate: accumulate}
	width := func(trans bool, rows, columns int) int {
		if trans {
			columns = rows
		}
		return max(1, columns) + r.IntN(3)*r.IntN(9)
	}
	p.lda, p.ldb, p.ldc = width(transA, m, k), width(transB, k, n), width(false, m, n)
	p.a = random[F](r, max(0, extent(transA, m, k, p.lda)))
	p.c = random[F](r, m*p.ldc+8)
	for _, x := range random[float32](r, max(0, extent(transB, k, n, p.ldb))) {
		var s S
		switch v := any(&s).(type) {
		case *uint16:
			*v = BF16(x)
		case *float32:
			*v = x
		case *float64:
			*v = float64(x)
		}
		p.b = append(p.b, s)
	}
	return p
}

// poisonScratch leaves NaN in the memory that the next kernels borrow.
func poisonScratch[F Float]() {
	if testutil.Race { // every byte is watched: slow
		return
	}
	for _, b := range *buffers[F]() {
		b = b[:cap(b)]
		if len(b) == 0 { // somebody needed no memory
			continue
		}
		b[0] = F(math.NaN())
		for n := 1; n < len(b); n *= 2 {
			copy(b[n:], b[:n])
		}
	}
}

func random[F Float](r *rand.Rand, n int) []F {
	x := make([]F, n)
	for i := range x {
		x[i] = F(float32(r.NormFloat64()))
	}
	return x
}

func (p *product[F, S]) run() []F {
	c := slices.Clone(p.c)
	poisonScratch[F]()
	Gemm(p.transA, p.transB, p.m, p.n, p.k, p.a, p.lda, p.b, p.ldb, p.accumulate, c, p.ldc)
	return c
}

func (p *product[F, S]) at(i, j, l int) (a, b float64) {
	ai, bi := i*p.lda+l, l*p.ldb+j
	if p.transA {
		ai = l*p.lda + i
	}
	if p.transB {
		bi = j*p.ldb + l
	}
	return float64(p.a[ai]), expand[float64](p.b[bi])
}

// check compares with a float64 sum; the bound is that of a sum of k rounded products.
func (p *product[F, S]) check(t *testing.T) {
	t.Helper()
	c := p.run()
	epsilon := math.Nextafter(1, 2) - 1
	if _, ok := any(c).([]float32); ok {
		epsilon = 1.0 / (1 << 23)
	}
	for i := range c {
		row, column := i/p.ldc, i%p.ldc
		if row >= p.m || column >= p.n {
			if c[i] != p.c[i] {
				t.Fatalf("%v: wrote outside of C at row %d, column %d", p, row, column)
			}
			continue
		}
		want, size := 0.0, 0.0
		if p.accumulate {
			want = float64(p.c[i])
			size = math.Abs(want)
		}
		for l := range p.k {
			a, b := p.at(row, column, l)
			want += a * b
			size += math.Abs(a * b)
		}
		if d := math.Abs(float64(c[i]) - want); !(d <= epsilon*size*math.Sqrt(float64(p.k+4))) {
			t.Fatalf("%v: C[%d,%d] = %v, want %v", p, row, column, c[i], want)
		}
	}
}

func (p *product[F, S]) String() string {
	return fmt.Sprintf("%T transA=%v transB=%v m=%d n=%d k=%d lda=%d ldb=%d ldc=%d accumulate=%v", p, p.transA, p.transB, p.m, p.n, p.k, p.lda, p.ldb, p.ldc, p.accumulate)
}

func TestGemm(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		testGemm[float32, float32](t)
		testGemm[float32, uint16](t)
		testGemm[float32, float64](t)
		testGemm[float64, float64](t)
		testGemm[float64, float32](t)
		testGemm[float64, uint16](t)
	})
}

func testGemm[F Float, S Storage](t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	flags := func() (bool, bool, bool) { return r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(2) == 0 }
	for i := range 75 { // every tail of m, n and k
		if testutil.Race && i%8 > 0 { // arithmetic is slow there, and not what is tested
			continue
		}
		x, y, z := flags()
		randomProduct[F, S](r, i%14, r.IntN(70), r.IntN(40), x, y, z).check(t)
		randomProduct[F, S](r, r.IntN(30), i, r.IntN(40), x, y, z).check(t)
		randomProduct[F, S](r, r.IntN(30), r.IntN(70), i, x, y, z).check(t)
	}
	for _, s := range [][3]int{{1, 1, 1}, {1, 300, 800}, {300, 1, 400}, {13, 33, 385}, {24, 64, 769}, {260, 290, 30}} {
		if testutil.Race && s[0]*s[1] > 1000 {
			continue
		}
		x, y, z := flags()
		randomProduct[F, S](r, s[0], s[1], s[2], x, y, z).check(t)
	}
}

// An element's bits must not depend on what else is computed: the whole product is compared with products of single rows, single
// columns and blocks cut anywhere, in other storage orders, under other numbers of threads.
func TestGemmBits(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		testGemmBits(t, (*product[float32, float32]).run)
		testGemmBits(t, (*product[float32, uint16]).run)
		testGemmBits(t, (*product[float64, float32]).run)
	})
}

func testGemmBits[F Float, S Storage](t *testing.T, run func(*product[F, S]) []F) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, s := range [][3]int{{61, 100, 50}, {40, 290, 400}, {250, 40, 17}, {3, 33, 1000}} {
		for flags := range 8 {
			transA, transB := flags&1 > 0, flags&2 > 0
			p := randomProduct[F, S](r, s[0], s[1], s[2], transA, transB, flags&4 > 0)
			whole := run(p)
			for i := range 12 {
				if testutil.Race && i > 2 {
					break
				}
				threads := runtime.GOMAXPROCS(1 + r.IntN(3))
				i, j := r.IntN(p.m), r.IntN(p.n)
				part := *p
				part.m, part.n = 1+r.IntN(min(p.m-i, 1+r.IntN(p.m))), 1+r.IntN(min(p.n-j, 1+r.IntN(p.n)))
				part.a, part.b, part.c = p.a[start(transA, i, 0, p.lda):], p.b[start(transB, 0, j, p.ldb):], p.c[i*p.ldc+j:]
				if r.IntN(2) == 0 { // the same operands stored the other way round
					part.a, part.lda, part.transA = transposed(part.a, part.lda, part.m, part.k, transA)
					part.b, part.ldb, part.transB = transposed(part.b, part.ldb, part.k, part.n, transB)
				}
				c := run(&part)
				runtime.GOMAXPROCS(threads)
				for y := range part.m {
					for x := range part.n {
						if have, want := c[y*part.ldc+x], whole[(i+y)*p.ldc+j+x]; have != want {
							t.Fatalf("%v: as part of %v, C[%d,%d] = %v, want %v", &part, p, i+y, j+x, have, want)
						}
					}
				}
			}
		}
	}
}

// transposed stores op(X) [rows, columns] the other way round.
func transposed[S Storage](x []S, ld, rows, columns int, trans bool) ([]S, int, bool) {
	y := make([]S, rows*columns)
	for i := range rows {
		for j := range columns {
			if trans {
				y[i*columns+j] = x[j*ld+i]
			} else {
				y[j*rows+i] = x[i*ld+j]
			}
		}
	}
	if trans {
		return y, columns, false
	}
	return y, rows, true
}

// A NaN or an infinity must come out in its row or column, and nowhere else.
func TestGemmSpecialValues(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		for flags := range 4 {
			p := randomProduct[float32, float32](r, 30, 45, 21, flags&1 > 0, flags&2 > 0, false)
			nan, inf := float32(math.NaN()), float32(math.Inf(1))
			set := func(x []float32, trans bool, i, l, ld int, v float32) {
				if trans {
					i, l = l, i
				}
				x[i*ld+l] = v
			}
			set(p.a, p.transA, 7, 20, p.lda, nan)
			set(p.b, p.transB, 3, 44, p.ldb, inf)
			c := p.run()
			for i := range p.m {
				for j := range p.n {
					v := float64(c[i*p.ldc+j])
					want := i == 7 || j == 44
					if math.IsNaN(v) || math.IsInf(v, 0) != want {
						if i != 7 || !math.IsNaN(v) {
							t.Fatalf("flags %d: C[%d,%d] = %v", flags, i, j, v)
						}
					}
				}
			}
		}
	})
}

func TestGemmAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	p, q := randomProduct[float32, float32](r, 100, 100, 100, false, true, true), randomProduct[float32, uint16](r, 3, 500, 400, false, true, true)
	checkAllocations(t, func() {
		Gemm(p.transA, p.transB, p.m, p.n, p.k, p.a, p.lda, p.b, p.ldb, p.accumulate, p.c, p.ldc)
		Gemm(q.transA, q.transB, q.m, q.n, q.k, q.a, q.lda, q.b, q.ldb, q.accumulate, q.c, q.ldc)
	})
}

// FuzzGemm compares the assembly with the portable code on shapes, strides and flags of the fuzzer's choice, and with special values among the elements:
// flag 8 has some of all kinds, 16 only denormals.
func FuzzGemm(f *testing.F) {
	f.Add(uint64(1), uint16(12), uint16(32), uint16(16), uint8(0))
	f.Add(uint64(2), uint16(1), uint16(1), uint16(1), uint8(7))
	f.Add(uint64(3), uint16(25), uint16(47), uint16(390), uint8(10))
	for flags := range uint8(24) {
		f.Add(uint64(flags), uint16(1+5*flags), uint16(70-flags), uint16(3+flags), 8+flags)
		f.Add(uint64(flags), uint16(3), uint16(33+flags), uint16(16+flags%2*16), 8+flags) // few rows
	}
	f.Fuzz(func(t *testing.T, seed uint64, m, n, k uint16, flags uint8) {
		r := rand.New(rand.NewPCG(seed, 0))
		fuzzGemm[float32](t, r, int(m)%300, int(n)%600, int(k)%900, flags)
		fuzzGemm[uint16](t, r, int(m)%300, int(n)%600, int(k)%900, flags)
	})
}

func fuzzGemm[S float32 | uint16](t *testing.T, r *rand.Rand, m, n, k int, flags uint8) {
	p := randomProduct[float32, S](r, m, n, k, flags&1 > 0, flags&2 > 0, flags&4 > 0)
	b := make([]float32, len(p.b))
	for i, v := range p.b {
		b[i] = expand[float32](v)
	}
	for _, x := range [][]float32{p.a, b} {
		if n := 60; flags&8 > 0 {
			for range 1 + len(x)/n {
				if len(x) > 0 {
					x[r.IntN(len(x))] = specials[r.IntN(len(specials))]
				}
			}
		}
	}
	if flags&16 > 0 {
		scaleTo(p.a, p.a, 1e-40)
		scaleTo(p.c, p.c, 1e-40)
	}
	for i, v := range b {
		if x, ok := any(&p.b[i]).(*uint16); ok {
			*x = BF16(v)
		} else {
			*any(&p.b[i]).(*float32) = v
		}
	}
	forcePath(t, portable)
	want := p.run()
	for l := avx2; l <= min(supported(), avx512); l++ {
		path = l
		for i, have := range p.run() {
			row, column, v := i/p.ldc, i%p.ldc, want[i]
			if row >= m || column >= n {
				if math.Float32bits(have) != math.Float32bits(v) {
					t.Fatalf("%v on %v: element %d outside became %v", p, l, i, have)
				}
				continue
			}
			size := 0.0
			for at := range k {
				x, y := p.at(row, column, at)
				size += math.Abs(x * y)
			}
			if p.accumulate {
				size += math.Abs(float64(p.c[i]))
			}
			if class(have) != class(v) || class(v) == "finite" && !(math.Abs(float64(have-v)) <= float64(k+4)*(0x1p-24*size+0x1p-149)) {
				t.Fatalf("%v on %v: C[%d,%d] = %v, portable has %v", p, l, row, column, have, v)
			}
		}
	}
}

func TestBF16(t *testing.T) {
	for _, c := range []struct {
		f    float32
		want uint16
	}{
		{0, 0}, {1, 0x3f80}, {-2, 0xc000}, {1 + 1.0/256, 0x3f80}, {1 + 3.0/256, 0x3f82}, {1 + 1.0/256 + 1.0/65536, 0x3f81},
		{math.MaxFloat32, 0x7f80}, {float32(math.Inf(-1)), 0xff80}, {math.SmallestNonzeroFloat32, 0},
	} {
		if got := BF16(c.f); got != c.want {
			t.Errorf("BF16(%v) = %#x, want %#x", c.f, got, c.want)
		}
	}
	for b := range 1 << 16 {
		f := FromBF16(uint16(b))
		if f != f {
			if g := FromBF16(BF16(f)); g == g {
				t.Errorf("NaN %#x became %v", b, g)
			}
			if low := math.Float32frombits(uint32(b)<<16&0xff800000 | 1); FromBF16(BF16(low)) == FromBF16(BF16(low)) {
				t.Errorf("NaN with the low bit set became %v", low)
			}
		} else if BF16(f) != uint16(b) {
			t.Errorf("%#x became %#x", b, BF16(f))
		}
	}
}
