package nn

import (
	"fmt"
	"math"

	"kdistill/internal/graph"
)

// Rope describes a rotary embedding (Su et al. 2021) and its scaling beyond the trained context.
type Rope struct {
	Type  string // default, linear, llama3, yarn, longrope
	Theta float64
	Dim   int // rotated dimensions of a head; of an odd number, the one behind is rotated too, as transformers does

	Factor, LowFreq, HighFreq float64 // llama3
	Original                  int     // trained context: llama3, yarn, longrope
	BetaFast, BetaSlow        float64 // yarn (Peng et al. 2023)
	Attention                 float64 // yarn, longrope: factor of cos and sin; 0: from Factor
	MScale, MScaleAll         float64 // yarn, as DeepSeek writes it
	NoTruncate                bool    // yarn: keep the ramp's ends fractional

	Short []float64 // longrope (Ding et al. 2024): divides each frequency, in sequences no longer than the trained context
}

// LongRope is the type that has factors of its own for each frequency. Sequences beyond the trained context would take others.
const LongRope = "longrope"

// Table returns the frequencies, rounded to float32 as transformers does, and the factor of cos and sin.
func (r Rope) Table() (*graph.RotaryTable, error) {
	inv := make([]float32, (r.Dim+1)/2)
	for i := range inv {
		inv[i] = 1 / float32(math.Pow(r.Theta, float64(float32(2*i)/float32(r.Dim))))
	}
	factor := 1.0
	switch r.Type {
	case "default":
	case "linear":
		for i := range inv {
			inv[i] /= float32(r.Factor)
		}
	case "llama3":
		r.llama3(inv)
	case "yarn":
		factor = r.yarn(inv)
	case LongRope:
		factor = r.long(inv)
	default:
		return nil, fmt.Errorf("rope_type: have %q, want default, linear, llama3, yarn or longrope", r.Type)
	}
	return &graph.RotaryTable{Frequencies: inv, Factor: factor}, nil
}

// llama3 slows long wavelengths by Factor, keeps short ones, and blends between (Llama 3.1).
func (r Rope) llama3(inv []float32) {
	original := float64(r.Original)
	for i, f := range inv {
		wave := 2 * math.Pi / float64(f)
		switch {
		case wave < original/r.HighFreq:
		case wave > original/r.LowFreq:
			inv[i] = f / float32(r.Factor)
		default:
			smooth := (original/wave - r.LowFreq) / (r.HighFreq - r.LowFreq)
			inv[i] = float32((1-smooth)*float64(f)/r.Factor + smooth*float64(f))
		}
	}
}

// long divides each frequency by its own factor and returns the factor of cos and sin.
func (r Rope) long(inv []float32) float64 {
	for i := range inv {
		inv[i] = 1 / (float32(r.Short[i]) * (1 / inv[i]))
	}
	switch {
	case r.Attention != 0:
		return r.Attention
	case r.Factor <= 1:
		return 1
	}
	return math.Sqrt(1 + math.Log(r.Factor)/math.Log(float64(r.Original)))
}

// yarn blends interpolated and original frequencies along a ramp and returns the factor of cos and sin.
func (r Rope) yarn(inv []float32) float64 {
	dim := float64(r.Dim)
	boundary := func(rotations float64) float64 {
		return dim * math.Log(float64(r.Original)/(rotations*2*math.Pi)) / (2 * math.Log(r.Theta))
	}
	low, high := boundary(r.BetaFast), boundary(r.BetaSlow)
	if !r.NoTruncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, dim-1)
	if low == high {
		high += 0.001 // the ramp would divide by zero
	}
	for i, f := range inv {
		ramp := min(1, max(0, (float64(i)-low)/(high-low)))
		inv[i] = float32(float64(f)/r.Factor*ramp + float64(f)*(1-ramp))
	}
	if r.Attention != 0 {
		return r.Attention
	}
	mscale := func(m float64) float64 {
		if r.Factor <= 1 {
			return 1
		}
		return 0.1*m*math.Log(r.Factor) + 1
	}
	if r.MScale != 0 && r.MScaleAll != 0 {
		return mscale(r.MScale) / mscale(r.MScaleAll)
	}
	return mscale(1)
}
