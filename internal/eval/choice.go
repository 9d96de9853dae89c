package eval

import (
	"fmt"
	"slices"

	"kdistill/internal/answer"
)

// finalChoice is the share of answers that take the right choice, by its letter or its words. An answer that takes none is wrong.
var finalChoice = definition{name: "choice", kinds: written, higher: true,
	check: func(e Example, o TaskOptions) error {
		for _, r := range e.References {
			if _, ok := taken(r, e, o); !ok {
				return fmt.Errorf("the reference %.60q is no choice: want a letter such as B or (B), or one of the choices", r)
			}
		}
		return referenced(e, o)
	},
	each: func(e Example, o TaskOptions) float64 {
		have, ok := taken(e.Prediction, e, o)
		return e.best(func(r string) float64 {
			right, _ := taken(r, e, o)
			return share(ok && have == right)
		})
	},
}

// taken is the choice that a text takes.
func taken(text string, e Example, o TaskOptions) (int, bool) {
	if e.Choices == nil && o.Names != nil {
		return answer.FindNamed(text, o.Names)
	}
	return answer.FindChoice(text, e.Choices)
}

// ImpliedChoices are the different references of examples, where none of these has choices and no reference is a letter: "true" and "false".
// nil: there are none, or too many.
func ImpliedChoices(examples []Example) []string {
	var names []string
	for _, e := range examples {
		for _, r := range e.References {
			if _, letter := answer.FindChoice(r, nil); letter {
				return nil
			}
			if !slices.Contains(names, r) {
				names = append(names, r)
			}
		}
		if e.Choices != nil || len(names) > answer.MaxChoices {
			return nil
		}
	}
	return names
}
