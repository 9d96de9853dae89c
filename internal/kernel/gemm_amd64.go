package kernel

import "unsafe"

// multiplyStrips is multiply, in strips of rows rows.
func multiplyStrips[F Float](m, rows, k, n int, a []F, rs, cs int, b panels[F], add bool, c []F, ldc int) {
	switch pathOf[F]() {
	case avx512:
		multiplyAVX512(m, rows, k, n, &f32(a)[0], 4*rs, 4*cs, 4*rs*rows, &f32(b.b)[0], 4*b.stride, 4*b.step, &f32(c)[0], 4*ldc, add)
	case avx2:
		multiplyAVX2(m, rows, k, n, &f32(a)[0], 4*rs, 4*cs, 4*rs*rows, &f32(b.b)[0], 4*b.stride, 4*b.step, &f32(c)[0], 4*ldc, add)
	default:
		multiplyPortable(m, rows, k, n, a, rs, cs, b, add, c, ldc)
	}
}

// dots computes columns of C = A·Bᵀ, from the left, for at most dotsRows rows of A, and returns their number: those that make whole vectors, if k does.
func dots[F Float, S Storage](m, k, n int, a []F, lda int, b []S, ldb int, add bool, c []F, ldc int) int {
	l := pathOf[F]()
	lanes := tileOf[F]().columns / 2
	n -= n % lanes
	if l == portable || k%lanes != 0 || n == 0 {
		return 0
	}
	fa, fc := &f32(a)[0], &f32(c)[0]
	switch b := any(b).(type) {
	case []float32:
		if l == avx512 {
			dotsAVX512(m, k, n, fa, 4*lda, &b[0], 4*ldb, fc, 4*ldc, add)
		} else {
			dotsAVX2(m, k, n, fa, 4*lda, &b[0], 4*ldb, fc, 4*ldc, add)
		}
	case []uint16:
		if l == avx512 {
			dotsBF16AVX512(m, k, n, fa, 4*lda, &b[0], 2*ldb, fc, 4*ldc, add)
		} else {
			dotsBF16AVX2(m, k, n, fa, 4*lda, &b[0], 2*ldb, fc, 4*ldc, add)
		}
	default:
		return 0
	}
	return n
}

// copyPanels fills p with a B that is stored [k, n].
func copyPanels[F Float, S Storage](p panels[F], k, n int, b []S, ldb int) {
	from := 0 // columns before it are packed by assembly
	if l := pathOf[F](); l != portable {
		var element S
		ld, step := ldb*int(unsafe.Sizeof(element)), 4*p.step
		from = n
		if l == avx2 {
			from &^= 7
		}
		switch src := any(b).(type) {
		case []float32:
			if l == avx512 {
				packRowsAVX512(&f32(p.b)[0], &src[0], ld, k, n, step)
			} else if from > 0 {
				packRowsAVX2(&f32(p.b)[0], &src[0], ld, k, from, step)
			}
		case []uint16:
			if l == avx512 {
				packRowsBF16AVX512(&f32(p.b)[0], &src[0], ld, k, n, step)
			} else if from > 0 {
				packRowsBF16AVX2(&f32(p.b)[0], &src[0], ld, k, from, step)
			}
		default:
			from = 0
		}
	}
	for j := from; j < n; j++ {
		expandRows(p.b[j/p.stride*p.step+j%p.stride:], p.stride, b[j:], ldb, k)
	}
}

// transpose sets dst[j*row+i] = src[i*ld+j] for i < n, j < k. It may set more, up to multiples of 16.
func transpose[F Float, S Storage](dst []F, row int, src []S, ld, n, k int) {
	fromN, fromK := 0, 0 // what is not done by assembly
	if l := pathOf[F](); l != portable {
		var element S
		bytes := ld * int(unsafe.Sizeof(element))
		fromN, fromK = n, k
		if l == avx2 {
			fromN, fromK = n&^7, k&^7
		}
		switch src := any(src).(type) {
		case []float32:
			if l == avx512 {
				packColumnsAVX512(&f32(dst)[0], &src[0], bytes, k, n, 4*row)
			} else if fromN > 0 && fromK > 0 {
				packColumnsAVX2(&f32(dst)[0], &src[0], bytes, fromK, fromN, 4*row)
			}
		case []uint16:
			if l == avx512 {
				packColumnsBF16AVX512(&f32(dst)[0], &src[0], bytes, k, n, 4*row)
			} else if fromN > 0 && fromK > 0 {
				packColumnsBF16AVX2(&f32(dst)[0], &src[0], bytes, fromK, fromN, 4*row)
			}
		default:
			fromN, fromK = 0, 0
		}
	}
	for i := range n {
		from := 0
		if i < fromN {
			from = fromK
		}
		if from < k {
			expandRows(dst[from*row+i:], row, src[i*ld+from:], 1, k-from)
		}
	}
}

// peak runs rounds of a tile's independent multiply-adds.
func peak(rounds int) {
	if pathOf[float32]() == avx512 {
		peakAVX512(rounds)
	} else {
		peakAVX2(rounds)
	}
}

// peakPairs is peak of products of pairs of bfloat16.
func peakPairs(rounds int) { peakBF16AVX512(rounds) }
