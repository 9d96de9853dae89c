package kernel

// AddBias adds bias [d] to each row of x; rows lie stride apart.
func AddBias[F Float](x, bias []F, rows, d, stride int) {
	parallelRows(rows, d, addBias[F]{x, bias[:d], stride})
}

type addBias[F Float] struct {
	x, bias []F
	stride  int
}

func (a *addBias[F]) rows(from, to int) {
	for r := from; r < to; r++ {
		x := a.x[r*a.stride:][:len(a.bias)]
		add(x, x, a.bias)
	}
}

// BiasGradient adds the sum of the rows of dout, which lie stride apart, to db [d].
func BiasGradient[F Float](db, dout []F, rows, d, stride int) {
	reduceRows(db[:d], nil, rows, biasGradient[F]{dout, stride})
}

type biasGradient[F Float] struct {
	dout   []F
	stride int
}

func (b *biasGradient[F]) reduce(db, _ []F, from, to int) {
	for r := from; r < to; r++ {
		add(db, db, b.dout[r*b.stride:][:len(db)])
	}
}
