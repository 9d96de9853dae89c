package kernel

import (
	"math"
	"unsafe"
)

// Primitives of losses that go over a row of logits in blocks and keep the exponentials of the first pass for the second. Probabilities are known up to a
// factor for each block: q and p, with q·e^… of logits z and p of y. Sums are those of one block, a few thousand elements: they are added up in F.

// Exp2Shift sets dst = 2^(scale·src − shift) and returns the sum of dst, and the largest of src that is a number. The exponent, at most 1, is rounded once;
// 2^ of it has an error below 1.5 ulp. Of −Inf it is 0, and what is less than 2^-126 may be 0. Where an exponent is above 1, only top means something.
func Exp2Shift[F Float](dst, src []F, scale, shift F) (sum, top F) {
	return exp2Shift(dst[:len(src)], src, scale, shift)
}

// ExpectationDiff returns Σ p·(a − b − center); entries with p = 0 count 0, whatever a and b.
func ExpectationDiff[F Float](p, a, b []F, center F) F {
	return expectationDiff(p, a[:len(p)], b[:len(p)], center)
}

// Blend sets dst = a·x + b·y. dst may be x or y.
func Blend[F Float](dst, x, y []F, a, b F) { blend(dst, x[:len(dst)], y[:len(dst)], a, b) }

// BlendRatio sets dst = q·(a + b·(z − y − center)) + c·p, the first product being 0 where q is, whatever z and y. dst may be any of the others.
func BlendRatio[F Float](dst, q, p, z, y []F, center, a, b, c F) {
	n := len(dst)
	blendRatio(dst, q[:n], p[:n], z[:n], y[:n], center, a, b, c)
}

// Mixture takes two distributions q and p times their shares of a mixture m = share·q + (1 − share)·p: Q = weightQ·q and P = weightP·p, with
// log(Q/P) = scale·(z − y) − shift. It sets dst = Q·(log(Q/m) + restQ) and returns the sum of that and Σ P·(log(P/m) + restP).
// It takes no logarithm of a sum of probabilities. dst may be q or p. later is what the caller is going to write next: it comes from memory meanwhile.
func Mixture[F Float](dst, q, p, z, y, later []F, weightQ, weightP, scale, shift, restQ, restP F) (student, teacher F) {
	n := len(dst)
	return mixture(dst, q[:n], p[:n], z[:n], y[:n], later[:n], weightQ, weightP, scale, shift, restQ, restP)
}

func exp2ShiftPortable[F Float](dst, src []F, scale, shift F) (s, p F) {
	sum, top := 0.0, F(math.Inf(-1))
	double := unsafe.Sizeof(sum) == unsafe.Sizeof(scale)
	for i, v := range src {
		if v > top {
			top = v
		}
		e := F(float64(scale)*float64(v) - float64(shift))
		if double {
			e = F(math.Exp2(float64(e)))
		} else {
			e = F(exp32(float64(e) * math.Ln2))
		}
		dst[i] = e
		sum += float64(e)
	}
	return F(sum), top
}

func expectationDiffPortable[F Float](p, a, b []F, center F) F {
	var s float64
	for i, v := range p {
		if v != 0 {
			s += float64(v) * float64(a[i]-b[i]-center)
		}
	}
	return F(s)
}

func blendPortable[F Float](dst, x, y []F, a, b F) {
	for i := range dst {
		dst[i] = a*x[i] + b*y[i]
	}
}

func blendRatioPortable[F Float](dst, q, p, z, y []F, center, a, b, c F) {
	for i, v := range q {
		d := c * p[i]
		if v != 0 {
			d += v * (a + b*(z[i]-y[i]-center))
		}
		dst[i] = d
	}
}

func mixturePortable[F Float](dst, q, t, z, y, later []F, weightQ, weightP, scale, shift, restQ, restP F) (s, p F) {
	var sumQ, sumP float64
	for i := range dst {
		student, teacher := weightQ*q[i], weightP*t[i]
		d := float64(scale*(z[i]-y[i]) - shift)
		l := 0.0
		if larger := max(student, teacher); larger > 0 {
			l = math.Log1p(float64(min(student, teacher)) / float64(larger))
		}
		dst[i] = 0
		if student != 0 {
			dst[i] = student * (restQ - F(l-min(d, 0)))
		}
		if teacher != 0 {
			sumP += float64(teacher * (restP - F(l+max(d, 0))))
		}
		sumQ += float64(dst[i])
	}
	return F(sumQ), F(sumP)
}
