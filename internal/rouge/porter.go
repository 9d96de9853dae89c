package rouge

import "strings"

// irregular forms have a stem of their own, as in NLTK.
var irregular = map[string]string{
	"sky": "sky", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "news": "news", "innings": "inning", "inning": "inning",
	"outings": "outing", "outing": "outing", "cannings": "canning", "canning": "canning", "howe": "howe",
	"proceed": "proceed", "exceed": "exceed", "succeed": "succeed",
}

// Stem returns the stem of an English word in lower case by Porter's algorithm (An algorithm for suffix stripping, 1980) with the changes
// that NLTK, and so rouge_score, makes.
func Stem(word string) string {
	if s, ok := irregular[word]; ok {
		return s
	}
	if len(word) <= 2 {
		return word
	}
	word = ending(participle(plural(word)))
	word = derived(word)
	word = apply(word, rules3)
	word = apply(word, rules4)
	return finish(word)
}

// rule replaces a suffix; the first whose suffix a word has decides, whether its condition holds for what stands before or not.
type rule struct {
	suffix, replacement string
	when                func(stem string) bool
}

func apply(word string, rules []rule) string {
	for _, r := range rules {
		if stem, ok := strings.CutSuffix(word, r.suffix); ok {
			if r.when == nil || r.when(stem) {
				return stem + r.replacement
			}
			break
		}
	}
	return word
}

// plural is step 1a.
func plural(word string) string {
	if len(word) == 4 && strings.HasSuffix(word, "ies") { // dies, not flies
		return word[:3]
	}
	return apply(word, rules1a)
}

// participle is step 1b.
func participle(word string) string {
	if stem, ok := strings.CutSuffix(word, "ied"); ok {
		if len(word) == 4 {
			return stem + "ie"
		}
		return stem + "i"
	}
	if stem, ok := strings.CutSuffix(word, "eed"); ok {
		if measure(stem) > 0 {
			return stem + "ee"
		}
		return word
	}
	stem, ok := strings.CutSuffix(word, "ed")
	if !ok {
		stem, ok = strings.CutSuffix(word, "ing")
	}
	if !ok || !vowelled(stem) {
		return word
	}
	last := len(stem) - 1
	switch {
	case strings.HasSuffix(stem, "at"), strings.HasSuffix(stem, "bl"), strings.HasSuffix(stem, "iz"):
		return stem + "e"
	case last > 0 && stem[last] == stem[last-1] && consonants(stem)[last]:
		if strings.IndexByte("lsz", stem[last]) >= 0 {
			return stem
		}
		return stem[:last]
	case measure(stem) == 1 && short(stem):
		return stem + "e"
	}
	return stem
}

// ending is step 1c.
func ending(word string) string {
	stem, ok := strings.CutSuffix(word, "y")
	if ok && len(stem) > 1 && consonants(stem)[len(stem)-1] {
		return stem + "i"
	}
	return word
}

// derived is step 2.
func derived(word string) string {
	if stem, ok := strings.CutSuffix(word, "alli"); ok && some(stem) {
		return derived(stem + "al")
	}
	if stem, ok := strings.CutSuffix(word, "logi"); ok { // the l counts as the stem's
		if some(stem + "l") {
			return stem + "log"
		}
		return word
	}
	return apply(word, rules2)
}

// finish is step 5.
func finish(word string) string {
	if stem, ok := strings.CutSuffix(word, "e"); ok {
		if m := measure(stem); m > 1 || m == 1 && !short(stem) {
			word = stem
		}
	}
	if strings.HasSuffix(word, "ll") && measure(word[:len(word)-1]) > 1 {
		word = word[:len(word)-1]
	}
	return word
}

// consonants tells of each letter whether it is one; a y is where it doesn't follow one.
func consonants(word string) []bool {
	out := make([]bool, len(word))
	for i := range len(word) {
		out[i] = strings.IndexByte("aeiou", word[i]) < 0 && (word[i] != 'y' || i == 0 || !out[i-1])
	}
	return out
}

// measure is the number m of vowels followed by consonants in [C](VC){m}[V].
func measure(stem string) (m int) {
	c := consonants(stem)
	for i := 1; i < len(c); i++ {
		if !c[i-1] && c[i] {
			m++
		}
	}
	return m
}

func some(stem string) bool { return measure(stem) > 0 }
func more(stem string) bool { return measure(stem) > 1 }

func vowelled(stem string) bool {
	for _, c := range consonants(stem) {
		if !c {
			return true
		}
	}
	return false
}

// short: ends with consonant, vowel, consonant that is not w, x or y; or is a vowel and a consonant.
func short(stem string) bool {
	c, n := consonants(stem), len(stem)
	if n == 2 {
		return !c[0] && c[1]
	}
	return n > 2 && c[n-3] && !c[n-2] && c[n-1] && strings.IndexByte("wxy", stem[n-1]) < 0
}

var rules1a = []rule{{"sses", "ss", nil}, {"ies", "i", nil}, {"ss", "ss", nil}, {"s", "", nil}}

var rules2 = []rule{
	{"ational", "ate", some}, {"tional", "tion", some}, {"enci", "ence", some}, {"anci", "ance", some}, {"izer", "ize", some},
	{"bli", "ble", some}, {"alli", "al", some}, {"entli", "ent", some}, {"eli", "e", some}, {"ousli", "ous", some},
	{"ization", "ize", some}, {"ation", "ate", some}, {"ator", "ate", some}, {"alism", "al", some}, {"iveness", "ive", some},
	{"fulness", "ful", some}, {"ousness", "ous", some}, {"aliti", "al", some}, {"iviti", "ive", some}, {"biliti", "ble", some},
	{"fulli", "ful", some},
}

var rules3 = []rule{
	{"icate", "ic", some}, {"ative", "", some}, {"alize", "al", some}, {"iciti", "ic", some}, {"ical", "ic", some}, {"ful", "", some}, {"ness", "", some},
}

var rules4 = []rule{
	{"al", "", more}, {"ance", "", more}, {"ence", "", more}, {"er", "", more}, {"ic", "", more}, {"able", "", more}, {"ible", "", more},
	{"ant", "", more}, {"ement", "", more}, {"ment", "", more}, {"ent", "", more},
	{"ion", "", func(stem string) bool { return more(stem) && strings.IndexByte("st", stem[len(stem)-1]) >= 0 }},
	{"ou", "", more}, {"ism", "", more}, {"ate", "", more}, {"iti", "", more}, {"ous", "", more}, {"ive", "", more}, {"ize", "", more},
}
