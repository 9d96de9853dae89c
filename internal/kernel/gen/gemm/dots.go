package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// dots multiplies a few rows of A by a B that is stored [n, k]: its blocks are transposed in registers, on the way from memory. A sum waits for the term
// before, longer than bfloat16 take to come from memory: where there is one row, two blocks of columns take turns.
func dots(s isa, bf16 bool) {
	name, element, size := packName("dots", s, bf16)
	TEXT(name, NOSPLIT, "func(m, k, n int, a *float32, lda int, b *"+element+", ldb int, c *float32, ldc int, add bool)")
	Doc(label("%s sets (with add: adds to) C [m, n] to the products of m rows of A and n rows of B, of k elements, lda, ldb and ldc bytes apart.", name),
		label("1 <= m <= %d; k and n are multiples of %d.", dotsRows, s.lanes))
	Pragma("noescape")
	lda := Load(Param("lda"), GP64())
	b := Load(Param("b"), GP64())
	ldb := Load(Param("ldb"), GP64())
	ldb3 := GP64()
	LEAQ(Mem{Base: ldb, Index: ldb, Scale: 2}, ldb3)
	n, cAddress := parameter("n"), parameter("c") // change with every turn
	// second returns the way to the second group of columns, 0 where the first is the last: then it is computed twice
	second := func(there func(to reg.Register)) reg.Register {
		to, none := GP64(), GP64()
		there(to)
		XORQ(none, none)
		CMPQ(n, U8(s.lanes))
		CMOVQLE(none, to)
		return to
	}
	m := Load(Param("m"), GP64())
	for r := dotsRows; r > 1; r-- {
		CMPQ(m, U8(r))
		JE(LabelRef(label("rows%d", r)))
	}
	for r := 1; r <= dotsRows; r++ {
		Label(label("rows%d", r))
		groups, pairs := 1, bf16 && s.lanes == 16 && r == 1
		if pairs {
			groups = 2
		}
		d := dotsBlock{isa: s, groups: groups, ldb: ldb, ldb3: ldb3, lda: lda, rows: s.v[:s.lanes], spare: s.v[s.lanes:][:4]}
		sums := s.v[s.lanes+4:][:groups*r]
		for _, v := range sums {
			s.zero(v)
		}
		d.a = []reg.GPVirtual{GP64(), GP64()}
		Load(Param("a"), d.a[0])
		LEAQ(Mem{Base: d.a[0], Index: lda, Scale: 2}, d.a[1])
		ADDQ(lda, d.a[1])
		k := Load(Param("k"), GP64())
		from := []reg.GPVirtual{GP64()}
		MOVQ(b, from[0])
		if groups > 1 {
			from = append(from, GP64())
			rows := second(func(to reg.Register) {
				MOVQ(ldb, to)
				SHLQ(U8(4), to)
			})
			LEAQ(Mem{Base: b, Index: rows, Scale: 1}, from[1])
		}
		forward := func(terms int) {
			ADDQ(U32(4*terms), d.a[0])
			ADDQ(U32(4*terms), d.a[1])
			for _, p := range from {
				ADDQ(U8(terms*size), p)
			}
			SUBQ(U8(terms), k)
		}
		if pairs { // two terms are moved as one, and then told apart
			upper := s.v[31]
			VPTERNLOGD(U8(0xff), upper, upper, upper)
			VPSLLD(U8(16), upper, upper)
			CMPQ(k, U8(2*s.lanes))
			JL(LabelRef(label("block%d", r)))
			Label(label("pairs%d", r))
			for g, p := range from {
				d.columns(p, func(at Mem, v reg.VecPhysical) { VMOVUPS(at, v) })
				for i, v := range d.rows {
					first := d.spare[i%2]
					VPSLLD(U8(16), v, first)
					d.multiplyAdd(2*i, first, d.spare[2], sums[g*r:][:r])
					VPANDD(upper, v, v)
					d.multiplyAdd(2*i+1, v, d.spare[3], sums[g*r:][:r])
				}
			}
			forward(2 * s.lanes)
			CMPQ(k, U8(2*s.lanes))
			JGE(LabelRef(label("pairs%d", r)))
			TESTQ(k, k)
			JZ(LabelRef(label("sums%d", r)))
		}
		Label(label("block%d", r))
		for g, p := range from {
			d.columns(p, func(at Mem, v reg.VecPhysical) {
				if bf16 {
					VPMOVZXWD(at, v)
					VPSLLD(U8(16), v, v)
				} else {
					VMOVUPS(at, v)
				}
			})
			for i, v := range d.rows {
				d.multiplyAdd(i, v, d.spare[i%4], sums[g*r:][:r])
			}
		}
		forward(s.lanes)
		JG(LabelRef(label("block%d", r)))

		Label(label("sums%d", r))
		ldc := Load(Param("ldc"), GP64())
		c, cp := GP64(), GP64()
		MOVQ(cAddress, c)
		var next reg.Register
		if groups > 1 {
			next = second(func(to reg.Register) { MOVQ(U32(s.bytes()), to) })
		}
		// each visits C's elements that belong to the sums
		each := func(f func(at Mem, sum reg.VecPhysical)) {
			MOVQ(c, cp)
			for i := range r {
				f(Mem{Base: cp}, sums[i])
				if groups > 1 {
					f(Mem{Base: cp, Index: next, Scale: 1}, sums[r+i])
				}
				if i < r-1 {
					ADDQ(ldc, cp)
				}
			}
		}
		add := Load(Param("add"), GP8())
		TESTB(add, add)
		JZ(LabelRef(label("store%d", r)))
		each(func(at Mem, sum reg.VecPhysical) { VADDPS(at, sum, sum) })
		Label(label("store%d", r))
		each(func(at Mem, sum reg.VecPhysical) { VMOVUPS(sum, at) })
		for range groups * s.lanes / 8 {
			LEAQ(Mem{Base: b, Index: ldb, Scale: 8}, b)
		}
		ADDQ(U32(groups*s.bytes()), cAddress)
		SUBQ(U8(groups*s.lanes), n)
		JG(LabelRef(label("rows%d", r)))
		JMP(LabelRef("done"))
	}
	Label("done")
	VZEROUPPER()
	RET()
}

// dotsBlock is a block of B on its way: of as many rows as a vector has lanes.
type dotsBlock struct {
	isa
	groups         int // of columns, that take turns
	ldb, ldb3, lda reg.Register
	a              []reg.GPVirtual // A's rows 0 and 3, at the block's first term
	rows, spare    []reg.VecPhysical
}

// columns loads what load does of each row from p on, and makes columns of it. What lies there one turn of columns further down is prefetched.
func (d dotsBlock) columns(p reg.Register, load func(at Mem, v reg.VecPhysical)) {
	at, next := GP64(), GP64()
	MOVQ(p, at)
	LEAQ(Mem{Base: p, Index: d.ldb, Scale: 8}, next)
	for range d.groups*d.lanes/8 - 1 {
		LEAQ(Mem{Base: next, Index: d.ldb, Scale: 8}, next)
	}
	for i, v := range d.rows {
		if i > 0 && i%4 == 0 {
			LEAQ(Mem{Base: at, Index: d.ldb, Scale: 4}, at)
			LEAQ(Mem{Base: next, Index: d.ldb, Scale: 4}, next)
		}
		PREFETCHT0(nextRows(next, d.ldb, d.ldb3, i%4))
		load(nextRows(at, d.ldb, d.ldb3, i%4), v)
	}
	if d.lanes == 16 {
		transpose16(d.rows, d.spare)
	} else {
		transpose8(d.rows, d.spare)
	}
}

// multiplyAdd adds the products of a column and the block's i-th terms of A to the sums.
func (d dotsBlock) multiplyAdd(i int, column, spare reg.VecPhysical, sums []reg.VecPhysical) {
	for j, t := range sums {
		at := nextRows(d.a[0], d.lda, d.lda, j)
		if j == 3 {
			at = Mem{Base: d.a[1]}
		}
		at.Disp = 4 * i
		if d.lanes == 16 {
			VFMADD231PS_BCST(at, column, t)
		} else {
			VBROADCASTSS(at, spare)
			VFMADD231PS(spare, column, t)
		}
	}
}

// dotsRows is how many rows of A it takes for packing B to pay.
const dotsRows = 4
