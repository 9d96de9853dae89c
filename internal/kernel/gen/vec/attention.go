package main

import (
	"math"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// attentionKernels are those of attention.go and attention_backward.go. Attention keeps scores as rows of keys and columns of queries, so that lanes are queries.
var attentionKernels = []kernel{
	{"softmaxColumns", "s []F, width int, lo, hi, whole []int32, from, to, key int, scale F, top, sum, factor []F", "", func(g *gen) {
		power, scale, least := g.powerOfTwo(), g.scalar("scale"), g.constant(math.Inf(-1))
		scale2 := g.mul(scale, g.constant(math.Log2E))
		g.columns([]string{"s"}, "factor", func(c *columns) {
			m := g.copy(least)
			c.rows(func(p []reg.GPVirtual) {
				v := g.load(p[0])
				if !c.open {
					v = g.choose(c.seen(), v, least)
				}
				g.VMAXPS(v, m, m)
			})
			before := c.lanes("top")
			top := g.max(before, g.mul(m, scale2))
			c.setLanes("top", top)
			factor := g.keep(g.compare(notEqual, before, least), power(g.sub(before, top)))
			c.setLanes("factor", factor)
			added := g.zero()
			c.rows(func(p []reg.GPVirtual) {
				x := g.load(p[0])
				g.mulSub(x, scale2, top)
				e := power(x)
				if !c.open {
					e = g.keep(c.seen(), e)
				}
				g.store(e, p[0])
				g.accumulate(added, e)
			})
			c.setLanes("sum", g.add(g.mul(c.lanes("sum"), c.lanes("factor")), added))
		})
	}},
	{"gradientColumns", "p, ds []F, width int, lo, hi, whole []int32, from, to, key int, scale F, lse, delta []F", "", func(g *gen) {
		power, scale, log2e := g.powerOfTwo(), g.scalar("scale"), g.constant(math.Log2E)
		scale2 := g.mul(scale, log2e)
		g.columns([]string{"p", "ds"}, "lse", func(c *columns) {
			lse, delta := g.mul(c.lanes("lse"), log2e), c.lanes("delta")
			c.rows(func(p []reg.GPVirtual) {
				x := g.load(p[0])
				g.mulSub(x, scale2, lse)
				e := power(x)
				ds := g.mul(g.mul(e, scale), g.sub(g.load(p[1]), delta))
				if !c.open {
					seen := c.seen()
					e, ds = g.keep(seen, e), g.keep(seen, ds)
				}
				g.store(e, p[0])
				g.store(ds, p[1])
			})
		})
	}},
	{"scaleColumns", "x []F, width, from, to int, factor []F", "", func(g *gen) {
		g.columns([]string{"x"}, "factor", func(c *columns) {
			f := c.lanes("factor")
			c.rows(func(p []reg.GPVirtual) { g.store(g.mul(g.load(p[0]), f), p[0]) })
		})
	}},
	{"logSums", "lse, inverse, top, sum []F", "", func(g *gen) {
		lse, inverse, top, sum, n := g.slice("lse"), g.slice("inverse"), g.slice("top"), g.slice("sum"), g.length("lse")
		logarithm, one, ln2 := g.logarithm(), g.constant(1), g.constant(math.Ln2)
		g.loop(n, 1, func(int) {
			s := g.load(sum)
			g.store(g.keep(g.compare(notEqual, s, g.zero()), g.div(g.copy(one), s)), inverse)
			l := logarithm(s)
			g.fma(l, g.load(top), ln2)
			g.store(l, lse)
		})
		g.ret()
	}},
	{"dotRows", "dst, a, b []F, stride, d int", "", func(g *gen) {
		a, b, dst, rows := g.slice("a"), g.slice("b"), g.slice("dst"), g.length("dst")
		step := g.GP64()
		g.Load(g.Param("stride"), step)
		g.SHLQ(operand.U8(2), step)
		g.Label("row")
		n := g.GP64()
		g.Load(g.Param("d"), n)
		s := g.sums(2)
		g.loop(n, 2, func(u int) { g.fma(s[u], g.load(a), g.load(b)) })
		g.VMOVSS(g.total(s), operand.Mem{Base: dst})
		g.ADDQ(step, a)
		g.ADDQ(step, b)
		g.ADDQ(operand.U8(4), dst)
		g.DECQ(rows)
		g.JNZ(operand.LabelRef("row"))
		g.ret()
	}},
}

// columns walks over rows from … to-1 of matrices with rows of width elements, one vector of columns after the other.
type columns struct {
	*gen
	matrices    []string
	row, offset reg.GPVirtual // bytes of a row, and of those before from
	lo, hi, j   vec           // the keys that each column sees, and the current row's
	open        bool          // all columns see the current row
}

// columns writes the whole function; there are as many columns as the parameter count has elements, a multiple of the lanes.
func (g *gen) columns(matrices []string, count string, body func(c *columns)) {
	c := &columns{gen: g, matrices: matrices, row: g.GP64(), offset: g.GP64()}
	g.Load(g.Param("width"), c.row)
	g.SHLQ(operand.U8(2), c.row)
	g.Load(g.Param("from"), c.offset)
	g.IMULQ(c.row, c.offset)
	g.index, g.offset = g.GP64(), 0
	g.XORQ(g.index, g.index)
	if !c.unmasked() {
		g.bits(1)
	}
	g.Label("columns")
	body(c)
	g.ADDQ(operand.U8(g.bytes/4), g.index)
	g.CMPQ(g.index, g.length(count))
	g.JLT(operand.LabelRef("columns"))
	g.ret()
}

// lanes returns the current columns' elements of a parameter that has one for each column.
func (c *columns) lanes(name string) vec       { return c.load(c.slice(name)) }
func (c *columns) setLanes(name string, v vec) { c.store(v, c.slice(name)) }

// rows lets body handle row after row of the current columns, at p of each matrix.
func (c *columns) rows(body func(p []reg.GPVirtual)) {
	var p []reg.GPVirtual
	for _, name := range c.matrices {
		at := c.GP64()
		c.Load(c.Param(name).Base(), at)
		c.ADDQ(c.offset, at)
		p = append(p, at)
	}
	n, from := c.GP64(), c.GP64()
	c.Load(c.Param("to"), n)
	c.Load(c.Param("from"), from)
	c.SUBQ(from, n)
	if c.open = c.unmasked(); c.open {
		c.span(n, p, body)
		return
	}
	key := c.GP64()
	c.Load(c.Param("key"), key)
	c.lo, c.hi, c.j = c.lanes("lo"), c.lanes("hi"), c.repeat(key)
	// up to whole[0] and from whole[1] on, keys are seen by some of the columns; between, by all
	at, zero := c.GP64(), c.GP64()
	c.MOVQ(c.index, at)
	c.SHRQ(operand.U8(4), at)
	whole := c.slice("whole")
	c.XORQ(zero, zero)
	bound := []reg.GPVirtual{c.GP64(), c.GP64()}
	for i, b := range bound {
		c.MOVLQSX(operand.Mem{Base: whole, Index: at, Scale: 8, Disp: 4 * i}, b)
		c.SUBQ(key, b)
		c.CMPQ(b, zero)
		c.CMOVQLT(zero, b)
		c.CMPQ(b, n)
		c.CMOVQGT(n, b)
	}
	c.CMPQ(bound[1], bound[0])
	c.CMOVQLT(bound[0], bound[1])
	c.SUBQ(bound[1], n)
	c.SUBQ(bound[0], bound[1])
	for i, count := range []reg.GPVirtual{bound[0], bound[1], n} {
		skip := c.label("skip")
		c.TESTQ(count, count)
		c.JE(operand.LabelRef(skip))
		if c.open = i == 1; c.open {
			c.VPADDD(c.repeat(count), c.j, c.j)
		}
		c.span(count, p, body)
		c.Label(skip)
	}
}

// span lets body handle the next n rows.
func (c *columns) span(n reg.GPVirtual, p []reg.GPVirtual, body func(p []reg.GPVirtual)) {
	top := c.label("row")
	c.Label(top)
	body(p)
	for _, at := range p {
		c.ADDQ(c.row, at)
	}
	if !c.open {
		c.VPADDD(c.bits(1), c.j, c.j)
	}
	c.DECQ(n)
	c.JNZ(operand.LabelRef(top))
}

// repeat returns a vector of integers n.
func (c *columns) repeat(n reg.GPVirtual) vec {
	v := c.vec()
	if c.wide {
		c.VPBROADCASTD(n.As32(), v)
	} else {
		x := c.XMM()
		c.VMOVD(n.As32(), x)
		c.VPBROADCASTD(x, v)
	}
	return v
}

// unmasked reports whether the function has no lo and hi.
func (c *columns) unmasked() bool {
	_, err := c.Param("lo").Base().Resolve()
	return err != nil
}

// seen returns the columns with lo <= j < hi.
func (c *columns) seen() mask {
	if c.wide {
		k, seen := c.K(), c.K()
		c.VPCMPD(operand.U8(2), c.j, c.lo, k)
		c.VPCMPD(operand.U8(1), c.hi, c.j, k, seen)
		return seen
	}
	after, seen := c.vec(), c.vec()
	c.VPCMPGTD(c.j, c.lo, after)
	c.VPCMPGTD(c.j, c.hi, seen)
	c.VPANDN(seen, after, seen)
	return seen
}

// powerOfTwo returns a function of a vector that writes 2^x, for x up to a little above 0: 2^floor(x) times a polynomial of the rest
// (minimax with the first coefficient 1: error 0.03 ulp).
func (g *gen) powerOfTwo() func(x vec) vec {
	c := g.constants(0.00021613135865174266, 0.0012467782595255252, 0.00967545840415332, 0.055485277312926566, 0.2402293062448672, 0.6931470443965765, 1)
	const floor = operand.U8(9)
	if g.wide {
		return func(x vec) vec {
			rest := g.vec()
			g.VREDUCEPS(floor, x, rest)
			p := g.polynomial(rest, c)
			g.VSCALEFPS(x, p, p)
			return p
		}
	}
	least := g.constant(-126) // what is less counts as that
	return func(x vec) vec {
		x = g.max(least, x)
		n := g.vec()
		g.VROUNDPS(floor, x, n)
		p := g.polynomial(g.sub(x, n), c)
		g.VCVTPS2DQ(n, n)
		g.VPSLLD(operand.U8(23), n, n)
		g.VPADDD(n, p, p)
		return p
	}
}

// logarithm returns a function of a vector of normal numbers: log x = n·ln 2 + 2·artanh(s), s = (m−1)/(m+1), with x = 2^n·m and m from √½ to √2.
func (g *gen) logarithm() func(x vec) vec {
	c := g.constants(0.2817833423614502, 0.27960604429244995, 0.40024909377098083, 0.6666631698608398, 2) // as in log1pExp
	ln2 := g.constants(0.693145751953125, 1.42860682030941723212e-6)
	root, one := g.bits(math.Float32bits(math.Sqrt2/2)), g.constant(1)
	return func(x vec) vec {
		n, exponent, m := g.vec(), g.vec(), g.vec()
		g.VPSUBD(root, x, n)
		g.VPSRAD(operand.U8(23), n, n)
		g.VPSLLD(operand.U8(23), n, exponent)
		g.VPSUBD(exponent, x, m)
		g.VCVTDQ2PS(n, n)
		s := g.div(g.sub(m, one), g.add(m, one))
		p := g.mul(g.polynomial(g.mul(s, s), c), s)
		g.fma(p, n, ln2[1])
		g.fma(p, n, ln2[0])
		return p
	}
}
