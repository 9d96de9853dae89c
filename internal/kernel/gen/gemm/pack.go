package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func packName(kind string, s isa, bf16 bool) (name, element string, size int) {
	if bf16 {
		return kind + "BF16" + s.suffix, "uint16", 2
	}
	return kind + s.suffix, "float32", 4
}

// rowsAhead is how many rows later the loops over rows prefetch: memory is read half as fast again, or twice as fast, than when the processor is left
// to find the pattern by itself.
const rowsAhead = 8

// packRows copies a B that is stored [k, n] into panels.
func packRows(s isa, bf16 bool) {
	name, element, size := packName("packRows", s, bf16)
	width := 2 * s.lanes
	TEXT(name, NOSPLIT, "func(dst *float32, src *"+element+", ld, k, n, step int)")
	if s.lanes == 16 {
		Doc(label("%s copies k rows of n columns, ld bytes apart, into panels of %d columns, step bytes apart; the last is filled up with zeros.", name, width))
	} else {
		Doc(label("%s copies k rows of n columns, a multiple of 8, ld bytes apart, into panels of %d columns, step bytes apart.", name, width))
	}
	Pragma("noescape")
	dst := Load(Param("dst"), GP64())
	src := Load(Param("src"), GP64())
	ld := Load(Param("ld"), GP64())
	k := Load(Param("k"), GP64())
	n := Load(Param("n"), GP64())
	step := Load(Param("step"), GP64())
	from, to, left := GP64(), GP64(), GP64()
	var masks []reg.OpmaskVirtual // of the last panel
	if s.lanes == 16 {
		rest := GP64()
		MOVQ(n, rest)
		ANDQ(U8(width-1), rest)
		masks = append(masks, tailMask512(rest, 0), tailMask512(rest, 16))
	}
	move := func(vectors int, masks []reg.OpmaskVirtual) {
		for j := range vectors {
			v, m := s.v[j], Mem{Base: from, Disp: j * s.lanes * size}
			PREFETCHT0(Mem{Base: from, Index: ld, Scale: rowsAhead, Disp: m.Disp})
			switch {
			case masks != nil && bf16:
				VPMOVZXWD_Z(m, masks[j], v)
			case masks != nil:
				VMOVUPS_Z(m, masks[j], v)
			case bf16:
				VPMOVZXWD(m, v)
			default:
				VMOVUPS(m, v)
			}
			if bf16 {
				VPSLLD(U8(16), v, v)
			}
			VMOVUPS(v, Mem{Base: to, Disp: j * s.bytes()})
		}
	}

	Label("row")
	MOVQ(src, from)
	MOVQ(dst, to)
	MOVQ(n, left)
	SUBQ(U8(width), left)
	JL(LabelRef("tail"))
	Label("panel")
	move(2, nil)
	ADDQ(U8(width*size), from)
	ADDQ(step, to)
	SUBQ(U8(width), left)
	JGE(LabelRef("panel"))
	Label("tail")
	CMPQ(left, I8(-width))
	JE(LabelRef("next"))
	if s.lanes == 16 {
		move(2, masks)
	} else {
		move(1, nil)
	}
	Label("next")
	ADDQ(ld, src)
	ADDQ(U32(4*width), dst)
	DECQ(k)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// transpose4 transposes the 4×4 blocks that each 128-bit lane of rows[0:4], rows[4:8] … holds, in place.
func transpose4(rows, spare []reg.VecPhysical) {
	for ; len(rows) > 0; rows = rows[4:] {
		for i := 0; i < 4; i += 2 {
			VUNPCKLPS(rows[i+1], rows[i], spare[i])
			VUNPCKHPS(rows[i+1], rows[i], spare[i+1])
		}
		for i := range 2 {
			VUNPCKLPD(spare[i+2], spare[i], rows[2*i])
			VUNPCKHPD(spare[i+2], spare[i], rows[2*i+1])
		}
	}
}

// transpose16 transposes 16 vectors of 16, in place.
func transpose16(rows, spare []reg.VecPhysical) {
	transpose4(rows, spare)
	const even, odd = 0x88, 0xdd // lanes 0 and 2, 1 and 3, of both operands
	for c := range 4 {
		VSHUFF32X4(U8(even), rows[4+c], rows[c], spare[0])
		VSHUFF32X4(U8(odd), rows[4+c], rows[c], spare[1])
		VSHUFF32X4(U8(even), rows[12+c], rows[8+c], spare[2])
		VSHUFF32X4(U8(odd), rows[12+c], rows[8+c], spare[3])
		for i, lanes := range []int{even, even, odd, odd} {
			VSHUFF32X4(U8(lanes), spare[2+i%2], spare[i%2], rows[c+4*i])
		}
	}
}

// transpose8 transposes 8 vectors of 8, in place.
func transpose8(rows, spare []reg.VecPhysical) {
	transpose4(rows, spare)
	for c := range 4 {
		VPERM2F128(U8(0x20), rows[4+c], rows[c], spare[0])
		VPERM2F128(U8(0x31), rows[4+c], rows[c], rows[4+c])
		VMOVAPS(spare[0], rows[c])
	}
}

// columns is a function that transposes rows into columns, block by block: s.lanes rows of some elements that become 32 bits each.
type columns struct {
	isa
	name, element string
	doc           []string
	elements      int // of a row in a block
	bytes         Op  // the same in bytes
	lines         int // cache lines of a row in a block: those of the rows that come next are prefetched; 0: none
	// begin is called at each block, with the number of elements that are left; load loads what a row has of it; finish is called with each row.
	begin  func(k reg.Register)
	load   func(m Mem, v reg.VecPhysical)
	finish func(v reg.VecPhysical)
}

// emit emits the function.
func (c columns) emit() {
	TEXT(c.name, NOSPLIT, "func(dst *float32, src *"+c.element+", ld, k, n, row int)")
	Doc(c.doc...)
	Pragma("noescape")
	dst := Load(Param("dst"), GP64())
	src := Load(Param("src"), GP64())
	ld := Load(Param("ld"), GP64())
	n := Load(Param("n"), GP64())
	row := Load(Param("row"), GP64())
	ld3, row3 := GP64(), GP64()
	LEAQ(Mem{Base: ld, Index: ld, Scale: 2}, ld3)
	LEAQ(Mem{Base: row, Index: row, Scale: 2}, row3)

	Label("rows")
	k := Load(Param("k"), GP64())
	from, to := GP64(), GP64()
	MOVQ(src, from)
	MOVQ(dst, to)

	Label("block")
	c.begin(k)
	p := make([]reg.GPVirtual, c.lanes/4)
	for i := range p {
		p[i] = GP64()
	}
	if c.lines > 0 {
		next := GP64()
		MOVQ(ld, next)
		SHLQ(U8(4), next)
		ADDQ(from, next)
		everyFourth(next, ld, p)
		for i := range c.lanes {
			for line := range c.lines {
				m := nextRows(p[i/4], ld, ld3, i%4)
				m.Disp = 64 * line
				PREFETCHT0(m)
			}
		}
	}
	everyFourth(from, ld, p)
	rows, spare := c.v[:c.lanes], c.v[c.lanes:]
	load := func(i int) { c.load(nextRows(p[i/4], ld, ld3, i%4), rows[i]) }
	if c.lanes == 16 {
		CMPQ(n, U8(16))
		JL(LabelRef("partial"))
	}
	for i := range rows {
		load(i)
	}
	if c.lanes == 16 {
		JMP(LabelRef("loaded"))
		Label("partial")
		for i := range rows {
			VPXORD(rows[i], rows[i], rows[i])
		}
		for i := range rows {
			CMPQ(n, U8(i))
			JLE(LabelRef("loaded"))
			load(i)
		}
		Label("loaded")
	}
	for i := range rows {
		c.finish(rows[i])
	}
	if c.lanes == 16 {
		transpose16(rows, spare)
	} else {
		transpose8(rows, spare)
	}
	everyFourth(to, row, p)
	for i, v := range rows {
		VMOVUPS(v, nextRows(p[i/4], row, row3, i%4))
	}
	ADDQ(c.bytes, from)
	LEAQ(Mem{Base: p[len(p)-1], Index: row, Scale: 4}, to)
	SUBQ(U8(c.elements), k)
	JG(LabelRef("block"))

	for range c.lanes / 8 {
		LEAQ(Mem{Base: src, Index: ld, Scale: 8}, src)
	}
	ADDQ(U8(c.isa.bytes()), dst)
	SUBQ(U8(c.lanes), n)
	JG(LabelRef("rows"))
	VZEROUPPER()
	RET()
}

// packColumns512 transposes 16×16 blocks.
func packColumns512(bf16 bool) {
	name, element, size := packName("packColumns", avx512, bf16)
	var mask reg.Register
	columns{
		isa: avx512, name: name, element: element, elements: 16, bytes: U8(16 * size), lines: 1,
		doc: []string{name + " transposes n rows of k elements, ld bytes apart, into k rows of n columns, row bytes apart.",
			"k and n are rounded up to multiples of 16, with zeros."},
		begin: func(k reg.Register) { mask = tailMask512(k, 0) },
		load: func(m Mem, v reg.VecPhysical) {
			if bf16 {
				VPMOVZXWD_Z(m, mask, v)
			} else {
				VMOVUPS_Z(m, mask, v)
			}
		},
		finish: func(v reg.VecPhysical) {
			if bf16 {
				VPSLLD(U8(16), v, v)
			}
		},
	}.emit()
}

// packColumns2 transposes 8×8 blocks.
func packColumns2(bf16 bool) {
	name, element, size := packName("packColumns", avx2, bf16)
	columns{
		isa: avx2, name: name, element: element, elements: 8, bytes: U8(8 * size),
		doc:   []string{name + " transposes n rows of k elements, both multiples of 8, ld bytes apart, into k rows of n columns, row bytes apart."},
		begin: func(reg.Register) {},
		load: func(m Mem, v reg.VecPhysical) {
			if bf16 {
				VPMOVZXWD(m, v)
				VPSLLD(U8(16), v, v)
			} else {
				VMOVUPS(m, v)
			}
		},
		finish: func(reg.VecPhysical) {},
	}.emit()
}

// everyFourth sets p to the addresses of rows 0, 4, 8 … from a row on.
func everyFourth(from, ld reg.Register, p []reg.GPVirtual) {
	MOVQ(from, p[0])
	for i := range p[1:] {
		LEAQ(Mem{Base: p[i], Index: ld, Scale: 4}, p[i+1])
	}
}

// nextRows addresses row i = 0 … 3 from p on.
func nextRows(p, ld, ld3 reg.Register, i int) Mem {
	switch i {
	case 1, 2:
		return Mem{Base: p, Index: ld, Scale: uint8(i)}
	case 3:
		return Mem{Base: p, Index: ld3, Scale: 1}
	}
	return Mem{Base: p}
}
