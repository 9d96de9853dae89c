package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// dots multiplies a few rows of A by a B that is stored [n, k]: its blocks are transposed in registers, on the way from memory.
func dots(s isa, bf16 bool) {
	name, element, size := packName("dots", s, bf16)
	TEXT(name, NOSPLIT, "func(m, k, n int, a *float32, lda int, b *"+element+", ldb int, c *float32, ldc int, add bool)")
	Doc(label("%s sets (with add: adds to) C [m, n] to the products of m rows of A and n rows of B, of k elements, lda, ldb and ldc bytes apart.", name),
		label("1 <= m <= %d; k and n are multiples of %d.", dotsRows, s.lanes))
	Pragma("noescape")
	lda := Load(Param("lda"), GP64())
	b := Load(Param("b"), GP64())
	ldb := Load(Param("ldb"), GP64())
	n := Load(Param("n"), GP64())
	c := Load(Param("c"), GP64())
	ldb3 := GP64()
	LEAQ(Mem{Base: ldb, Index: ldb, Scale: 2}, ldb3)
	m := Load(Param("m"), GP64())
	for r := dotsRows; r > 1; r-- {
		CMPQ(m, U8(r))
		JE(LabelRef(label("rows%d", r)))
	}
	for r := 1; r <= dotsRows; r++ {
		Label(label("rows%d", r))
		block, spare, sum := s.v[:s.lanes], s.v[s.lanes:][:4], s.v[s.lanes+4:][:r]
		for _, v := range sum {
			s.zero(v)
		}
		a := []reg.GPVirtual{GP64(), GP64()} // of rows 0 and 3
		Load(Param("a"), a[0])
		LEAQ(Mem{Base: a[0], Index: lda, Scale: 2}, a[1])
		ADDQ(lda, a[1])
		k := Load(Param("k"), GP64())
		from := GP64()
		MOVQ(b, from)
		Label(label("block%d", r))
		p, next := GP64(), GP64() // a row, and the same of the next block's
		MOVQ(from, p)
		LEAQ(Mem{Base: from, Index: ldb, Scale: 8}, next)
		if s.lanes == 16 {
			LEAQ(Mem{Base: next, Index: ldb, Scale: 8}, next)
		}
		for i, v := range block {
			if i > 0 && i%4 == 0 {
				LEAQ(Mem{Base: p, Index: ldb, Scale: 4}, p)
				LEAQ(Mem{Base: next, Index: ldb, Scale: 4}, next)
			}
			PREFETCHT0(nextRows(next, ldb, ldb3, i%4))
			if at := nextRows(p, ldb, ldb3, i%4); bf16 {
				VPMOVZXWD(at, v)
				VPSLLD(U8(16), v, v)
			} else {
				VMOVUPS(at, v)
			}
		}
		if s.lanes == 16 {
			transpose16(block, spare)
		} else {
			transpose8(block, spare)
		}
		for i, v := range block {
			for j, t := range sum {
				at := nextRows(a[0], lda, lda, j)
				if j == 3 {
					at = Mem{Base: a[1]}
				}
				at.Disp = 4 * i
				if s.lanes == 16 {
					VFMADD231PS_BCST(at, v, t)
				} else {
					VBROADCASTSS(at, spare[j])
					VFMADD231PS(spare[j], v, t)
				}
			}
		}
		ADDQ(U8(s.bytes()), a[0])
		ADDQ(U8(s.bytes()), a[1])
		ADDQ(U8(s.lanes*size), from)
		SUBQ(U8(s.lanes), k)
		JG(LabelRef(label("block%d", r)))

		ldc := Load(Param("ldc"), GP64())
		cp := GP64()
		MOVQ(c, cp)
		add := Load(Param("add"), GP8())
		TESTB(add, add)
		JZ(LabelRef(label("store%d", r)))
		for _, v := range sum {
			VADDPS(Mem{Base: cp}, v, v)
			ADDQ(ldc, cp)
		}
		MOVQ(c, cp)
		Label(label("store%d", r))
		for _, v := range sum {
			VMOVUPS(v, Mem{Base: cp})
			ADDQ(ldc, cp)
		}
		for range s.lanes / 8 {
			LEAQ(Mem{Base: b, Index: ldb, Scale: 8}, b)
		}
		ADDQ(U8(s.bytes()), c)
		SUBQ(U8(s.lanes), n)
		JG(LabelRef(label("rows%d", r)))
		JMP(LabelRef("done"))
	}
	Label("done")
	VZEROUPPER()
	RET()
}

// dotsRows is how many rows of A it takes for packing B to pay.
const dotsRows = 4
