package main

import (
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Operands in bfloat16 lie in pairs: two terms that follow each other in k, in the 32 bits of a lane. VDPBF16PS first adds the product of the upper
// halves to a sum, then that of the lower ones: the first term of a pair lies in the upper half.

// avx512BF16 is avx512 with AVX512_BF16.
var avx512BF16 = isa{"BF16AVX512", avx512.rows, avx512.lanes, avx512.v, true}

// multiplyAdd emits sum += x·y in every lane: of float32, or of pairs.
func (s isa) multiplyAdd(x, y, sum reg.VecPhysical) {
	if s.pairs {
		evex(0xf3, 0x52, sum, x, y) // VDPBF16PS
	} else {
		VFMADD231PS(x, y, sum)
	}
}

// roundPair rounds low and high to bfloat16, ties to even, denormals to zero: 16 values of low, then 16 of high.
func roundPair(low, high, to reg.VecPhysical) { evex(0xf2, 0x72, to, high, low) } // VCVTNE2PS2BF16

// evex emits a 512-bit instruction of map 0F38 on three registers, which the assembler doesn't know.
func evex(prefix, opcode byte, to, x, y reg.VecPhysical) {
	number := func(v reg.VecPhysical) byte {
		for i, w := range avx512.v {
			if w == v {
				return byte(i)
			}
		}
		panic("not a vector of 512 bits")
	}
	bit := func(n byte, i int) byte { return n >> i & 1 }
	t, a, b := number(to), number(x), number(y)
	p0 := (1-bit(t, 3))<<7 | (1-bit(b, 4))<<6 | (1-bit(b, 3))<<5 | (1-bit(t, 4))<<4 | 2
	p1 := (15-a&15)<<3 | 4 | map[byte]byte{0xf3: 2, 0xf2: 3}[prefix]
	p2 := byte(2<<5) | (1-bit(a, 4))<<3
	modrm := 3<<6 | t&7<<3 | b&7
	raw("LONG", U32(uint32(0x62)|uint32(p0)<<8|uint32(p1)<<16|uint32(p2)<<24))
	raw("WORD", U16(uint16(opcode)|uint16(modrm)<<8))
}

func raw(directive string, x Op) { Instruction(&ir.Instruction{Opcode: directive, Operands: []Op{x}}) }

// interleave is the VPERMW index that makes pairs of 16 values of the first terms, before 16 of the second.
func interleave() Mem {
	m := GLOBL("gemmInterleave", RODATA|NOPTR)
	for i := range 16 {
		DATA(4*i, U32(uint32(16+i|i<<16)))
	}
	return m
}

// exchange is the VPERMT2W index that makes the same pairs of two rows that are pairs of neighbours.
func exchange() Mem {
	m := GLOBL("gemmExchange", RODATA|NOPTR)
	for i := range 16 {
		DATA(4*i, U32(uint32(32+i^1|(i^1)<<16)))
	}
	return m
}

// operand is what pairs are made of.
type operand int

const (
	single     operand = iota // float32
	half                      // bfloat16
	neighbours                // pairs of neighbours in a row
)

// pairRows makes pairs of rows: of a B that is stored [k, n], in panels of two vectors, or of an A that is stored [k, m], in strips of less than one.
func pairRows(name string, vectors int, of operand, index Mem) {
	_, element, size := packName("", avx512, of == half)
	TEXT(name, NOSPLIT, "func(dst *float32, src *"+element+", ld, k, whole, rest, width, step int)")
	limits := map[int]string{1: "width <= 16.", 2: "width is 32."}[vectors]
	if of == neighbours {
		size, limits = 2, "width <= 16, and even. The rows are pairs of neighbours already."
	}
	Doc(label("%s makes pairs of k rows, ld bytes apart, in panels, step bytes apart: whole ones of width columns and, if rest > 0, one of which", name),
		"rest columns are set. A missing last row counts as zeros. "+limits)
	Pragma("noescape")
	dst := Load(Param("dst"), GP64())
	src := Load(Param("src"), GP64())
	ld := Load(Param("ld"), GP64())
	k := Load(Param("k"), GP64())
	whole := Load(Param("whole"), GP64())
	rest := Load(Param("rest"), GP64())
	width := Load(Param("width"), GP64())
	step := Load(Param("step"), GP64())
	from, below, to, left := GP64(), GP64(), GP64(), GP64()
	order := avx512.v[31]
	if of != half {
		VMOVDQU64(index, order)
	}
	// what is read of both rows, and what is written, in a panel of some columns
	type masks struct{ first, second, pairs []reg.Register }
	masksOf := func(columns reg.Register) (all masks) {
		lanes := columns
		if of == neighbours {
			lanes = GP64()
			LEAQ(Mem{Base: columns, Disp: 1}, lanes)
			SHRQ(U8(1), lanes)
		}
		for j := range vectors {
			m, next := tailMask512(lanes, 16*j), K()
			KMOVW(m, next)
			all.first, all.second, all.pairs = append(all.first, m), append(all.second, next), append(all.pairs, m)
			if of == neighbours {
				all.pairs[j] = tailMask512(columns, 16*j)
			}
		}
		return all
	}
	partial := masksOf(rest)
	var full masks
	if vectors == 1 {
		full = masksOf(width)
	} else {
		all := K()
		KXNORW(all, all, all)
		full = masks{second: []reg.Register{all, all}}
	}
	move := func(panel masks) {
		for j := range vectors {
			a, b, at := avx512.v[2*j], avx512.v[2*j+1], j*16*size
			first, next := Mem{Base: from, Disp: at}, Mem{Base: below, Disp: at}
			PREFETCHT0(Mem{Base: from, Index: ld, Scale: rowsAhead, Disp: at})
			PREFETCHT0(Mem{Base: below, Index: ld, Scale: rowsAhead, Disp: at})
			to := Mem{Base: to, Disp: 64 * j}
			load := func(m Mem, v reg.VecPhysical, mask []reg.Register) {
				switch {
				case mask == nil && of == half:
					VPMOVZXWD(m, v)
				case mask == nil:
					VMOVUPS(m, v)
				case of == half:
					VPMOVZXWD_Z(m, mask[j], v)
				default:
					VMOVUPS_Z(m, mask[j], v)
				}
			}
			load(first, a, panel.first)
			load(next, b, panel.second)
			switch of {
			case half:
				VPSLLD(U8(16), a, a)
				VPORD(b, a, a)
			case single:
				roundPair(a, b, a)
				VPERMW(a, order, a)
			case neighbours:
				VPERMT2W(b, order, a)
			}
			if panel.pairs == nil {
				VMOVUPS(a, to)
			} else {
				VMOVUPS(a, panel.pairs[j], to)
			}
		}
	}

	Label("row")
	CMPQ(k, U8(2))
	JGE(LabelRef("both"))
	for _, m := range append(full.second, partial.second...) {
		KXORW(m, m, m)
	}
	Label("both")
	MOVQ(src, from)
	LEAQ(Mem{Base: src, Index: ld, Scale: 1}, below)
	MOVQ(dst, to)
	MOVQ(whole, left)
	TESTQ(left, left)
	JZ(LabelRef("rest"))
	Label("panel")
	move(full)
	LEAQ(Mem{Base: from, Index: width, Scale: uint8(size)}, from)
	LEAQ(Mem{Base: below, Index: width, Scale: uint8(size)}, below)
	ADDQ(step, to)
	DECQ(left)
	JNZ(LabelRef("panel"))
	Label("rest")
	TESTQ(rest, rest)
	JZ(LabelRef("next"))
	move(partial)
	Label("next")
	LEAQ(Mem{Base: src, Index: ld, Scale: 2}, src)
	LEAQ(Mem{Base: dst, Index: width, Scale: 4}, dst)
	SUBQ(U8(2), k)
	JG(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// pairAlong makes pairs along the rows of an A that is stored [m, k].
func pairAlong() {
	TEXT("pairAlongAVX512", NOSPLIT, "func(dst *float32, src *float32, ld, k, n, row int)")
	Doc("pairAlongAVX512 makes pairs of neighbours in n rows of k elements, ld bytes apart, into rows row bytes apart. They are filled up with zeros",
		"to a multiple of 32 elements.")
	Pragma("noescape")
	dst := Load(Param("dst"), GP64())
	src := Load(Param("src"), GP64())
	ld := Load(Param("ld"), GP64())
	k := Load(Param("k"), GP64())
	n := Load(Param("n"), GP64())
	row := Load(Param("row"), GP64())
	from, to, left, tail := GP64(), GP64(), GP64(), GP64()
	MOVQ(k, tail)
	ANDQ(U8(31), tail)
	low, high := tailMask512(tail, 0), tailMask512(tail, 16)
	v := avx512.v
	finish := func() {
		roundPair(v[0], v[1], v[0])
		VPROLD(U8(16), v[0], v[0])
		VMOVUPS(v[0], Mem{Base: to})
	}
	Label("row")
	MOVQ(src, from)
	MOVQ(dst, to)
	MOVQ(k, left)
	SUBQ(U8(32), left)
	JL(LabelRef("tail"))
	Label("block")
	VMOVUPS(Mem{Base: from}, v[0])
	VMOVUPS(Mem{Base: from, Disp: 64}, v[1])
	finish()
	ADDQ(U32(128), from)
	ADDQ(U8(64), to)
	SUBQ(U8(32), left)
	JGE(LabelRef("block"))
	Label("tail")
	TESTQ(tail, tail)
	JZ(LabelRef("next"))
	VMOVUPS_Z(Mem{Base: from}, low, v[0])
	VMOVUPS_Z(Mem{Base: from, Disp: 64}, high, v[1])
	finish()
	Label("next")
	ADDQ(ld, src)
	ADDQ(row, dst)
	DECQ(n)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// pairColumns makes pairs along the rows of a B that is stored [n, k], and transposes 16×16 blocks of pairs.
func pairColumns(bf16 bool) {
	name, element, size := packName("pairColumns", avx512, bf16)
	var low, high reg.Register
	columns{
		isa: avx512, name: name, element: element, elements: 32, bytes: U32(32 * size), lines: size / 2,
		doc: []string{name + " makes pairs of neighbours in n rows of k elements, ld bytes apart, and transposes them into rows of n columns, row bytes apart.",
			"n is rounded up to a multiple of 16, k to one of 32, with zeros."},
		begin: func(k reg.Register) {
			low, high = tailMask512(k, 0), tailMask512(k, 16)
			if bf16 {
				KUNPCKWD(low, high, low) // of all 32 elements
			}
		},
		load: func(m Mem, v reg.VecPhysical) {
			if bf16 {
				VMOVDQU16_Z(m, low, v)
				return
			}
			next, spare := m, avx512.v[16:]
			next.Disp += 16 * size
			VMOVUPS_Z(m, low, spare[0])
			VMOVUPS_Z(next, high, spare[1])
			roundPair(spare[0], spare[1], v)
		},
		finish: func(v reg.VecPhysical) { VPROLD(U8(16), v, v) },
	}.emit()
}

// roundInPlace emits the rounding of float32 to bfloat16, for processors that have none.
func roundInPlace(s isa) {
	name := "roundBF16" + s.suffix
	TEXT(name, NOSPLIT, "func(dst, src *float32, n int)")
	Doc(name + " rounds n values, a multiple of 8, to bfloat16, ties to even.")
	Pragma("noescape")
	dst := Load(Param("dst"), GP64())
	src := Load(Param("src"), GP64())
	n := Load(Param("n"), GP64())
	x, odd, nan, one, half, upper, quiet := s.v[0], s.v[1], s.v[2], s.v[3], s.v[4], s.v[5], s.v[6]
	VPCMPEQD(upper, upper, upper)
	VPSRLD(U8(31), upper, one)
	VPSLLD(U8(16), upper, upper)
	VPSRLD(U8(17), upper, half) // 0x7fff
	VPSLLD(U8(22), one, quiet)
	Label("loop")
	VMOVUPS(Mem{Base: src}, x)
	VCMPPS(U8(3), x, x, nan) // unordered
	VPSRLD(U8(16), x, odd)
	VPAND(one, odd, odd)
	VPADDD(half, odd, odd)
	VPADDD(x, odd, odd)
	VPOR(quiet, x, x) // a NaN stays one
	VBLENDVPS(nan, x, odd, x)
	VPAND(upper, x, x)
	VMOVUPS(x, Mem{Base: dst})
	ADDQ(U8(32), src)
	ADDQ(U8(32), dst)
	SUBQ(U8(8), n)
	JG(LabelRef("loop"))
	VZEROUPPER()
	RET()
}

// expand emits the way back from bfloat16.
func expand(s isa) {
	name := "expandBF16" + s.suffix
	TEXT(name, NOSPLIT, "func(dst *float32, step int, src *uint16, ld, rows, n, ahead int)")
	Doc(label("%s converts rows of n bfloat16, a multiple of %d, ld bytes apart, to float32, step bytes apart.", name, s.lanes),
		"What lies ahead bytes further is prefetched.")
	Pragma("noescape")
	dst := Load(Param("dst"), GP64())
	step := Load(Param("step"), GP64())
	src := Load(Param("src"), GP64())
	ld := Load(Param("ld"), GP64())
	rows := Load(Param("rows"), GP64())
	n := Load(Param("n"), GP64())
	ahead := Load(Param("ahead"), GP64())
	ADDQ(src, ahead)
	Label("row")
	i := GP64()
	XORQ(i, i)
	Label("loop")
	PREFETCHT0(Mem{Base: ahead, Index: i, Scale: 2})
	VPMOVZXWD(Mem{Base: src, Index: i, Scale: 2}, s.v[0])
	VPSLLD(U8(16), s.v[0], s.v[0])
	VMOVUPS(s.v[0], Mem{Base: dst, Index: i, Scale: 4})
	ADDQ(U8(s.lanes), i)
	CMPQ(i, n)
	JL(LabelRef("loop"))
	ADDQ(step, dst)
	ADDQ(ld, src)
	ADDQ(ld, ahead)
	DECQ(rows)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}
