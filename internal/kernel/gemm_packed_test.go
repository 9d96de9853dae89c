package kernel

import (
	"math/rand/v2"
	"runtime"
	"testing"

	"kdistill/internal/testutil"
)

// checkPacked compares columns from … of a product with those of its packed B, to the bit.
func checkPacked[F Float, S Storage](t *testing.T, r *rand.Rand, p *product[F, S], rounded bool, run func(*product[F, S]) []F) {
	t.Helper()
	want := run(p)
	b := NewPacked[F](rounded, p.k, p.n)
	for range 2 { // a place is used again
		Pack(b, p.transB, p.b, p.ldb)
	}
	from := 0
	if p.n > 0 {
		from = r.IntN(p.n) / PackedColumns * PackedColumns
	}
	n := r.IntN(p.n - from + 1)
	have := make([]F, len(p.c))
	copy(have, p.c)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1 + r.IntN(3)))
	poisonScratch[F]()
	GemmPacked(p.transA, p.m, n, p.a, p.lda, b, from, p.accumulate, have[min(from, len(have)):], p.ldc)
	for i := range have {
		if row, column := i/p.ldc, i%p.ldc; row < p.m && column >= from && column < from+n {
			if have[i] != want[i] {
				t.Fatalf("%v, columns %d … %d packed: C[%d,%d] = %v, want %v", p, from, from+n, row, column, have[i], want[i])
			}
		} else if have[i] != p.c[i] {
			t.Fatalf("%v, columns %d … %d packed: wrote outside of C at row %d, column %d", p, from, from+n, row, column)
		}
	}
}

// Products of a packed B have the bits of those that pack it themselves, on all paths.
func TestGemmPacked(t *testing.T) {
	shapes := [][3]int{{0, 5, 5}, {5, 0, 5}, {5, 5, 0}, {1, 300, 800}, {3, 64, 512}, {13, 33, 385}, {24, 64, 769}, {70, 600, 48}, {110, 40, 1539}, {260, 290, 30}}
	r := rand.New(rand.NewPCG(11, 12))
	for range 60 {
		shapes = append(shapes, [3]int{r.IntN(30), r.IntN(150), r.IntN(70)})
	}
	each := func(t *testing.T, check func(m, n, k int, transA, transB, accumulate bool)) {
		for i, s := range shapes {
			if testutil.Race && i%8 > 0 {
				continue
			}
			check(s[0], s[1], s[2], r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(2) == 0)
		}
	}
	onEachPath(t, func(t *testing.T) {
		each(t, func(m, n, k int, x, y, z bool) {
			checkPacked(t, r, randomProduct[float32, float32](r, m, n, k, x, y, z), false, (*product[float32, float32]).run)
			checkPacked(t, r, randomProduct[float32, uint16](r, m, n, k, x, y, z), false, (*product[float32, uint16]).run)
			checkPacked(t, r, randomProduct[float64, float64](r, m, n, k, x, y, z), false, (*product[float64, float64]).run)
		})
	})
	onPaths(t, avx512BF16, func(t *testing.T) {
		each(t, func(m, n, k int, x, y, z bool) {
			checkPacked(t, r, randomProduct[float32, float32](r, m, n, k, x, y, z), true, (*product[float32, float32]).runBF16)
			checkPacked(t, r, randomProduct[float32, uint16](r, m, n, k, x, y, z), true, (*product[float32, uint16]).runBF16)
		})
	})
}

func TestGemmPackedAllocatesNothing(t *testing.T) {
	p := randomProduct[float32, float32](rand.New(rand.NewPCG(7, 8)), 100, 100, 100, false, true, true)
	b := NewPacked[float32](false, p.k, p.n)
	checkAllocations(t, func() {
		Pack(b, p.transB, p.b, p.ldb)
		GemmPacked(p.transA, p.m, 36, p.a, p.lda, b, 64, p.accumulate, p.c, p.ldc)
	})
}

func TestGemmPackedRefusesColumns(t *testing.T) {
	b := NewPacked[float32](false, 4, 50)
	for _, columns := range [][2]int{{16, 10}, {32, 19}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("columns %d and %d more of 50 were taken", columns[0], columns[1])
				}
			}()
			GemmPacked(false, 1, columns[1], make([]float32, 4), 4, b, columns[0], false, make([]float32, 50), 50)
		}()
	}
}
