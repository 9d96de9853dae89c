package kernel

import (
	"fmt"
	"testing"
)

// BenchmarkVec measures the vector functions on a row in the cache (4096 elements) and on rows from memory (64 MiB each); GB/s count what is read and written.
func BenchmarkVec(b *testing.B) {
	for _, c := range []struct {
		name    string
		streams int // rows read and written
		f       func(r [][]float32)
	}{
		{"Exp", 2, func(r [][]float32) { Exp(r[0], r[1]) }},
		{"ExpShift/sum", 1, func(r [][]float32) { ExpShift(nil, r[0], 0.5, 1) }},
		{"Max", 1, func(r [][]float32) { Max(r[0]) }},
		{"MaxExpSum", 1, func(r [][]float32) { MaxExpSum(r[0], 0.5) }},
		{"Sum", 1, func(r [][]float32) { Sum(r[0]) }},
		{"Dot", 2, func(r [][]float32) { Dot(r[0], r[1]) }},
		{"Axpy", 3, func(r [][]float32) { Axpy(r[0], r[1], 0.5) }},
		{"Add", 3, func(r [][]float32) { Add(r[0], r[1], r[2]) }},
		{"LogRatio", 3, func(r [][]float32) { LogRatio(r[0], r[1], r[2], 0.5, 1) }},
		{"LogMixture", 4, func(r [][]float32) { LogMixture(r[0], r[1], r[2], r[3], 0.5, 1, 0.25) }},
		{"Expectation", 2, func(r [][]float32) { Expectation(r[0], r[1]) }},
		{"AxpyCentered", 4, func(r [][]float32) { AxpyCentered(r[0], r[1], r[2], 1, 0.5) }},
		{"AxpySoftmax", 3, func(r [][]float32) { AxpySoftmax(r[0], r[1], 0.5, 1, 1e-3) }},
		{"SoftmaxDiff", 4, func(r [][]float32) { SoftmaxDiff(r[0], r[1], r[2], 0.5, 3, 4, 1e-3, 1e-3) }},
		{"SoftmaxDiff/sum", 2, func(r [][]float32) { SoftmaxDiff(nil, r[1], r[2], 0.5, 3, 4, 1e-3, 1e-3) }},
		{"Exp2Shift", 2, func(r [][]float32) { Exp2Shift(r[0], r[1], 0.5, 4) }},
		{"ExpectationDiff", 3, func(r [][]float32) { ExpectationDiff(r[0], r[1], r[2], 0.5) }},
		{"Blend", 3, func(r [][]float32) { Blend(r[0], r[1], r[2], 0.5, 0.25) }},
		{"BlendRatio", 5, func(r [][]float32) { BlendRatio(r[0], r[1], r[2], r[3], r[4], 0, 0.5, 0.25, 1) }},
		{"Mixture", 5, func(r [][]float32) { Mixture(r[0], r[1], r[2], r[3], r[4], r[4], 0.5, 0.5, 1, 0, 0.7, 0.7) }},
		{"silu", 2, func(r [][]float32) { silu(r[0], r[1], 1) }},
		{"swiglu", 3, func(r [][]float32) { swiglu(r[0], r[1], r[2]) }},
		{"swigluBackward", 5, func(r [][]float32) { swigluBackward(r[0], r[1], r[2], r[3], r[4]) }},
		{"gelu", 2, func(r [][]float32) { gelu(r[0], r[1]) }},
		{"geluBackward", 3, func(r [][]float32) { geluBackward(r[0], r[1], r[2]) }},
		{"geluTanh", 2, func(r [][]float32) { geluTanh(r[0], r[1]) }},
		{"geluTanhBackward", 3, func(r [][]float32) { geluTanhBackward(r[0], r[1], r[2]) }},
		{"relu", 2, func(r [][]float32) { relu(r[0], r[1]) }},
	} {
		for _, n := range []int{4096, 16 << 20} {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				rows := make([][]float32, 5)
				for i := range rows {
					rows[i] = make([]float32, n)
					for j := range rows[i] {
						rows[i][j] = float32(j%61-30) / 16
					}
				}
				b.SetBytes(int64(4 * n * c.streams))
				for b.Loop() {
					c.f(rows)
				}
			})
		}
	}
}

// BenchmarkRows measures the functions over rows of a batch of 2048 tokens of width 288, on all threads.
func BenchmarkRows(b *testing.B) {
	const rows, d, ffn, heads = 2048, 288, 768, 6
	x := make([][]float32, 6)
	for i := range x {
		x[i] = make([]float32, rows*2*ffn)
		for j := range x[i] {
			x[i][j] = float32((j*7+i)%61-30) / 16
		}
	}
	position := make([]int32, rows)
	for i := range position {
		position[i] = int32(i % 256)
	}
	for _, c := range []struct {
		name     string
		elements int // read and written
		f        func()
	}{
		{"RMSNorm", 2 * rows * d, func() { RMSNorm(x[0], x[1], x[2], x[3], rows, d, 1e-5, 0) }},
		{"RMSNormBackward", 3 * rows * d, func() { RMSNormBackward(x[0], x[1], x[2], x[3], x[4], x[5], nil, rows, d, 0) }},
		{"LayerNorm", 2 * rows * d, func() { LayerNorm(x[0], x[1], x[2], x[3], x[4], x[5], rows, d, 1e-5) }},
		{"LayerNormBackward", 4 * rows * d, func() {
			LayerNormBackward(x[0], x[1], x[1][d:], x[2], x[3], x[4], x[5], x[5], x[2], rows, d)
		}},
		{"Rotary", 2 * rows * d, func() { Rotary(x[0], x[1], d, d, x[2], x[3], position, rows, heads, d/heads, d/heads, false) }},
		{"SwiGLU", 3 * rows * ffn, func() { SwiGLU(x[0], x[1], x[1][ffn:], ffn, 2*ffn, rows, ffn) }},
		{"SwiGLUBackward", 5 * rows * ffn, func() {
			SwiGLUBackward(x[0], x[0][ffn:], x[1], x[2], x[2][ffn:], 2*ffn, ffn, 2*ffn, rows, ffn)
		}},
		{"GELU", 2 * rows * ffn, func() { Activate(GELU, x[0][:rows*ffn], x[1]) }},
		{"AddBias", 2 * rows * d, func() { AddBias(x[0], x[1], rows, d, d) }},
		{"BiasGradient", rows * d, func() { BiasGradient(x[0], x[1], rows, d, d) }},
		{"Gather", 2 * rows * d, func() { Gather(x[0], x[1], position, d) }},
		{"ScatterAdd", rows * d, func() { ScatterAdd(x[0], x[1], position, d) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(4 * c.elements))
			for b.Loop() {
				c.f()
			}
		})
	}
}

// BenchmarkOptimizer measures 16 Mi parameters: AdamW reads four arrays and writes three.
func BenchmarkOptimizer(b *testing.B) {
	const n = 16 << 20
	x := make([][]float32, 4)
	for i := range x {
		x[i] = make([]float32, n)
		for j := range x[i] {
			x[i][j] = float32(j%61+1) / 16
		}
	}
	b.Run("AdamW", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(7 * 4 * n)
		for b.Loop() {
			AdamW(x[0], x[1], x[2], x[3], AdamWStep{LR: 1e-3, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Decay: 0.1, Scale: 1, Step: 10})
		}
	})
	b.Run("SumSquares", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(4 * n)
		for b.Loop() {
			SumSquares(x[0])
		}
	})
}
