package loss

import "math"

// point is what one id adds to a loss that is a sum over ids, and its derivative by log q, given log p and log q.
type point func(logP, logQ float64) (value, slope float64)

// points holds the losses that can be had from rows of which only a part is known: a loss that is no sum over ids is not here.
var points = map[string]func(values map[string]float64) point{
	"forward_kl":         func(map[string]float64) point { return forwardPoint },
	"reverse_kl":         func(map[string]float64) point { return reversePoint },
	"soft_cross_entropy": func(map[string]float64) point { return softPoint },
	"total_variation":    func(map[string]float64) point { return variationPoint },
	"symmetric_kl": func(v map[string]float64) point {
		return blend(v["forward_weight"], forwardPoint, reversePoint)
	},
	"generalized_jsd": func(v map[string]float64) point { return jsdPoint(v["beta"]) },
	"skew_kl": func(v map[string]float64) point {
		alpha := v["alpha"]
		if alpha == 0 {
			return forwardPoint
		}
		return func(logP, logQ float64) (value, slope float64) {
			p, logM := math.Exp(logP), logMix(alpha, logP, logQ)
			return times0(p, logP-logM), -(1 - alpha) * times0(p, math.Exp(logQ-logM))
		}
	},
	"skew_reverse_kl": func(v map[string]float64) point {
		alpha := v["alpha"]
		if alpha == 0 {
			return reversePoint
		}
		return func(logP, logQ float64) (value, slope float64) {
			q, logM := math.Exp(logQ), logMix(alpha, logQ, logP)
			return times0(q, logQ-logM), times0(q, logQ-logM+1-alpha*math.Exp(logQ-logM))
		}
	},
}

func forwardPoint(logP, logQ float64) (value, slope float64) {
	p := math.Exp(logP)
	return times0(p, logP-logQ), -p
}

func softPoint(logP, logQ float64) (value, slope float64) {
	p := math.Exp(logP)
	return -times0(p, logQ), -p
}

func reversePoint(logP, logQ float64) (value, slope float64) {
	q := math.Exp(logQ)
	return times0(q, logQ-logP), times0(q, logQ-logP+1)
}

func variationPoint(logP, logQ float64) (value, slope float64) {
	p, q := math.Exp(logP), math.Exp(logQ)
	if p == q {
		return 0, 0
	}
	return math.Abs(p-q) / 2, math.Copysign(q, q-p) / 2
}

func jsdPoint(beta float64) point {
	switch beta {
	case 0:
		return forwardPoint
	case 1:
		return reversePoint
	}
	return func(logP, logQ float64) (value, slope float64) {
		p, q, logM := math.Exp(logP), math.Exp(logQ), logMix(beta, logP, logQ)
		ofQ := (1 - beta) * times0(q, logQ-logM)
		return beta*times0(p, logP-logM) + ofQ, ofQ
	}
}

// blend is share·a + (1−share)·b; what has no share is not asked.
func blend(share float64, a, b point) point {
	switch share {
	case 0:
		return b
	case 1:
		return a
	}
	return func(logP, logQ float64) (value, slope float64) {
		v, s := a(logP, logQ)
		w, u := b(logP, logQ)
		return share*v + (1-share)*w, share*s + (1-share)*u
	}
}

// times0 is p·x, and 0 where p is 0, whatever x.
func times0(p, x float64) float64 {
	if p == 0 {
		return 0
	}
	return p * x
}

// logMix is log(share·a + (1−share)·b) of two logarithms.
func logMix(share, logA, logB float64) float64 {
	a, b := math.Log(share)+logA, math.Log1p(-share)+logB
	high, low := max(a, b), min(a, b)
	if math.IsInf(high, -1) {
		return high
	}
	return high + math.Log1p(math.Exp(low-high))
}
