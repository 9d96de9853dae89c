package loss

import (
	"math"

	"kdistill/internal/kernel"
)

// cross_entropy: (1−ε)·(−log q_label) + ε·mean_i(−log q_i), the mean over the ids that are not masked (torch.nn.CrossEntropyLoss).
// ∂/∂z_i = q_i − (1−ε)·1[i = label] − ε/V.
func init() {
	register(Definition{
		Name:  "cross_entropy",
		Doc:   "-log q_label; with label smoothing (1-e)*CE + e*mean over the vocabulary of -log q",
		Paper: "label smoothing: Szegedy et al. 2016, arXiv:1512.00567",
		Params: []Param{
			{Name: "label_smoothing", Default: 0, Min: 0, Max: 1, Doc: "share of the target that is spread over the whole vocabulary"},
		},
	}, crossEntropy[float32], crossEntropy[float64], func(x position) float64 {
		e := x.values["label_smoothing"]
		value := -(1 - e) * math.Log(x.q[x.label])
		for _, q := range x.q {
			value -= e * math.Log(q) / float64(len(x.q))
		}
		return value
	})
}

func crossEntropy[F kernel.Float](p Params) Row[F] {
	smoothing := F(p.Values["label_smoothing"])
	return rowOf(1, func(w *work[F], grad []F, scale F, label int) F {
		if label < 0 {
			return 0
		}
		x := w.student.x
		value := -w.student.logProb(label)
		var spread F // what smoothing takes off every id's gradient
		if smoothing > 0 {
			var sum float64
			n := 0
			for _, z := range x {
				if !masked(z) {
					sum += float64(z - w.student.top)
					n++
				}
			}
			value = (1-smoothing)*value + smoothing*(w.student.logSum-F(sum/float64(n)))
			spread = scale * smoothing / F(n)
		}
		if grad == nil {
			return value
		}
		kernel.AxpySoftmax(grad, x, 1, w.student.top, scale/w.student.sum)
		if spread != 0 {
			for i, z := range x {
				if !masked(z) {
					grad[i] -= spread
				}
			}
		}
		grad[label] -= scale * (1 - smoothing)
		return value
	})
}

// masked reports whether a logit is -Inf.
func masked[F kernel.Float](x F) bool { return x == F(math.Inf(-1)) }
