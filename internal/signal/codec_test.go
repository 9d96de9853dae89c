package signal

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"kdistill/internal/loss"
)

func header(kind string, count, bits, vocab int, temperature float64) Header {
	return Header{
		Version: Version, Kind: kind, Count: count, Bits: bits, Vocabulary: vocab, Temperature: temperature, Seed: 7,
		Teacher: Teacher{Path: "models/teacher", Type: "llama", Hash: "0123456789abcdef0123", DType: "auto"}, Tokenizer: "fedcba9876543210fedc",
	}
}

// randomLogits draws a row; sharp ones put nearly all mass on a few ids.
func randomLogits(r *rand.Rand, n int, deviation float64) []float32 {
	y := make([]float32, n)
	for i := range y {
		y[i] = float32(deviation * r.NormFloat64())
	}
	return y
}

// logSoftmax is the plain definition in float64.
func logSoftmax(y []float32, temperature float64) []float64 {
	top := math.Inf(-1)
	for _, v := range y {
		top = max(top, float64(v)/temperature)
	}
	sum := 0.0
	for _, v := range y {
		sum += math.Exp(float64(v)/temperature - top)
	}
	out := make([]float64, len(y))
	for i, v := range y {
		out[i] = float64(v)/temperature - top - math.Log(sum)
	}
	return out
}

// divergence is Σ p (log p − log q).
func divergence(logP, logQ []float64) float64 {
	sum := 0.0
	for i, p := range logP {
		if math.Exp(p) > 0 {
			sum += math.Exp(p) * (p - logQ[i])
		}
	}
	return sum
}

func near(a, b, tolerance float64) bool { return math.Abs(a-b) <= tolerance*(1+math.Abs(b)) }

// TestTopK wants the likeliest ids, their log-probabilities within half a step, and measures that agree with the plain definitions.
func TestTopK(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	for _, vocab := range []int{2, 17, 512, 5000} {
		for _, k := range []int{1, 3, 64, vocab} {
			for _, bits := range []int{32, 16, 8} {
				for _, temperature := range []float64{1, 2} {
					k := min(k, vocab)
					c := newCodec(header(TopK, k, bits, vocab, temperature))
					for _, deviation := range []float64{0.1, 3, 30, 3000} {
						y := randomLogits(random, vocab, deviation)
						y[vocab/2] = y[0] // a tie
						t.Run(fmt.Sprintf("%d of %d, %d bits, T %v, deviation %v", k, vocab, bits, temperature, deviation), func(t *testing.T) { checkTop(t, c, y) })
					}
				}
			}
		}
	}
}

func checkTop(t *testing.T, c *codec, y []float32) {
	row, m, err := c.encode([]byte("before"), y, 0)
	if err != nil {
		t.Fatal(err)
	}
	row = bytes.TrimPrefix(row, []byte("before"))
	if n, ok := c.size(row); !ok || n != len(row) {
		t.Fatalf("size: have %d, %v, want %d", n, ok, len(row))
	}
	var kept loss.Kept
	c.decode(row, &kept)

	logP := logSoftmax(y, c.Temperature)
	order := make([]int32, len(y))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return -compare(y[a], y[b]) })
	if !slices.Equal(kept.IDs, order[:c.Count]) {
		t.Errorf("have ids %v, want %v", kept.IDs, order[:c.Count])
	}
	lowest, logTail := 0.0, math.Inf(-1)
	for i, id := range order {
		if i < c.Count {
			lowest = min(lowest, logP[id])
		} else {
			high, low := max(logTail, logP[id]), min(logTail, logP[id])
			logTail = high + math.Log1p(math.Exp(low-high))
		}
	}
	tail := math.Exp(logTail)
	if c.Count < len(y) {
		lowest = min(lowest, logTail)
	}
	step := 0.0
	if c.Bits < 32 {
		step = 1.01 * -lowest / float64(int(1)<<c.Bits-2) / 2
	}
	size := 2e-6 * (1 + math.Abs(lowest))
	for i, id := range kept.IDs {
		if math.Abs(float64(kept.LogProbs[i])-logP[id]) > step+size {
			t.Errorf("log p of %d: have %v, want %v", id, kept.LogProbs[i], logP[id])
		}
	}
	if math.IsInf(logTail, -1) {
		if kept.Tail != float32(logTail) {
			t.Errorf("tail: have %v, want none", kept.Tail)
		}
	} else if math.Abs(float64(kept.Tail)-logTail) > step+size {
		t.Errorf("tail: have %v, want %v", kept.Tail, logTail)
	}
	if !near(m.Tail, tail, 1e-5) {
		t.Errorf("measured tail: have %v, want %v", m.Tail, tail)
	}
	if have := float64(c.tail(row)); math.Abs(have-tail) > 2*step*tail+1e-6 {
		t.Errorf("tail of the row: have %v, want %v", have, tail)
	}

	// the kept distribution, the tail spread evenly, and the same without rounding
	sum := math.Exp(float64(kept.Tail))
	for _, x := range kept.LogProbs {
		sum += math.Exp(float64(x))
	}
	others := math.Log(float64(len(y) - c.Count))
	rounded, exact := make([]float64, len(y)), make([]float64, len(y))
	for i := range y {
		rounded[i], exact[i] = float64(kept.Tail)-others-math.Log(sum), logTail-others
	}
	for i, id := range kept.IDs {
		rounded[id], exact[id] = float64(kept.LogProbs[i])-math.Log(sum), logP[id]
	}
	want := divergence(logP, rounded)
	if !near(m.Divergence, want, 2e-5) {
		t.Errorf("divergence: have %v, want %v", m.Divergence, want)
	}
	if want -= divergence(logP, exact); !near(m.Rounding, want, 2e-5) {
		t.Errorf("rounding: have %v, want %v", m.Rounding, want)
	}
	if c.Bits == 32 && math.Abs(m.Rounding) > 1e-6 {
		t.Errorf("rounding: have %v with 32 bits", m.Rounding)
	}
}

func compare(a, b float32) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// TestAll wants the very logits with 32 bits, and within half a step with fewer, masked ids included.
func TestAll(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, bits := range []int{32, 16, 8} {
		c := newCodec(header(All, 300, bits, 300, 1))
		for _, deviation := range []float64{0, 1, 10} {
			y := randomLogits(random, 300, deviation)
			y[5] = float32(math.Inf(-1))
			row, m, err := c.encode(nil, y, 0)
			if err != nil {
				t.Fatal(err)
			}
			if n, ok := c.size(row); !ok || n != len(row) {
				t.Fatalf("size: have %d, %v, want %d", n, ok, len(row))
			}
			have := make([]float32, 300)
			c.decodeAll(row, have)
			if bits == 32 {
				if !slices.Equal(have, y) || m != (Measures{}) {
					t.Errorf("32 bits: the logits have changed, or %+v", m)
				}
				continue
			}
			top := slices.Max(y)
			lowest := top
			for _, v := range y {
				if !math.IsInf(float64(v), -1) {
					lowest = min(lowest, v)
				}
			}
			step := 1.01 * float64(top-lowest) / float64(int(1)<<bits-2) / 2
			for i := range y {
				if y[i] != have[i] && !(math.Abs(float64(y[i]-have[i])) <= step+1e-6) {
					t.Errorf("%d bits, id %d: have %v, want %v", bits, i, have[i], y[i])
				}
			}
			want := divergence(logSoftmax(y, 1), logSoftmax(have, 1))
			if !near(m.Divergence, want, 1e-6) || m.Rounding != m.Divergence {
				t.Errorf("%d bits: have %+v, want divergence %v", bits, m, want)
			}
		}
	}
}

// TestDraws wants unbiased counts, that sum to the draws, and each as near to its expectation as systematic sampling promises.
func TestDraws(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 3))
	for _, draws := range []int{1, 16, 64, 300} {
		for _, temperature := range []float64{1, 2} {
			c := newCodec(header(Samples, draws, 0, 40, temperature))
			y := randomLogits(random, 40, 2)
			y[7] = float32(math.Inf(-1))
			logP := logSoftmax(y, temperature)
			entropy := -divergence(logP, make([]float64, len(y)))
			const turns = 4000
			mean := make([]float64, len(y))
			for turn := range turns {
				row, m, err := c.encode(nil, y, (float64(turn)+random.Float64())/turns)
				if err != nil {
					t.Fatal(err)
				}
				if n, ok := c.size(row); !ok || n != len(row) {
					t.Fatalf("size: have %d, %v, want %d", n, ok, len(row))
				}
				var kept loss.Kept
				c.decode(row, &kept)
				sum, tail, kl := 0.0, 1.0, 0.0
				for i, id := range kept.IDs {
					q := math.Exp(float64(kept.LogProbs[i]))
					if off := math.Abs(q-math.Exp(logP[id])) * float64(draws); off > 1+1e-4 {
						t.Fatalf("id %d was drawn %v times too often", id, off)
					}
					mean[id] += q / turns
					sum += q
					tail -= math.Exp(logP[id])
					kl += q * (math.Log(q) - logP[id])
				}
				if !near(sum, 1, 1e-5) || !near(m.Tail, tail, 1e-5) || !near(float64(c.tail(row)), tail, 1e-5) || !near(m.Divergence, kl, 1e-5) {
					t.Fatalf("have sum %v, %+v, want 1, tail %v, divergence %v", sum, m, tail, kl)
				}
				if !near(float64(kept.Entropy), entropy, 1e-5) {
					t.Fatalf("entropy: have %v, want %v", kept.Entropy, entropy)
				}
			}
			for i, have := range mean { // the points lie evenly in [0, 1): the mean is nearly an integral
				if want := math.Exp(logP[i]); math.Abs(have-want) > 2.0/turns {
					t.Errorf("%d draws, id %d: have a mean of %v, want %v", draws, i, have, want)
				}
			}
		}
	}
}

// TestBrokenLogits wants an error where the teacher's logits are no distribution.
func TestBrokenLogits(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, h := range []Header{header(TopK, 2, 16, 4, 1), header(Samples, 4, 0, 4, 1), header(All, 4, 8, 4, 1)} {
		for _, y := range [][]float32{{1, nan, 2, 3}, {1, inf, 2, 3}, {-inf, -inf, -inf, -inf}} {
			if _, _, err := newCodec(h).encode(nil, y, 0.5); err == nil {
				t.Errorf("%s takes %v", h.Kind, y)
			}
		}
		// a one-hot teacher, and masked ids
		for _, y := range [][]float32{{1e4, -1e4, 0, 0}, {-inf, 3, -inf, -inf}} {
			_, m, err := newCodec(h).encode(nil, y, 0.5)
			if err != nil || math.IsNaN(m.Divergence+m.Rounding+m.Tail) {
				t.Errorf("%s of %v: have %+v, %v", h.Kind, y, m, err)
			}
		}
	}
}

func TestPack(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 4))
	for width := 1; width <= 32; width++ {
		for n := range 40 {
			values := make([]uint32, n)
			for i := range values {
				values[i] = random.Uint32() >> (32 - width)
			}
			packed := pack(nil, values, width)
			if len(packed) != packedBytes(n, width) {
				t.Fatalf("%d of %d bits: have %d bytes, want %d", n, width, len(packed), packedBytes(n, width))
			}
			have := make([]int32, n)
			unpack(have, slices.Clip(packed), width)
			for i, want := range values {
				if uint32(have[i]) != want {
					t.Fatalf("%d of %d bits, number %d: have %d, want %d", n, width, i, have[i], want)
				}
			}
		}
	}
}

// FuzzDecode wants no row of the right size to do harm: every id that comes out is one that the bits allow, and nothing is read beyond the row.
func FuzzDecode(f *testing.F) {
	headers := []Header{
		header(TopK, 3, 32, 17, 1), header(TopK, 3, 16, 17, 1), header(TopK, 17, 8, 17, 1), header(Samples, 20, 0, 17, 1), header(All, 17, 32, 17, 1), header(All, 17, 8, 17, 1),
	}
	for _, h := range headers {
		row, _, err := newCodec(h).encode(nil, randomLogits(rand.New(rand.NewPCG(1, 5)), 17, 2), 0.3)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(row)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, h := range headers {
			c := newCodec(h)
			n, ok := c.size(b)
			if !ok {
				continue
			}
			row := slices.Clip(b[:n])
			if h.Kind == All {
				c.decodeAll(row, make([]float32, h.Vocabulary))
				continue
			}
			if tail := c.tail(row); !(tail >= 0 && tail <= 1) {
				t.Errorf("have tail %v", tail)
			}
			var kept loss.Kept
			c.decode(row, &kept)
			if len(kept.IDs) != len(kept.LogProbs) || len(kept.IDs) > h.Count {
				t.Errorf("have %d ids and %d log-probabilities of %d", len(kept.IDs), len(kept.LogProbs), h.Count)
			}
			for _, id := range kept.IDs {
				if id < 0 || id >= 32 {
					t.Errorf("have id %d", id)
				}
			}
		}
	})
}
