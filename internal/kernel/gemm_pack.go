package kernel

// panels is an operand B that a micro-kernel can read: panels of a tile's width side by side, step elements apart, with rows stride elements apart.
// Packed by packB, panels lie one after the other; a plain row-major matrix with rows of whole tiles is a case of it, with step = width.
type panels[F Float] struct {
	b            []F
	stride, step int
}

// from returns the operand without its first rows and panels.
func (p panels[F]) from(rows, panels int) panels[F] {
	p.b = p.b[rows*p.stride+panels*p.step:]
	return p
}

// panelStep is how far apart packed panels are: a row more than they need, so that they don't meet in the same cache sets.
func panelStep(w, k int) int { return w * (roundUp(k) + 1) }

// packedSize is how many elements a packed B takes.
func packedSize[F Float](k, n int) int {
	w := tileOf[F]().columns
	return ceil(n, w) * panelStep(w, k)
}

// packB writes op(B) [k, n] into dst as panels.
func packB[F Float, S Storage](dst []F, transB bool, k, n int, b []S, ldb int) panels[F] {
	w := tileOf[F]().columns
	p := panels[F]{dst[:packedSize[F](k, n)], w, panelStep(w, k)}
	_ = b[extent(transB, k, n, ldb)-1]
	if !transB {
		copyPanels(p, k, n, b, ldb)
		return p
	}
	for j := 0; j < n; j += w {
		transpose(p.b[j/w*p.step:], w, b[j*ldb:], ldb, min(w, n-j), k)
	}
	return p
}

// wordsOf is how many elements k terms take in a column of an operand that is packed for products of Gemm or, with rounded, of GemmBF16.
func wordsOf[F Float](rounded bool, k int) int {
	if rounded && pairsOf[F]() {
		return ceil(k, 2)
	}
	return k
}

// packFor is packB for products of Gemm or, with rounded, of GemmBF16.
func packFor[F Float, S Storage](rounded bool, dst []F, transB bool, k, n int, b []S, ldb int) panels[F] {
	if rounded && pairsOf[F]() {
		return pairB(dst, transB, k, n, b, ldb)
	}
	p := packB(dst, transB, k, n, b, ldb)
	if _, exact := any(b).([]uint16); rounded && !exact {
		roundBF16(p.b, p.b)
	}
	return p
}

// transposeExactly is transpose that sets nothing else.
func transposeExactly[F Float](dst []F, row int, src []F, ld, n, k int) {
	wholeN, wholeK := n&^15, k&^15
	if wholeN > 0 && wholeK > 0 {
		transpose(dst, row, src, ld, wholeN, wholeK)
	} else {
		wholeK = 0
	}
	for j := range k {
		from := 0
		if j < wholeK {
			from = wholeN
		}
		for i := from; i < n; i++ {
			dst[j*row+i] = src[i*ld+j]
		}
	}
}

// expandRows sets dst[i*row] = src[i*ld] for i < n.
func expandRows[F Float, S Storage](dst []F, row int, src []S, ld, n int) {
	for i := range n {
		dst[i*row] = expand[F](src[i*ld])
	}
}

func expand[F Float, S Storage](x S) F {
	if b, ok := any(x).(uint16); ok {
		return F(FromBF16(b))
	}
	return F(x)
}
