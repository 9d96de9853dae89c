package eval

import "kdistill/internal/answer"

// exactMatch is the share of answers equal to a reference in lower case and without punctuation and articles, as SQuAD compares them (Rajpurkar et al. 2016).
var exactMatch = definition{name: "exact_match", kinds: written, higher: true, check: referenced, each: func(e Example, _ TaskOptions) float64 {
	have := answer.Normalize(e.Prediction)
	return e.best(func(r string) float64 { return share(have == answer.Normalize(r)) })
}}
