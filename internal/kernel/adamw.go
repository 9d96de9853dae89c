package kernel

import "math"

// SumSquares returns Σ x², in float64 throughout: the square of a gradient's norm.
func SumSquares(x []float32) float64 {
	partial := Borrow[float64](ceil(len(x), grain))
	parallelRows(len(x), 1, squares{x, partial})
	var total float64
	for _, s := range partial {
		total += s
	}
	GiveBack(partial)
	return total
}

type squares struct {
	x       []float32
	partial []float64 // of each range of grain elements
}

func (s *squares) rows(from, to int) { s.partial[from/grain] = sumSquares(s.x[from:to]) }

// AdamWStep holds one step's constants.
type AdamWStep struct {
	LR, Beta1, Beta2, Eps float64
	Decay                 float64 // decoupled: p shrinks by LR·Decay of itself
	Scale                 float64 // factor on the gradient, 1 for none: clipping
	Step                  int     // from 1
}

// AdamW updates the parameters p and moments m, v with the gradient g, as torch.optim.AdamW does (Loshchilov and Hutter 2019):
//
//	g ← Scale·g, p ← p·(1 − LR·Decay), m ← m + (1−β1)(g − m), v ← β2·v + (1−β2)g²,
//	p ← p − LR/(1−β1^Step) · m / (√v/√(1−β2^Step) + Eps)
//
// g is left as it is.
func AdamW(p, g, m, v []float32, a AdamWStep) {
	step := float64(a.Step)
	parallelRows(len(p), 1, adamWUpdate{p, g[:len(p)], m[:len(p)], v[:len(p)], a,
		1 / math.Sqrt(1-math.Pow(a.Beta2, step)), a.LR / (1 - math.Pow(a.Beta1, step))})
}

type adamWUpdate struct {
	p, g, m, v []float32
	AdamWStep
	root, rate float64
}

func (a *adamWUpdate) rows(from, to int) {
	adamW(a.p[from:to], a.g[from:to], a.m[from:to], a.v[from:to], float32(a.Scale), float32(1-a.LR*a.Decay),
		float32(1-a.Beta1), float32(a.Beta2), float32(1-a.Beta2), float32(a.root), float32(a.Eps), float32(a.rate))
}

// adamWPortable takes shrink = 1 − LR·Decay, rest1 = 1 − β1, rest2 = 1 − β2, root = 1/√(1−β2^step) and rate = LR/(1−β1^step).
func adamWPortable[F Float](p, g, m, v []F, scale, shrink, rest1, beta2, rest2, root, eps, rate F) {
	for i, g := range g {
		g *= scale
		m[i] += rest1 * (g - m[i])
		v[i] = beta2*v[i] + rest2*(g*g)
		p[i] = shrink*p[i] - rate*(m[i]/(F(math.Sqrt(float64(v[i])))*root+eps))
	}
}

func sumSquaresPortable[F Float](x []F) float64 {
	var s [4]float64
	for len(x) >= 4 {
		s[0] += float64(x[0]) * float64(x[0])
		s[1] += float64(x[1]) * float64(x[1])
		s[2] += float64(x[2]) * float64(x[2])
		s[3] += float64(x[3]) * float64(x[3])
		x = x[4:]
	}
	for _, v := range x {
		s[0] += float64(v) * float64(v)
	}
	return s[0] + s[1] + (s[2] + s[3])
}
