package eval

import (
	"errors"
	"fmt"
)

// The share of examples whose right choice is the likeliest after the prompt, of equal ones the first: by its log-probability, or by that for each byte of
// its text, so that long ones stand a chance (acc and acc_norm of lm-evaluation-harness; Brown et al. 2020).
var (
	accuracyOfChoices = ranking("acc", func(string) float64 { return 1 })
	accuracyByBytes   = ranking("acc_norm", func(choice string) float64 { return float64(len(choice)) })
)

func ranking(name string, size func(choice string) float64) definition {
	return definition{name: name, kinds: ranked, higher: true,
		check: func(e Example, _ TaskOptions) error {
			if len(e.Choices) < 2 {
				return errors.New("want at least two choices")
			}
			for i, c := range e.Choices {
				if c == "" {
					return fmt.Errorf("choice %d is empty", i)
				}
			}
			if e.Gold < 0 {
				return errors.New("nothing tells which choice is right")
			}
			return nil
		},
		each: func(e Example, _ TaskOptions) float64 {
			best := 0
			for i, x := range e.Likelihood {
				if x/size(e.Choices[i]) > e.Likelihood[best]/size(e.Choices[best]) {
					best = i
				}
			}
			return share(best == e.Gold)
		},
	}
}
