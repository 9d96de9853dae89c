//go:build !amd64

package kernel

func multiplyStrips[F Float](m, rows, k, n int, a []F, rs, cs int, b panels[F], add bool, c []F, ldc int) {
	multiplyPortable(m, rows, k, n, a, rs, cs, b, add, c, ldc)
}

func dots[F Float, S Storage](m, k, n int, a []F, lda int, b []S, ldb int, add bool, c []F, ldc int) int {
	return 0
}

func copyPanels[F Float, S Storage](p panels[F], k, n int, b []S, ldb int) {
	for j := range n {
		expandRows(p.b[j/p.stride*p.step+j%p.stride:], p.stride, b[j:], ldb, k)
	}
}

func transpose[F Float, S Storage](dst []F, row int, src []S, ld, n, k int) {
	for i := range n {
		expandRows(dst[i:], row, src[i*ld:], 1, k)
	}
}

func peak(int) {}

func (g *gemm[F, S]) runPairs(i0, j0, m, n int) {}

func pairB[F Float, S Storage](dst []F, transB bool, k, n int, b []S, ldb int) panels[F] {
	return panels[F]{}
}

func pairNeighbours(dst, src []float32) {}

func roundVectors(dst, src []float32) {}

func expandVectors(dst []float32, step int, src []uint16, ld, rows, n, ahead int) int { return 0 }

func peakPairs(int) {}
