package kernel

import (
	"math"
	"runtime"
)

// AttentionCached is AttentionForward for T queries of several texts, each of which has its keys and values in memory of its own: query i reads those of
// rows[i]. k[r] holds keys as columns, [KV*D, KeyStride(slots)]; v[r] holds values as rows, [slots, KV*D], and 16 elements more, of any content.
// Queries of a text should follow each other. One that sees nothing needs a text all the same. B, S, StrideK and StrideV are not used.
func AttentionCached[F Float](a Attention, out, lse, q []F, k, v [][]F, rows, first, last []int32) {
	a.StrideK, a.StrideV = 1, a.KV*a.D
	t := take[attentionCached[F]]()
	*t = attentionCached[F]{attentionForward: attentionForward[F]{Attention: a, out: out, lse: lse, q: q, first: first, last: last},
		keys: k, values: v, rows: rows, begins: append(t.begins[:0], 0)}
	for i := 1; i < a.T; i++ {
		if rows[i] != rows[i-1] || i-int(t.begins[len(t.begins)-1]) == itemQueries {
			t.begins = append(t.begins, int32(i))
		}
	}
	t.together = a.KV // unless that leaves threads without work
	for t.together > 1 && (t.together*a.H/a.KV > maxColumns || len(t.begins)*ceil(a.KV, t.together) < runtime.GOMAXPROCS(0)) {
		t.together = ceil(t.together, 2)
	}
	parallel(len(t.begins)*ceil(a.KV, t.together), t)
	*t = attentionCached[F]{begins: t.begins}
	keep(t)
}

// KeyStride is how far apart the rows of so many cached keys lie: whole vectors, and not so that they meet in few sets of a cache.
func KeyStride(slots int) int { return 16 * (ceil(slots, 16) | 1) }

type attentionCached[F Float] struct {
	attentionForward[F]
	keys, values [][]F
	rows         []int32
	begins       []int32 // of runs of queries of one text
	together     int     // key/value heads of an item
}

// run computes the query heads of some key/value heads for a run of queries.
func (a *attentionCached[F]) run(item int) {
	items := ceil(a.KV, a.together)
	r, kv := item/items, item%items*a.together
	n := min(a.together, a.KV-kv)
	from, end := int(a.begins[r]), a.T
	if r+1 < len(a.begins) {
		end = int(a.begins[r+1])
	}
	row := a.rows[from]
	step := len(a.keys[row]) / (a.KV * a.D)
	k, v := a.keys[row][kv*a.D*step:], a.values[row][kv*a.D:]
	if end-from == 1 && a.H/a.KV <= maxColumns {
		a.one(kv, n, from, k, v, step)
		return
	}
	for i := range n {
		a.queries(kv+i, from, end, k[i*a.D*step:], v[i*a.D:], step)
	}
}

// one computes a single query's heads of n key/value heads from kv on. Lanes are keys, then values' elements, where a tile's are queries; every sum has
// the order, and so the bits, that it has there.
func (a *attentionCached[F]) one(kv, n, i int, k, v []F, step int) {
	const keys = blockKeys + 32 // those of a block, up to whole vectors
	group, columns := a.H/a.KV, tileOf[F]().columns
	heads := n * group
	w := roundUp(heads)
	memory := borrowScratch[F](heads*keys, keys*w, w, w, w)
	defer memory.giveBack()
	rows, scores := memory.cut(heads*keys), memory.cut(keys*w)
	top, sum, factor := memory.cut(w), memory.cut(w), memory.cut(w)
	q, out := a.q[i*a.StrideQ+kv*group*a.D:], a.out[i*a.StrideOut+kv*group*a.D:][:heads*a.D]
	lo, hi := a.seen(a.first[i], a.last[i])
	var mask tileMask
	mask.reset()
	for range heads {
		mask.add(lo, hi)
	}
	for c := range top {
		top[c], sum[c] = F(math.Inf(-1)), 0
	}
	if lo >= hi {
		clear(out)
	}
	scale := func() {
		for h := range heads {
			Scale(out[h*a.D:][:a.D], out[h*a.D:][:a.D], factor[h])
		}
	}
	for block := lo - (lo-int(a.first[i]))%blockKeys; block < hi; block += blockKeys {
		from, to := max(lo, block), min(hi, block+blockKeys)
		base := from &^ 15
		for j := range n {
			multiply(group, a.D, roundUp(to)-base, q[j*group*a.D:], a.D, 1, panels[F]{k[j*a.D*step+base:], step, columns}, false, rows[j*group*keys:], keys)
		}
		if a.Softcap > 0 {
			capScores(&a.Attention, rows[from-base:], keys, heads, to-from)
		}
		transpose(scores, w, rows, keys, heads, to-base)
		softmaxColumns(scores, w, mask.lo[:], mask.hi[:], mask.whole[:], from-base, to-base, from, F(a.Scale), top, sum, factor)
		if from > lo {
			scale()
		}
		for j := range n {
			weights := scores[(from-base)*w+j*group:]
			multiply(group, to-from, a.D, weights, 1, w, panels[F]{v[from*a.StrideV+j*a.D:], a.StrideV, columns}, from > lo, out[j*group*a.D:], a.D)
		}
	}
	logSums(top, factor, top, sum)
	scale()
	copy(a.lse[i*a.H+kv*group:], top[:heads])
}
