package synth

import (
	"fmt"

	"kdistill/internal/config"
)

func init() {
	registerFilter("length", filter{params: map[string]float64{"min": 1, "max": 1e9}, build: func(f config.Filter) (removes, error) {
		least, most := int(f.Values["min"]), int(f.Values["max"])
		if least > most {
			return nil, fmt.Errorf("min is %d, max %d", least, most)
		}
		// An answer has fewer words than min or more than max.
		return func(l Line) bool {
			words := len(words(l.Completion))
			return words < least || words > most
		}, nil
	}})
}
