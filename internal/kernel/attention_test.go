package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"kdistill/internal/testutil"
)

// scene is an attention problem in fused buffers: q, k and v are parts of one qkv buffer where S == T.
type scene[F Float] struct {
	Attention
	q, k, v, dout []F
	first, last   []int32
}

// mask fills first and last; kinds: causal, documents (with padding at the end of each row), whole documents
// (what an encoder sees), padded on the left, everything, random ranges.
func (s *scene[F]) mask(r *rand.Rand, kind string) {
	s.first, s.last = make([]int32, s.B*s.T), make([]int32, s.B*s.T)
	for b := range s.B {
		begin, pad := 0, s.S
		switch kind {
		case "documents", "whole":
			pad = s.T - r.IntN(s.T/2+1)
		case "left":
			begin = r.IntN(s.T)
		}
		for t := range s.T {
			i, key := b*s.T+t, t+s.S-s.T
			switch kind {
			case "causal":
				s.last[i] = int32(key + 1)
			case "documents", "whole":
				if t >= pad {
					continue
				}
				if t > 0 && r.IntN(50) == 0 {
					begin = t
				}
				s.first[i], s.last[i] = int32(begin), int32(t+1)
			case "left":
				if t < begin {
					s.first[i], s.last[i] = int32(t), int32(t)
				} else {
					s.first[i], s.last[i] = int32(begin), int32(t+1)
				}
			case "all":
				s.last[i] = int32(s.S)
			case "random":
				x, y := r.IntN(s.S+1), r.IntN(s.S+1)
				s.first[i], s.last[i] = int32(min(x, y)), int32(max(x, y))
			}
		}
		if kind != "whole" {
			continue
		}
		for i := (b+1)*s.T - 2; i >= b*s.T; i-- {
			if s.last[i+1] > 0 && s.first[i+1] == s.first[i] {
				s.last[i] = s.last[i+1]
			}
		}
	}
}

func newScene[F Float](r *rand.Rand, a Attention, kind string) *scene[F] {
	a.Scale = 1 / math.Sqrt(float64(a.D))
	s := &scene[F]{Attention: a}
	if a.S == a.T && r.IntN(2) == 0 {
		stride := (a.H+2*a.KV)*a.D + r.IntN(3)
		qkv := random[F](r, a.B*a.T*stride+8)
		s.q, s.k, s.v = qkv, qkv[a.H*a.D:], qkv[(a.H+a.KV)*a.D:]
		s.StrideQ, s.StrideK, s.StrideV = stride, stride, stride
	} else {
		s.StrideQ, s.StrideK, s.StrideV = a.H*a.D+r.IntN(3), a.KV*a.D+r.IntN(3), a.KV*a.D+r.IntN(3)
		s.q, s.k, s.v = random[F](r, a.B*a.T*s.StrideQ), random[F](r, a.B*a.S*s.StrideK), random[F](r, a.B*a.S*s.StrideV)
	}
	s.StrideOut = a.H*a.D + r.IntN(3)
	s.dout = random[F](r, a.B*a.T*s.StrideOut)
	s.mask(r, kind)
	return s
}

func (s *scene[F]) forward() (out, lse []F) {
	out, lse = make([]F, s.B*s.T*s.StrideOut), make([]F, s.B*s.T*s.H)
	for i := range out {
		out[i] = 77 // must be overwritten or kept
	}
	poisonScratch[F]()
	AttentionForward(s.Attention, out, lse, s.q, s.k, s.v, s.first, s.last)
	return out, lse
}

func (s *scene[F]) backward(out, lse []F) (dq, dk, dv []F) {
	dq, dk, dv = make([]F, len(s.q)), make([]F, len(s.k)), make([]F, len(s.v))
	for _, x := range [][]F{dq, dk, dv} { // must be overwritten or kept
		for i := range x {
			x[i] = 77
		}
	}
	poisonScratch[F]()
	AttentionBackward(s.Attention, dq, dk, dv, s.dout, out, lse, s.q, s.k, s.v, s.first, s.last)
	return dq, dk, dv
}

// reference is attention by its formula, with gradients, in float64; [B*T][H][D], [B*S][KV][D].
type reference struct{ out, lse, dq, dk, dv []float64 }

func (s *scene[F]) reference() reference {
	d, group := s.D, s.H/s.KV
	ref := reference{make([]float64, s.B*s.T*s.H*d), make([]float64, s.B*s.T*s.H), make([]float64, s.B*s.T*s.H*d), make([]float64, s.B*s.S*s.KV*d), make([]float64, s.B*s.S*s.KV*d)}
	for b := range s.B {
		for h := range s.H {
			g := h / group
			for t := range s.T {
				i := b*s.T + t
				at := func(x []F, stride, j int) []F { return x[(b*s.S+j)*stride+g*d:][:d] }
				q, do := s.q[i*s.StrideQ+h*d:][:d], s.dout[i*s.StrideOut+h*d:][:d]
				o, dq := ref.out[(i*s.H+h)*d:][:d], ref.dq[(i*s.H+h)*d:][:d]
				var seen []int
				for j := range s.S {
					if j >= int(s.first[i]) && j < int(s.last[i]) && (s.Window == 0 || j > int(s.last[i])-1-s.Window) {
						seen = append(seen, j)
					}
				}
				p, slope := make([]float64, s.S), make([]float64, s.S)
				top, sum := math.Inf(-1), 0.0
				for _, j := range seen {
					for x := range d {
						p[j] += s.Scale * float64(q[x]) * float64(at(s.k, s.StrideK, j)[x])
					}
					slope[j] = 1
					if s.Softcap > 0 {
						c := math.Tanh(p[j] / s.Softcap)
						p[j], slope[j] = s.Softcap*c, 1-c*c
					}
					top = max(top, p[j])
				}
				for _, j := range seen {
					sum += math.Exp(p[j] - top)
				}
				ref.lse[i*s.H+h] = top + math.Log(sum)
				delta := 0.0
				for _, j := range seen {
					p[j] = math.Exp(p[j] - top - math.Log(sum))
					for x := range d {
						o[x] += p[j] * float64(at(s.v, s.StrideV, j)[x])
						delta += p[j] * float64(at(s.v, s.StrideV, j)[x]) * float64(do[x])
					}
				}
				for _, j := range seen {
					dp := 0.0
					for x := range d {
						dp += float64(at(s.v, s.StrideV, j)[x]) * float64(do[x])
					}
					ds := s.Scale * p[j] * (dp - delta) * slope[j]
					dk, dv := ref.dk[((b*s.S+j)*s.KV+g)*d:], ref.dv[((b*s.S+j)*s.KV+g)*d:]
					for x := range d {
						dq[x] += ds * float64(at(s.k, s.StrideK, j)[x])
						dk[x] += ds * float64(q[x])
						dv[x] += p[j] * float64(do[x])
					}
				}
			}
		}
	}
	return ref
}

// compare checks rows of width elements with a stride against dense ones.
func compare[F Float](t *testing.T, name string, have []F, stride int, want []float64, width int, tolerance float64) {
	t.Helper()
	for i := range want {
		h, w := float64(have[i/width*stride+i%width]), want[i]
		if d := math.Abs(h - w); !(d <= tolerance*(1+math.Abs(w))) && h != w {
			t.Fatalf("%s: row %d, column %d = %v, want %v", name, i/width, i%width, h, w)
		}
	}
}

func (s *scene[F]) check(t *testing.T, name string, ref reference, tolerance float64) {
	t.Helper()
	out, lse := s.forward()
	compare(t, name+": lse", lse, s.H, ref.lse, s.H, tolerance)
	compare(t, name+": out", out, s.StrideOut, ref.out, s.H*s.D, tolerance)
	if s.S != s.T {
		return
	}
	dq, dk, dv := s.backward(out, lse)
	compare(t, name+": dq", dq, s.StrideQ, ref.dq, s.H*s.D, 4*tolerance)
	compare(t, name+": dk", dk, s.StrideK, ref.dk, s.KV*s.D, 8*tolerance)
	compare(t, name+": dv", dv, s.StrideV, ref.dv, s.KV*s.D, 8*tolerance)
}

var maskKinds = []string{"causal", "documents", "whole", "left", "all", "random"}

func TestAttention(t *testing.T) {
	forScenes(func(name string, s *scene[float64]) { s.check(t, "float64: "+name, s.reference(), 1e-12) })
	forcePath(t, path)
	forScenes(func(name string, s *scene[float32]) {
		ref := s.reference()
		for l := portable; l <= min(supported(), avx512); l++ {
			path = l
			s.check(t, Path()+": "+name, ref, 1e-5)
		}
	})
}

func forScenes[F Float](f func(name string, s *scene[F])) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, a := range []Attention{
		{B: 1, T: 1, S: 1, H: 1, KV: 1, D: 1},
		{B: 2, T: 5, S: 5, H: 2, KV: 2, D: 3},
		{B: 1, T: 150, S: 150, H: 4, KV: 2, D: 16},
		{B: 2, T: 70, S: 70, H: 3, KV: 1, D: 48},
		{B: 1, T: 290, S: 290, H: 1, KV: 1, D: 33},
		{B: 2, T: 3, S: 140, H: 4, KV: 2, D: 8},
		{B: 1, T: 260, S: 400, H: 2, KV: 2, D: 20},
	} {
		for _, kind := range maskKinds {
			if kind != "causal" && kind != "all" && a.S != a.T || testutil.Race && kind != "documents" && a.T > 100 {
				continue
			}
			for _, a.Window = range []int{0, 1 + r.IntN(40)} {
				f(fmt.Sprintf("%+v %s", a, kind), newScene[F](r, a, kind))
			}
			a.Softcap = 0.5 + r.Float64()
			f(fmt.Sprintf("%+v %s", a, kind), newScene[F](r, a, kind))
			a.Softcap = 0
		}
	}
}

// The gradients against finite differences of the forward pass, in float64.
func TestAttentionGradient(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, kind := range maskKinds {
		s := newScene[float64](r, Attention{B: 2, T: 9, S: 9, H: 4, KV: 2, D: 3, Window: 5, Softcap: 1.5}, kind)
		value := func() float64 {
			out, _ := s.forward()
			sum := 0.0
			for i := range s.B * s.T {
				sum += dot64(s.dout[i*s.StrideOut:][:s.H*s.D], out[i*s.StrideOut:])
			}
			return sum
		}
		out, lse := s.forward()
		dq, dk, dv := s.backward(out, lse)
		for _, c := range []struct {
			name          string
			x, dx         []float64
			stride, width int
		}{{"q", s.q, dq, s.StrideQ, s.H * s.D}, {"k", s.k, dk, s.StrideK, s.KV * s.D}, {"v", s.v, dv, s.StrideV, s.KV * s.D}} {
			for range 40 {
				i := r.IntN(s.B*s.T)*c.stride + r.IntN(c.width)
				const h = 1e-5
				was := c.x[i]
				c.x[i] = was + h
				up := value()
				c.x[i] = was - h
				down := value()
				c.x[i] = was
				if want := (up - down) / (2 * h); math.Abs(c.dx[i]-want) > 1e-7 {
					t.Errorf("%s: d%s[%d] = %v, finite difference %v", kind, c.name, i, c.dx[i], want)
				}
			}
		}
	}
}

func dot64[F Float](x, y []F) float64 {
	s := 0.0
	for i := range x {
		s += float64(x[i]) * float64(y[i])
	}
	return s
}

// A query's result must have the same bits whatever is computed with it.
func TestAttentionBits(t *testing.T) {
	testAttentionBits[float64](t)
	onEachPath(t, testAttentionBits[float32])
}

func testAttentionBits[F Float](t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, window := range []int{0, 37, 150} {
		a := Attention{B: 2, T: 300, S: 300, H: 4, KV: 2, D: 24, Window: window}
		if window == 37 {
			a.Softcap = 1.5
		}
		for _, kind := range []string{"causal", "documents", "whole", "left"} {
			s := newScene[F](r, a, kind)
			out, lse := s.forward()
			for i := range 12 {
				if testutil.Race && i > 1 {
					break
				}
				b, at := r.IntN(a.B), r.IntN(a.T)
				i := b*a.T + at
				n := 1
				if r.IntN(3) > 0 { // some queries rather than one: a prompt's piece
					n = 1 + r.IntN(min(30, a.T-at))
				}
				// decoding: queries at … at+n-1 of row b alone, over the cache of all keys up to theirs
				part := *s
				part.B, part.T, part.S = 1, n, max(at+n, int(slices.Max(s.last[i:i+n])))
				part.q, part.k, part.v = s.q[i*s.StrideQ:], s.k[b*a.S*s.StrideK:], s.v[b*a.S*s.StrideV:]
				part.first, part.last = s.first[i:i+n], s.last[i:i+n]
				equalRows(t, fmt.Sprintf("%s, window %d, query %d of %d", kind, window, at, n), &part, s, out, lse, i)
				// the same document without what comes before it in the row
				begin := int(s.first[i])
				end := at
				for end < a.T && (int(s.first[b*a.T+end]) == begin || s.first[b*a.T+end] >= s.last[b*a.T+end]) {
					end++
				}
				if s.first[i] >= s.last[i] || end == begin {
					continue
				}
				j := b*a.T + begin
				part.T, part.S = end-begin, end-begin
				part.q, part.k, part.v = s.q[j*s.StrideQ:], s.k[(b*a.S+begin)*s.StrideK:], s.v[(b*a.S+begin)*s.StrideV:]
				part.first, part.last = make([]int32, end-begin), make([]int32, end-begin)
				for x := range part.first {
					part.first[x] = max(0, s.first[j+x]-int32(begin))
					part.last[x] = max(0, s.last[j+x]-int32(begin))
				}
				equalRows(t, fmt.Sprintf("%s, window %d, document at %d", kind, window, begin), &part, s, out, lse, j)
			}
		}
	}
}

// equalRows compares a part with rows i, i+1 … of the whole.
func equalRows[F Float](t *testing.T, name string, part, whole *scene[F], out, lse []F, i int) {
	t.Helper()
	o, l := part.forward()
	for x := range part.T {
		if !slices.Equal(o[x*part.StrideOut:][:part.H*part.D], out[(i+x)*whole.StrideOut:][:part.H*part.D]) {
			t.Fatalf("%T: %s: out differs at row %d", l, name, x)
		}
		if !slices.Equal(l[x*part.H:][:part.H], lse[(i+x)*part.H:][:part.H]) {
			t.Fatalf("%T: %s: lse differs at row %d", l, name, x)
		}
	}
}

func TestAttentionThreads(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(7, 8))
		s := newScene[float32](r, Attention{B: 3, T: 200, S: 200, H: 6, KV: 2, D: 16}, "documents")
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		out, lse := s.forward()
		dq, dk, dv := s.backward(out, lse)
		for threads := 2; threads <= 5; threads++ {
			runtime.GOMAXPROCS(threads)
			o, l := s.forward()
			q, k, v := s.backward(o, l)
			for i, pair := range [][2][]float32{{o, out}, {l, lse}, {q, dq}, {k, dk}, {v, dv}} {
				if !slices.Equal(pair[0], pair[1]) {
					t.Errorf("%d threads: result %d differs", threads, i)
				}
			}
		}
	})
}

// TestAttentionBackwardParts: rows cut into parts for idle threads have the bits of whole ones.
func TestAttentionBackwardParts(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(11, 12))
		for i, kind := range maskKinds {
			a := Attention{B: 1, T: 400 + 30*i, KV: 1 + i%2, D: 20, Window: i % 3 * 77}
			a.S, a.H = a.T, 2*a.KV
			if i%2 == 1 {
				a.Softcap = 2
			}
			s := newScene[float32](r, a, kind)
			runtime.GOMAXPROCS(1)
			out, lse := s.forward()
			dq, dk, dv := s.backward(out, lse)
			for _, threads := range []int{8} {
				if size := backwardPartSize(s.Attention, threads); size >= a.T || size%backwardPart != 0 {
					t.Fatalf("%d threads: have parts of %d positions, want some of %d", threads, size, a.T)
				}
				runtime.GOMAXPROCS(threads)
				q, k, v := s.backward(out, lse)
				if !slices.Equal(q, dq) || !slices.Equal(k, dk) || !slices.Equal(v, dv) {
					t.Errorf("%s: other bits on %d threads", kind, threads)
				}
			}
		}
	})
	for _, c := range []struct{ b, kv, threads, want int }{{8, 6, 2, 300}, {1, 3, 2, 300}, {1, 1, 1, 300}, {1, 1, 2, 192}, {1, 2, 3, 300}, {2, 2, 16, 192}} {
		if have := backwardPartSize(Attention{B: c.b, KV: c.kv, T: 300}, c.threads); have != c.want {
			t.Errorf("%d x %d heads on %d threads: have parts of %d, want %d", c.b, c.kv, c.threads, have, c.want)
		}
	}
}

func TestAttentionAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	s := newScene[float32](r, Attention{B: 2, T: 100, S: 100, H: 4, KV: 2, D: 16}, "causal")
	out, lse := s.forward()
	dq, dk, dv := s.backward(out, lse)
	checkAllocations(t, func() {
		AttentionForward(s.Attention, out, lse, s.q, s.k, s.v, s.first, s.last)
		AttentionBackward(s.Attention, dq, dk, dv, s.dout, out, lse, s.q, s.k, s.v, s.first, s.last)
	})
}

// FuzzAttention compares the assembly with the portable code on shapes and masks of the fuzzer's choice.
func FuzzAttention(f *testing.F) {
	f.Add(uint64(1), uint16(40), uint16(40), uint8(2), uint8(2), uint8(16), uint16(0))
	f.Add(uint64(2), uint16(1), uint16(131), uint8(1), uint8(4), uint8(5), uint16(17))
	f.Fuzz(func(t *testing.T, seed uint64, queries, keys uint16, kv, group, d uint8, window uint16) {
		r := rand.New(rand.NewPCG(seed, 0))
		a := Attention{B: 1 + r.IntN(2), T: int(queries)%300 + 1, KV: int(kv)%3 + 1, D: int(d)%70 + 1, Window: int(window) % 200}
		a.S, a.H = a.T+int(keys)%200*r.IntN(2), a.KV*(int(group)%4+1)
		kind := maskKinds[r.IntN(len(maskKinds))]
		if a.S != a.T {
			kind = []string{"causal", "all"}[r.IntN(2)]
		}
		s := newScene[float32](r, a, kind)
		forcePath(t, portable)
		out, lse := s.forward()
		var dq, dk, dv []float32
		if a.S == a.T {
			dq, dk, dv = s.backward(out, lse)
		}
		for l := avx2; l <= min(supported(), avx512); l++ {
			path = l
			o, e := s.forward()
			checkTwin(t, s, "out", o, out)
			checkTwin(t, s, "lse", e, lse)
			if a.S == a.T {
				q, k, v := s.backward(out, lse)
				checkTwin(t, s, "dq", q, dq)
				checkTwin(t, s, "dk", k, dk)
				checkTwin(t, s, "dv", v, dv)
			}
		}
	})
}

func checkTwin(t *testing.T, s *scene[float32], name string, have, want []float32) {
	t.Helper()
	for i := range want {
		if d := math.Abs(float64(have[i] - want[i])); have[i] != want[i] && !(d <= 1e-4*(1+math.Abs(float64(want[i])))) {
			t.Fatalf("%+v on %s: %s[%d] = %v, portable has %v", s.Attention, Path(), name, i, have[i], want[i])
		}
	}
}
