package kernel

// Rotary rotates the pairs (i, i + rot/2) of the first rot elements of every head: out = x·cos − x'·sin, out' = x'·cos + x·sin, the angles being those of position[row]
// in cos, sin [positions, rot/2]. Rows of x and out lie strideX and strideOut apart and hold heads·d elements each; what lies beyond rot is copied.
// inverse rotates back, which is the gradient. out may be x. Su et al. 2021, in the half-split order of Hugging Face.
func Rotary[F Float](out, x []F, strideOut, strideX int, cos, sin []F, position []int32, rows, heads, d, rot int, inverse bool) {
	sign := F(1)
	if inverse {
		sign = -1
	}
	parallelRows(rows, heads*d, rotary[F]{out, x, cos, sin, position, strideOut, strideX, heads, d, rot / 2, sign})
}

type rotary[F Float] struct {
	out, x, cos, sin                   []F
	position                           []int32
	strideOut, strideX, heads, d, half int
	sign                               F
}

func (t *rotary[F]) rows(from, to int) {
	width := t.heads * t.d
	for r := from; r < to; r++ {
		out, x := t.out[r*t.strideOut:][:width], t.x[r*t.strideX:][:width]
		at := int(t.position[r])
		rotate(out, x, row(t.cos, at, t.half), row(t.sin, at, t.half), t.heads, t.d, t.sign)
		if rest := t.d - 2*t.half; rest > 0 {
			for i := 2 * t.half; i < width; i += t.d {
				copy(out[i:i+rest], x[i:])
			}
		}
	}
}

// rotatePortable turns the first elements of each of a row's heads of d elements by the angles of cos and sign·sin.
func rotatePortable[F Float](out, x, cos, sin []F, heads, d int, sign F) {
	half := len(cos)
	for h := 0; h < heads*d; h += d {
		out, x := out[h:h+2*half], x[h:h+2*half]
		for i, c := range cos {
			s := sign * sin[i]
			a, b := x[i], x[i+half]
			out[i], out[i+half] = a*c-b*s, b*c+a*s
		}
	}
}
