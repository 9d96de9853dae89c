package kernel

// fewRows is the most rows of A for which C = A·Bᵀ is computed as Cᵀ = B·Aᵀ where B has many more: A is packed instead of B, which is read as it lies.
// Products of a decoding step are of this kind: packing all weights at each would take as long as multiplying.
const fewRows = 64

// few is such a product.
type few[F Float] struct {
	m, n, k     int
	a           []F // packed, run after run of terms
	b           []F
	ldb         int
	c           []F
	ldc         int
	depth, size int // of a run: terms, packed elements
	itemRows    int // of B
}

// multiplyFew computes C = A·Bᵀ if it is worth it, in Gemm's order.
func multiplyFew[F Float, S Storage](m, n, k int, a []F, lda int, b []S, ldb int, c []F, ldc int) bool {
	same, ok := any(b).([]F)
	if !ok || m <= dotsRows || m > fewRows || n < 4*m {
		return false
	}
	depth := runLength(k, blockK)
	size := packedSize[F](depth, m)
	memory := borrowScratch[F](ceil(k, depth) * size)
	defer memory.giveBack()
	packed := memory.cut(ceil(k, depth) * size)
	for p := 0; p < k; p += depth {
		packB(packed[p/depth*size:], true, min(depth, k-p), m, a[p:], lda)
	}
	const most = 16 // strips of an item
	strip := tileOf[F]().rows
	t := take[few[F]]()
	*t = few[F]{m, n, k, packed, same, ldb, c, ldc, depth, size, strip * max(1, min(most, ceil(n, 8*strip)))}
	parallel(ceil(n, t.itemRows), t)
	give(t)
	return true
}

// run computes some rows of Cᵀ.
func (f *few[F]) run(item int) {
	j := item * f.itemRows
	rows, tile := min(f.itemRows, f.n-j), tileOf[F]()
	memory := borrowScratch[F](rows * fewRows)
	defer memory.giveBack()
	ct := memory.cut(rows * fewRows)
	for p := 0; p < f.k; p += f.depth {
		k := min(f.depth, f.k-p)
		a := panels[F]{f.a[p/f.depth*f.size:][:f.size], tile.columns, panelStep(tile.columns, k)}
		multiply(rows, k, f.m, f.b[j*f.ldb+p:], f.ldb, 1, a, p > 0, ct, fewRows)
	}
	transposeExactly(f.c[j:], f.ldc, ct, fewRows, rows, f.m)
}
