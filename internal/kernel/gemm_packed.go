package kernel

import "fmt"

// Packed is an operand B of products as they read it, for a matrix that many of them read: they find it packed, and give the same bits.
type Packed[F Float] struct {
	rounded bool // for products of GemmBF16
	k, n    int
	depth   int // of a run: terms
	data    []F // run after run, each in panels
}

// NewPacked returns a place for op(B) [k, n], for products of Gemm or, with rounded, of GemmBF16. What it holds is for Pack to say.
func NewPacked[F Float](rounded bool, k, n int) *Packed[F] {
	p := plannedPacked[F](rounded, k, n)
	p.data = Make[F](p.size())
	return &p
}

// PackedSize is the number of elements that NewPacked takes.
func PackedSize[F Float](rounded bool, k, n int) int {
	p := plannedPacked[F](rounded, k, n)
	return p.size()
}

func plannedPacked[F Float](rounded bool, k, n int) Packed[F] {
	p := Packed[F]{rounded: rounded, k: k, n: n}
	longest := blockK
	if rounded {
		longest = blockPairs
	}
	if k > 0 {
		p.depth = runLength(k, longest)
	}
	return p
}

// size is the number of elements of all runs.
func (p *Packed[F]) size() int {
	if p.k <= 0 || p.n <= 0 {
		return 0
	}
	last := (p.k - 1) / p.depth * p.depth
	return last/p.depth*p.runSize(p.depth) + p.runSize(p.k-last)
}

// runSize is the number of elements of a run of k terms.
func (p *Packed[F]) runSize(k int) int { return ceil(p.n, tileOf[F]().columns) * p.step(k) }

// step is how far apart the panels of a run of k terms are.
func (p *Packed[F]) step(k int) int {
	return panelStep(tileOf[F]().columns, wordsOf[F](p.rounded, k))
}

// from returns the panels from column j on of the run of terms that begins with term i. j is a multiple of a panel's width.
func (p *Packed[F]) from(i, j int) panels[F] {
	w := tileOf[F]().columns
	step := p.step(min(p.depth, p.k-i))
	return panels[F]{p.data[i/p.depth*p.runSize(p.depth)+j/w*step:], w, step}
}

// Rounded reports whether p is for products of GemmBF16.
func (p *Packed[F]) Rounded() bool { return p.rounded }

// Pack fills p with op(B), stored [k, n] or, with transB, [n, k].
func Pack[F Float, S Storage](p *Packed[F], transB bool, b []S, ldb int) {
	if p.k <= 0 || p.n <= 0 {
		return
	}
	_ = b[extent(transB, p.k, p.n, ldb)-1]
	t := take[packing[F, S]]()
	*t = packing[F, S]{p, transB, b, ldb}
	parallel(ceil(p.k, p.depth)*ceil(p.n, packingPanels*tileOf[F]().columns), t)
	give(t)
}

// packing is a call of Pack.
type packing[F Float, S Storage] struct {
	to     *Packed[F]
	transB bool
	b      []S
	ldb    int
}

// packingPanels is the width, in panels, of an item of Pack.
const packingPanels = 16

func (t *packing[F, S]) run(item int) {
	p := t.to
	runs, width := ceil(p.k, p.depth), packingPanels*tileOf[F]().columns
	i, j := item%runs*p.depth, item/runs*width
	k, n := min(p.depth, p.k-i), min(width, p.n-j)
	packFor(p.rounded, p.from(i, j).b, t.transB, k, n, t.b[start(t.transB, i, j, t.ldb):], t.ldb)
}

// GemmPacked is Gemm, or GemmBF16, with columns from … from+n-1 of a packed op(B), all of its rows. from is a multiple of PackedColumns.
func GemmPacked[F Float](transA bool, m, n int, a []F, lda int, b *Packed[F], from int, accumulate bool, c []F, ldc int) {
	if from%PackedColumns != 0 || from+n > b.n {
		panic(fmt.Sprintf("kernel: packed columns: have %d … %d of %d, want to begin at a multiple of %d", from, from+n, b.n, PackedColumns))
	}
	compute(gemm[F, F]{rounded: b.rounded, packed: b, from: from, m: m, n: n, k: b.k, a: a, rs: lda, cs: 1, accumulate: accumulate, c: c, ldc: ldc}, transA)
}

// PackedColumns is what the first column of a product of a part of a packed matrix must be a multiple of: the width of the widest panel.
const PackedColumns = 32
