package kernel

// AttentionCached is AttentionForward for T queries of several texts, each of which has its keys and values in memory of its own: query i reads
// k[rows[i]] and v[rows[i]], [keys, KV*D] with row strides. Queries of a text should follow each other. One that sees nothing needs a text all the same. B and S are not used.
func AttentionCached[F Float](a Attention, out, lse, q []F, k, v [][]F, rows, first, last []int32) {
	t := take[attentionCached[F]]()
	*t = attentionCached[F]{attentionForward: attentionForward[F]{Attention: a, out: out, lse: lse, q: q, first: first, last: last},
		keys: k, values: v, rows: rows, begins: append(t.begins[:0], 0)}
	for i := 1; i < a.T; i++ {
		if rows[i] != rows[i-1] || i-int(t.begins[len(t.begins)-1]) == itemQueries {
			t.begins = append(t.begins, int32(i))
		}
	}
	parallel(len(t.begins)*a.KV, t)
	*t = attentionCached[F]{begins: t.begins}
	keep(t)
}

type attentionCached[F Float] struct {
	attentionForward[F]
	keys, values [][]F
	rows         []int32
	begins       []int32 // of runs of queries of one text
}

// run computes the query heads of one key/value head for a run of queries.
func (a *attentionCached[F]) run(item int) {
	r, kv := item/a.KV, item%a.KV
	from, end := int(a.begins[r]), a.T
	if r+1 < len(a.begins) {
		end = int(a.begins[r+1])
	}
	row := a.rows[from]
	a.queries(kv, from, end, a.keys[row][kv*a.D:], a.values[row][kv*a.D:])
}
