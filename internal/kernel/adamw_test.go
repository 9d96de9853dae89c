package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func TestAdamW(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 1))
		for _, n := range append(lengths, grain+3) {
			a := AdamWStep{LR: 1e-2, Beta1: 0.9, Beta2: 0.95, Eps: 1e-6, Decay: 0.1, Scale: 0.5}
			p, m, v := random[float32](r, n), make([]float32, n), make([]float32, n)
			want, first, second := wide(p), make([]float64, n), make([]float64, n)
			for a.Step = 1; a.Step <= 4; a.Step++ {
				g := random[float32](r, n)
				AdamW(p, g, m, v, a)
				c1, c2 := 1-math.Pow(a.Beta1, float64(a.Step)), 1-math.Pow(a.Beta2, float64(a.Step))
				for i := range want {
					g := float64(g[i]) * a.Scale
					want[i] -= a.LR * a.Decay * want[i]
					first[i] = a.Beta1*first[i] + (1-a.Beta1)*g
					second[i] = a.Beta2*second[i] + (1-a.Beta2)*g*g
					want[i] -= a.LR * (first[i] / c1) / (math.Sqrt(second[i]/c2) + a.Eps)
				}
				what := fmt.Sprint("step ", a.Step, ", n ", n)
				near(t, what+": p", p, want, 1e-6)
				near(t, what+": m", m, first, 1e-6)
				near(t, what+": v", v, second, 1e-6)
			}
		}
	})
}

func TestSumSquares(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(2, 2))
		for _, n := range append(lengths, grain, 3*grain+1) {
			x := random[float32](r, n)
			near(t, "SumSquares", []float64{SumSquares(x)}, []float64{Dot(wide(x), wide(x))}, 1e-13)
		}
		if got := SumSquares([]float32{3e38, 4e38 / 10}); math.IsInf(got, 0) {
			t.Error("squares beyond float32 overflow")
		}
		if got := SumSquares([]float32{1, float32(math.NaN()), 2}); got == got {
			t.Errorf("with a NaN: %g", got)
		}
	})
}
