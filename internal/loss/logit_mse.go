package loss

import "kdistill/internal/kernel"

// logit_mse: mean_i (z_i − y_i)² over the ids that are not masked.
// A constant added to all logits changes it, unlike every other loss here (Raw).
// ∂/∂z_i = 2 (z_i − y_i)/V.
func init() {
	register(Definition{
		Name:    "logit_mse",
		Doc:     "mean over the vocabulary of (student logit - teacher logit)^2",
		Paper:   "Ba, Caruana 2014, arXiv:1312.6184",
		Teacher: true,
		Raw:     true,
	}, logitMSE[float32], logitMSE[float64], func(x position) float64 {
		value := 0.0
		for i, z := range x.student {
			value += (z - x.teacher[i]) * (z - x.teacher[i]) / float64(len(x.student))
		}
		return value
	})
}

func logitMSE[F kernel.Float](Params) Row[F] {
	free := new(kernel.FreeList[[blockSize]F])
	return func(grad []F, scale F, student, teacher []F, _ int) F {
		scratch := free.Take()
		defer free.Give(scratch)
		var sum float64
		for from := 0; from < len(student); from += blockSize {
			to := min(from+blockSize, len(student))
			d := scratch[:to-from]
			kernel.LogRatio(d, student[from:to], teacher[from:to], 1, 0) // z − y, and 0 where both are masked
			sum += float64(kernel.Dot(d, d))
		}
		n := 0
		for i, z := range student {
			if !masked(z) || !masked(teacher[i]) {
				n++
			}
		}
		if n == 0 {
			return 0
		}
		if grad != nil {
			kernel.AxpyDiff(grad, student, teacher, 2*scale/F(n))
		}
		return F(sum / float64(n))
	}
}
