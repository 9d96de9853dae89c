package kernel

import "slices"

// Gather copies row ids[i] of table [_, d] to row i of out [len(ids), d].
func Gather[F Float, S Storage](out []F, table []S, ids []int32, d int) {
	parallelRows(len(ids), d, gather[F, S]{out, table, ids, d})
}

type gather[F Float, S Storage] struct {
	out   []F
	table []S
	ids   []int32
	d     int
}

func (g *gather[F, S]) rows(from, to int) {
	for i := from; i < to; i++ {
		at := int(g.ids[i]) * g.d
		load(row(g.out, i, g.d), g.d, g.table[at:at+g.d], g.d, 1, g.d, 0)
	}
}

// load converts rows of n stored numbers, ld apart, to rows step apart. Numbers that lie ahead elements further may be prefetched.
func load[F Float, S Storage](dst []F, step int, src []S, ld, rows, n, ahead int) {
	from := 0 // columns before it are converted by assembly
	if half, ok := any(src).([]uint16); ok && pathOf[F]() != portable {
		_, _ = dst[(rows-1)*step+n-1], src[(rows-1)*ld+n-1]
		from = expandVectors(f32(dst), step, half, ld, rows, n, ahead)
	}
	for i := range rows {
		to := dst[i*step:][from:n]
		switch src := any(src[i*ld:][from:n]).(type) {
		case []F:
			copy(to, src)
		case []S:
			for j, x := range src {
				to[j] = expand[F](x)
			}
		}
	}
}

// ScatterAdd adds row i of dout [len(ids), d] to row ids[i] of dtable [_, d]. The rows of one id are summed in ascending order, 64 at a time.
func ScatterAdd[F Float](dtable, dout []F, ids []int32, d int) {
	order := take[[]int64]()
	sorted := (*order)[:0]
	for i, id := range ids {
		sorted = append(sorted, int64(id)<<32|int64(i))
	}
	slices.Sort(sorted)
	s := take[scatter[F]]()
	*s = scatter[F]{dtable, dout, sorted, d}
	parallel(ceil(d, scatterWidth), s)
	give(s)
	*order = sorted
	keep(order)
}

// scatterWidth is how many columns an item of ScatterAdd does.
const scatterWidth = 64

type scatter[F Float] struct {
	dtable, dout []F
	order        []int64 // id<<32 | row of dout, ascending
	d            int
}

func (s *scatter[F]) run(item int) {
	from, to := item*scatterWidth, min(s.d, (item+1)*scatterWidth)
	var buffer [scatterWidth]F
	partial := buffer[:to-from]
	for rest := s.order; len(rest) > 0; {
		id := rest[0] >> 32
		n := 0
		clear(partial)
		for n < 64 && n < len(rest) && rest[n]>>32 == id {
			at := int(int32(rest[n])) * s.d
			add(partial, partial, s.dout[at+from:at+to])
			n++
		}
		rest = rest[n:]
		at := int(id) * s.d
		sum := s.dtable[at+from : at+to]
		add(sum, sum, partial)
	}
}
