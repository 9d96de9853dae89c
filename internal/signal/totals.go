package signal

import (
	"math"

	"kdistill/internal/kernel"
)

// Totals are sums over a cache.
type Totals struct {
	Sequences, Tokens, Rows int
	Bytes                   int64   // of the sequences on disk
	Divergence, Rounding    float64 // of Measures, in nats
	Tail                    float64 // the teacher's probability of the ids that are not kept

	tails []int // rows by their tail, as a bfloat16
}

func (t *Totals) add(c *codec, r record) {
	t.Sequences++
	t.Tokens += r.tokens
	t.Rows += r.rows
	t.Bytes += frameBytes + r.size()
	t.Divergence += r.divergence
	t.Rounding += r.rounding
	if c.Kind == All {
		return
	}
	if t.tails == nil {
		t.tails = make([]int, 1<<15)
	}
	for rest := r.payload; len(rest) > 0; {
		n, _ := c.size(rest)
		tail := c.tail(rest)
		t.Tail += float64(tail)
		t.tails[kernel.BF16(tail)]++
		rest = rest[n:]
	}
}

func (t *Totals) merge(o Totals) {
	t.Sequences += o.Sequences
	t.Tokens += o.Tokens
	t.Rows += o.Rows
	t.Bytes += o.Bytes
	t.Divergence += o.Divergence
	t.Rounding += o.Rounding
	t.Tail += o.Tail
	if t.tails == nil {
		t.tails = o.tails
		return
	}
	for i, n := range o.tails {
		t.tails[i] += n
	}
}

// tail reads the mass of the ids that are not kept, between 0 and 1, of the row at the start of b.
func (c *codec) tail(b []byte) float32 {
	var mass float32
	if c.Kind == Samples {
		mass = float(b[6:])
	} else {
		mass = float32(math.Exp(float64(c.number(b, c.Count))))
	}
	if !(mass > 0) {
		return 0
	}
	return min(mass, 1)
}

// PerRow is a sum over the number of rows.
func (t Totals) PerRow(sum float64) float64 { return sum / float64(max(1, t.Rows)) }

// TailQuantile is the tail that the share q of the rows does not exceed, to three digits.
func (t Totals) TailQuantile(q float64) float64 {
	seen, want := 0, int(math.Ceil(q*float64(t.Rows)))
	for i, n := range t.tails {
		if seen += n; n > 0 && seen >= want {
			return float64(kernel.FromBF16(uint16(i)))
		}
	}
	return 0
}
