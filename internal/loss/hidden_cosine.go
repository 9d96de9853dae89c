package loss

import (
	"math"

	"kdistill/internal/kernel"
)

// hidden_cosine: 1 − s·t/(‖s‖ ‖t‖), 1 where one of them is 0. With s̄ = s/‖s‖ this is ½ ‖s̄ − t̄‖², which loses no digits where the two are close.
// ∂/∂s = (I − s̄ s̄ᵀ)(s̄ − t̄)/‖s‖.
func init() {
	register(Definition{
		Name:    "hidden_cosine",
		Doc:     "1 - cosine of the student's and the teacher's hidden state on mapped layers, through a trained projection where widths differ",
		Paper:   "Sanh et al. 2019 (DistilBERT), arXiv:1910.01108",
		Rows:    Hidden,
		Teacher: true,
	}, hiddenCosine[float32], hiddenCosine[float64], func(x position) float64 {
		s, t := unit(x.student), unit(x.teacher)
		value := 1.0
		for i := range s {
			value -= s[i] * t[i]
		}
		return value
	})
}

func hiddenCosine[F kernel.Float](Params) Row[F] {
	return func(grad []F, scale F, student, teacher []F, _ int) F {
		squares, zero := directions(grad, scale, student, teacher)
		if zero {
			return 1
		}
		return squares / 2
	}
}

// directions returns ‖s̄ − t̄‖² and whether one of them is 0, and adds scale·(I − s̄ s̄ᵀ)(s̄ − t̄)/‖s‖ to grad, unless nil.
func directions[F kernel.Float](grad []F, scale F, s, t []F) (squares F, zero bool) {
	ofS, ofT := inverseLength(s), inverseLength(t)
	var sum float64
	for i := range s {
		d := s[i]*ofS - t[i]*ofT
		sum += float64(d * d)
	}
	if grad != nil && ofS != 0 {
		// s̄·(s̄ − t̄), which is half the sum where t̄ is not 0
		along := F(1)
		if ofT != 0 {
			along = F(sum / 2)
		}
		scale *= ofS
		for i := range grad {
			u := s[i] * ofS
			grad[i] += scale * (u - t[i]*ofT - u*along)
		}
	}
	return F(sum), ofS == 0 || ofT == 0
}

// inverseLength is 1/‖x‖, 0 for a zero vector.
func inverseLength[F kernel.Float](x []F) F {
	squares := float64(kernel.Dot(x, x))
	if squares == 0 {
		return 0
	}
	return F(1 / math.Sqrt(squares))
}

// unit is x divided by its length, for closed forms.
func unit(x []float64) []float64 {
	squares, out := 0.0, make([]float64, len(x))
	for _, v := range x {
		squares += v * v
	}
	for i, v := range x {
		out[i] = v / max(math.Sqrt(squares), math.SmallestNonzeroFloat64)
	}
	return out
}
