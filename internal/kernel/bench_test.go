package kernel

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// reportRate adds operations per second, absolute and relative to the multiply-add peak measured right before and after.
func reportRate(b *testing.B, operations float64, best func() float64, run func()) {
	run()
	peak := best()
	for b.Loop() {
		run()
	}
	rate := operations * float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate/1e9, "GFLOP/s")
	if peak = max(peak, best(), best()); peak > 0 {
		b.ReportMetric(100*rate/peak, "%peak")
	}
}

func BenchmarkGemm(b *testing.B) { benchmarkGemm(b, Peak, Gemm[float32, float32]) }

func BenchmarkGemmBF16(b *testing.B) { benchmarkGemm(b, PeakBF16, GemmBF16[float32]) }

// BenchmarkGemmRounded reads any numbers as rounded ones.
func BenchmarkGemmRounded(b *testing.B) { benchmarkGemm(b, PeakBF16, GemmRounded[float32]) }

func benchmarkGemm(b *testing.B, best func() float64, gemm func(transA, transB bool, m, n, k int, a []float32, lda int, b []float32, ldb int, accumulate bool, c []float32, ldc int)) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, s := range [][3]int{
		{2048, 288, 288}, {2048, 768, 288}, {2048, 288, 768}, {288, 768, 2048}, {1024, 768, 768}, {1024, 3072, 768}, {768, 768, 1024}, {1024, 768, 3072},
		{512, 32000, 288}, {512, 288, 32000}, {32000, 288, 512},
		{4096, 64, 64}, {4096, 172, 64}, {64, 64, 4096}, {512, 512, 64},
		{1, 768, 768}, {1, 32000, 288}, {4, 768, 768},
	} {
		for _, trans := range []string{"NN", "NT", "TN"} {
			transA, transB := trans[0] == 'T', trans[1] == 'T'
			b.Run(fmt.Sprintf("%dx%dx%d/%s", s[0], s[1], s[2], trans), func(b *testing.B) {
				m, n, k := s[0], s[1], s[2]
				x, y, z := random[float32](r, m*k), random[float32](r, k*n), make([]float32, m*n)
				lda, ldb := k, n
				if transA {
					lda = m
				}
				if transB {
					ldb = k
				}
				reportRate(b, 2*float64(m)*float64(n)*float64(k), best, func() { gemm(transA, transB, m, n, k, x, lda, y, ldb, false, z, n) })
			})
		}
	}
}

func BenchmarkAttention(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, a := range []Attention{
		{B: 8, T: 256, H: 6, KV: 6, D: 48},
		{B: 4, T: 256, H: 12, KV: 12, D: 64},
		{B: 8, T: 512, H: 8, KV: 4, D: 8},
		{B: 1, T: 2048, H: 8, KV: 2, D: 128},
		{B: 1, T: 2048, H: 8, KV: 2, D: 128, Window: 256},
	} {
		a.S = a.T
		s := newScene[float32](r, a, "causal")
		pairs := 0.0
		for i := range s.first {
			lo, hi := a.seen(s.first[i], s.last[i])
			pairs += float64(hi - lo)
		}
		product := 2 * pairs * float64(a.H*a.D) // what is not masked
		out, lse := s.forward()
		dq, dk, dv := s.backward(out, lse)
		name := fmt.Sprintf("B%d,T%d,H%d,KV%d,D%d,W%d", a.B, a.T, a.H, a.KV, a.D, a.Window)
		b.Run(name+"/forward", func(b *testing.B) {
			reportRate(b, 2*product, Peak, func() { AttentionForward(s.Attention, out, lse, s.q, s.k, s.v, s.first, s.last) })
		})
		b.Run(name+"/backward", func(b *testing.B) {
			reportRate(b, 5*product, Peak, func() { AttentionBackward(s.Attention, dq, dk, dv, s.dout, out, lse, s.q, s.k, s.v, s.first, s.last) })
		})
	}
}
