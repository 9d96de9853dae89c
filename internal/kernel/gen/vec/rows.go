package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// rowKernels are those of norm.go, rotary.go, activation.go and adamw.go.
var rowKernels = []kernel{
	// norms
	{"squaredDeviation", "x []F, m F", "F", func(g *gen) {
		x, n, m, s := g.slice("x"), g.length("x"), g.scalar("m"), g.sums(4)
		g.loop(n, 4, func(u int) {
			d := g.active(g.sub(g.load(x), m))
			g.fma(s[u], d, d)
		})
		g.retSums(s)
	}},
	{"normalize", "out, x, w, b []F, mean, inv, offset F", "", func(g *gen) {
		out, x, w, b, n := g.slice("out"), g.slice("x"), g.slice("w"), g.slice("b"), g.length("x")
		mean, inv, offset := g.scalar("mean"), g.scalar("inv"), g.scalar("offset")
		g.either("b", func(bias bool) {
			g.loop(n, 2, func(int) {
				y := g.mul(g.mul(g.sub(g.load(x), mean), inv), g.add(g.load(w), offset))
				if bias {
					g.accumulate(y, g.load(b))
				}
				g.store(y, out)
			})
			g.ret()
		})
	}},
	{"normSums", "dout, x, w []F, mean, offset F", "(s, p F)", func(g *gen) {
		dout, x, w, n := g.slice("dout"), g.slice("x"), g.slice("w"), g.length("x")
		mean, offset, s, p := g.scalar("mean"), g.scalar("offset"), g.sums(2), g.sums(2)
		g.loop(n, 2, func(u int) {
			d := g.mul(g.load(dout), g.add(g.load(w), offset))
			g.accumulate(s[u], g.active(d))
			g.fma(p[u], g.active(d), g.sub(g.load(x), mean))
		})
		g.retSums(s, p)
	}},
	{"normInputGradient", "dx, dout, x, w, carry []F, mean, a, b, c, offset F", "", func(g *gen) {
		dx, dout, x, w, carry, n := g.slice("dx"), g.slice("dout"), g.slice("x"), g.slice("w"), g.slice("carry"), g.length("x")
		mean, a, b, c, offset := g.scalar("mean"), g.scalar("a"), g.scalar("b"), g.scalar("c"), g.scalar("offset")
		g.either("carry", func(plus bool) {
			g.loop(n, 2, func(int) {
				y := g.mul(g.load(dout), g.add(g.load(w), offset))
				g.mulSub(y, a, c)
				g.fnma(y, g.sub(g.load(x), mean), b)
				if plus {
					g.accumulate(y, g.load(carry))
				}
				g.store(y, dx)
			})
			g.ret()
		})
	}},
	{"normWeightGradient", "dw, db, dout, x []F, mean, inv F", "", func(g *gen) {
		dw, db, dout, x, n := g.slice("dw"), g.slice("db"), g.slice("dout"), g.slice("x"), g.length("x")
		mean, inv := g.scalar("mean"), g.scalar("inv")
		g.either("db", func(bias bool) {
			g.loop(n, 2, func(int) {
				d, y := g.load(dout), g.load(dw)
				g.fma(y, d, g.mul(g.sub(g.load(x), mean), inv))
				g.store(y, dw)
				if bias {
					g.store(g.add(g.load(db), d), db)
				}
			})
			g.ret()
		})
	}},

	{"rotate", "out, x, cos, sin []F, heads, d int, sign F", "", rotate},

	// activations
	{"relu", "out, x []F", "", func(g *gen) {
		out, x, n, zero := g.slice("out"), g.slice("x"), g.length("x"), g.zero()
		g.loop(n, 2, func(int) { g.store(g.max(zero, g.load(x)), out) })
		g.ret()
	}},
	{"reluBackward", "dx, dout, x []F", "", func(g *gen) {
		dx, dout, x, n, zero := g.slice("dx"), g.slice("dout"), g.slice("x"), g.length("x"), g.zero()
		g.loop(n, 2, func(int) { g.store(g.keep(g.compare(notLessEqual, g.load(x), zero), g.load(dout)), dx) })
		g.ret()
	}},
	{"silu", "out, x []F, slope F", "", func(g *gen) {
		out, x, n := g.slice("out"), g.slice("x"), g.length("x")
		slope, sigmoid := g.scalar("slope"), g.sigmoid(false)
		g.loop(n, 1, func(int) {
			v := g.load(x)
			s, _ := sigmoid(g.mul(v, slope))
			g.store(g.mul(v, s), out)
		})
		g.ret()
	}},
	{"siluBackward", "dx, dout, x []F, slope F", "", func(g *gen) {
		dx, dout, x, n := g.slice("dx"), g.slice("dout"), g.slice("x"), g.length("x")
		slope, sigmoid := g.scalar("slope"), g.sigmoid(true)
		g.loop(n, 1, func(int) {
			v := g.mul(g.load(x), slope)
			s, c := sigmoid(v)
			g.fma(s, v, g.mul(s, c))
			g.store(g.mul(s, g.load(dout)), dx)
		})
		g.ret()
	}},
	{"swiglu", "out, gate, up []F", "", func(g *gen) {
		out, gate, up, n, sigmoid := g.slice("out"), g.slice("gate"), g.slice("up"), g.length("gate"), g.sigmoid(false)
		g.loop(n, 1, func(int) {
			v := g.load(gate)
			s, _ := sigmoid(v)
			g.store(g.mul(g.mul(v, s), g.load(up)), out)
		})
		g.ret()
	}},
	{"swigluBackward", "dgate, dup, dout, gate, up []F", "", func(g *gen) {
		dgate, dup, dout, gate, up, n := g.slice("dgate"), g.slice("dup"), g.slice("dout"), g.slice("gate"), g.slice("up"), g.length("gate")
		sigmoid := g.sigmoid(true)
		g.loop(n, 1, func(int) {
			v := g.load(gate)
			s, c := sigmoid(v)
			d, u := g.load(dout), g.load(up)
			vs := g.mul(v, s)
			g.fma(s, vs, c)
			g.store(g.mul(g.mul(d, u), s), dgate)
			g.store(g.mul(d, vs), dup)
		})
		g.ret()
	}},
	{"gelu", "out, x []F", "", func(g *gen) {
		out, x, n, normal := g.slice("out"), g.slice("x"), g.length("x"), g.normal(false)
		g.loop(n, 1, func(int) {
			v := g.load(x)
			p, _ := normal(v)
			g.store(g.mul(v, p), out)
		})
		g.ret()
	}},
	{"geluBackward", "dx, dout, x []F", "", func(g *gen) {
		dx, dout, x, n, normal := g.slice("dx"), g.slice("dout"), g.slice("x"), g.length("x"), g.normal(true)
		g.loop(n, 1, func(int) {
			v := g.load(x)
			p, density := normal(v)
			g.fma(p, v, density)
			g.store(g.mul(p, g.load(dout)), dx)
		})
		g.ret()
	}},
	{"geluTanh", "out, x []F", "", func(g *gen) {
		out, x, n := g.slice("out"), g.slice("x"), g.length("x")
		slope, cubic, sigmoid := g.constant(tanhSlope), g.constant(tanhCubic), g.sigmoid(false)
		g.loop(n, 1, func(int) {
			v := g.load(x)
			u := g.mul(v, v)
			g.mulAdd(u, g.copy(cubic), slope)
			s, _ := sigmoid(g.mul(v, u))
			g.store(g.mul(v, s), out)
		})
		g.ret()
	}},
	{"geluTanhBackward", "dx, dout, x []F", "", func(g *gen) {
		dx, dout, x, n := g.slice("dx"), g.slice("dout"), g.slice("x"), g.length("x")
		slope, cubic, cubic3, sigmoid := g.constant(tanhSlope), g.constant(tanhCubic), g.constant(3*tanhCubic), g.sigmoid(true)
		low, high := g.constant(-100), g.constant(100)
		g.loop(n, 1, func(int) {
			v := g.max(low, g.min(high, g.load(x)))
			square := g.mul(v, v)
			u, du := g.copy(cubic), g.copy(cubic3)
			g.mulAdd(u, square, slope)
			g.mulAdd(du, square, slope)
			s, c := sigmoid(g.mul(v, u))
			g.fma(s, g.mul(v, du), g.mul(s, c))
			g.store(g.mul(s, g.load(dout)), dx)
		})
		g.ret()
	}},

	// softcap
	{"softcap", "out, x []F, limit, inverse F", "", func(g *gen) {
		out, x, n, limit, inverse, tanh := g.slice("out"), g.slice("x"), g.length("x"), g.scalar("limit"), g.scalar("inverse"), g.tanh()
		g.loop(n, 1, func(int) { g.store(g.mul(tanh(g.mul(g.load(x), inverse)), limit), out) })
		g.ret()
	}},
	{"softcapBackward", "dx, dout, y []F, inverse F", "", func(g *gen) {
		dx, dout, y, n, inverse, one := g.slice("dx"), g.slice("dout"), g.slice("y"), g.length("y"), g.scalar("inverse"), g.constant(1)
		g.loop(n, 2, func(int) {
			t, slope := g.mul(g.load(y), inverse), g.copy(one)
			g.fnma(slope, t, t)
			g.store(g.mul(slope, g.load(dout)), dx)
		})
		g.ret()
	}},

	// optimizer
	{"sumSquares", "x []F", "float64", sumSquares},
	{"adamW", "p, g, m, v []F, scale, shrink, rest1, beta2, rest2, root, eps, rate F", "", func(g *gen) {
		p, grad, m, v, n := g.slice("p"), g.slice("g"), g.slice("m"), g.slice("v"), g.length("p")
		scale, shrink, rest1, beta2 := g.scalar("scale"), g.scalar("shrink"), g.scalar("rest1"), g.scalar("beta2")
		rest2, root, eps, rate := g.scalar("rest2"), g.scalar("root"), g.scalar("eps"), g.scalar("rate")
		g.loop(n, 1, func(int) {
			d := g.mul(g.load(grad), scale)
			first := g.load(m)
			g.fma(first, g.sub(d, first), rest1)
			g.store(first, m)
			second := g.mul(g.load(v), beta2)
			g.fma(second, g.mul(d, d), rest2)
			g.store(second, v)
			denominator := g.vec()
			g.VSQRTPS(second, denominator)
			g.mulAdd(denominator, root, eps)
			y := g.mul(g.load(p), shrink)
			g.fnma(y, g.div(first, denominator), rate)
			g.store(y, p)
		})
		g.ret()
	}},
}

// As in internal/kernel/activation.go.
const (
	tanhSlope = 1.5957691216057308
	tanhCubic = 0.044715 * tanhSlope
)

// either writes body twice: for a slice that is given and for one that is empty.
func (g *gen) either(slice string, body func(given bool)) {
	absent, n := g.label("absent"), g.length(slice)
	g.TESTQ(n, n)
	g.JE(operand.LabelRef(absent))
	body(true)
	g.Label(absent)
	body(false)
}

func rotate(g *gen) {
	out, x, cos, sin, half := g.slice("out"), g.slice("x"), g.slice("cos"), g.slice("sin"), g.length("cos")
	heads, d, n := g.GP64(), g.GP64(), g.GP64()
	g.Load(g.Param("heads"), heads)
	g.Load(g.Param("d"), d)
	sign := g.scalar("sign")
	out2, x2 := g.GP64(), g.GP64()
	next, end := g.label("head"), g.label("end")
	g.Label(next)
	g.SUBQ(operand.U8(1), heads)
	g.JLT(operand.LabelRef(end))
	g.LEAQ(operand.Mem{Base: out, Index: half, Scale: 4}, out2)
	g.LEAQ(operand.Mem{Base: x, Index: half, Scale: 4}, x2)
	g.MOVQ(half, n)
	g.loop(n, 1, func(int) {
		c, s, a, b := g.load(cos), g.mul(g.load(sin), sign), g.load(x), g.load(x2)
		u, v := g.mul(a, c), g.mul(b, c)
		g.fnma(u, b, s)
		g.fma(v, a, s)
		g.store(u, out)
		g.store(v, out2)
	})
	for _, p := range []reg.Register{out, x} {
		g.LEAQ(operand.Mem{Base: p, Index: d, Scale: 4}, p)
	}
	g.JMP(operand.LabelRef(next))
	g.Label(end)
	g.ret()
}

// sumSquares squares and adds in float64, which neither overflows nor loses digits.
func sumSquares(g *gen) {
	x, n, s := g.slice("x"), g.length("x"), g.sums(4)
	g.loop(n, 2, func(u int) {
		v := g.load(x)
		low, high := g.vec(), g.vec()
		if g.wide {
			h := g.YMM()
			g.VEXTRACTF64X4(operand.U8(1), v, h)
			g.VCVTPS2PD(v.AsY(), low)
			g.VCVTPS2PD(h, high)
		} else {
			h := g.XMM()
			g.VEXTRACTF128(operand.U8(1), v, h)
			g.VCVTPS2PD(v.AsX(), low)
			g.VCVTPS2PD(h, high)
		}
		g.VFMADD231PD(low, low, s[2*u])
		g.VFMADD231PD(high, high, s[2*u+1])
	})
	g.VADDPD(s[1], s[0], s[0])
	g.VADDPD(s[3], s[2], s[2])
	g.VADDPD(s[2], s[0], s[0])
	y := s[0].AsY()
	if g.wide {
		high := g.YMM()
		g.VEXTRACTF64X4(operand.U8(1), s[0], high)
		g.VADDPD(high, y, y)
	}
	high, low := g.XMM(), s[0].AsX()
	g.VEXTRACTF128(operand.U8(1), y, high)
	g.VADDPD(high, low, low)
	g.VPERMILPD(operand.U8(1), low, high)
	g.VADDSD(high, low, low)
	g.Store(low, g.ReturnIndex(0))
	g.ret()
}
