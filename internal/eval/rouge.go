package eval

import "kdistill/internal/rouge"

// F-measures of n-grams and of the longest common subsequence of words; of several references the largest (Lin 2004, as google-research's rouge_score).
var (
	rouge1 = rougeOf("rouge1", func(a, b []string) float64 { return rouge.N(1, a, b) })
	rouge2 = rougeOf("rouge2", func(a, b []string) float64 { return rouge.N(2, a, b) })
	rougeL = rougeOf("rougeL", rouge.L)
)

func rougeOf(name string, f func(a, b []string) float64) definition {
	return definition{name: name, kinds: written, higher: true, check: referenced, each: func(e Example, o TaskOptions) float64 {
		tokens := rouge.Tokens
		if o.Stem {
			tokens = func(text string) []string { return rouge.Stems(rouge.Tokens(text)) }
		}
		have := tokens(e.Prediction)
		return e.best(func(r string) float64 { return f(tokens(r), have) })
	}}
}
