package main

import (
	"fmt"
	"math"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// gen writes instructions for one set: AVX-512 (wide: ZMM and K registers) or AVX2 (YMM, masks in vectors).
// Its arithmetic methods return a new register where they don't say otherwise.
type gen struct {
	*build.Context
	wide  bool
	bytes int             // of a vector
	data  map[string]bool // what was written of it
	held  map[uint32]vec  // constants in registers of the current function

	index  reg.GPVirtual // of the current element, within loop
	offset int           // of the current vector from index, in bytes
	tail   mask          // lanes of the last, incomplete vector; nil in full vectors
	labels int
}

type (
	vec  = reg.VecVirtual
	mask = reg.Register
	ptr  = reg.Register
)

func (g *gen) vec() vec {
	if g.wide {
		return g.ZMM()
	}
	return g.YMM()
}

func (g *gen) label(name string) string {
	g.labels++
	return fmt.Sprintf("%s%d", name, g.labels)
}

// slice returns a slice parameter's address.
func (g *gen) slice(name string) ptr { return g.Load(g.Param(name).Base(), g.GP64()) }

// length returns a slice parameter's length.
func (g *gen) length(name string) reg.GPVirtual {
	n := g.GP64()
	g.Load(g.Param(name).Len(), n)
	return n
}

// scalar returns a parameter in every lane.
func (g *gen) scalar(name string) vec {
	a, err := g.Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	v := g.vec()
	g.VBROADCASTSS(a.Addr, v)
	return v
}

// bits returns a constant in every lane: with AVX-512 in a register, which has to be filled before a loop, with AVX2 in memory.
func (g *gen) bits(b uint32) operand.Op {
	m := g.stored(b)
	if !g.wide {
		return m
	}
	if v, ok := g.held[b]; ok {
		return v
	}
	v := g.copy(m)
	g.held[b] = v
	return v
}

// stored returns a constant in memory.
func (g *gen) stored(b uint32) operand.Mem {
	name := fmt.Sprintf("c%08x", b)
	g.static(name, func() {
		for range g.bytes / 4 {
			g.AppendDatum(operand.U32(b))
		}
	})
	return operand.NewDataAddr(operand.NewStaticSymbol(name), 0)
}

// static lets fill write the data called name, once in a file.
func (g *gen) static(name string, fill func()) {
	if g.data[name] {
		return
	}
	g.data[name] = true
	g.StaticGlobal(name)
	g.DataAttributes(attr.RODATA | attr.NOPTR)
	fill()
}

func (g *gen) constant(c float64) operand.Op { return g.bits(math.Float32bits(float32(c))) }

func (g *gen) constants(cs ...float64) []operand.Op {
	ops := make([]operand.Op, len(cs))
	for i, c := range cs {
		ops[i] = g.constant(c)
	}
	return ops
}

// coefficients returns constants in memory, for functions that have too many of them for registers.
func (g *gen) coefficients(cs ...float64) []operand.Op {
	ops := make([]operand.Op, len(cs))
	for i, c := range cs {
		ops[i] = g.stored(math.Float32bits(float32(c)))
	}
	return ops
}

// copy returns a register that may be overwritten.
func (g *gen) copy(a operand.Op) vec {
	v := g.vec()
	g.VMOVUPS(a, v)
	return v
}

func (g *gen) zero() vec {
	v := g.vec()
	if g.wide {
		g.VPXORD(v, v, v)
	} else {
		g.VXORPS(v, v, v)
	}
	return v
}

// register returns a, loaded where it lies in memory.
func (g *gen) register(a operand.Op) operand.Op {
	if _, ok := a.(operand.Mem); ok {
		return g.copy(a)
	}
	return a
}

// loop lets body handle vectors 0, 1, … unroll-1 of the current index, until n elements are done; the last, incomplete vector is handled as vector 0.
// n is lost.
func (g *gen) loop(n reg.GPVirtual, unroll int, body func(u int)) {
	g.index = g.GP64()
	g.XORQ(g.index, g.index)
	lanes := g.bytes / 4
	done := g.label("done")
	for step := unroll; ; step = 1 {
		top, end := g.label("loop"), g.label("end")
		g.SUBQ(operand.I32(step*lanes), n)
		g.JLT(operand.LabelRef(end))
		g.Label(top)
		for u := range step {
			g.offset = u * g.bytes
			body(u)
		}
		g.offset = 0
		g.ADDQ(operand.I32(step*lanes), g.index)
		g.SUBQ(operand.I32(step*lanes), n)
		g.JGE(operand.LabelRef(top))
		g.Label(end)
		g.ADDQ(operand.I32(step*lanes), n)
		if step == 1 {
			break
		}
	}
	g.TESTQ(n, n)
	g.JE(operand.LabelRef(done))
	g.tail = g.tailMask(n)
	body(0)
	g.tail = nil
	g.Label(done)
}

// tailMask returns a mask of the first n lanes.
func (g *gen) tailMask(n reg.GPVirtual) mask {
	g.static("masks", func() {
		for i := range 16 {
			if g.wide {
				g.AppendDatum(operand.U16(1<<i - 1)) // i lanes
			} else {
				g.AppendDatum(operand.U32(uint32(i/8) - 1)) // eight lanes, then eight without
			}
		}
	})
	at := g.GP64()
	if g.wide {
		k := g.K()
		g.LEAQ(operand.NewDataAddr(operand.NewStaticSymbol("masks"), 0), at)
		g.KMOVW(operand.Mem{Base: at, Index: n, Scale: 2}, k)
		return k
	}
	g.LEAQ(operand.NewDataAddr(operand.NewStaticSymbol("masks"), 32), at)
	g.SHLQ(operand.U8(2), n)
	g.SUBQ(n, at)
	return g.copy(operand.Mem{Base: at})
}

func (g *gen) at(p ptr) operand.Mem {
	return operand.Mem{Base: p, Index: g.index, Scale: 4, Disp: g.offset}
}

// load returns the current vector of p; lanes beyond the tail are 0.
func (g *gen) load(p ptr) vec {
	v := g.vec()
	switch {
	case g.tail == nil:
		g.VMOVUPS(g.at(p), v)
	case g.wide:
		g.VMOVUPS_Z(g.at(p), g.tail, v)
	default:
		g.VMASKMOVPS(g.at(p), g.tail, v)
	}
	return v
}

func (g *gen) store(v vec, p ptr) {
	switch {
	case g.tail == nil:
		g.VMOVUPS(v, g.at(p))
	case g.wide:
		g.VMOVUPS(v, g.tail, g.at(p))
	default:
		g.VMASKMOVPS(v, g.tail, g.at(p))
	}
}

// active returns v with the lanes beyond the tail set to 0: what a sum may take in.
func (g *gen) active(v vec) vec {
	if g.tail == nil {
		return v
	}
	return g.keep(g.tail, v)
}

// keep returns v where the mask is set, else 0.
func (g *gen) keep(m mask, v vec) vec {
	r := g.vec()
	if g.wide {
		g.VMOVAPS_Z(v, m, r)
	} else {
		g.VANDPS(v, m, r)
	}
	return r
}

// keptMul returns a·b where the mask is set, else 0; keptFMA adds b·c to a where it is.
func (g *gen) keptMul(m mask, a, b vec) vec {
	if !g.wide {
		return g.mul(a, g.keep(m, b))
	}
	r := g.vec()
	g.VMULPS_Z(b, a, m, r)
	return r
}

func (g *gen) keptFMA(m mask, a, b, c vec) {
	if g.wide {
		g.VFMADD231PS(c, b, m, a)
	} else {
		g.fma(a, b, g.keep(m, c))
	}
}

// choose returns a where the mask is set, else b.
func (g *gen) choose(m mask, a, b operand.Op) vec {
	r := g.vec()
	if g.wide {
		g.VBLENDMPS(a, g.register(b), m, r)
	} else {
		g.VBLENDVPS(m, a, g.register(b), r)
	}
	return r
}

// Predicates of compare: with Less and Equal a NaN is unequal, with NotEqual and NotLessEqual it is.
const (
	equal        = 0
	less         = 1
	unordered    = 3
	notEqual     = 4
	notLessEqual = 6
)

// compare returns the lanes where a relation b; b may lie in memory.
func (g *gen) compare(relation uint8, a vec, b operand.Op) mask {
	if g.wide {
		k := g.K()
		g.VCMPPS(operand.U8(relation), b, a, k)
		return k
	}
	v := g.vec()
	g.VCMPPS(operand.U8(relation), b, a, v)
	return v
}

// The second operand of these may lie in memory.
func (g *gen) add(a vec, b operand.Op) vec { v := g.vec(); g.VADDPS(b, a, v); return v }
func (g *gen) sub(a vec, b operand.Op) vec { v := g.vec(); g.VSUBPS(b, a, v); return v }
func (g *gen) mul(a vec, b operand.Op) vec { v := g.vec(); g.VMULPS(b, a, v); return v }
func (g *gen) div(a vec, b operand.Op) vec { v := g.vec(); g.VDIVPS(b, a, v); return v }

// min and max return b where either is NaN.
func (g *gen) min(a operand.Op, b vec) vec { v := g.vec(); g.VMINPS(b, g.register(a), v); return v }
func (g *gen) max(a operand.Op, b vec) vec { v := g.vec(); g.VMAXPS(b, g.register(a), v); return v }

// abs and negative |a|.
func (g *gen) abs(a vec, magnitude operand.Op) vec { v := g.vec(); g.VANDPS(magnitude, a, v); return v }
func (g *gen) or(a vec, b operand.Op) vec          { v := g.vec(); g.VORPS(b, a, v); return v }

// These change their first argument: a += b·c, a -= b·c, a = a·b + c.
func (g *gen) fma(a, b vec, c operand.Op)       { g.VFMADD231PS(c, b, a) }
func (g *gen) fnma(a, b vec, c operand.Op)      { g.VFNMADD231PS(c, b, a) }
func (g *gen) mulAdd(a, b vec, c operand.Op)    { g.VFMADD213PS(c, b, a) }
func (g *gen) mulSub(a, b vec, c operand.Op)    { g.VFMSUB213PS(c, b, a) }
func (g *gen) accumulate(sum vec, a operand.Op) { g.VADDPS(a, sum, sum) }

// polynomial returns c[0]·x^(n-1) + … + c[n-1].
func (g *gen) polynomial(x vec, c []operand.Op) vec {
	p := g.copy(c[0])
	for _, c := range c[1:] {
		g.mulAdd(p, x, c)
	}
	return p
}

// sums returns n accumulators.
func (g *gen) sums(n int) []vec {
	s := make([]vec, n)
	for i := range s {
		s[i] = g.zero()
	}
	return s
}

// total returns the sum of all lanes of the accumulators, in a fixed order.
func (g *gen) total(s []vec) reg.Register {
	return g.fold(s, func(a, b, dst operand.Op) { g.VADDPS(a, b, dst) })
}

// largest returns the maximum of all lanes.
func (g *gen) largest(s []vec) reg.Register {
	return g.fold(s, func(a, b, dst operand.Op) { g.VMAXPS(a, b, dst) })
}

func (g *gen) fold(s []vec, op func(a, b, dst operand.Op)) reg.Register {
	for len(s) > 1 {
		half := len(s) / 2
		for i := range half {
			op(s[i+half], s[i], s[i])
		}
		s = s[:half]
	}
	if g.wide { // what follows has no encoding for registers from 16 on
		g.VMOVAPS(s[0], reg.Z0)
		g.VEXTRACTF64X4(operand.U8(1), reg.Z0, reg.Y1)
		op(reg.Y1, reg.Y0, reg.Y0)
	} else {
		g.VMOVAPS(s[0], reg.Y0)
	}
	g.VEXTRACTF128(operand.U8(1), reg.Y0, reg.X1)
	op(reg.X1, reg.X0, reg.X0)
	g.VPERMILPS(operand.U8(0x0e), reg.X0, reg.X1)
	op(reg.X1, reg.X0, reg.X0)
	g.VPERMILPS(operand.U8(0x01), reg.X0, reg.X1)
	op(reg.X1, reg.X0, reg.X0)
	return reg.X0
}

func (g *gen) ret() {
	g.VZEROUPPER()
	g.RET()
}

// retSums returns the totals of groups of accumulators.
func (g *gen) retSums(groups ...[]vec) {
	for i, s := range groups {
		g.Store(g.total(s), g.ReturnIndex(i))
	}
	g.ret()
}
