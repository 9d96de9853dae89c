package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

// tile is a call of a kernel on matrices, which twins can't be: its slices have lengths of their own.
type tile struct {
	slices  [][]float32
	written int // the first ones
	call    func(s [][]float32)
	units   float64 // as twin's
	// kind says how an element of a written slice is compared.
	kind func(slice, i int) comparison
}

// comparison is how an element is compared with the portable path's.
type comparison int

const (
	closely comparison = iota
	byClass            // NaN, infinite or finite
	not                // it may be anything
)

// tiles make calls of the kernels that twins don't have, with special values in some of the numbers.
var tiles = map[string]func(r *rand.Rand, special bool) tile{
	"rotate": func(r *rand.Rand, special bool) tile {
		heads, half := 1+r.IntN(4), 1+r.IntN(70)
		d := 2*half + r.IntN(5)
		sign := float32(1 - 2*r.IntN(2))
		s := [][]float32{random[float32](r, heads*d), random[float32](r, heads*d), random[float32](r, half), random[float32](r, half)}
		spoiled := spoil(r, special, s[1], specials)
		return tile{s, 1, func(s [][]float32) { rotate(s[0], s[1], s[2], s[3], heads, d, sign) }, 32, func(_, i int) comparison {
			head, at := i/d*d, i%d
			if at < 2*half && (spoiled[head+at%half] || spoiled[head+at%half+half]) {
				return byClass
			}
			return closely
		}}
	},
	"dotRows": func(r *rand.Rand, special bool) tile {
		rows, d := 1+r.IntN(20), r.IntN(140)
		stride := d + r.IntN(9)
		s := [][]float32{random[float32](r, rows), random[float32](r, rows*stride), random[float32](r, rows*stride)}
		spoiled := spoil(r, special, s[1], specials)
		return tile{s, 1, func(s [][]float32) { dotRows(s[0], s[1], s[2], stride, d) }, 32 * float64(4+d), func(_, row int) comparison {
			for _, bad := range spoiled[row*stride:][:d] {
				if bad {
					return byClass
				}
			}
			return closely
		}}
	},
	"scaleColumns": func(r *rand.Rand, special bool) tile {
		c := newColumns(r)
		s := [][]float32{random[float32](r, c.height*c.width), random[float32](r, c.count)}
		spoil(r, special, s[0], specials)
		return tile{s, 1, func(s [][]float32) { scaleColumns(s[0], c.width, c.from, c.to, s[1]) }, 0, c.all(closely)}
	},
	"logSums": func(r *rand.Rand, special bool) tile {
		n := 1 + r.IntN(80)
		s := [][]float32{random[float32](r, n), random[float32](r, n), random[float32](r, n), random[float32](r, n)}
		for i := range n {
			s[3][i] = float32(math.Exp2(20 * r.Float64()))
			if r.IntN(5) == 0 { // nothing was seen
				s[2][i], s[3][i] = float32(math.Inf(-1)), 0
			}
		}
		nan := spoil(r, special, s[3], []float32{float32(math.NaN())})
		return tile{s, 2, func(s [][]float32) { logSums(s[0], s[1], s[2], s[3]) }, 32, func(slice, i int) comparison {
			if nan[i] && slice == 0 { // it is inverse that makes all of the query's results NaN
				return not
			}
			return closely
		}}
	},
	"softmaxColumns": func(r *rand.Rand, special bool) tile {
		c := newColumns(r)
		vector := func() []float32 { return random[float32](r, c.count) }
		s := [][]float32{random[float32](r, c.height*c.width), vector(), vector(), vector()}
		for i := range c.count {
			s[2][i] = 1 + s[2][i]*s[2][i]
			if r.IntN(3) == 0 { // the first keys
				s[1][i], s[2][i] = float32(math.Inf(-1)), 0
			}
		}
		spoiled := spoil(r, special, s[0], scoreSpecials)
		return tile{s, 4, func(s [][]float32) {
			softmaxColumns(s[0], c.width, c.mask.lo[:], c.mask.hi[:], c.mask.whole[:], c.from, c.to, c.key, 0.7, s[1], s[2], s[3])
		}, 256, func(slice, i int) comparison {
			column := i
			if slice == 0 {
				column = i % c.width
			}
			for row := c.from; row < c.to; row++ {
				if spoiled[row*c.width+column] && c.sees(row, column) {
					return map[bool]comparison{true: byClass, false: not}[slice == 2] // a NaN comes out in the sum
				}
			}
			return c.all(closely)(slice, i)
		}}
	},
	"gradientColumns": func(r *rand.Rand, special bool) tile {
		c := newColumns(r)
		s := [][]float32{random[float32](r, c.height*c.width), random[float32](r, c.height*c.width), random[float32](r, c.count), random[float32](r, c.count)}
		for i := range c.count {
			s[2][i] = 3 + s[2][i]*s[2][i]
		}
		which, values := r.IntN(2), scoreSpecials
		if which == 1 {
			values = specials
		}
		spoiled := spoil(r, special, s[which], values)
		return tile{s, 2, func(s [][]float32) {
			gradientColumns(s[0], s[1], c.width, c.mask.lo[:], c.mask.hi[:], c.mask.whole[:], c.from, c.to, c.key, 0.7, s[2], s[3])
		}, 256, func(slice, i int) comparison {
			if spoiled[i] && c.has(i) {
				return byClass
			}
			return c.all(closely)(slice, i)
		}}
	},
}

// scoreSpecials are what may be among scores, whose softmax has no exponents far above 0.
var scoreSpecials = []float32{0, float32(math.Copysign(0, -1)), float32(math.Inf(-1)), float32(math.NaN()), math.SmallestNonzeroFloat32, -1e-40, 1.2e-38, -30, -87.5, -95, -105, -1e4}

// spoil replaces some of x by special values and says which.
func spoil(r *rand.Rand, special bool, x, values []float32) []bool {
	spoiled := make([]bool, len(x))
	for i := range x {
		if special && r.IntN(8) == 0 {
			x[i], spoiled[i] = values[r.IntN(len(values))], true
		}
	}
	return spoiled
}

// columnCase is where the kernels of columns work: on rows from … to-1 of height, on count of width columns, of which n are queries.
type columnCase struct {
	height, width, count, n, from, to, key int
	mask                                   tileMask
}

func newColumns(r *rand.Rand) *columnCase {
	c := &columnCase{n: 1 + r.IntN(maxColumns), from: r.IntN(3), key: r.IntN(6)}
	c.count = roundUp(c.n)
	c.width, c.to = c.count+16*r.IntN(2), c.from+1+r.IntN(20)
	c.height = c.to + r.IntN(2)
	c.mask.reset()
	most := c.key + c.to - c.from
	kind := r.IntN(3)
	for range c.n {
		lo, hi := 0, most // all keys
		if kind > 0 {
			lo = r.IntN(most + 3)
			hi = lo + r.IntN(most+1)
		}
		if kind == 2 { // most of them by all
			lo, hi = r.IntN(c.key+2), most-r.IntN(2)
		}
		c.mask.add(lo, hi)
	}
	return c
}

// sees reports whether a column sees the key of a row.
func (c *columnCase) sees(row, column int) bool {
	key := int32(c.key + row - c.from)
	return column < c.n && c.mask.lo[column] <= key && key < c.mask.hi[column]
}

// has reports whether element i of a matrix belongs to a query and a row of the call.
func (c *columnCase) has(i int) bool {
	row, column := i/c.width, i%c.width
	return row >= c.from && row < c.to && column < c.n
}

// all compares all queries in one way; columns that fill up the last group may become anything.
func (c *columnCase) all(how comparison) func(slice, i int) comparison {
	return func(_, i int) comparison {
		if column := i % c.width; column >= c.n && column < c.count {
			return not
		}
		return how
	}
}

func TestTiles(t *testing.T) {
	for name, draw := range tiles {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(300) {
				checkTile(t, draw, seed, seed%2 == 1)
			}
		})
	}
}

func FuzzTiles(f *testing.F) {
	for name := range tiles {
		f.Add(name, uint64(7), true)
	}
	f.Fuzz(func(t *testing.T, name string, seed uint64, special bool) {
		if draw := tiles[name]; draw != nil {
			checkTile(t, draw, seed, special)
		}
	})
}

// checkTile compares a call on all paths with the portable one, at places of any alignment.
func checkTile(t *testing.T, draw func(r *rand.Rand, special bool) tile, seed uint64, special bool) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 3))
	c := draw(r, special)
	forcePath(t, path) // to restore it
	w := twin{written: c.written, call: func(s [][]float32, _ []float32) []float32 { c.call(s); return nil }}
	want := w.run(t, r, portable, c.slices, nil, -1)
	for l := avx2; l <= min(supported(), avx512); l++ {
		for j, got := range w.run(t, r, l, c.slices, nil, -1)[:c.written] {
			for i, g := range got {
				v, how := want[j][i], c.kind(j, i)
				tolerance := c.units / (1 << 24) * math.Max(1, math.Abs(float64(v)))
				far := class(g) == "finite" && how == closely && math.Abs(float64(g)-float64(v)) > tolerance
				if how != not && class(g) != class(v) || far {
					t.Fatalf("%v, seed %d: slice %d [%d] = %g, portable %g", l, seed, j, i, g, v)
				}
			}
		}
	}
}
