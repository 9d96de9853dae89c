package main

import (
	"math"
	"slices"

	"github.com/mmcloughlin/avo/operand"
)

var kernels = slices.Concat(vectorKernels, lossKernels, rowKernels, attentionKernels)

// vectorKernels are those of vec.go and vec_softmax.go.
var vectorKernels = []kernel{
	{"expShift", "dst, src []F, scale, shift F", "F", func(g *gen) {
		dst, src, n := g.slice("dst"), g.slice("src"), g.length("src")
		scale, shift, exp, s := g.scalar("scale"), g.scalar("shift"), g.expShift(), g.sums(2)
		g.loop(n, 2, func(u int) {
			e := exp(g.load(src), scale, shift)
			g.store(e, dst)
			g.accumulate(s[u], g.active(e))
		})
		g.retSums(s)
	}},
	{"expSum", "src []F, scale, shift F", "F", func(g *gen) {
		src, n := g.slice("src"), g.length("src")
		scale, shift, exp, s := g.scalar("scale"), g.scalar("shift"), g.expShift(), g.sums(2)
		g.loop(n, 2, func(u int) {
			g.accumulate(s[u], g.active(exp(g.load(src), scale, shift)))
		})
		g.retSums(s)
	}},
	{"maximum", "x []F", "F", maximum},
	{"sum", "x []F", "F", func(g *gen) {
		x, n, s := g.slice("x"), g.length("x"), g.sums(4)
		g.loop(n, 4, func(u int) { g.accumulate(s[u], g.load(x)) })
		g.retSums(s)
	}},
	{"dot", "a, b []F", "F", func(g *gen) {
		a, b, n, s := g.slice("a"), g.slice("b"), g.length("a"), g.sums(4)
		g.loop(n, 4, func(u int) { g.fma(s[u], g.load(a), g.load(b)) })
		g.retSums(s)
	}},
	{"axpy", "dst, src []F, scale F", "", func(g *gen) {
		dst, src, n, scale := g.slice("dst"), g.slice("src"), g.length("src"), g.scalar("scale")
		g.loop(n, 4, func(int) {
			y := g.load(dst)
			g.fma(y, g.load(src), scale)
			g.store(y, dst)
		})
		g.ret()
	}},
	{"scaleTo", "dst, src []F, scale F", "", func(g *gen) {
		dst, src, n, scale := g.slice("dst"), g.slice("src"), g.length("src"), g.scalar("scale")
		g.loop(n, 4, func(int) { g.store(g.mul(g.load(src), scale), dst) })
		g.ret()
	}},
	{"add", "dst, a, b []F", "", func(g *gen) {
		dst, a, b, n := g.slice("dst"), g.slice("a"), g.slice("b"), g.length("dst")
		g.loop(n, 4, func(int) { g.store(g.add(g.load(a), g.load(b)), dst) })
		g.ret()
	}},

	// softmax rows
	{"logMixture", "logA, logB, a, b []F, scale, shift, restA, restB F", "", func(g *gen) {
		logA, logB, a, b, n := g.slice("logA"), g.slice("logB"), g.slice("a"), g.slice("b"), g.length("a")
		scale, shift, restA, restB := g.scalar("scale"), g.scalar("shift"), g.scalar("restA"), g.scalar("restB")
		log1pExp, zero := g.log1pExp(), g.zero()
		g.loop(n, 1, func(int) {
			d := g.difference(g.load(b), g.load(a))
			g.mulSub(d, scale, shift)
			l := log1pExp(d)
			g.store(g.sub(g.sub(restA, l), g.max(zero, d)), logA)
			g.store(g.add(g.sub(restB, l), g.min(zero, d)), logB)
		})
		g.ret()
	}},
	{"logRatio", "dst, a, b []F, scale, shift F", "", func(g *gen) {
		dst, a, b, n := g.slice("dst"), g.slice("a"), g.slice("b"), g.length("dst")
		scale, shift := g.scalar("scale"), g.scalar("shift")
		g.loop(n, 2, func(int) {
			d := g.difference(g.load(a), g.load(b))
			g.mulSub(d, scale, shift)
			g.store(d, dst)
		})
		g.ret()
	}},
	{"expectation", "p, f []F", "F", func(g *gen) {
		p, f, n := g.slice("p"), g.slice("f"), g.length("p")
		s, zero := g.sums(4), g.zero()
		g.loop(n, 4, func(u int) {
			v := g.load(p)
			g.fma(s[u], v, g.keep(g.compare(notEqual, v, zero), g.load(f)))
		})
		g.retSums(s)
	}},
	{"axpyDiff", "dst, a, b []F, scale F", "", func(g *gen) {
		dst, a, b, n, scale := g.slice("dst"), g.slice("a"), g.slice("b"), g.length("dst"), g.scalar("scale")
		g.loop(n, 2, func(int) {
			y := g.load(dst)
			g.fma(y, g.difference(g.load(a), g.load(b)), scale)
			g.store(y, dst)
		})
		g.ret()
	}},
	{"axpyCentered", "dst, q, g []F, center, scale F", "", func(g *gen) {
		dst, q, slope, n := g.slice("dst"), g.slice("q"), g.slice("g"), g.length("q")
		center, scale, zero := g.scalar("center"), g.scalar("scale"), g.zero()
		g.loop(n, 2, func(int) {
			v, y := g.load(q), g.load(dst)
			d := g.keep(g.compare(notEqual, v, zero), g.sub(g.load(slope), center))
			g.fma(y, g.mul(v, d), scale)
			g.store(y, dst)
		})
		g.ret()
	}},
	{"axpySoftmax", "dst, z []F, scale, shift, weight F", "", func(g *gen) {
		dst, z, n := g.slice("dst"), g.slice("z"), g.length("z")
		scale, shift, weight, exp := g.scalar("scale"), g.scalar("shift"), g.scalar("weight"), g.expShift()
		g.loop(n, 1, func(int) {
			y := g.load(dst)
			g.fma(y, exp(g.load(z), scale, shift), weight)
			g.store(y, dst)
		})
		g.ret()
	}},
	{"softmaxDiff", "dst, z, y []F, scale, shiftZ, shiftY, weightZ, weightY F", "F", func(g *gen) {
		dst, z, y, n := g.slice("dst"), g.slice("z"), g.slice("y"), g.length("z")
		scale, shiftZ, shiftY := g.scalar("scale"), g.scalar("shiftZ"), g.scalar("shiftY")
		weightZ, weightY := g.scalar("weightZ"), g.scalar("weightY")
		exp, s, zero, apart := g.expShift(), g.sums(1), g.zero(), g.sub(shiftY, shiftZ)
		g.loop(n, 1, func(int) {
			student, teacher := g.load(z), g.load(y)
			d := g.difference(teacher, student)
			g.mulSub(d, scale, apart)
			p := g.active(exp(teacher, scale, shiftY))
			g.fma(s[0], p, g.keep(g.compare(notEqual, p, zero), d))
			grad := g.load(dst)
			g.fnma(grad, p, weightY)
			g.fma(grad, exp(student, scale, shiftZ), weightZ)
			g.store(grad, dst)
		})
		g.retSums(s)
	}},
	{"softmaxDot", "z, y []F, scale, shiftZ, shiftY F", "F", func(g *gen) {
		z, y, n := g.slice("z"), g.slice("y"), g.length("z")
		scale, shiftY, exp, s, zero := g.scalar("scale"), g.scalar("shiftY"), g.expShift(), g.sums(2), g.zero()
		apart := g.sub(shiftY, g.scalar("shiftZ"))
		g.loop(n, 2, func(u int) {
			teacher := g.load(y)
			d := g.difference(teacher, g.load(z))
			g.mulSub(d, scale, apart)
			p := g.active(exp(teacher, scale, shiftY))
			g.fma(s[u], p, g.keep(g.compare(notEqual, p, zero), d))
		})
		g.retSums(s)
	}},
}

// difference returns a − b, and 0 where they are equal, both −Inf included.
func (g *gen) difference(a, b vec) vec {
	return g.keep(g.compare(notEqual, a, b), g.sub(a, b))
}

func maximum(g *gen) {
	x, n, minusInf := g.slice("x"), g.length("x"), g.bits(math.Float32bits(float32(math.Inf(-1))))
	s := []vec{g.copy(minusInf), g.copy(minusInf), g.copy(minusInf), g.copy(minusInf)}
	var nan mask
	if g.wide {
		k := g.K()
		g.KXORW(k, k, k)
		nan = k
	} else {
		nan = g.zero()
	}
	g.loop(n, 4, func(u int) {
		v := g.load(x)
		bad := g.compare(unordered, v, v)
		if g.wide {
			g.KORW(bad, nan, nan)
		} else {
			g.VORPS(bad, nan, nan)
		}
		if g.tail != nil {
			v = g.choose(g.tail, v, minusInf)
		}
		g.VMAXPS(v, s[u], s[u])
	})
	top := g.largest(s)
	found := g.GP32()
	if g.wide {
		g.KMOVW(nan, found)
	} else {
		g.VMOVMSKPS(nan, found)
	}
	clean := g.label("clean")
	g.TESTL(found, found)
	g.JE(operand.LabelRef(clean))
	g.VMOVSS(g.stored(math.Float32bits(float32(math.NaN()))), top)
	g.Label(clean)
	g.Store(top, g.ReturnIndex(0))
	g.ret()
}
