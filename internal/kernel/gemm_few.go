package kernel

import "runtime"

// fewRows is the most rows of A for which weights, of which there are many more, are read as they lie: by dots, or as the first operand of Cᵀ = B·Aᵀ,
// where A is packed instead. Products of a decoding step are of this kind: packing all weights at each would take as long as multiplying.
const fewRows = 64

// dotsRows is how many of them dots takes, which is faster.
const dotsRows = 4

// few is C = A·[B0ᵀ B1ᵀ …] for a few rows of A. An item is a range of C's columns.
type few[F Float, S Storage] struct {
	m, n, k      int
	a            []F
	lda          int
	b            []fewColumns[S]
	c            []F
	ldc          int
	packed       []F // A, run after run of terms, for more rows than dots takes
	depth, size  int // of a run: terms, packed elements
	strip, items int // columns that are computed together; items, of as many strips as each other but for one
}

// fewColumns is a B that is stored [n, k], and the first column of C that it makes.
type fewColumns[S Storage] struct {
	b            []S
	n, ldb, from int
}

// GemmAll computes C [m, Σn] = A·[B0ᵀ B1ᵀ …], to the bits of a Gemm for each: A is [m, k], Bi is stored [ni, k] without gaps. C's rows lie ldc apart.
func GemmAll[F Float, S Storage](m, k int, a []F, lda int, b [][]S, c []F, ldc int) {
	f := take[few[F, S]]()
	*f = few[F, S]{m: m, k: k, a: a, lda: lda, b: f.b[:0], c: c, ldc: ldc}
	for _, b := range b {
		f.add(b, len(b)/k, k)
	}
	if f.worthwhile() {
		f.multiply()
	} else {
		for _, p := range f.b {
			Gemm(false, true, m, p.n, k, a, lda, p.b, p.ldb, false, c[p.from:], ldc)
		}
	}
	f.keep()
}

// multiplyFew computes C = A·Bᵀ if it is worth it, in Gemm's order.
func multiplyFew[F Float, S Storage](m, n, k int, a []F, lda int, b []S, ldb int, c []F, ldc int) bool {
	f := take[few[F, S]]()
	*f = few[F, S]{m: m, k: k, a: a, lda: lda, b: f.b[:0], c: c, ldc: ldc}
	f.add(b, n, ldb)
	done := f.worthwhile()
	if done {
		f.multiply()
	}
	f.keep()
	return done
}

// add puts n columns beside those that there are.
func (f *few[F, S]) add(b []S, n, ldb int) {
	_ = b[extent(true, f.k, n, ldb)-1]
	f.b = append(f.b, fewColumns[S]{b, n, ldb, f.n})
	f.n += n
}

func (f *few[F, S]) worthwhile() bool {
	return 0 < f.m && f.m <= dotsRows || f.m <= fewRows && f.n >= 4*f.m
}

func (f *few[F, S]) keep() {
	clear(f.b)
	*f = few[F, S]{b: f.b[:0]}
	keep(f)
}

func (f *few[F, S]) multiply() {
	_, _ = f.a[(f.m-1)*f.lda+f.k-1], f.c[(f.m-1)*f.ldc+f.n-1]
	f.depth = runLength(f.k, blockK)
	most := 4 // strips of an item
	if f.strip = 48; f.m <= dotsRows {
		f.strip, most = tileOf[F]().columns/2, 24
	} else { // 48 are whole tiles, and whole vectors of the way back from Cᵀ
		f.size = packedSize[F](f.depth, f.m)
	}
	memory := borrowScratch[F](ceil(f.k, f.depth) * f.size)
	defer memory.giveBack()
	f.packed = memory.cut(ceil(f.k, f.depth) * f.size)
	for p := 0; p < f.k && f.size > 0; p += f.depth {
		packB(f.packed[p/f.depth*f.size:], true, min(f.depth, f.k-p), f.m, f.a[p:], f.lda)
	}
	strips, threads := ceil(f.n, f.strip), runtime.GOMAXPROCS(0)
	f.items = min(strips, threads*max(2, ceil(strips, threads*most)))
	parallel(f.items, f)
}

func (f *few[F, S]) run(item int) {
	strips := ceil(f.n, f.strip)
	from, to := item*strips/f.items*f.strip, min(f.n, (item+1)*strips/f.items*f.strip)
	for _, p := range f.b {
		lo, hi := max(from, p.from), min(to, p.from+p.n)
		switch {
		case lo >= hi:
		case f.size == 0:
			f.rows(hi-lo, p.b[(lo-p.from)*p.ldb:], p.ldb, f.c[lo:])
		default:
			f.transposed(hi-lo, p.b[(lo-p.from)*p.ldb:], p.ldb, f.c[lo:])
		}
	}
}

// rows computes n columns of C by dots, and what that leaves from a packed B.
func (f *few[F, S]) rows(n int, b []S, ldb int, c []F) {
	for p := 0; p < f.k; p += f.depth {
		k, a := min(f.depth, f.k-p), f.a[p:]
		done := dots(f.m, k, n, a, f.lda, b[p:], ldb, p > 0, c, f.ldc)
		if done == n {
			continue
		}
		memory := borrowScratch[F](packedSize[F](k, n-done))
		packed := packB(memory.cut(packedSize[F](k, n-done)), true, k, n-done, b[done*ldb+p:], ldb)
		multiply(f.m, k, n-done, a, f.lda, 1, packed, p > 0, c[done:], f.ldc)
		memory.giveBack()
	}
}

// transposed computes n columns of C as rows of Cᵀ.
func (f *few[F, S]) transposed(n int, b []S, ldb int, c []F) {
	tile := tileOf[F]()
	same, float := any(b).([]F)
	strip := n
	if !float {
		strip = min(n, tile.rows) // the nearest cache holds their weights, expanded
	}
	memory := borrowScratch[F](n*fewRows, strip*f.depth)
	defer memory.giveBack()
	ct, expanded := memory.cut(n*fewRows), memory.cut(strip*f.depth)
	for j := 0; j < n; j += strip {
		rows, ct := min(strip, n-j), ct[j*fewRows:]
		for p := 0; p < f.k; p += f.depth {
			k := min(f.depth, f.k-p)
			a := panels[F]{f.packed[p/f.depth*f.size:][:f.size], tile.columns, panelStep(tile.columns, k)}
			if float {
				multiply(rows, k, f.m, same[j*ldb+p:], ldb, 1, a, p > 0, ct, fewRows)
				continue
			}
			load(expanded, f.depth, b[j*ldb+p:], ldb, rows, k, strip*ldb)
			multiply(rows, k, f.m, expanded, f.depth, 1, a, p > 0, ct, fewRows)
		}
	}
	transposeExactly(c, f.ldc, ct, fewRows, n, f.m)
}
