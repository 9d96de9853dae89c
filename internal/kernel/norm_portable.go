package kernel

// squaredDeviationPortable returns Σ (x − m)².
func squaredDeviationPortable[F Float](x []F, m F) F {
	var s float64
	for _, v := range x {
		d := float64(v - m)
		s += d * d
	}
	return F(s)
}

// normalizePortable sets out = (x − mean)·inv·(w + offset) + b; b may be empty.
func normalizePortable[F Float](out, x, w, b []F, mean, inv, offset F) {
	for i, v := range x {
		y := (v - mean) * inv * (w[i] + offset)
		if len(b) > 0 {
			y += b[i]
		}
		out[i] = y
	}
}

// normSumsPortable returns Σ g and Σ g·(x − mean) for g = dout·(w + offset).
func normSumsPortable[F Float](dout, x, w []F, mean, offset F) (sum, product F) {
	var s, p float64
	for i, v := range dout {
		g := float64(v * (w[i] + offset))
		s += g
		p += g * float64(x[i]-mean)
	}
	return F(s), F(p)
}

// normInputGradientPortable sets dx = a·dout·(w + offset) − b·(x − mean) − c + carry; carry may be empty.
func normInputGradientPortable[F Float](dx, dout, x, w, carry []F, mean, a, b, c, offset F) {
	for i, v := range dout {
		y := a*(v*(w[i]+offset)) - b*(x[i]-mean) - c
		if len(carry) > 0 {
			y += carry[i]
		}
		dx[i] = y
	}
}

// normWeightGradientPortable adds dout·(x − mean)·inv to dw and dout to db; db may be empty.
func normWeightGradientPortable[F Float](dw, db, dout, x []F, mean, inv F) {
	for i, v := range dout {
		dw[i] += v * ((x[i] - mean) * inv)
		if len(db) > 0 {
			db[i] += v
		}
	}
}
