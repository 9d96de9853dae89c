package kernel

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestSoftcap(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		for _, limit := range []float32{0.5, 30, 50} {
			var x []float32
			for v := float32(1e-30); v < 1e30; v *= 1.003 {
				x = append(x, v, -v)
			}
			x = append(x, 0, float32(math.Inf(1)), float32(math.Inf(-1)), math.SmallestNonzeroFloat32)
			y := make([]float32, len(x))
			Softcap(y, x, limit)
			worst := 0.0
			for i, v := range x {
				want := float64(limit) * math.Tanh(float64(v)/float64(limit))
				ulp := math.Max(math.Abs(want)/(1<<23), math.SmallestNonzeroFloat32)
				worst = max(worst, math.Abs(float64(y[i])-want)/ulp)
				if !(float64(y[i])*float64(v) >= 0) {
					t.Fatalf("Softcap(%v) = %v: another sign", v, y[i])
				}
			}
			if !(worst < 3) {
				t.Errorf("limit %v: error of %.2f ulp, want below 3", limit, worst)
			}
		}
	})
}

func TestSoftcapBackward(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		const n, limit, h = 200, 3.0, 1e-5
		r := rand.New(rand.NewPCG(3, 3))
		x, dout, want := random[float32](r, n), random[float32](r, n), make([]float64, n)
		y, y64, dx, dx64 := make([]float32, n), make([]float64, n), make([]float32, n), make([]float64, n)
		for i := range x {
			x[i] *= 4
			v := float64(x[i])
			want[i] = float64(dout[i]) * limit * (math.Tanh((v+h)/limit) - math.Tanh((v-h)/limit)) / (2 * h)
		}
		Softcap(y, x, limit)
		Softcap(y64, wide(x), limit)
		SoftcapBackward(dx, dout, y, limit)
		SoftcapBackward(dx64, wide(dout), y64, limit)
		near(t, "slope", dx, want, 2e-6)
		near(t, "slope in float64", dx64, want, 1e-8)
	})
}
