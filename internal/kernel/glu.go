package kernel

// GLU sets out = f(gate)·up for an activation f and rows of d elements (Shazeer 2020, GLU Variants Improve Transformer). Rows of gate and up lie strideIn
// apart (they may be the halves of one buffer), those of out strideOut.
func GLU[F Float](kind Activation, out, gate, up []F, strideOut, strideIn, rows, d int) {
	if kind == SiLU {
		SwiGLU(out, gate, up, strideOut, strideIn, rows, d)
		return
	}
	parallelRows(rows, d, glu[F]{kind, out, gate, up, strideOut, strideIn, d})
}

type glu[F Float] struct {
	kind                   Activation
	out, gate, up          []F
	strideOut, strideIn, d int
}

func (g *glu[F]) rows(from, to int) {
	for r := from; r < to; r++ {
		out, up := g.out[r*g.strideOut:][:g.d], g.up[r*g.strideIn:][:g.d]
		f := activate[F]{g.kind, out, g.gate[r*g.strideIn:]}
		f.rows(0, g.d)
		for i, u := range up {
			out[i] *= u
		}
	}
}

// GLUBackward sets dgate = dout·up·f'(gate) and dup = dout·f(gate).
// Rows of dgate and dup lie strideD apart, those of dout strideOut, those of gate and up strideIn. dgate and dup may be gate and up.
func GLUBackward[F Float](kind Activation, dgate, dup, dout, gate, up []F, strideD, strideOut, strideIn, rows, d int) {
	if kind == SiLU {
		SwiGLUBackward(dgate, dup, dout, gate, up, strideD, strideOut, strideIn, rows, d)
		return
	}
	parallelRows(rows, d, gluBackward[F]{kind, dgate, dup, dout, gate, up, strideD, strideOut, strideIn, d})
}

type gluBackward[F Float] struct {
	kind                            Activation
	dgate, dup, dout, gate, up      []F
	strideD, strideOut, strideIn, d int
}

func (g *gluBackward[F]) rows(from, to int) {
	var products, activated [256]F // what is read is copied before its place is written to
	for r := from; r < to; r++ {
		for at := 0; at < g.d; at += len(products) {
			n := min(len(products), g.d-at)
			gate, up := g.gate[r*g.strideIn+at:][:n], g.up[r*g.strideIn+at:][:n]
			dgate, dup, dout := g.dgate[r*g.strideD+at:][:n], g.dup[r*g.strideD+at:][:n], g.dout[r*g.strideOut+at:][:n]
			f := activate[F]{g.kind, activated[:n], gate}
			f.rows(0, n)
			for i, x := range dout {
				products[i] = x * up[i]
				activated[i] *= x
			}
			slope := activateBackward[F]{g.kind, dgate, products[:n], gate}
			slope.rows(0, n)
			copy(dup, activated[:n])
		}
	}
}
