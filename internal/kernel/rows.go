package kernel

// grain is about how many elements an item of parallel gets: 64 KiB of float32, some microseconds of work.
const grain = 1 << 14

// rower is a function over rows with its arguments, which does the rows from … to-1.
type rower[T any] interface {
	*T
	rows(from, to int)
}

// parallelRows cuts rows of d elements into ranges of about grain elements and lets f do them.
func parallelRows[T any, P rower[T]](rows, d int, f T) {
	s := take[span[T, P]]()
	s.f, s.n, s.step = f, rows, max(1, grain/max(d, 1))
	parallel(ceil(rows, s.step), s)
	give(s)
}

// span is the task of parallelRows.
type span[T any, P rower[T]] struct {
	f       T
	n, step int
}

func (s *span[T, P]) run(i int) { P(&s.f).rows(i*s.step, min(s.n, (i+1)*s.step)) }

// reducer is a function over rows that adds what they contribute to sums over all rows.
type reducer[T any, F Float] interface {
	*T
	reduce(a, b []F, from, to int)
}

// reduceRows adds to a and b (which may be empty) what f adds to zeros for ranges of rows.
// The ranges (64 rows, at most 64 ranges) and the order of the sum depend on rows alone.
func reduceRows[F Float, T any, P reducer[T, F]](a, b []F, rows int, f T) {
	if rows == 0 {
		return
	}
	r := take[reduction[F, T, P]]()
	r.f, r.a, r.b, r.rows, r.step = f, len(a), len(b), rows, max(64, ceil(rows, 64))
	chunks, width := ceil(rows, r.step), len(a)+len(b)
	r.partial = Borrow[F](chunks * width)
	parallel(chunks, r)
	total := r.partial[:width]
	for i := 1; i < chunks; i++ {
		add(total, total, r.partial[i*width:(i+1)*width])
	}
	add(a, a, total[:len(a)])
	add(b, b, total[len(a):])
	GiveBack(r.partial)
	give(r)
}

// reduction is the task of reduceRows.
type reduction[F Float, T any, P reducer[T, F]] struct {
	f                T
	a, b, rows, step int
	partial          []F
}

func (r *reduction[F, T, P]) run(i int) {
	width := r.a + r.b
	p := r.partial[i*width : (i+1)*width]
	clear(p)
	P(&r.f).reduce(p[:r.a], p[r.a:], i*r.step, min(r.rows, (i+1)*r.step))
}
