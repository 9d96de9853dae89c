package graph

import (
	"kdistill/internal/kernel"
)

// multiply is c[m,n] = a[m,k]·op(w) (+ c), w a weight [n,k] (trans) or [k,n] in its own storage or packed.
func multiply[F kernel.Float](g *Graph, trans bool, m, n, k int, a []F, lda int, w *Param, accumulate bool, c []F, ldc int) {
	multiplyFrom(g, trans, m, n, k, a, lda, w, 0, accumulate, c, ldc)
}

// multiplyFrom is multiply with the rows of w's storage from a row on.
func multiplyFrom[F kernel.Float](g *Graph, trans bool, m, n, k int, a []F, lda int, w *Param, from int, accumulate bool, c []F, ldc int) {
	if p := w.packed; p != nil && p.trans == trans && p.Rounded() == g.BF16 && (trans || from == 0) {
		if a, ok := any(a).([]float32); ok {
			kernel.GemmPacked(false, m, n, a, lda, p.Packed, from, accumulate, any(c).([]float32), ldc)
			return
		}
	}
	ldb := n
	if trans {
		ldb = k
	}
	if isBF16(w.Value) {
		gemm(g, false, trans, m, n, k, a, lda, bits(w.Value)[from*ldb:], ldb, accumulate, c, ldc)
		return
	}
	gemm(g, false, trans, m, n, k, a, lda, floats[F](w.Value)[from*ldb:], ldb, accumulate, c, ldc)
}

// sideBySide is a row of weights [n, k] that multiply the same values.
type sideBySide[F kernel.Float] struct {
	params []*Param
	floats [][]F
	bits   [][]uint16
}

// multiply is c[m, Σn] = a[m,k]·[w0ᵀ w1ᵀ …], if one call of the kernel can do it.
func (s *sideBySide[F]) multiply(g *Graph, m, k int, a, c []F, ldc int) bool {
	s.floats, s.bits = s.floats[:0], s.bits[:0]
	for _, p := range s.params {
		switch {
		case p.packed != nil || g.BF16:
			return false
		case isBF16(p.Value):
			s.bits = append(s.bits, bits(p.Value))
		default:
			s.floats = append(s.floats, floats[F](p.Value))
		}
	}
	switch len(s.params) {
	case len(s.floats):
		kernel.GemmAll(m, k, a, k, s.floats, c, ldc)
	case len(s.bits):
		kernel.GemmAll(m, k, a, k, s.bits, c, ldc)
	default:
		return false
	}
	return true
}

// gemm is kernel.Gemm in the graph's precision. A graph of float64 has no other.
func gemm[F kernel.Float, S kernel.Storage](g *Graph, transA, transB bool, m, n, k int, a []F, lda int, b []S, ldb int, accumulate bool, c []F, ldc int) {
	if !rounds[F](g) {
		kernel.Gemm(transA, transB, m, n, k, a, lda, b, ldb, accumulate, c, ldc)
		return
	}
	single, out := any(a).([]float32), any(c).([]float32)
	switch b := any(b).(type) {
	case []float32:
		kernel.GemmBF16(transA, transB, m, n, k, single, lda, b, ldb, accumulate, out, ldc)
	case []uint16:
		kernel.GemmBF16(transA, transB, m, n, k, single, lda, b, ldb, accumulate, out, ldc)
	}
}

// rounds reports whether products round their operands.
func rounds[F kernel.Float](g *Graph) bool {
	var zero F
	_, single := any(zero).(float32)
	return g.BF16 && single
}

// gemmRounded is gemm of a whose rows, as they are stored, roundRow has made.
func gemmRounded[F kernel.Float](transA, transB bool, m, n, k int, a []F, lda int, b []F, ldb int, accumulate bool, c []F, ldc int) {
	kernel.GemmRounded(transA, transB, m, n, k, any(a).([]float32), lda, any(b).([]float32), ldb, accumulate, any(c).([]float32), ldc)
}

func roundRow[F kernel.Float](dst, src []F) {
	kernel.RoundRow(any(dst).([]float32), any(src).([]float32))
}
