package synth

import (
	"slices"
	"strings"

	"kdistill/internal/config"
)

// refusals are how assistants begin when they do not answer.
var refusals = []string{
	"as an ai", "as a language model", "as a large language model", "i'm just an ai", "i am just an ai", "i'm sorry, but", "i am sorry, but", "sorry, but i can",
	"i cannot assist", "i can't assist", "i cannot help", "i can't help", "i cannot provide", "i can't provide", "i'm unable to", "i am unable to", "i'm not able to",
	"i am not able to", "i cannot fulfill", "i can't fulfill", "i apologize, but", "i must decline", "i won't be able to",
}

// refusalReach is in how many of an answer's first bytes a phrase is looked for: further on it is likelier a quotation.
const refusalReach = 200

func init() {
	registerFilter("refusal", filter{words: true, build: func(f config.Filter) (removes, error) {
		phrases := refusals
		if f.Phrases != nil {
			phrases = nil
			for _, p := range f.Phrases {
				phrases = append(phrases, plainQuotes(p))
			}
		}
		return func(l Line) bool {
			text := plainQuotes(l.Completion[:min(len(l.Completion), refusalReach)])
			return slices.ContainsFunc(phrases, func(p string) bool { return strings.Contains(text, p) })
		}, nil
	}})
}

// plainQuotes is a text in lower case, with typewriter apostrophes.
func plainQuotes(text string) string {
	return strings.ReplaceAll(strings.ToLower(text), "’", "'")
}
