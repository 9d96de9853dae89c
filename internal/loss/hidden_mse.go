package loss

import (
	"kdistill/internal/kernel"
)

// hidden_mse: mean_i (s_i − t_i)² over the width of the teacher's hidden state, s the student's or what a projection makes of it.
// With normalize both are divided by their length first: s̄ = s/‖s‖, and 0 where the length is 0.
// ∂/∂s = 2 (s − t)/d; with normalize 2 (I − s̄ s̄ᵀ)(s̄ − t̄)/(d ‖s‖).
func init() {
	register(Definition{
		Name:    "hidden_mse",
		Doc:     "mean over the width of (student's hidden state - teacher's)^2 on mapped layers, through a trained projection where widths differ",
		Paper:   "Jiao et al. 2020 (TinyBERT), arXiv:1909.10351; normalize: Sun et al. 2019 (Patient KD), arXiv:1908.09355",
		Rows:    Hidden,
		Teacher: true,
		Choices: []Choice{{Name: "normalize", Values: []string{"false", "true"}, Doc: "divide both hidden states by their length"}},
	}, hiddenMSE[float32], hiddenMSE[float64], func(x position) float64 {
		s, t := x.student, x.teacher
		if x.choices["normalize"] == "true" {
			s, t = unit(s), unit(t)
		}
		value := 0.0
		for i := range s {
			value += (s[i] - t[i]) * (s[i] - t[i]) / float64(len(s))
		}
		return value
	})
}

func hiddenMSE[F kernel.Float](p Params) Row[F] {
	if p.Choices["normalize"] == "true" {
		return func(grad []F, scale F, student, teacher []F, _ int) F {
			d := F(len(student))
			squares, _ := directions(grad, 2*scale/d, student, teacher)
			return squares / d
		}
	}
	return func(grad []F, scale F, student, teacher []F, _ int) F {
		d := F(len(student))
		var squares float64
		for i, s := range student {
			squares += float64((s - teacher[i]) * (s - teacher[i]))
		}
		if grad != nil {
			kernel.AxpyDiff(grad, student, teacher, 2*scale/d)
		}
		return F(squares) / d
	}
}
