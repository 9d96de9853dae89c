package main

import (
	"math"

	"github.com/mmcloughlin/avo/operand"
)

const nearest = operand.U8(8) // rounding to the nearest integer

// exponential returns a function of a vector that writes e^x: x is clamped, x = n·ln 2 + r with |r| ≤ ln(2)/2 (two-part ln 2, exact products), e^r by a
// polynomial (minimax with the first two coefficients 1: error 0.02 ulp), then the factor 2^n with one rounding, so that results may be denormal.
// Where positive is false, x is never above 0.
func (g *gen) exponential(positive bool) func(x vec) vec {
	low := g.constant(-104) // to 0
	var high operand.Op
	if positive {
		high = g.constant(89) // to +Inf
	}
	log2e := g.constant(math.Log2E)
	ln2 := g.constants(0.693145751953125, 1.42860682030941723212e-6)
	c := g.constants(0.0013843607157468796, 0.008374195545911789, 0.04166800528764725, 0.16666430234909058, 0.4999999403953552, 1, 1)
	one := g.bits(math.Float32bits(1))
	return func(x vec) vec {
		if positive {
			x = g.min(high, x)
		}
		x = g.max(low, x)
		n := g.mul(x, log2e)
		if g.wide {
			g.VRNDSCALEPS(nearest, n, n)
		} else {
			g.VROUNDPS(nearest, n, n)
		}
		g.fnma(x, n, ln2[0])
		g.fnma(x, n, ln2[1])
		p := g.polynomial(x, c)
		if g.wide {
			g.VSCALEFPS(n, p, p)
			return p
		}
		// 2^n = 2^(n/2)·2^(n-n/2): either factor is a normal number
		g.VCVTPS2DQ(n, n)
		half := g.vec()
		g.VPSRAD(operand.U8(1), n, half)
		g.VPSUBD(half, n, n)
		for _, e := range []vec{half, n} {
			g.VPSLLD(operand.U8(23), e, e)
			g.VPADDD(one, e, e)
			g.VMULPS(e, p, p)
		}
		return p
	}
}

// expShift returns a function that writes e^(scale·x − shift) over x.
func (g *gen) expShift() func(x, scale, shift vec) vec {
	exp := g.exponential(true)
	return func(x, scale, shift vec) vec {
		g.mulSub(x, scale, shift)
		return exp(x)
	}
}

// sigmoid returns a function that writes σ(x) and, where complement is set, σ(−x): with e = e^−|x| they are 1/(1+e) and e/(1+e), in the order of x's sign.
func (g *gen) sigmoid(complement bool) func(x vec) (s, c vec) {
	exp := g.exponential(false)
	sign, one := g.bits(1<<31), g.constant(1)
	return func(x vec) (s, c vec) {
		e := exp(g.or(x, sign))
		negative := g.compare(less, x, g.zero())
		denominator := g.add(e, one)
		if !complement {
			return g.div(g.choose(negative, e, one), denominator), nil
		}
		r := g.div(g.copy(one), denominator)
		er := g.mul(e, r)
		return g.choose(negative, er, r), g.choose(negative, r, er)
	}
}

// tanh returns a function that writes tanh(x): for |x| < 0.55 an odd polynomial (minimax: error 0.02 ulp), else (1 − e)/(1 + e) with e = e^(−2|x|).
func (g *gen) tanh() func(x vec) vec {
	exp := g.exponential(false)
	sign, magnitude, one, border := g.bits(1<<31), g.bits(1<<31-1), g.constant(1), g.constant(0.55)
	c := g.constants(-0.00627423170953989, 0.021071672439575195, -0.05385230854153633, 0.13332585990428925, -0.33333316445350647)
	return func(x vec) vec {
		s := g.mul(x, x)
		small := g.mul(g.polynomial(s, c), s)
		g.mulAdd(small, x, x)
		e := exp(g.or(g.add(x, x), sign))
		large := g.div(g.sub(g.copy(one), e), g.add(e, one))
		signed := g.vec()
		g.VANDPS(sign, x, signed)
		return g.choose(g.compare(less, g.abs(x, magnitude), border), small, g.or(large, signed))
	}
}

// normal returns a function that writes Φ(x), and the density φ(x) where that is wanted: Φ(−a) = e^(−a²/2)·R(a) for a = |x|, with R the polynomial in t = 1/(1 + 0.27a)
// that is closest to erfc(a/√2)·e^(a²/2)/2 in relative terms (2.4e-8) for a ≤ 14.5, where e^(−a²/2) is 0; Φ(a) = 1 − Φ(−a).
func (g *gen) normal(density bool) func(x vec) (cdf, pdf vec) {
	exp := g.exponential(false)
	magnitude, one, slope, minusHalf := g.bits(1<<31-1), g.constant(1), g.constant(0.27), g.constant(-0.5)
	c := g.coefficients(0.028960885480046272, -0.12648481130599976, 0.16978397965431213, -0.0692082867026329, 0.1078239381313324,
		0.0720503181219101, 0.10181043297052383, 0.10754289478063583, 0.10772065818309784)
	limit := g.constant(15)
	root := g.constant(1 / math.Sqrt(2*math.Pi))
	return func(x vec) (cdf, pdf vec) {
		a := g.min(limit, g.abs(x, magnitude))
		// e^(−a²/2) from a² = square + rest, rest being what the square loses by rounding
		square := g.mul(a, a)
		rest := g.copy(a)
		g.mulSub(rest, a, square)
		e := exp(g.mul(square, minusHalf))
		g.fma(e, e, g.mul(rest, minusHalf)) // in place: e + e·rest·(−1/2)
		d := g.copy(one)
		g.fma(d, a, slope)
		t := g.div(g.copy(one), d)
		tail := g.mul(g.mul(g.polynomial(t, c), t), e)
		negative := g.compare(less, x, g.zero())
		cdf = g.choose(negative, tail, g.sub(g.copy(one), tail))
		if density {
			pdf = g.mul(e, root)
		}
		return cdf, pdf
	}
}

// log1pExp returns a function that writes log(1 + e^−|x|); log(1 + e^x) is that plus max(x, 0).
func (g *gen) log1pExp() func(x vec) vec {
	exp, log1p := g.exponential(false), g.log1pRatio()
	sign, one := g.bits(1<<31), g.constant(1)
	return func(x vec) vec { return log1p(exp(g.or(x, sign)), one) }
}

// log1pRatio returns a function that writes log(1 + a/b) = 2·artanh(s), s = a/(2b + a) ≤ 1/3, for 0 ≤ a ≤ b, by a minimax polynomial in s² (error 0.04 ulp).
func (g *gen) log1pRatio() func(a vec, b operand.Op) vec {
	two := g.constant(2)
	c := g.constants(0.2817833423614502, 0.27960604429244995, 0.40024909377098083, 0.6666631698608398, 2)
	return func(a vec, b operand.Op) vec {
		denominator := g.copy(a)
		g.fma(denominator, g.copy(b), two)
		s := g.div(a, denominator)
		return g.mul(g.polynomial(g.mul(s, s), c), s)
	}
}
