package eval

import (
	"fmt"

	"kdistill/internal/answer"
)

// finalNumber is the share of answers whose final number is that of a reference (GSM8K; Cobbe et al. 2021). An answer without a number is wrong.
var finalNumber = definition{name: "number", kinds: written, higher: true,
	check: func(e Example, o TaskOptions) error {
		for _, r := range e.References {
			if _, ok := answer.FindNumber(r); !ok {
				return fmt.Errorf("the reference %.60q holds no number", r)
			}
		}
		return referenced(e, o)
	},
	each: func(e Example, _ TaskOptions) float64 {
		return e.best(func(r string) float64 { return share(answer.Number.Equal(e.Prediction, r, nil)) })
	},
}
