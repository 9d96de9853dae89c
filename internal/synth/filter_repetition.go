package synth

import (
	"fmt"
	"strings"

	"kdistill/internal/config"
)

func init() {
	registerFilter("repetition", filter{params: map[string]float64{"n": 4, "max": 0.3}, build: func(f config.Filter) (removes, error) {
		n, most := int(f.Values["n"]), f.Values["max"]
		if n < 1 {
			return nil, fmt.Errorf("n: have %d, want at least 1", n)
		}
		return func(l Line) bool { return repeated(words(l.Completion), n) > most }, nil
	}})
}

// repeated is the share of a text's runs of n words that were there before, as in the quality rules of Gopher (Rae et al. 2021).
func repeated(words []string, n int) float64 {
	grams := len(words) - n + 1
	if grams < 1 {
		return 0
	}
	seen := map[string]bool{}
	for i := range grams {
		seen[strings.Join(words[i:i+n], " ")] = true
	}
	return float64(grams-len(seen)) / float64(grams)
}
