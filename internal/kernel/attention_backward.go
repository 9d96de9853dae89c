package kernel

import "runtime"

const (
	backwardKeys    = 96 // keys that meet a tile together in AttentionBackward
	backwardQueries = maxColumns
	backwardPart    = 192 // parts of a row are multiples of it: of backwardKeys and of backwardQueries
)

// AttentionBackward overwrites dq, dk, dv (strides as q, k, v) with the gradients of the loss whose gradient by out is dout; S must be T.
// out and lse are AttentionForward's; probabilities are computed again from lse.
// Sums over queries run in a fixed order: over the query heads of a key/value head, for each over the queries.
//
// Where key/value heads and rows are too few for the threads, rows are cut into parts, which some threads go through for the gradients of their
// queries and others for those of their keys. That takes 7 products in place of 5, half more work, and gives the same bits: a part skips what it doesn't add to.
func AttentionBackward[F Float](a Attention, dq, dk, dv, dout, out, lse, q, k, v []F, first, last []int32) {
	t := take[attentionBackward[F]]()
	*t = attentionBackward[F]{a, backwardPartSize(a, runtime.GOMAXPROCS(0)), dq, dk, dv, dout, out, lse, q, k, v, first, last}
	items := a.B * a.KV
	if t.part < a.T {
		items *= 2 * ceil(a.T, t.part)
	}
	parallel(items, t)
	give(t)
}

// backwardPartSize is how many positions of a row an item does, T or more where it does all of them.
func backwardPartSize(a Attention, threads int) int {
	heads := a.B * a.KV
	if 3*heads >= 2*threads*ceil(heads, threads) { // less would be idle than parts cost
		return a.T
	}
	parts := ceil(4*threads, heads) // more than threads: the first keys are seen by most queries
	return ceil(ceil(a.T, parts), backwardPart) * backwardPart
}

type attentionBackward[F Float] struct {
	Attention
	part                                int // positions
	dq, dk, dv, dout, out, lse, q, k, v []F
	first, last                         []int32
}

// run computes the gradients of one key/value head of one row and of its query heads, or of a part of the row those of the keys or of the queries.
func (a *attentionBackward[F]) run(item int) {
	const w = backwardQueries
	heads, group, depth := a.B*a.KV, a.H/a.KV, roundUp(a.D)
	b, kv := item%heads/a.KV, item%a.KV
	packed := packedSize[F](w, a.D)
	capped := 0
	if a.Softcap > 0 {
		capped = backwardKeys * w
	}
	memory := borrowScratch[F](depth*w, depth*w, depth*w, backwardKeys*w, backwardKeys*w, capped, packed, packed, w, w)
	defer memory.giveBack()
	t := backwardTile[F]{attentionBackward: a, b: b, kv: kv, toQueries: true, toKeys: true, keys: a.T}
	from, to := 0, a.T // queries
	if a.part < a.T {  // the parts with most to do come first, as if the mask were causal
		part := item / heads / 2 * a.part
		if t.toKeys = item/heads%2 == 0; t.toKeys {
			t.toQueries, t.key, t.keys = false, part, min(part+a.part, a.T)
		} else {
			from = (ceil(a.T, a.part)-1)*a.part - part
			to = min(from+a.part, a.T)
		}
	}
	t.qt, t.doutT, t.dqt = memory.cut(depth*w), memory.cut(depth*w), memory.cut(depth*w)
	t.p, t.ds, t.capped = memory.cut(backwardKeys*w), memory.cut(backwardKeys*w), memory.cut(capped)
	t.qp, t.doutP = memory.cut(packed), memory.cut(packed)
	logSum, delta := memory.cut(w), memory.cut(w)
	for i := b*a.T + t.key; t.toKeys && i < b*a.T+t.keys; i++ {
		clear(a.dk[i*a.StrideK+kv*a.D:][:a.D])
		clear(a.dv[i*a.StrideV+kv*a.D:][:a.D])
	}
	for h := kv * group; h < (kv+1)*group; h++ {
		for i := b*a.T + from; i < b*a.T+to; i += w {
			n := min(w, b*a.T+to-i)
			t.logSum, t.delta = logSum[:roundUp(n)], delta[:roundUp(n)]
			t.compute(h, i, n)
		}
	}
}

// backwardTile holds queries of one head as columns.
type backwardTile[F Float] struct {
	*attentionBackward[F]
	b, kv          int
	toQueries      bool // whether queries get gradients
	toKeys         bool // whether keys and values do
	key, keys      int  // the keys that are met: from … to-1
	qt, doutT, dqt []F  // qᵀ, doutᵀ, dqᵀ, [D, backwardQueries]
	qp, doutP      []F  // q and dout [backwardQueries, D], packed
	p, ds          []F  // probabilities and gradients of scores, [backwardKeys, backwardQueries]
	capped         []F  // scores with a Softcap, likewise
	logSum, delta  []F  // of each query
	mask           tileMask
}

// compute adds what n queries from i on of a head get from all keys they see, and give to them.
func (t *backwardTile[F]) compute(head, i, n int) {
	const w = backwardQueries
	t.mask.reset()
	for r := range n {
		t.mask.add(t.seen(t.first[i+r], t.last[i+r]))
		t.logSum[r] = t.lse[(i+r)*t.H+head]
	}
	q, dout := t.q[i*t.StrideQ+head*t.D:], t.dout[i*t.StrideOut+head*t.D:]
	lo, hi := t.mask.span(0, n)
	lo, hi = max(lo, t.key), min(hi, t.keys)
	if lo < hi {
		dotRows(t.delta[:n], dout, t.out[i*t.StrideOut+head*t.D:], t.StrideOut, t.D)
		transpose(t.qt, w, q, t.StrideQ, n, t.D)
		transpose(t.doutT, w, dout, t.StrideOut, n, t.D)
		qp, doutP := packB(t.qp, false, n, t.D, q, t.StrideQ), packB(t.doutP, false, n, t.D, dout, t.StrideOut)
		clear(t.dqt)
		for ; lo < hi; lo += backwardKeys {
			t.meet(lo, min(hi-lo, backwardKeys), qp, doutP)
		}
	} else {
		clear(t.dqt)
	}
	if !t.toQueries {
		return
	}
	transposeExactly(t.dq[i*t.StrideQ+head*t.D:], t.StrideQ, t.dqt, w, t.D, n)
}

// meet lets the tile and n keys from j on exchange gradients.
func (t *backwardTile[F]) meet(j, n int, qp, doutP panels[F]) {
	const w = backwardQueries
	shape := tileOf[F]()
	row := t.b*t.S + j
	k, v := t.k[row*t.StrideK+t.kv*t.D:], t.v[row*t.StrideV+t.kv*t.D:]
	dk, dv := t.dk[row*t.StrideK+t.kv*t.D:], t.dv[row*t.StrideV+t.kv*t.D:]
	for x := 0; x < n; {
		end, l, u := t.mask.strips(j+x, j+n, shape.rows)
		end -= j
		if l < u {
			multiply(end-x, t.D, u-l, k[x*t.StrideK:], t.StrideK, 1, panels[F]{t.qt[l:], w, shape.columns}, false, t.p[x*w+l:], w)
			if t.Softcap > 0 {
				capScores(&t.Attention, t.p[x*w+l:], w, end-x, u-l)
				for r := x; r < end; r++ {
					copy(t.capped[r*w+l:r*w+u], t.p[r*w+l:])
				}
			}
			multiply(end-x, t.D, u-l, v[x*t.StrideV:], t.StrideV, 1, panels[F]{t.doutT[l:], w, shape.columns}, false, t.ds[x*w+l:], w)
		}
		x = end
	}
	gradientColumns(t.p, t.ds, w, t.mask.lo[:], t.mask.hi[:], t.mask.whole[:], 0, n, j, F(t.Scale), t.logSum, t.delta)
	for x := 0; x < n; {
		end, l, u := t.mask.strips(j+x, j+n, shape.rows)
		end -= j
		if l < u {
			for r := x; t.Softcap > 0 && r < end; r++ {
				ds := t.ds[r*w+l : r*w+u]
				SoftcapBackward(ds, ds, t.capped[r*w+l:r*w+u], F(t.Softcap/t.Scale))
			}
			if t.toKeys {
				multiply(end-x, u-l, t.D, t.p[x*w+l:], w, 1, doutP.from(l, 0), true, dv[x*t.StrideV:], t.StrideV)
				multiply(end-x, u-l, t.D, t.ds[x*w+l:], w, 1, qp.from(l, 0), true, dk[x*t.StrideK:], t.StrideK)
			}
		}
		x = end
	}
	for c := 0; t.toQueries && c < t.mask.n; c += 2 * maskGroup {
		lo, hi := t.mask.span(c, min(c+2*maskGroup, t.mask.n))
		if lo, hi = max(lo-j, 0), min(hi-j, n); lo < hi {
			multiply(t.D, hi-lo, min(2*maskGroup, t.mask.n-c), k[lo*t.StrideK:], 1, t.StrideK, panels[F]{t.ds[lo*w+c:], w, shape.columns}, true, t.dqt[c:], w)
		}
	}
}
