package loss

import (
	"slices"

	"kdistill/internal/kernel"
)

// top1_agreement and acceptance: figures of evaluation with the shape of a loss, but without a gradient.
func init() {
	register(Definition{
		Name:    "top1_agreement",
		Doc:     "1 where student and teacher have the same likeliest id (of equal ones the lowest), else 0",
		Teacher: true,
		Metric:  true,
	}, top1Agreement[float32], top1Agreement[float64], func(x position) float64 {
		if slices.Index(x.q, slices.Max(x.q)) == slices.Index(x.p, slices.Max(x.p)) {
			return 1
		}
		return 0
	})
	register(Definition{
		Name:    "acceptance",
		Doc:     "sum of min(p, q): the share of the student's draft tokens that the teacher accepts in speculative decoding",
		Paper:   "Leviathan, Kalman, Matias 2023, arXiv:2211.17192",
		Teacher: true,
		Metric:  true,
	}, acceptance[float32], acceptance[float64], func(x position) float64 {
		value := 0.0
		for i, q := range x.q {
			value += min(x.p[i], q)
		}
		return value
	})
}

func top1Agreement[F kernel.Float](Params) Row[F] {
	return func(_ []F, _ F, student, teacher []F, _ int) F {
		best := slices.Index(student, kernel.Max(student))
		if best >= 0 && best == slices.Index(teacher, kernel.Max(teacher)) {
			return 1
		}
		return 0
	}
}

func acceptance[F kernel.Float](p Params) Row[F] {
	return rowOf(p.Temperature, func(w *work[F], _ []F, _ F, _ int) F {
		n := len(w.student.x)
		var value float64
		for from := 0; from < n; from += blockSize {
			to := min(from+blockSize, n)
			p := w.teacher.probs(&w.p, from, to)
			for i, q := range w.student.probs(&w.q, from, to) {
				value += float64(min(p[i], q))
			}
		}
		return F(value)
	})
}
