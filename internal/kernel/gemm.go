package kernel

import (
	"math"
	"runtime"
)

//go:generate go run ./gen/gemm -out gemm_amd64.s -stubs gemm_stubs_amd64.go -pkg kernel

// blockK is the longest run of terms that is summed in registers before the sum is added to C.
const blockK = 384

// itemPanels is the greatest width, in panels, of an item of Gemm, which is the block of C that one worker computes at a time.
const itemPanels = 12

// Gemm computes C = op(A)·op(B), or C += op(A)·op(B) with accumulate, for row-major matrices with leading dimensions lda, ldb, ldc:
// op(A) is [m, k] (stored [k, m] with transA), op(B) is [k, n] (stored [n, k] with transB), C is [m, n].
// A bfloat16 B is expanded exactly. C must not overlap A or B.
//
// An element's sum is taken in an order that depends on k alone: the k terms are cut into ceil(k/blockK) runs of equal length,
// the terms of a run are added up from zero one after the other, and the runs' sums are added to C in turn.
func Gemm[F Float, S Storage](transA, transB bool, m, n, k int, a []F, lda int, b []S, ldb int, accumulate bool, c []F, ldc int) {
	compute(false, transA, transB, m, n, k, a, lda, b, ldb, accumulate, c, ldc)
}

// compute is Gemm or, with rounded, GemmBF16.
func compute[F Float, S Storage](rounded, transA, transB bool, m, n, k int, a []F, lda int, b []S, ldb int, accumulate bool, c []F, ldc int) {
	if m <= 0 || n <= 0 {
		return
	}
	_ = c[(m-1)*ldc+n-1]
	if k <= 0 {
		for i := range m {
			if !accumulate {
				clear(c[i*ldc:][:n])
			}
		}
		return
	}
	_ = a[extent(transA, m, k, lda)-1]
	_ = b[extent(transB, k, n, ldb)-1]
	if !rounded && transB && !transA && !accumulate && multiplyFew(m, n, k, a, lda, b, ldb, c, ldc) {
		return
	}
	g := take[gemm[F, S]]()
	*g = gemm[F, S]{rounded: rounded, transB: transB, m: m, n: n, k: k, a: a, rs: lda, cs: 1, b: b, ldb: ldb, accumulate: accumulate, c: c, ldc: ldc}
	if transA {
		g.rs, g.cs = 1, lda
	}
	parallel(g.cut(), g)
	give(g)
}

// extent is how many elements a matrix spans.
func extent(trans bool, rows, columns, ld int) int {
	if trans {
		rows, columns = columns, rows
	}
	return (rows-1)*ld + columns
}

// gemm is a call of Gemm: the matrices, and how C is cut into items.
type gemm[F Float, S Storage] struct {
	rounded, transB     bool
	m, n, k             int
	a                   []F
	rs, cs              int // element (i, p) of op(A) is a[i*rs+p*cs]
	b                   []S
	ldb                 int
	accumulate          bool
	c                   []F
	ldc                 int
	itemRows, itemWidth int
	itemsDown           int
}

// cut chooses the size of items and returns their number. It weighs what items cost, in rows of one panel: beside their products,
// packing B (once per item, where it is packed) and reading, or rounding, A; and how evenly they go round. No result depends on it.
func (g *gemm[F, S]) cut() int {
	const maxStrips, starting, uneven = 64, 4000, 0.1
	packing, reading := 10.0, 0.4
	switch {
	case g.rounded:
		packing, reading = 16, 1
	case !g.transB && g.readsInPlace():
		packing = 0
	}
	tile := tileOf[F]()
	threads := runtime.GOMAXPROCS(0)
	strips, width := ceil(g.m, tile.rows), ceil(g.n, tile.columns)
	best := math.Inf(1)
	for p := min(width, itemPanels); p > 0; p-- {
		across := ceil(width, p)
		for rounds := 1; rounds <= 8; rounds++ {
			down := min(max(rounds*threads/across, ceil(strips, maxStrips)), strips)
			s := ceil(strips, down)
			items := across * ceil(strips, s)
			rows := float64(min(s*tile.rows, g.m))
			cost := (uneven + float64(ceil(items, threads))) * (float64(g.k)*(float64(p)*(rows+packing)+reading*rows) + 1000)
			if items > 1 {
				cost += starting
			}
			if cost < best {
				best, g.itemRows, g.itemWidth = cost, s*tile.rows, p*tile.columns
			}
		}
	}
	g.itemsDown = ceil(g.m, g.itemRows)
	return g.itemsDown * ceil(g.n, g.itemWidth)
}

func (g *gemm[F, S]) run(item int) {
	i0, j0 := item%g.itemsDown*g.itemRows, item/g.itemsDown*g.itemWidth
	m, n := min(g.itemRows, g.m-i0), min(g.itemWidth, g.n-j0)
	if g.rounded {
		g.runRounded(i0, j0, m, n)
		return
	}
	depth := runLength(g.k, blockK)
	size, compactRow := packedSize[F](depth, n), 0
	if g.rs == 1 && pathOf[F]() == avx2 && g.cs%1024 == 0 {
		// the columns of a strip of A would meet in few cache sets, which AVX-512's wider strips can afford
		compactRow = m + 16
	}
	memory := borrowScratch[F](size, depth*compactRow)
	defer memory.giveBack()
	packed, compact := memory.cut(size), memory.cut(depth*compactRow)
	for p0 := 0; p0 < g.k; p0 += depth {
		k := min(depth, g.k-p0)
		a, b, c, add := g.at(i0, j0, p0)
		done := g.unpacked(m, k, n, a, b, add, c)
		if done == n {
			continue
		}
		if g.transB {
			b = b[done*g.ldb:]
		} else {
			b = b[done:]
		}
		cs := g.cs
		if compactRow > 0 {
			for p := range k {
				copy(compact[p*compactRow:], a[p*cs:][:m])
			}
			a, cs = compact, compactRow
		}
		p := packB(packed, g.transB, k, n-done, b, g.ldb)
		multiply(m, k, n-done, a, g.rs, cs, p, add, c[done:], g.ldc)
	}
}

// at returns the operands of a block of C from its row i and column j on, for terms from p on.
func (g *gemm[F, S]) at(i, j, p int) (a []F, b []S, c []F, add bool) {
	if g.transB {
		b = g.b[j*g.ldb+p:]
	} else {
		b = g.b[p*g.ldb+j:]
	}
	return g.a[i*g.rs+p*g.cs:], b, g.c[i*g.ldc+j:], g.accumulate || p > 0
}

// unpacked computes columns of C, from the left, for which B need not be packed because the item has few rows or B lies well. It returns their number.
func (g *gemm[F, S]) unpacked(m, k, n int, a []F, b []S, add bool, c []F) int {
	if g.transB {
		if m <= dotsRows && g.cs == 1 {
			return dots(m, k, n, a, g.rs, b, g.ldb, add, c, g.ldc)
		}
		return 0
	}
	n &^= 15 // vectors are read whole
	if same, ok := any(b).([]F); ok && (m <= inPlaceRows || g.readsInPlace()) && n > 0 {
		multiply(m, k, n, a, g.rs, g.cs, panels[F]{same, g.ldb, tileOf[F]().columns}, add, c, g.ldc)
		return n
	}
	return 0
}

const (
	dotsRows    = 4       // rows of A for which dots is faster than packing B
	inPlaceRows = 12      // rows of A for which a B that is stored [k, n] is better read as it lies
	inPlaceSize = 1 << 20 // elements of such a B which caches hold between its uses
)

// readsInPlace says whether a B that is stored [k, n] is better read as it lies by any number of rows of A: it stays in a cache, and its rows don't
// meet in a few of the cache's sets.
func (g *gemm[F, S]) readsInPlace() bool { return g.k*g.ldb <= inPlaceSize && g.ldb%512 != 0 }

// runLength is the length of the runs that k terms are cut into, at most longest; the last may be shorter.
func runLength(k, longest int) int { return roundUp(ceil(k, ceil(k, longest))) }

// roundUp rounds up to a multiple of 16.
func roundUp(n int) int { return (n + 15) &^ 15 }

func ceil(n, d int) int { return (n + d - 1) / d }

// tileSize is the shape of the block of C that a micro-kernel keeps in registers.
type tileSize struct{ rows, columns int }

func tileOf[F Float]() tileSize {
	switch pathOf[F]() {
	case avx512:
		return tileSize{12, 32}
	case avx2:
		return tileSize{6, 16}
	}
	return tileSize{4, 4}
}

// multiply sets (add: adds to) C [m, n] to A·B; element (i, p) of A [m, k] is a[i*rs+p*cs]. It runs on the calling goroutine.
func multiply[F Float](m, k, n int, a []F, rs, cs int, b panels[F], add bool, c []F, ldc int) {
	tile := tileOf[F]()
	last := (n - 1) / tile.columns
	_ = a[(m-1)*rs+(k-1)*cs]
	_ = b.b[last*b.step+(k-1)*b.stride+n-1-last*tile.columns]
	_ = c[(m-1)*ldc+n-1]
	rows := ceil(m, ceil(m, tile.rows)) // strips as equal as can be: few rows leave the pipelines waiting
	multiplyStrips(m, rows, k, n, a, rs, cs, b, add, c, ldc)
}
