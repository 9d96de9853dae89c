package kernel

import "math"

// Row primitives of losses between two softmaxes at a temperature 1/s: with logits z and (top, sum) = MaxExpSum(z, s) the probabilities are
// q = e^(s·z − top)/sum, and log q = s·z − top − log sum. Numbers close to each other are subtracted before they are scaled and shifted, so that logits of ±1e4 keep their precision.
// A −Inf at the same place of both logits (a masked vocabulary) contributes nothing.

// MaxExpSum returns top = max(scale·x) and sum = Σ e^(scale·x − top) in one pass over memory, for a scale > 0.
// Without elements, or with −Inf ones only, they are −Inf and 0. With a NaN or +Inf among them sum is NaN.
func MaxExpSum[F Float](x []F, scale F) (top, sum F) {
	// a block is summed while it is in the cache; total is relative to the maximum so far
	top, total := F(math.Inf(-1)), 0.0
	for len(x) > 0 {
		block := x[:min(len(x), sumBlock)]
		x = x[len(block):]
		m := scale * maximum(block)
		if m == F(math.Inf(-1)) {
			continue
		}
		if !(m <= top) {
			total *= math.Exp(float64(top) - float64(m))
			top = m
		}
		total += float64(expSum(block, scale, top))
	}
	return top, F(total)
}

// LogRatio sets dst = scale·(a − b) − shift, with a − b = 0 where a and b are equal, both −Inf included.
func LogRatio[F Float](dst, a, b []F, scale, shift F) {
	logRatio(dst, a[:len(dst)], b[:len(dst)], scale, shift)
}

// LogMixture sets logP = log(p/m) and logQ = log(q/m) for the mixture m = (1 − share)·p + share·q, 0 < share < 1, of the distributions with
// log(q/p) = scale·(z − y) − shift. It takes no logarithm of a sum of probabilities. logP and logQ may be y and z.
func LogMixture[F Float](logP, logQ, y, z []F, scale, shift, share F) {
	n := len(logP)
	restP, restQ := math.Log1p(-float64(share)), math.Log(float64(share))
	logMixture(logP, logQ[:n], y[:n], z[:n], scale, F(float64(shift)-restQ+restP), F(-restP), F(-restQ))
}

// Expectation returns Σ p·f; entries with p = 0 count 0, whatever f.
func Expectation[F Float](p, f []F) F {
	f = f[:len(p)]
	var s float64
	for len(p) > 0 {
		n := min(len(p), sumBlock)
		s += float64(expectation(p[:n], f[:n]))
		p, f = p[n:], f[n:]
	}
	return F(s)
}

// AxpyDiff adds scale·(a − b) to dst.
func AxpyDiff[F Float](dst, a, b []F, scale F) { axpyDiff(dst, a[:len(dst)], b[:len(dst)], scale) }

// AxpyCentered adds scale·q·(g − center) to dst; entries with q = 0 add 0, whatever g.
// With g = ∂f/∂q and center = Σ q·g it is the gradient of f through the softmax.
func AxpyCentered[F Float](dst, q, g []F, center, scale F) {
	axpyCentered(dst, q[:len(dst)], g[:len(dst)], center, scale)
}

// AxpySoftmax adds weight·e^(scale·z − shift) to dst, in one pass.
func AxpySoftmax[F Float](dst, z []F, scale, shift, weight F) {
	axpySoftmax(dst, z[:len(dst)], scale, shift, weight)
}

// SoftmaxDiff adds weightZ·e^(scale·z − shiftZ) − weightY·e^(scale·y − shiftY) to dst and returns
// Σ e^(scale·y − shiftY)·(scale·(y − z) − (shiftY − shiftZ)), all in one pass: the gradient of the forward KL divergence and what its value needs.
// dst nil: the sum only.
func SoftmaxDiff[F Float](dst, z, y []F, scale, shiftZ, shiftY, weightZ, weightY F) F {
	y = y[:len(z)]
	if dst != nil {
		dst = dst[:len(z)]
	}
	var s float64
	for len(z) > 0 {
		n := min(len(z), sumBlock)
		if dst == nil {
			s += float64(softmaxDot(z[:n], y[:n], scale, shiftZ, shiftY))
		} else {
			s += float64(softmaxDiff(dst[:n], z[:n], y[:n], scale, shiftZ, shiftY, weightZ, weightY))
			dst = dst[n:]
		}
		z, y = z[n:], y[n:]
	}
	return F(s)
}
