package kernel

import "math"

// RMSNorm sets out = x·inv·(w + offset) for each row of d elements, inv = 1/√(mean x² + eps), and saves inv [rows]
// (nil where no backward pass follows). offset is 1 for weights stored as w − 1 (Gemma), else 0. out may be x.
// Zhang and Sennrich 2019.
func RMSNorm[F Float](out, inv, x, w []F, rows, d int, eps, offset F) {
	HeadNorm(out, inv, x, w, rows, 1, d, d, eps, offset)
}

// HeadNorm is RMSNorm over each head of d elements: rows of x and out hold heads of them and lie stride apart; inv is [rows, heads].
func HeadNorm[F Float](out, inv, x, w []F, rows, heads, d, stride int, eps, offset F) {
	parallelRows(rows*heads, d, rmsNorm[F]{out, inv, x, w[:d], headRows{heads, d, stride}, eps, offset})
}

type rmsNorm[F Float] struct {
	out, inv, x, w []F
	headRows
	eps, offset F
}

func (n *rmsNorm[F]) rows(from, to int) {
	for r := from; r < to; r++ {
		at := n.at(r)
		x := n.x[at : at+n.d]
		s := inverseDeviation(x, 0, n.eps)
		if n.inv != nil {
			n.inv[r] = s
		}
		normalize(n.out[at:at+n.d], x, n.w, nil, 0, s, n.offset)
	}
}

// headRows says where the heads of rows lie, counted row after row.
type headRows struct{ heads, d, stride int }

func (h headRows) at(i int) int { return i/h.heads*h.stride + i%h.heads*h.d }

// RMSNormBackward sets dx = inv·(g − x̂·mean(g·x̂)) + carry for g = dout·(w + offset) and x̂ = x·inv, and adds Σ over rows of dout·x̂ to dw [d].
// dw nil: the weight is frozen. carry nil: nothing is added. dx may be dout or carry.
func RMSNormBackward[F Float](dx, dw, dout, x, w, inv, carry []F, rows, d int, offset F) {
	normBackward[F]{dx, dout, x, w[:d], nil, inv, carry, headRows{1, d, d}, offset}.run(dw, nil, rows)
}

// HeadNormBackward is RMSNormBackward over each head: see HeadNorm.
func HeadNormBackward[F Float](dx, dw, dout, x, w, inv []F, rows, heads, d, stride int, offset F) {
	normBackward[F]{dx, dout, x, w[:d], nil, inv, nil, headRows{heads, d, stride}, offset}.run(dw, nil, rows*heads)
}

// LayerNorm sets out = (x − mean)·inv·w + b for each row of d elements, inv = 1/√(variance + eps) with the variance over d,
// and saves mean and inv [rows] (nil where no backward pass follows). b may be nil. out may be x. Ba et al. 2016.
func LayerNorm[F Float](out, mean, inv, x, w, b []F, rows, d int, eps F) {
	parallelRows(rows, d, layerNorm[F]{out, mean, inv, x, w[:d], b, d, eps})
}

type layerNorm[F Float] struct {
	out, mean, inv, x, w, b []F
	d                       int
	eps                     F
}

func (n *layerNorm[F]) rows(from, to int) {
	for r := from; r < to; r++ {
		x := row(n.x, r, n.d)
		m := Sum(x) / F(n.d)
		s := inverseDeviation(x, m, n.eps)
		if n.inv != nil {
			n.mean[r], n.inv[r] = m, s
		}
		normalize(row(n.out, r, n.d), x, n.w, n.b, m, s, 0)
	}
}

// LayerNormBackward sets dx = inv·(g − mean(g) − x̂·mean(g·x̂)) + carry for g = dout·w and x̂ = (x − mean)·inv,
// and adds Σ over rows of dout·x̂ to dw [d] and of dout to db [d].
// dw nil: weight and bias are frozen. db nil: there is no bias. carry nil: nothing is added. dx may be dout or carry.
func LayerNormBackward[F Float](dx, dw, db, dout, x, w, mean, inv, carry []F, rows, d int) {
	normBackward[F]{dx, dout, x, w[:d], mean, inv, carry, headRows{1, d, d}, 0}.run(dw, db, rows)
}

// normBackward serves both norms; mean is nil for RMSNorm, whose mean is 0 and has no gradient.
type normBackward[F Float] struct {
	dx, dout, x, w, mean, inv, carry []F
	headRows
	offset F
}

func (n normBackward[F]) run(dw, db []F, rows int) {
	switch {
	case dw == nil:
		parallelRows(rows, n.d, n)
	case db == nil:
		reduceRows(dw[:n.d], nil, rows, n)
	default:
		reduceRows(dw[:n.d], db[:n.d], rows, n)
	}
}

func (n *normBackward[F]) rows(from, to int) { n.reduce(nil, nil, from, to) }

func (n *normBackward[F]) reduce(dw, db []F, from, to int) {
	for r := from; r < to; r++ {
		at := n.at(r)
		x, dout, inv := n.x[at:at+n.d], n.dout[at:at+n.d], n.inv[r]
		var mean F
		if n.mean != nil {
			mean = n.mean[r]
		}
		var carry []F
		if n.carry != nil {
			carry = n.carry[at : at+n.d]
		}
		if dw != nil {
			normWeightGradient(dw, db, dout, x, mean, inv)
		}
		// with g = dout·(w + offset): dx = inv·g − (x − mean)·inv³·mean(g·(x − mean)) − inv·mean(g) + carry
		sum, product := normSums(dout, x, n.w, mean, n.offset)
		if n.mean == nil {
			sum = 0
		}
		d := F(n.d)
		normInputGradient(n.dx[at:at+n.d], dout, x, n.w, carry, mean, inv, inv*inv*inv*(product/d), inv*(sum/d), n.offset)
	}
}

func row[F Float](x []F, r, d int) []F { return x[r*d : (r+1)*d] }

// inverseDeviation returns 1/√(mean (x−m)² + eps).
func inverseDeviation[F Float](x []F, m, eps F) F {
	var s float64
	n := len(x)
	for len(x) > 0 {
		b := min(len(x), sumBlock)
		s += float64(squaredDeviation(x[:b], m))
		x = x[b:]
	}
	return F(1 / math.Sqrt(s/float64(n)+float64(eps)))
}
