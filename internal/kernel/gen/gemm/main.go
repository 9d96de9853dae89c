// Command gemm writes the assembly of the matrix products: micro-kernels and the packing of B, for AVX-512 and AVX2.
// It is run by go generate in internal/kernel.
package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	multiply(avx512)
	multiply(avx2)
	peak("peakAVX512", avx512)
	peak("peakAVX2", avx2)
	for _, bf16 := range []bool{false, true} {
		packRows(avx512, bf16)
		packRows(avx2, bf16)
		dots(avx512, bf16)
		dots(avx2, bf16)
		packColumns512(bf16)
		packColumns2(bf16)
	}
	multiply(avx512BF16)
	peak("peakBF16AVX512", avx512BF16)
	index := interleave()
	pairRows("pairRowsAVX512", 2, single, index)
	pairRows("pairRowsBF16AVX512", 2, half, index)
	pairRows("pairStripsAVX512", 1, single, index)
	pairRows("regroupStripsAVX512", 1, neighbours, exchange())
	pairAlong()
	pairColumns(false)
	pairColumns(true)
	roundInPlace(avx2)
	expand(avx2)
	expand(avx512)
	Generate()
}

// isa is what differs between the instruction sets: the tile of a micro-kernel is rows × 2 vectors of lanes.
type isa struct {
	suffix      string
	rows, lanes int
	v           []reg.VecPhysical // numbered by hand: the generator's allocator gives up on so many
	pairs       bool              // products of pairs of bfloat16
}

var (
	avx512 = isa{suffix: "AVX512", rows: 12, lanes: 16, v: []reg.VecPhysical{
		reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7, reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15,
		reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23, reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31}}
	avx2 = isa{suffix: "AVX2", rows: 6, lanes: 8, v: []reg.VecPhysical{
		reg.Y0, reg.Y1, reg.Y2, reg.Y3, reg.Y4, reg.Y5, reg.Y6, reg.Y7, reg.Y8, reg.Y9, reg.Y10, reg.Y11, reg.Y12, reg.Y13, reg.Y14, reg.Y15}}
)

func (s isa) bytes() int { return 4 * s.lanes }

func (s isa) zero(v reg.Register) {
	if s.lanes == 16 {
		VPXORD(v, v, v)
	} else {
		VXORPS(v, v, v)
	}
}

func label(format string, a ...any) string { return fmt.Sprintf(format, a...) }

// multiply multiplies strip after strip of A by all panels of B.
func multiply(s isa) {
	name := "multiply" + s.suffix
	doc := []string{name + " sets (with add: adds to) C [m, n] to the product of A and B, in strips of rows rows, the last one of what is left.",
		"A's element (i, p) lies at a + i*rs + p*cs bytes, where i counts from the strip's first row; strips lie strip bytes apart.",
		label("B is a row of panels of %d columns, panel bytes apart, whose rows lie bs bytes apart; C's rows lie ldc bytes apart.", 2*s.lanes),
		label("m, k, n >= 1, 1 <= rows <= %d. The last panel is read up to the next multiple of %d columns, C is never touched beyond n.", s.rows, s.lanes)}
	if s.pairs {
		doc = append(doc, "An element of A or B is a pair of bfloat16, and k counts pairs.")
	}
	TEXT(name, NOSPLIT, "func(m, rows, k, n int, a *float32, rs, cs, strip int, b *float32, bs, panel int, c *float32, ldc int, add bool)")
	Doc(doc...)
	Pragma("noescape")
	m, aAddress, cAddress := parameter("m"), parameter("a"), parameter("c") // change with every strip
	turn, start, end := AllocLocal(8), AllocLocal(8), AllocLocal(8)
	rs := Load(Param("rs"), GP64())
	cs := Load(Param("cs"), GP64())
	bs := Load(Param("bs"), GP64())

	Label("strip")
	rows := Load(Param("rows"), GP64())
	CMPQ(rows, m)
	JLE(LabelRef("dispatch"))
	MOVQ(m, rows)
	Label("dispatch")
	SUBQ(rows, m)
	n := Load(Param("n"), GP64())
	b := Load(Param("b"), GP64())
	c := GP64()
	MOVQ(cAddress, c)
	ahead := rowAhead{Register: Load(Param("strip"), GP64()), turn: turn, start: start, end: end}
	ahead.begin(rows, rs, n, 4*s.lanes)
	for r := s.rows; r > 1; r-- {
		CMPQ(rows, U8(r))
		JE(LabelRef(label("rows%d", r)))
	}
	for r := 1; r <= s.rows; r++ {
		Label(label("rows%d", r))
		CMPQ(n, U8(s.lanes))
		JLE(LabelRef(label("narrow%d", r)))
		tile(s, label("wide%d", r), r, 2, n, rs, cs, b, bs, c, ahead)
		panel := Load(Param("panel"), GP64())
		ADDQ(panel, b)
		ADDQ(rs, ahead.Register)
		ADDQ(U32(2*s.bytes()), c)
		SUBQ(U8(2*s.lanes), n)
		JG(LabelRef(label("rows%d", r)))
		JMP(LabelRef("next"))
		Label(label("narrow%d", r))
		tile(s, label("narrow%d", r), r, 1, n, rs, cs, b, bs, c, ahead)
		JMP(LabelRef("next"))
	}
	Label("next")
	down := Load(Param("rows"), GP64())
	right := Load(Param("ldc"), GP64())
	IMULQ(down, right)
	ADDQ(right, cAddress)
	Load(Param("strip"), down)
	ADDQ(down, aAddress)
	CMPQ(m, U8(0))
	JG(LabelRef("strip"))
	VZEROUPPER()
	RET()
}

// rowAhead leads from a row of a strip of A to one of the next strip, which is prefetched. Each panel of B takes another row; where there are
// few panels, rows take turns from element to element.
type rowAhead struct {
	reg.Register
	turn, start, end Mem // what is added at each element, and between which bounds
}

// begin sets the bounds for a strip of rows; up to few columns are few panels.
func (a rowAhead) begin(rows, rs, n reg.Register, few int) {
	size, step := GP64(), GP64()
	MOVQ(a.Register, a.start)
	MOVQ(rows, size)
	IMULQ(rs, size)
	ADDQ(a.Register, size)
	MOVQ(size, a.end)
	XORQ(step, step)
	CMPQ(n, U8(few))
	CMOVQLE(rs, step)
	MOVQ(step, a.turn)
}

// prefetch asks for the element that lies ahead of one.
func (a rowAhead) prefetch(of reg.Register) {
	PREFETCHT0(Mem{Base: of, Index: a.Register, Scale: 1})
	ADDQ(a.turn, a.Register)
	CMPQ(a.Register, a.end)
	CMOVQGE(a.start, a.Register)
}

// parameter returns where an argument lies.
func parameter(name string) Mem {
	p, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return p.Addr
}

// tile emits the micro-kernel: r rows × w vectors of C stay in registers over the loop of k.
func tile(s isa, name string, r, w int, n, rs, cs, b, bs, c reg.Register, ahead rowAhead) {
	// pointers to every third row reach the others by rs and 2·rs
	var rowPointers []reg.GPVirtual
	for i := 0; i < r; i += 3 {
		p := GP64()
		if i == 0 {
			Load(Param("a"), p)
		} else {
			LEAQ(Mem{Base: rowPointers[len(rowPointers)-1], Index: rs, Scale: 2}, p)
			ADDQ(rs, p)
		}
		rowPointers = append(rowPointers, p)
	}
	element := func(i int) Mem {
		m := Mem{Base: rowPointers[i/3]}
		if i%3 > 0 {
			m.Index, m.Scale = rs, uint8(i%3)
		}
		return m
	}
	sum, bv, av := s.v[:r*w], s.v[2*s.rows:][:w], s.v[2*s.rows+2:]
	for _, v := range sum {
		s.zero(v)
	}
	prefetch(s, r, w, c)
	bp := GP64()
	MOVQ(b, bp)
	k := Load(Param("k"), GP64())
	Label(name + "_k")
	ahead.prefetch(rowPointers[0])
	for j := range w {
		VMOVUPS(Mem{Base: bp, Disp: j * s.bytes()}, bv[j])
	}
	for i := range r {
		x := av[i%len(av)]
		VBROADCASTSS(element(i), x)
		for j := range w {
			s.multiplyAdd(bv[j], x, sum[i*w+j])
		}
	}
	for _, p := range rowPointers {
		ADDQ(cs, p)
	}
	ADDQ(bs, bp)
	DECQ(k)
	JNZ(LabelRef(name + "_k"))

	ldc := Load(Param("ldc"), GP64())
	cp := GP64()
	if s.lanes == 16 {
		// the last vector is masked: its columns are those up to n
		mask := tailMask512(n, (w-1)*s.lanes)
		add := Load(Param("add"), GP8())
		TESTB(add, add)
		JZ(LabelRef(name + "_store"))
		MOVQ(c, cp)
		for i := range r {
			for j := range w {
				v, m := sum[i*w+j], Mem{Base: cp, Disp: j * s.bytes()}
				if j == w-1 {
					VADDPS_Z(m, v, mask, v)
				} else {
					VADDPS(m, v, v)
				}
			}
			ADDQ(ldc, cp)
		}
		Label(name + "_store")
		MOVQ(c, cp)
		for i := range r {
			for j := range w {
				v, m := sum[i*w+j], Mem{Base: cp, Disp: j * s.bytes()}
				if j == w-1 {
					VMOVUPS(v, mask, m)
				} else {
					VMOVUPS(v, m)
				}
			}
			ADDQ(ldc, cp)
		}
		return
	}
	add := Load(Param("add"), GP8())
	mask := av[1]
	tailMask2(n, (w-1)*s.lanes, mask)
	TESTB(add, add)
	JZ(LabelRef(name + "_store"))
	MOVQ(c, cp)
	for i := range r {
		for j := range w {
			v, m := sum[i*w+j], Mem{Base: cp, Disp: j * s.bytes()}
			if j == w-1 {
				VMASKMOVPS(m, mask, av[0])
				VADDPS(av[0], v, v)
			} else {
				VADDPS(m, v, v)
			}
		}
		ADDQ(ldc, cp)
	}
	Label(name + "_store")
	MOVQ(c, cp)
	CMPQ(n, U8(w*s.lanes))
	JL(LabelRef(name + "_tail")) // masked stores are slow on many processors
	for i := range r {
		for j := range w {
			VMOVUPS(sum[i*w+j], Mem{Base: cp, Disp: j * s.bytes()})
		}
		ADDQ(ldc, cp)
	}
	JMP(LabelRef(name + "_end"))
	Label(name + "_tail")
	for i := range r {
		for j := range w {
			m := Mem{Base: cp, Disp: j * s.bytes()}
			if j == w-1 {
				VMASKMOVPS(sum[i*w+j], mask, m)
			} else {
				VMOVUPS(sum[i*w+j], m)
			}
		}
		ADDQ(ldc, cp)
	}
	Label(name + "_end")
}

// prefetch asks for the tile of C, so that it has come when the sums are ready.
func prefetch(s isa, r, w int, c reg.Register) {
	ldc, cp := GP64(), GP64()
	Load(Param("ldc"), ldc)
	MOVQ(c, cp)
	for range r {
		for byte := 0; byte < w*s.bytes(); byte += 64 {
			PREFETCHT0(Mem{Base: cp, Disp: byte})
		}
		ADDQ(ldc, cp)
	}
}

// tailMask512 returns a mask of the lanes from, from+1 … that are less than n.
func tailMask512(n reg.Register, from int) reg.OpmaskVirtual {
	count, ones, k := GP64(), GP64(), K()
	LEAQ(Mem{Base: n, Disp: -from}, count)
	MOVQ(I32(16), ones)
	CMPQ(count, ones)
	CMOVQGT(ones, count)
	XORL(ones.As32(), ones.As32())
	CMPQ(count, ones)
	CMOVQLT(ones, count)
	DECQ(ones)
	BZHIQ(count, ones, ones)
	KMOVW(ones.As32(), k)
	return k
}

// tailMask2 sets mask as tailMask512 does, for the 8 lanes of an AVX2 vector; n > from.
func tailMask2(n reg.Register, from int, mask reg.Register) {
	table, at, full := GP64(), GP64(), GP64()
	LEAQ(tailTable(), table)
	MOVQ(U32(from+8), at)
	SUBQ(n, at) // missing columns, negative where there are more than needed
	XORL(full.As32(), full.As32())
	CMPQ(at, full)
	CMOVQLT(full, at)
	VMOVUPS(Mem{Base: table, Index: at, Scale: 4}, mask)
}

var table *Mem

// tailTable holds 8 lanes that are set and 8 that are not: 8 lanes from x on are a mask of the first 8-x.
func tailTable() Mem {
	if table == nil {
		m := GLOBL("gemmTail", RODATA|NOPTR)
		for i := range 8 {
			DATA(4*i, U32(0xffffffff))
		}
		for i := range 8 {
			DATA(4*(8+i), U32(0))
		}
		table = &m
	}
	return *table
}

// peak emits a loop of multiply-adds that touches no memory: what the processor can do at best.
func peak(name string, s isa) {
	TEXT(name, NOSPLIT, "func(n int)")
	Doc(label("%s runs n rounds of %d independent multiply-adds of %d lanes.", name, 2*s.rows, s.lanes))
	n := Load(Param("n"), GP64())
	sum, x := s.v[:2*s.rows], s.v[2*s.rows]
	for _, v := range s.v {
		s.zero(v)
	}
	Label("loop")
	for _, v := range sum {
		s.multiplyAdd(x, x, v)
	}
	DECQ(n)
	JNZ(LabelRef("loop"))
	VZEROUPPER()
	RET()
}
