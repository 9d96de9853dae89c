package main

import (
	"math"

	"github.com/mmcloughlin/avo/operand"
)

// lossKernels are those of vec_losses.go.
var lossKernels = []kernel{
	{"exp2Shift", "dst, src []F, scale, shift F", "(s, p F)", func(g *gen) {
		dst, src, n := g.slice("dst"), g.slice("src"), g.length("src")
		scale, shift, power, s := g.scalar("scale"), g.scalar("shift"), g.powerOfTwo(), g.sums(2)
		least, minusInf := g.constant(-126), g.constant(math.Inf(-1))
		top := []vec{g.copy(minusInf), g.copy(minusInf)}
		g.loop(n, 2, func(u int) {
			x := g.load(src)
			g.PREFETCHT0(ahead(g.at(src)))
			counted := x
			if g.tail != nil {
				counted = g.choose(g.tail, x, minusInf)
			}
			g.VMAXPS(top[u], counted, top[u]) // of a NaN it leaves the maximum
			g.mulSub(x, scale, shift)
			e := power(x)
			if !g.wide { // what is less than 2^-126 came out as that
				e = g.keep(g.compare(notLessEqual, x, least), e)
			}
			g.store(e, dst)
			g.accumulate(s[u], g.active(e))
		})
		g.Store(g.total(s), g.ReturnIndex(0))
		g.Store(g.largest(top), g.ReturnIndex(1))
		g.ret()
	}},
	{"expectationDiff", "p, a, b []F, center F", "F", func(g *gen) {
		p, a, b, n := g.slice("p"), g.slice("a"), g.slice("b"), g.length("p")
		center, s, zero := g.scalar("center"), g.sums(4), g.zero()
		g.loop(n, 4, func(u int) {
			v := g.load(p)
			d := g.sub(g.sub(g.load(a), g.load(b)), center)
			g.keptFMA(g.compare(notEqual, v, zero), s[u], v, d)
		})
		g.retSums(s)
	}},
	{"blend", "dst, x, y []F, a, b F", "", func(g *gen) {
		dst, x, y, n, a, b := g.slice("dst"), g.slice("x"), g.slice("y"), g.length("dst"), g.scalar("a"), g.scalar("b")
		g.loop(n, 4, func(int) {
			v := g.mul(g.load(y), b)
			g.fma(v, g.load(x), a)
			g.store(v, dst)
		})
		g.ret()
	}},
	{"blendRatio", "dst, q, p, z, y []F, center, a, b, c F", "", func(g *gen) {
		dst, q, p, z, y, n := g.slice("dst"), g.slice("q"), g.slice("p"), g.slice("z"), g.slice("y"), g.length("dst")
		center, a, b, c, zero := g.scalar("center"), g.scalar("a"), g.scalar("b"), g.scalar("c"), g.zero()
		g.loop(n, 2, func(int) {
			student := g.load(q)
			slope := g.sub(g.sub(g.load(z), g.load(y)), center)
			g.mulAdd(slope, b, a)
			v := g.mul(g.load(p), c)
			g.keptFMA(g.compare(notEqual, student, zero), v, student, slope)
			g.store(v, dst)
		})
		g.ret()
	}},
	{"mixture", "dst, q, t, z, y, later []F, weightQ, weightP, scale, shift, restQ, restP F", "(s, p F)", func(g *gen) {
		dst, q, t, z, y, n := g.slice("dst"), g.slice("q"), g.slice("t"), g.slice("z"), g.slice("y"), g.length("dst")
		later := g.slice("later")
		weightQ, weightP, scale, shift := g.scalar("weightQ"), g.scalar("weightP"), g.scalar("scale"), g.scalar("shift")
		restQ, restP := g.scalar("restQ"), g.scalar("restP")
		log1p, zero, smallest, s, p := g.log1pRatio(), g.zero(), g.constant(1e-37), g.sums(1), g.sums(1)
		g.loop(n, 1, func(int) {
			g.PREFETCHT0(g.at(later))
			student, teacher := g.mul(g.load(q), weightQ), g.mul(g.load(t), weightP)
			d := g.sub(g.load(z), g.load(y)) // of two -Inf it is NaN, but then both probabilities are 0
			g.mulSub(d, scale, shift)
			l := log1p(g.min(student, teacher), g.max(g.max(student, teacher), g.copy(smallest)))
			forQ := g.add(g.sub(restQ, l), g.min(zero, d))
			forP := g.sub(g.sub(restP, l), g.max(zero, d))
			v := g.keptMul(g.compare(notEqual, student, zero), student, forQ)
			g.store(v, dst)
			g.accumulate(s[0], g.active(v))
			g.accumulate(p[0], g.active(g.keptMul(g.compare(notEqual, teacher, zero), teacher, forP)))
		})
		g.retSums(s, p)
	}},
}

// ahead is what a row has one block of 1024 elements further on: it can come from memory while this block is computed.
func ahead(m operand.Mem) operand.Mem {
	m.Disp += 4 << 10
	return m
}
