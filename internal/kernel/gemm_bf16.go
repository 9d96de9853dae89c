package kernel

import "math"

// GemmBF16 is Gemm with the elements of A and B rounded to bfloat16, ties to even; sums are float32.
//
// The product of two bfloat16 is a float32 exactly, so that all paths give the same bits, with two exceptions where the processor multiplies
// bfloat16 itself (path avx512_bf16): denormal operands and sums, those below 2^-126, count as zero; and how the two terms of a pair are rounded
// is its maker's choice (AMD's Zen 5 rounds after each, as the other paths do). An element's sum is taken in an order that depends on k alone:
// Gemm's, with runs of blockPairs.
func GemmBF16[S float32 | uint16](transA, transB bool, m, n, k int, a []float32, lda int, b []S, ldb int, accumulate bool, c []float32, ldc int) {
	compute(gemm[float32, S]{rounded: true, transB: transB, m: m, n: n, k: k, a: a, rs: lda, cs: 1, b: b, ldb: ldb, accumulate: accumulate, c: c, ldc: ldc}, transA)
}

// RoundRow sets dst to src, rounded as GemmBF16 rounds it and laid out for GemmRounded, which alone can read it. dst may be src.
func RoundRow(dst, src []float32) {
	dst = dst[:len(src)]
	if !pairsOf[float32]() {
		roundBF16(dst, src)
		return
	}
	whole := len(src) &^ 31
	if whole > 0 {
		pairNeighbours(dst, src[:whole])
	}
	for i := whole; i < len(src); i += 2 {
		pair := uint32(BF16(src[i])) << 16
		if i+1 < len(src) {
			pair |= uint32(BF16(src[i+1]))
		}
		dst[i/2] = math.Float32frombits(pair)
	}
}

// GemmRounded is GemmBF16, with the same bits, for an A whose rows, as they are stored, are made by RoundRow: a matrix that several products read is rounded once.
func GemmRounded[S float32 | uint16](transA, transB bool, m, n, k int, a []float32, lda int, b []S, ldb int, accumulate bool, c []float32, ldc int) {
	compute(gemm[float32, S]{rounded: true, roundedA: true, transB: transB, m: m, n: n, k: k, a: a, rs: lda, cs: 1, b: b, ldb: ldb, accumulate: accumulate, c: c, ldc: ldc}, transA)
}

// blockPairs is blockK of products of bfloat16, whose operands take half the memory.
const blockPairs = 2 * blockK

// blockRows is how many rows of A are rounded together.
const blockRows = 96

// pairsOf says whether products are the processor's own, of pairs of bfloat16.
func pairsOf[F Float]() bool { return pathOf[F]() == avx512 && path == avx512BF16 }

// runRounded computes a block of C from operands that are rounded first.
func (g *gemm[F, S]) runRounded(i0, j0, m, n int) {
	if pairsOf[F]() {
		g.runPairs(i0, j0, m, n)
		return
	}
	depth := runLength(g.k, blockPairs)
	size := g.room(depth, n)
	memory := borrowScratch[F](size, blockRows*depth)
	defer memory.giveBack()
	packed, rounded := memory.cut(size), memory.cut(blockRows*depth)
	for p0 := 0; p0 < g.k; p0 += depth {
		k := min(depth, g.k-p0)
		a, c, add := g.at(i0, j0, p0)
		p := g.pack(packed, p0, j0, k, n)
		if g.roundedA {
			multiply(m, k, n, a, g.rs, g.cs, p, add, c, g.ldc)
			continue
		}
		for i := 0; i < m; i += blockRows {
			rows := min(blockRows, m-i)
			rs, cs := 1, blockRows
			if g.cs == 1 {
				rs, cs = depth, 1
				for r := range rows {
					roundBF16(rounded[r*rs:][:k], a[(i+r)*g.rs:])
				}
			} else {
				for r := range k {
					roundBF16(rounded[r*cs:][:rows], a[i+r*g.cs:])
				}
			}
			multiply(rows, k, n, rounded, rs, cs, p, add, c[i*g.ldc:], g.ldc)
		}
	}
}

// roundBF16 rounds src to bfloat16. dst may be src.
func roundBF16[F Float](dst, src []F) {
	n := 0
	if pathOf[F]() != portable {
		n = len(dst) &^ 7
		roundVectors(f32(dst[:n]), f32(src[:n]))
	}
	for i, x := range src[n:len(dst)] {
		dst[n+i] = F(FromBF16(BF16(float32(x))))
	}
}
