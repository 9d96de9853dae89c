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
// In float32 it is off the exact sum by less than 2^-23·√(k+4)·Σ|a·b|, C's old value being one of the terms.
func Gemm[F Float, S Storage](transA, transB bool, m, n, k int, a []F, lda int, b []S, ldb int, accumulate bool, c []F, ldc int) {
	compute(gemm[F, S]{transB: transB, m: m, n: n, k: k, a: a, rs: lda, cs: 1, b: b, ldb: ldb, accumulate: accumulate, c: c, ldc: ldc}, transA)
}

// compute computes a product that is given as if A were stored [m, k].
func compute[F Float, S Storage](of gemm[F, S], transA bool) {
	m, n, k, lda := of.m, of.n, of.k, of.rs
	if m <= 0 || n <= 0 {
		return
	}
	_ = of.c[(m-1)*of.ldc+n-1]
	if k <= 0 {
		for i := range m {
			if !of.accumulate {
				clear(of.c[i*of.ldc:][:n])
			}
		}
		return
	}
	_ = of.a[extent(transA, m, k, lda)-1]
	if of.packed == nil {
		_ = of.b[extent(of.transB, k, n, of.ldb)-1]
		if !of.rounded && of.transB && !transA && !of.accumulate && multiplyFew(m, n, k, of.a, lda, of.b, of.ldb, of.c, of.ldc) {
			return
		}
	}
	if transA {
		of.transA, of.rs, of.cs = true, 1, lda
	}
	g := take[gemm[F, S]]()
	*g = of
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

// start is where the element in a row and column of a matrix lies.
func start(trans bool, row, column, ld int) int {
	if trans {
		row, column = column, row
	}
	return row*ld + column
}

// gemm is a call of Gemm: the matrices, and how C is cut into items.
type gemm[F Float, S Storage] struct {
	rounded             bool
	roundedA            bool // A's rows, as they are stored, are made by RoundRow
	transA, transB      bool
	m, n, k             int
	a                   []F
	rs, cs              int // element (i, p) of op(A) is a[i*rs+p*cs]
	b                   []S
	ldb                 int
	packed              *Packed[F] // in place of b, its columns from a column on; nil: none
	from                int
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
	case g.roundedA:
		packing = 16
	case g.rounded:
		packing, reading = 16, 1
	}
	switch {
	case g.packed != nil:
		packing = 0
	case g.rounded:
	case !g.transB && g.readsInPlace():
		packing = 0
	}
	if g.k*g.n > inPlaceSize { // B comes from memory
		packing *= 2.5
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
	size, compactRow := g.room(depth, n), 0
	if g.rs == 1 && pathOf[F]() == avx2 && g.cs%1024 == 0 {
		// the columns of a strip of A would meet in few cache sets, which AVX-512's wider strips can afford
		compactRow = m + 16
	}
	memory := borrowScratch[F](size, depth*compactRow)
	defer memory.giveBack()
	packed, compact := memory.cut(size), memory.cut(depth*compactRow)
	for p0 := 0; p0 < g.k; p0 += depth {
		k := min(depth, g.k-p0)
		a, c, add := g.at(i0, j0, p0)
		done := g.unpacked(m, k, n, p0, j0, a, add, c)
		if done == n {
			continue
		}
		cs := g.cs
		if compactRow > 0 {
			for p := range k {
				copy(compact[p*compactRow:], a[p*cs:][:m])
			}
			a, cs = compact, compactRow
		}
		p := g.pack(packed, p0, j0+done, k, n-done)
		multiply(m, k, n-done, a, g.rs, cs, p, add, c[done:], g.ldc)
	}
}

// at returns the rows of A from i on, for terms from p on, and the block of C that begins at row i and column j.
func (g *gemm[F, S]) at(i, j, p int) (a []F, c []F, add bool) {
	c, add = g.c[i*g.ldc+j:], g.accumulate || p > 0
	if g.roundedA && pairsOf[F]() { // two to a word
		if g.transA {
			i /= 2
		} else {
			p /= 2
		}
	}
	return g.a[i*g.rs+p*g.cs:], c, add
}

// room is how much memory pack needs for a run of k terms.
func (g *gemm[F, S]) room(k, n int) int {
	if g.packed != nil {
		return 0
	}
	return packedSize[F](wordsOf[F](g.rounded, k), n)
}

// pack returns k terms from p on of n columns from j on of op(B), packed into memory if they are not already.
func (g *gemm[F, S]) pack(memory []F, p, j, k, n int) panels[F] {
	if g.packed != nil {
		return g.packed.from(p, g.from+j)
	}
	return packFor(g.rounded, memory, g.transB, k, n, g.b[start(g.transB, p, j, g.ldb):], g.ldb)
}

// unpacked computes columns of C, from the left, for which B need not be packed because it lies well. It returns their number.
func (g *gemm[F, S]) unpacked(m, k, n, p, j int, a []F, add bool, c []F) int {
	if g.packed != nil || g.transB {
		return 0
	}
	b := g.b[start(g.transB, p, j, g.ldb):]
	n &^= 15 // vectors are read whole
	if same, ok := any(b).([]F); ok && (m <= inPlaceRows || g.readsInPlace()) && n > 0 {
		multiply(m, k, n, a, g.rs, g.cs, panels[F]{same, g.ldb, tileOf[F]().columns}, add, c, g.ldc)
		return n
	}
	return 0
}

const (
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
