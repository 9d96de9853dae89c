package kernel

import "math"

// Attention describes scaled dot-product attention over B rows of T queries and S keys, H query heads and KV key/value heads of width D.
// q and out are [B*T, H*D], k and v [B*S, KV*D], each with its own row stride; lse is [B*T, H].
// Query head h reads key/value head h/(H/KV). Scale is positive.
//
// Query i of row b sees the keys first[i] <= j < last[i] of that row (causal, document and padding masks are all such ranges);
// with Window > 0 only the last Window of them. A query that sees nothing gives 0, lse = -Inf, and no gradient.
// With Softcap > 0 a scaled score s becomes Softcap·tanh(s/Softcap) before the softmax (Gemma 2, arXiv:2408.00118).
//
// Scores are never kept: they are computed in blocks of keys with a running maximum and sum (Milakov and Gimelshein 2018; Dao et al. 2022,
// FlashAttention), and again in the backward pass. Blocks are counted from first[i]: what else is in the row or the batch,
// and whether the query comes alone (decoding) or with others, changes no bit of its result.
type Attention struct {
	B, T, S, H, KV, D                    int
	Scale, Softcap                       float64
	Window                               int
	StrideQ, StrideK, StrideV, StrideOut int
}

const (
	blockKeys   = 128 // keys of a block
	tileQueries = 32  // queries that meet a block together
	itemQueries = 128 // queries of an item of AttentionForward
)

// seen returns the range of keys that a query sees; hi <= lo where it sees none.
func (a *Attention) seen(first, last int32) (lo, hi int) {
	lo, hi = int(first), int(last)
	if a.Window > 0 {
		lo = max(lo, hi-a.Window)
	}
	return lo, hi
}

// queryRun returns the end of the longest run of queries from on that count their blocks from the same key, origin.
// Queries that see nothing belong to any run.
func queryRun(first, last []int32, from, to int) (end, origin int) {
	origin = -1
	for end = from; end < to; end++ {
		switch {
		case first[end] >= last[end]:
		case origin < 0:
			origin = int(first[end])
		case int(first[end]) != origin:
			return end, origin
		}
	}
	return end, origin
}

// capScores caps the scores of rows of keys and n columns before they are scaled: Softcap·tanh(Scale·x/Softcap) = Scale·limit·tanh(x/limit) for limit = Softcap/Scale.
func capScores[F Float](a *Attention, scores []F, stride, rows, n int) {
	for r := range rows {
		row := scores[r*stride:][:n]
		Softcap(row, row, F(a.Softcap/a.Scale))
	}
}

// AttentionForward computes out = softmax(Scale·q·kᵀ)·v and lse, the log-sum-exp of each query's scaled scores.
func AttentionForward[F Float](a Attention, out, lse, q, k, v []F, first, last []int32) {
	t := take[attentionForward[F]]()
	*t = attentionForward[F]{a, out, lse, q, k, v, first, last}
	parallel(a.B*a.KV*ceil(a.T, itemQueries), t)
	give(t)
}

type attentionForward[F Float] struct {
	Attention
	out, lse, q, k, v []F
	first, last       []int32
}

// run computes itemQueries queries of the query heads of one key/value head of one row.
func (a *attentionForward[F]) run(item int) {
	items := ceil(a.T, itemQueries)
	b, kv, q0 := item/items/a.KV, item/items%a.KV, item%items*itemQueries
	a.queries(kv, b*a.T+q0, b*a.T+min(q0+itemQueries, a.T), a.k[b*a.S*a.StrideK+kv*a.D:], a.v[b*a.S*a.StrideV+kv*a.D:], 1)
}

// queries computes queries from … end-1 of the query heads of a key/value head, whose keys and values are k, with elements step apart, and v.
func (a *attentionForward[F]) queries(kv, from, end int, k, v []F, step int) {
	const w = tileQueries
	group, depth := a.H/a.KV, roundUp(a.D)
	memory := borrowScratch[F](depth*w, depth*w, blockKeys*w, w, w, w)
	defer memory.giveBack()
	t := forwardTile[F]{attentionForward: a, k: k, v: v, step: step}
	t.qt, t.ot, t.scores = memory.cut(depth*w), memory.cut(depth*w), memory.cut(blockKeys*w)
	top, sum, factor := memory.cut(w), memory.cut(w), memory.cut(w)
	for from < end {
		to, origin := queryRun(a.first, a.last, from, end)
		heads := min(group, max(1, w/(to-from))) // of few queries, heads share a tile
		for h := 0; h < group; h += heads {
			for i := from; i < to; i += w {
				hs, n := min(heads, group-h), min(w, to-i)
				t.top, t.sum, t.factor = top[:roundUp(hs*n)], sum[:roundUp(hs*n)], factor[:roundUp(hs*n)]
				t.compute(kv*group+h, hs, i, n, origin)
			}
		}
		from = to
	}
}

// forwardTile holds queries as columns: everything that is done to each query then runs in lanes.
type forwardTile[F Float] struct {
	*attentionForward[F]
	k, v             []F // of the key/value head
	step             int // between elements of a key
	qt, ot           []F // qᵀ and outᵀ, [D, tileQueries]
	scores           []F // [blockKeys, tileQueries]
	top, sum, factor []F // of each query: see softmaxColumns
	mask             tileMask
}

// compute does n queries from i on, which count their blocks from origin, of some heads from head on.
func (t *forwardTile[F]) compute(head, heads, i, n, origin int) {
	const w = tileQueries
	t.mask.reset()
	for h := range heads {
		for r := i; r < i+n; r++ {
			t.mask.add(t.seen(t.first[r], t.last[r]))
		}
		at := i*t.StrideQ + (head+h)*t.D
		if heads == 1 {
			transpose(t.qt, w, t.q[at:], t.StrideQ, n, t.D)
		} else {
			transposeExactly(t.qt[h*n:], w, t.q[at:], t.StrideQ, n, t.D)
		}
	}
	for c := range t.top {
		t.top[c], t.sum[c] = F(math.Inf(-1)), 0
	}
	lo, hi := t.mask.span(0, heads*n)
	if lo >= hi {
		clear(t.ot)
	}
	for block := lo - (lo-origin)%blockKeys; block < hi; block += blockKeys {
		t.see(max(lo, block), min(hi, block+blockKeys), block, lo >= block)
	}
	t.finish(head, heads, i, n)
}

// see lets the tile see keys from … to-1 of a block.
func (t *forwardTile[F]) see(from, to, block int, first bool) {
	const w = tileQueries
	shape := tileOf[F]()
	n := t.mask.n
	for j := from; j < to; {
		end, l, u := t.mask.strips(j, to, shape.rows)
		if l < u {
			k := t.k[j*t.StrideK:]
			scores := t.scores[(j-block)*w+l:]
			multiply(end-j, t.D, u-l, k, t.StrideK, t.step, panels[F]{t.qt[l:], w, shape.columns}, false, scores, w)
			if t.Softcap > 0 {
				capScores(&t.Attention, scores, w, end-j, u-l)
			}
		}
		j = end
	}
	softmaxColumns(t.scores, w, t.mask.lo[:], t.mask.hi[:], t.mask.whole[:], from-block, to-block, from, F(t.Scale), t.top, t.sum, t.factor)
	if !first {
		scaleColumns(t.ot, w, 0, t.D, t.factor)
	}
	v := t.v[from*t.StrideV:]
	multiply(t.D, to-from, n, v, 1, t.StrideV, panels[F]{t.scores[(from-block)*w:], w, shape.columns}, !first, t.ot, w)
}

// finish divides by the sums and writes the results.
func (t *forwardTile[F]) finish(head, heads, i, n int) {
	const w = tileQueries
	logSums(t.top, t.factor, t.top, t.sum)
	scaleColumns(t.ot, w, 0, t.D, t.factor)
	for h := range heads {
		for r := range n {
			t.lse[(i+r)*t.H+head+h] = t.top[h*n+r]
		}
		transposeExactly(t.out[i*t.StrideOut+(head+h)*t.D:], t.StrideOut, t.ot[h*n:], w, t.D, n)
	}
}
