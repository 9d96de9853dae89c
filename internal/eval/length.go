package eval

import "strings"

// words is the mean number of words of an answer; they stand between blanks.
var words = definition{name: "length", kinds: written, each: func(e Example, _ TaskOptions) float64 {
	return float64(len(strings.Fields(e.Prediction)))
}}
