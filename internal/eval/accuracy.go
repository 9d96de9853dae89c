package eval

import (
	"kdistill/internal/kernel"
	"kdistill/internal/loss"
)

// accuracy is the share of labels that have the largest logit (of equal ones the first).
// Its error is that of every mean here: clustered by document, so for classes sqrt(p(1−p)/(n−1)).
var accuracy = definition{name: "accuracy", kinds: masked | classes, higher: true, row: func() (*loss.Loss, error) {
	return rowOf("accuracy", correct[float32], correct[float64]), nil
}}

func correct[F kernel.Float](_ []F, _ F, student, _ []F, label int) F {
	if best(student) == label {
		return 1
	}
	return 0
}
