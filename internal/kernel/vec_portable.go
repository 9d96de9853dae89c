package kernel

import (
	"math"
	"unsafe"
)

// exponential returns e^x: math.Exp in float64, a polynomial of error below 2^-29 (before rounding) in float32.
func exponential[F Float](x F) F {
	if unsafe.Sizeof(x) == 8 {
		return F(math.Exp(float64(x)))
	}
	return F(exp32(float64(x)))
}

// exp32 returns e^x for what is rounded to a float32 afterwards: e^x = 2^n·e^r, |r| ≤ ln(2)/2, Taylor's polynomial of degree 8.
func exp32(x float64) float64 {
	if !(x > -104) {
		if x != x {
			return x
		}
		return 0
	}
	if x > 89 {
		return math.Inf(1)
	}
	n := math.Floor(x*math.Log2E + 0.5)
	r := x - n*math.Ln2
	p := 1 + r*(1+r*(1./2+r*(1./6+r*(1./24+r*(1./120+r*(1./720+r*(1./5040+r*(1./40320))))))))
	return p * math.Float64frombits(uint64(int64(n)+1023)<<52)
}

func expShiftPortable[F Float](dst, src []F, scale, shift F) F {
	var sum float64
	for i, v := range src {
		e := exponential(F(float64(scale)*float64(v) - float64(shift)))
		dst[i] = e
		sum += float64(e)
	}
	return F(sum)
}

func expSumPortable[F Float](src []F, scale, shift F) F {
	var sum float64
	for _, v := range src {
		sum += float64(exponential(F(float64(scale)*float64(v) - float64(shift))))
	}
	return F(sum)
}

func maximumPortable[F Float](x []F) F {
	m := F(math.Inf(-1))
	for _, v := range x {
		if !(v <= m) {
			if v != v {
				return v
			}
			m = v
		}
	}
	return m
}

func sumPortable[F Float](x []F) F {
	var s [4]float64
	for len(x) >= 4 {
		s[0] += float64(x[0])
		s[1] += float64(x[1])
		s[2] += float64(x[2])
		s[3] += float64(x[3])
		x = x[4:]
	}
	for _, v := range x {
		s[0] += float64(v)
	}
	return F(s[0] + s[1] + (s[2] + s[3]))
}

func dotPortable[F Float](a, b []F) F {
	var s [4]float64
	for len(a) >= 4 && len(b) >= 4 {
		s[0] += float64(a[0]) * float64(b[0])
		s[1] += float64(a[1]) * float64(b[1])
		s[2] += float64(a[2]) * float64(b[2])
		s[3] += float64(a[3]) * float64(b[3])
		a, b = a[4:], b[4:]
	}
	for i, v := range a {
		s[0] += float64(v) * float64(b[i])
	}
	return F(s[0] + s[1] + (s[2] + s[3]))
}

func axpyPortable[F Float](dst, src []F, scale F) {
	for i, v := range src {
		dst[i] += scale * v
	}
}

func scaleToPortable[F Float](dst, src []F, scale F) {
	for i, v := range src {
		dst[i] = scale * v
	}
}

func addPortable[F Float](dst, a, b []F) {
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
}

func difference[F Float](a, b F) F {
	if a == b {
		return 0 // -Inf - -Inf too
	}
	return a - b
}

func logRatioPortable[F Float](dst, a, b []F, scale, shift F) {
	for i := range dst {
		dst[i] = scale*difference(a[i], b[i]) - shift
	}
}

func axpyDiffPortable[F Float](dst, a, b []F, scale F) {
	for i := range dst {
		dst[i] += scale * difference(a[i], b[i])
	}
}

func axpyCenteredPortable[F Float](dst, q, g []F, center, scale F) {
	for i, v := range q {
		if v != 0 {
			dst[i] += scale * (v * (g[i] - center))
		}
	}
}

func expectationPortable[F Float](p, f []F) F {
	var s float64
	for i, v := range p {
		if v != 0 {
			s += float64(v) * float64(f[i])
		}
	}
	return F(s)
}

// logMixturePortable writes restA − log(1 + e^d) and restB − log(1 + e^−d) for d = scale·(b − a) − shift.
func logMixturePortable[F Float](logA, logB, a, b []F, scale, shift, restA, restB F) {
	for i := range a {
		d := float64(scale*difference(b[i], a[i]) - shift)
		l := math.Log1p(math.Exp(-math.Abs(d)))
		logA[i], logB[i] = restA-F(l+max(d, 0)), restB-F(l-min(d, 0))
	}
}

func axpySoftmaxPortable[F Float](dst, z []F, scale, shift, weight F) {
	for i, v := range z {
		dst[i] += weight * exponential(F(float64(scale)*float64(v)-float64(shift)))
	}
}

func softmaxDiffPortable[F Float](dst, z, y []F, scale, shiftZ, shiftY, weightZ, weightY F) F {
	var s float64
	for i := range dst {
		p := exponential(F(float64(scale)*float64(y[i]) - float64(shiftY)))
		q := exponential(F(float64(scale)*float64(z[i]) - float64(shiftZ)))
		if p != 0 {
			s += float64(p) * float64(scale*difference(y[i], z[i])-(shiftY-shiftZ))
		}
		dst[i] += weightZ*q - weightY*p
	}
	return F(s)
}

func softmaxDotPortable[F Float](z, y []F, scale, shiftZ, shiftY F) F {
	var s float64
	for i := range z {
		p := exponential(F(float64(scale)*float64(y[i]) - float64(shiftY)))
		if p != 0 {
			s += float64(p) * float64(scale*difference(y[i], z[i])-(shiftY-shiftZ))
		}
	}
	return F(s)
}
