package kernel

import "unsafe"

// runPairs is runRounded for the processor's own products of bfloat16. Packed operands are pairs of terms, two to a word.
func (g *gemm[F, S]) runPairs(i0, j0, m, n int) {
	const word = 4
	rows := ceil(m, ceil(m, tileOf[float32]().rows)) // of a strip, as in multiply
	if g.roundedA && g.transA {
		rows += rows % 2 // strips begin with a word
	}
	block := 2 * blockRows / rows * rows // in half the memory each
	depth := runLength(g.k, blockPairs)
	line := roundUp(depth/2) | 16 // of rounded rows of A: an odd number of cache lines
	size := g.room(depth, n)
	memory := borrowScratch[F](size, block*line)
	defer memory.giveBack()
	packed, paired := memory.cut(size), f32(memory.cut(block*line))
	for p0 := 0; p0 < g.k; p0 += depth {
		k := min(depth, g.k-p0)
		a, c, add := g.at(i0, j0, p0)
		p := g.pack(packed, p0, j0, k, n)
		for i := 0; i < m; i += block {
			m, pairs := min(block, m-i), ceil(k, 2)
			at, rs, cs, strip := &paired[0], line, 1, rows*line
			switch {
			case g.roundedA && !g.transA:
				at, rs, strip = &f32(a)[i*g.rs], g.rs, rows*g.rs
			case !g.transA:
				pairAlongAVX512(at, &f32(a)[i*g.rs], word*g.rs, k, m, word*line)
			default:
				rs, cs, strip = 1, rows, rows*pairs
				if g.roundedA {
					regroupStripsAVX512(at, &f32(a)[i/2], word*g.cs, k, m/rows, m%rows, rows, word*strip)
				} else {
					pairStripsAVX512(at, &f32(a)[i], word*g.cs, k, m/rows, m%rows, rows, word*strip)
				}
			}
			multiplyBF16AVX512(m, rows, pairs, n, at, word*rs, word*cs, word*strip, &f32(p.b)[0], word*p.stride, word*p.step,
				&f32(c)[i*g.ldc], word*g.ldc, add)
		}
	}
}

// pairNeighbours makes pairs of neighbours of src, a multiple of 32 elements. dst may be src.
func pairNeighbours(dst, src []float32) { pairAlongAVX512(&dst[0], &src[0], 0, len(src), 1, 0) }

// pairB packs op(B) [k, n] into dst in pairs of rows, as panels.
func pairB[F Float, S Storage](dst []F, transB bool, k, n int, b []S, ldb int) panels[F] {
	const w, word = 32, 4
	p := panels[F]{dst, w, panelStep(w, ceil(k, 2))}
	to := f32(dst)
	ld := ldb * int(unsafe.Sizeof(b[0]))
	if !transB {
		switch b := any(b).(type) {
		case []float32:
			pairRowsAVX512(&to[0], &b[0], ld, k, n/w, n%w, w, word*p.step)
		case []uint16:
			pairRowsBF16AVX512(&to[0], &b[0], ld, k, n/w, n%w, w, word*p.step)
		}
		return p
	}
	for j := 0; j < n; j += w {
		switch b := any(b[j*ldb:]).(type) {
		case []float32:
			pairColumnsAVX512(&to[j/w*p.step], &b[0], ld, k, min(w, n-j), word*w)
		case []uint16:
			pairColumnsBF16AVX512(&to[j/w*p.step], &b[0], ld, k, min(w, n-j), word*w)
		}
	}
	return p
}

// expandVectors converts columns of rows, from the left, as load does on paths other than portable, and returns their number.
func expandVectors(dst []float32, step int, src []uint16, ld, rows, n, ahead int) int {
	lanes := 16
	if path == avx2 {
		lanes = 8
	}
	if n -= n % lanes; n == 0 || rows == 0 {
		return n
	}
	if lanes == 16 {
		expandBF16AVX512(&dst[0], 4*step, &src[0], 2*ld, rows, n, 2*ahead)
	} else {
		expandBF16AVX2(&dst[0], 4*step, &src[0], 2*ld, rows, n, 2*ahead)
	}
	return n
}

func roundVectors(dst, src []float32) {
	if len(dst) > 0 {
		roundBF16AVX2(&dst[0], &src[0], len(dst))
	}
}
