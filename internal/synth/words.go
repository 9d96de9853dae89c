package synth

import (
	"slices"
	"strings"
	"unicode"
)

// unspaced are scripts that put no blanks between words: each of their characters counts as one.
var unspaced = []*unicode.RangeTable{unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar}

// words are a text's runs of letters and digits in lower case. Of texts in ASCII they are ROUGE's tokens, which have no others.
func words(text string) (all []string) {
	text = strings.ToLower(text)
	start := -1 // of the word that i is in
	end := func(i int) {
		if start >= 0 {
			all = append(all, text[start:i])
		}
		start = -1
	}
	for i, c := range text {
		switch inside := unicode.In(c, unicode.Letter, unicode.Mark, unicode.Number); {
		case !inside || unicode.In(c, unspaced...):
			end(i)
			if inside {
				all = append(all, string(c))
			}
		case start < 0:
			start = i
		}
	}
	end(len(text))
	return all
}

// within tells whether words hold those of a phrase side by side.
func within(all, phrase []string) bool {
	for i := 0; i+len(phrase) <= len(all); i++ {
		if slices.Equal(all[i:i+len(phrase)], phrase) {
			return true
		}
	}
	return false
}
