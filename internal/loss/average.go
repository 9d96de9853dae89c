package loss

import (
	"math"

	"kdistill/internal/kernel"
)

// Average sets dst to logits of what several teachers say together: T·log Σ_k shares[k]·softmax(rows[k]/T), whose softmax at the temperature T is the weighted
// average of their probabilities. Shares are positive and add up to 1, rows have dst's length. It takes no logarithm of a sum of probabilities, so that an id
// that is as good as impossible for all of them keeps a finite logit; one that is masked in all rows stays masked.
func Average[F kernel.Float](dst []F, temperature float64, rows [][]F, shares []float64) {
	var own, p, q [blockSize]F
	t, scale := F(temperature), F(1/temperature)
	together := 0.0
	for k, row := range rows {
		together += shares[k]
		top := kernel.Max(row)
		_, sum := kernel.MaxExpSum(row, scale)
		logSum := t * F(math.Log(float64(sum)))
		for from := 0; from < len(dst); from += blockSize {
			to := min(from+blockSize, len(dst))
			all, own := dst[from:to], own[:to-from]
			for i, y := range row[from:to] {
				own[i] = y - top - logSum // T·log of this teacher's probability
			}
			if k == 0 {
				copy(all, own)
				continue
			}
			p, q := p[:len(all)], q[:len(all)]
			kernel.LogMixture(p, q, all, own, scale, 0, F(shares[k]/together))
			for i, x := range own { // from the larger one, which has the larger share too: the other may be impossible
				all[i] = max(all[i], x) - t*max(p[i], q[i])
			}
		}
	}
}
