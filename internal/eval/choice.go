package eval

import (
	"fmt"

	"kdistill/internal/answer"
)

// finalChoice is the share of answers that take the right choice, by its letter or its words. An answer that takes none is wrong.
var finalChoice = definition{name: "choice", kinds: written, higher: true,
	check: func(e Example) error {
		for _, r := range e.References {
			if _, ok := answer.FindChoice(r, e.Choices); !ok {
				return fmt.Errorf("the reference %.60q is no choice: want a letter such as B or (B), or one of the choices", r)
			}
		}
		return referenced(e)
	},
	each: func(e Example, _ TaskOptions) float64 {
		return e.best(func(r string) float64 { return share(answer.Choice.Equal(e.Prediction, r, e.Choices)) })
	},
}
