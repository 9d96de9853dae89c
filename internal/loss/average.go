package loss

import (
	"math"

	"kdistill/internal/kernel"
)

// Average is what several teachers say together at a position: T·log Σ_k shares[k]·softmax(y_k/T), logits whose softmax at the temperature T is the weighted
// average of their probabilities. It takes no logarithm of a sum of probabilities, so that an id that is as good as impossible for all of them keeps a finite
// logit; one that is masked in all rows stays masked. Rows may come in blocks of ids, twice: Begin, Scan all of each teacher's, then Row.
type Average[F kernel.Float] struct {
	temperature float64
	shares      []float64
	norms       []norm[F] // of each teacher
}

// norm is the largest logit of a row, and the sum of its exponentials.
type norm[F kernel.Float] struct {
	partition[F]
	top F
}

// NewAverage returns an Average that can be used again and again. Shares are positive and add up to 1.
func NewAverage[F kernel.Float](temperature float64, shares []float64) *Average[F] {
	return &Average[F]{temperature, shares, make([]norm[F], len(shares))}
}

// Begin begins a position.
func (a *Average[F]) Begin() {
	none := F(math.Inf(-1))
	for k := range a.norms {
		a.norms[k] = norm[F]{partition[F]{ref: none}, none}
	}
}

// Scan takes in the next ids of teacher k's row; their number is a multiple of 1024 but for the last.
func (a *Average[F]) Scan(k int, row []F) {
	var e [blockSize]F
	n, scale := &a.norms[k], a.scale()
	for b := range blocks(len(row)) {
		from, to := span(b, len(row))
		top, _, _ := n.add(e[:to-from], row[from:to], scale)
		n.top = max(n.top, top)
	}
}

// scale is that of the partitions.
func (a *Average[F]) scale() F { return F(math.Log2E / a.temperature) }

// Row sets dst to the average's logits of some ids, once all were scanned. Rows are the teachers' logits of these, of dst's length.
func (a *Average[F]) Row(dst []F, rows [][]F) {
	var own, p, q [blockSize]F
	t, scale := F(a.temperature), F(1/a.temperature)
	together := 0.0
	for k, row := range rows {
		together += a.shares[k]
		n := &a.norms[k]
		logSum := F((float64(n.ref)+math.Log2(n.sum))/float64(a.scale()) - float64(n.top)) // of e^((y − top)/T), times T
		for from := 0; from < len(dst); from += blockSize {
			to := min(from+blockSize, len(dst))
			all, own := dst[from:to], own[:to-from]
			for i, y := range row[from:to] {
				own[i] = y - n.top - logSum // T·log of this teacher's probability
			}
			if k == 0 {
				copy(all, own)
				continue
			}
			p, q := p[:len(all)], q[:len(all)]
			kernel.LogMixture(p, q, all, own, scale, 0, F(a.shares[k]/together))
			for i, x := range own { // from the larger one, which has the larger share too: the other may be impossible
				all[i] = max(all[i], x) - t*max(p[i], q[i])
			}
		}
	}
}
