package kernel

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestAttentionCached: queries of several texts, alone and in runs, have AttentionForward's bits.
func TestAttentionCached(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(9, 1))
		for _, a := range []Attention{
			{T: 300, H: 2, KV: 2, D: 16, Scale: 0.3}, {T: 150, H: 6, KV: 2, D: 8, Scale: 0.4, Window: 40}, {T: 33, H: 3, KV: 1, D: 40, Scale: 0.2, Softcap: 5},
			{T: 140, H: 20, KV: 1, D: 4, Scale: 0.5, Window: 131, Softcap: 2}, {T: 17, H: 70, KV: 1, D: 3, Scale: 0.5},
		} {
			const texts = 2
			a.B, a.S = texts, a.T
			a.StrideQ, a.StrideOut, a.StrideK, a.StrideV = a.H*a.D, a.H*a.D, a.KV*a.D, a.KV*a.D
			random := func(n int) []float32 {
				x := make([]float32, n)
				for i := range x {
					x[i] = float32(r.NormFloat64())
				}
				return x
			}
			width, n := a.KV*a.D, texts*a.T
			q, k, v := random(n*a.StrideQ), random(n*width), random(n*width)
			first, last := make([]int32, n), make([]int32, n)
			for i := range first {
				first[i], last[i] = int32(i/a.T*5), int32(i%a.T+1) // the second text's first keys are seen by none
				if last[i] <= first[i] {
					first[i], last[i] = 0, 0
				}
			}
			want, wantLSE := random(len(q)), random(n*a.H)
			AttentionForward(a, want, wantLSE, q, k, v, first, last)

			step := KeyStride(a.S)
			keys, values := make([][]float32, texts), make([][]float32, texts)
			for b := range texts {
				keys[b], values[b] = random(width*step), append(v[b*a.T*width:][:a.T*width:a.T*width], random(16)...)
				for j := range a.T {
					for d := range width {
						keys[b][d*step+j] = k[(b*a.T+j)*width+d]
					}
				}
			}
			have, lse := random(len(q)), random(n*a.H)
			rows, one := make([]int32, n), a
			for i := range rows {
				rows[i] = int32(i / a.T)
			}
			for from := 0; from < n; { // single queries, and runs of growing length, over the border of the texts
				if one.T = 1; from%5 == 0 {
					one.T = min(1+from/9, n-from)
				}
				at := from * a.StrideQ
				AttentionCached(one, have[at:], lse[from*a.H:], q[at:], keys, values, rows[from:], first[from:], last[from:])
				from += one.T
			}
			name := fmt.Sprintf("%+v", a)
			if !slices.Equal(have, want) {
				t.Error(name, "differs from AttentionForward")
			}
			if !slices.Equal(lse, wantLSE) {
				t.Error(name, "has another log-sum-exp")
			}
		}
	})
}
