package signal

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
	"slices"
	"sync"
	"unsafe"

	"kdistill/internal/kernel"
	"kdistill/internal/loss"
)

// A row is, by kind (numbers little-endian, ids and counts packed without gaps, the whole rounded up to a byte):
//
//	top_k    scale, Count log-probabilities and that of all other ids together, Count ids: the likeliest first, of equal ones the lower id
//	samples  distinct ids (2 bytes), entropy (4), mass of the ids that were not drawn (4), the ids drawn, how often less 1
//	all      maximum, scale, the logits of all ids less the maximum
//
// 32 bits: numbers are float32, and there is neither a scale nor a maximum. 16 and 8 bits: with the scale m, a bfloat16 that is at least every −number,
// c stands for −m·c/(2^bits − 2), and c = 2^bits − 1 for −Inf. The step of the log-probabilities is so a fixed part of the row's own range.

var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// codec turns rows of logits into bytes and back. It is safe for concurrent use.
type codec struct {
	Header
	idBits, countBits int
	inverse           float32 // 1/Temperature
	logs              []float32
	pool              sync.Pool
}

// Measures are what a row lost, in nats.
type Measures struct {
	// Divergence is KL(teacher‖kept), the mass of the ids that are not kept spread evenly over them; of samples KL(kept‖teacher).
	Divergence float64
	Rounding   float64 // the part of it that is due to Bits
	Tail       float64 // the teacher's probability of the ids that are not kept
}

var errNotFinite = errors.New("the teacher's logits are not finite: the model is broken")

func newCodec(h Header) *codec {
	c := &codec{Header: h, idBits: max(1, bits.Len(uint(h.Vocabulary-1))), inverse: float32(1 / h.Temperature)}
	c.pool.New = func() any { return &scratch{rest: make([]float32, h.Vocabulary), exps: make([]float32, h.Vocabulary)} }
	if h.Kind == Samples {
		c.countBits = max(1, bits.Len(uint(h.Count-1)))
		c.logs = make([]float32, h.Count+1)
		for i := range c.logs {
			c.logs[i] = float32(math.Log(float64(i) / float64(h.Count)))
		}
	}
	return c
}

// scratch is what encoding a row works with.
type scratch struct {
	rest, exps []float32 // [V]
	ids        []uint32
	counts     []uint32
	values     []float64
}

// size returns how many bytes the row at the start of b takes; ok is false where b ends before.
func (c *codec) size(b []byte) (n int, ok bool) {
	number := c.Bits / 8
	switch c.Kind {
	case TopK:
		n = (c.Count+1)*number + packedBytes(c.Count, c.idBits)
		if c.Bits < 32 {
			n += 2
		}
	case All:
		n = c.Count * number
		if c.Bits < 32 {
			n += 6
		}
	case Samples:
		if len(b) < 2 {
			return 0, false
		}
		distinct := int(binary.LittleEndian.Uint16(b))
		if distinct > c.Count {
			return 0, false
		}
		n = 10 + packedBytes(distinct, c.idBits) + packedBytes(distinct, c.countBits)
	}
	return n, n <= len(b)
}

// encode appends what is kept of a row of logits [V]. Draws are at uniform ∈ [0, 1).
func (c *codec) encode(dst []byte, logits []float32, uniform float64) ([]byte, Measures, error) {
	w := c.pool.Get().(*scratch)
	defer c.pool.Put(w)
	top, total := kernel.MaxExpSum(logits, c.inverse)
	if math.IsNaN(float64(total)) || math.IsInf(float64(total), 0) || total == 0 {
		return dst, Measures{}, errNotFinite
	}
	p := distribution{logits, float64(c.inverse), float64(top), math.Log(float64(total))}
	switch c.Kind {
	case TopK:
		dst, m := c.encodeTop(dst, p, w)
		return dst, m, nil
	case Samples:
		dst, m := c.encodeDraws(dst, p, uniform, w)
		return dst, m, nil
	}
	dst, m := c.encodeAll(dst, logits, top, total, w)
	return dst, m, nil
}

// distribution is a row of logits seen as probabilities: log p_i = scale·y_i − top − logSum.
type distribution struct {
	y                  []float32
	scale, top, logSum float64
}

func (d distribution) logProb(id uint32) float64 {
	return d.scale*float64(d.y[id]) - d.top - d.logSum
}

// without returns the log-probability of all ids but those, and their Σ p log p.
func (d distribution) without(ids []uint32, w *scratch) (logMass, pLogP float64) {
	copy(w.rest, d.y)
	for _, id := range ids {
		w.rest[id] = float32(math.Inf(-1))
	}
	top, _ := kernel.MaxExpSum(w.rest, float32(d.scale))
	if math.IsInf(float64(top), -1) {
		return math.Inf(-1), 0
	}
	sum := float64(kernel.ExpShift(w.exps, w.rest, float32(d.scale), top))
	for i := range w.rest { // centred: large logits would swallow the difference
		w.rest[i] -= top / float32(d.scale)
	}
	mean := d.scale * float64(kernel.Expectation(w.exps, w.rest)) / sum
	shift := float64(top) - d.top - d.logSum
	logMass = shift + math.Log(sum)
	return logMass, math.Exp(logMass) * (mean + shift)
}

func (c *codec) encodeTop(dst []byte, p distribution, w *scratch) ([]byte, Measures) {
	w.ids = largest(w.ids[:0], p.y, c.Count)
	w.values = w.values[:0]
	for _, id := range w.ids {
		w.values = append(w.values, p.logProb(id))
	}
	tail, tailEntropy := p.without(w.ids, w)
	w.values = append(w.values, tail)
	begin := len(dst)
	dst = c.appendNumbers(dst, w.values)
	kept := c.numbers(dst[begin:], len(w.values), nil)
	dst = pack(dst, w.ids, c.idBits)

	m := Measures{Tail: math.Exp(tail)}
	sum := 0.0
	for _, x := range kept {
		sum += math.Exp(float64(x))
	}
	for i, logP := range w.values {
		if q := math.Exp(logP); q > 0 {
			m.Rounding += q * (logP - float64(kept[i]) + math.Log(sum))
		}
	}
	m.Divergence = m.Rounding
	if others := len(p.y) - len(w.ids); others > 0 && m.Tail > 0 {
		m.Divergence += tailEntropy - m.Tail*(tail-math.Log(float64(others)))
	}
	return dst, m
}

// encodeDraws draws by systematic sampling (Madow 1949): n evenly spaced points from one uniform number. Each is drawn from p, so the counts are
// unbiased; they differ from n·p by less than 1, where those of independent draws have the variance n·p(1−p).
func (c *codec) encodeDraws(dst []byte, p distribution, uniform float64, w *scratch) ([]byte, Measures) {
	kernel.ExpShift(w.exps, p.y, c.inverse, float32(p.top))
	total, last := 0.0, 0
	for i, e := range w.exps {
		if e > 0 {
			total += float64(e)
			last = i
		}
	}
	var m Measures
	w.ids, w.counts = w.ids[:0], w.counts[:0]
	step, sum, drawn := total/float64(c.Count), 0.0, 0
	for i, e := range w.exps[:last+1] {
		sum += float64(e)
		n := 0
		for drawn < c.Count && (i == last || (float64(drawn)+uniform)*step < sum) {
			drawn++
			n++
		}
		if n > 0 {
			w.ids, w.counts = append(w.ids, uint32(i)), append(w.counts, uint32(n-1))
			q := float64(n) / float64(c.Count)
			m.Divergence += q * (math.Log(q) - p.logProb(uint32(i)))
		}
	}
	_, pLogP := p.without(nil, w)
	tail, _ := p.without(w.ids, w)
	m.Tail = math.Exp(tail)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(w.ids)))
	dst = appendFloat(appendFloat(dst, -pLogP), m.Tail)
	return pack(pack(dst, w.ids, c.idBits), w.counts, c.countBits), m
}

func (c *codec) encodeAll(dst []byte, logits []float32, top, total float32, w *scratch) ([]byte, Measures) {
	if c.Bits == 32 {
		for _, y := range logits {
			dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(y))
		}
		return dst, Measures{}
	}
	w.values = w.values[:0]
	for _, y := range logits {
		w.values = append(w.values, float64(y)-float64(top))
	}
	dst = appendFloat(dst, float64(top))
	begin := len(dst)
	dst = c.appendNumbers(dst, w.values)
	kept := c.numbers(dst[begin:], len(logits), w.rest[:0])
	keptTop, keptTotal := kernel.MaxExpSum(kept, 1)
	sum := float64(kernel.SoftmaxDiff(nil, kept, logits, 1, keptTop, top, 0, 0))
	kl := sum/float64(total) - (math.Log(float64(total)) - math.Log(float64(keptTotal)))
	return dst, Measures{Divergence: kl, Rounding: kl}
}

// decode reads what top_k or samples keep; kept's slices are used again.
func (c *codec) decode(row []byte, kept *loss.Kept) {
	if c.Kind == TopK {
		kept.LogProbs = c.numbers(row, c.Count+1, kept.LogProbs[:0])
		kept.Tail = kept.LogProbs[c.Count]
		kept.LogProbs = kept.LogProbs[:c.Count]
		kept.IDs = slices.Grow(kept.IDs[:0], c.Count)[:c.Count]
		unpack(kept.IDs, row[len(row)-packedBytes(c.Count, c.idBits):], c.idBits)
		return
	}
	distinct := min(int(binary.LittleEndian.Uint16(row)), c.Count)
	kept.Entropy, kept.Tail = float(row[2:]), float32(math.Log(float64(float(row[6:]))))
	kept.IDs = slices.Grow(kept.IDs[:0], distinct)[:distinct]
	kept.LogProbs = slices.Grow(kept.LogProbs[:0], distinct)[:distinct]
	ids := packedBytes(distinct, c.idBits)
	unpack(kept.IDs, row[10+ids:], c.countBits) // in passing
	for i, n := range kept.IDs {
		kept.LogProbs[i] = c.logs[min(int(n)+1, c.Count)]
	}
	unpack(kept.IDs, row[10:10+ids], c.idBits)
}

// decodeAll reads a row of kind all into dst [V].
func (c *codec) decodeAll(row []byte, dst []float32) {
	if c.Bits == 32 {
		c.numbers(row, c.Count, dst[:0])
		return
	}
	top := float(row)
	c.numbers(row[4:], c.Count, dst[:0])
	for i := range dst {
		dst[i] += top
	}
}

// appendNumbers appends values up to 0 in Bits bits, with their scale; float32 may have any.
func (c *codec) appendNumbers(dst []byte, values []float64) []byte {
	if c.Bits == 32 {
		for _, v := range values {
			dst = appendFloat(dst, v)
		}
		return dst
	}
	lowest := 0.0
	for _, v := range values {
		if !math.IsInf(v, -1) {
			lowest = min(lowest, v)
		}
	}
	scale := upper(float32(-lowest))
	dst = binary.LittleEndian.AppendUint16(dst, kernel.BF16(scale))
	steps := float64(uint(1)<<c.Bits - 2)
	for _, v := range values {
		code := uint16(uint(1)<<c.Bits - 1)
		switch {
		case scale == 0 && !math.IsInf(v, -1):
			code = 0
		case !math.IsInf(v, -1):
			code = uint16(math.Round(min(steps, max(0, -v/float64(scale)*steps))))
		}
		if c.Bits == 8 {
			dst = append(dst, byte(code))
		} else {
			dst = binary.LittleEndian.AppendUint16(dst, code)
		}
	}
	return dst
}

// numbers appends the n numbers at the start of row, their scale before them, to dst.
func (c *codec) numbers(row []byte, n int, dst []float32) []float32 {
	at := len(dst)
	dst = slices.Grow(dst, n)[:at+n]
	out, infinite := dst[at:], float32(math.Inf(-1))
	if c.Bits == 32 {
		if littleEndian && n > 0 { // as they lie in memory
			copy(unsafe.Slice((*byte)(unsafe.Pointer(&out[0])), 4*n), row)
			return dst
		}
		for i := range out {
			out[i] = float(row[4*i:])
		}
		return dst
	}
	step, codes := c.step(row), row[2:]
	if c.Bits == 8 {
		for i, code := range codes[:n] {
			if out[i] = step * float32(code); code == 1<<8-1 {
				out[i] = infinite
			}
		}
		return dst
	}
	codes = codes[:2*n]
	for i := range out {
		code := binary.LittleEndian.Uint16(codes[2*i:])
		if out[i] = step * float32(code); code == 1<<16-1 {
			out[i] = infinite
		}
	}
	return dst
}

// number reads the number i alone.
func (c *codec) number(row []byte, i int) float32 {
	if c.Bits == 32 {
		return float(row[4*i:])
	}
	if code := c.code(row, i); code != 1<<c.Bits-1 {
		return c.step(row) * float32(code)
	}
	return float32(math.Inf(-1))
}

func (c *codec) step(row []byte) float32 {
	return -kernel.FromBF16(binary.LittleEndian.Uint16(row)) / float32(uint(1)<<c.Bits-2)
}

func (c *codec) code(row []byte, i int) uint32 {
	if c.Bits == 8 {
		return uint32(row[2+i])
	}
	return uint32(binary.LittleEndian.Uint16(row[2+2*i:]))
}

// upper is the least bfloat16 that is not below x.
func upper(x float32) float32 {
	r := kernel.FromBF16(kernel.BF16(x))
	if r < x {
		r = math.Float32frombits(math.Float32bits(r) + 1<<16)
	}
	return r
}

func appendFloat(dst []byte, x float64) []byte {
	return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(x)))
}

func float(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }
