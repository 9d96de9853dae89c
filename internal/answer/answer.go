// Package answer finds the final answer in what a model wrote and compares it with the right one: numbers, choices, short texts.
// It goes by marks such as "####" and "the answer is"; it does not understand the text.
package answer

import (
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// Kind says how answers are compared.
type Kind string

// The kinds.
const (
	Number Kind = "number" // by value: see FindNumber
	Choice Kind = "choice" // one of several: see FindChoice
	Text   Kind = "text"   // normalised: see FindText
)

// Find returns the answer in a text in a form in which equal answers are equal strings; choices may be nil.
func (k Kind) Find(text string, choices []string) (answer string, ok bool) {
	switch k {
	case Number:
		x, ok := FindNumber(text)
		if !ok {
			return "", false
		}
		return x.RatString(), true
	case Choice:
		i, ok := FindChoice(text, choices)
		return Letter(i), ok
	}
	return FindText(text)
}

// Equal says whether a prediction's answer is that of the reference; it is not where one of them holds none.
func (k Kind) Equal(prediction, reference string, choices []string) bool {
	a, found := k.Find(prediction, choices)
	b, known := k.Find(reference, choices)
	return found && known && a == b
}

// FindText returns what follows the last "answer is" or "answer:" on its line, or the whole text, normalised; nothing where that is empty.
func FindText(text string) (string, bool) {
	text = Cut(text)
	if rest := afterMarks(text); len(rest) > 0 {
		text = rest[0]
	}
	text = Normalize(text)
	return text, text != ""
}

// Normalize returns the text as SQuAD's exact match compares it: in lower case, without ASCII punctuation and the words a, an, the, with single spaces.
func Normalize(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsPunct(r) || unicode.IsSymbol(r)) {
			return -1
		}
		return r
	}, cases.Lower(language.Und).String(text))
	return strings.Join(strings.FieldsFunc(articles(text), func(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }), " ")
}

// articles replaces the words a, an, the; a word is a run of letters, digits and underscores.
func articles(text string) string {
	var b strings.Builder
	word := 0 // where the current one began
	flush := func(end int) {
		switch w := text[word:end]; w {
		case "a", "an", "the":
			b.WriteByte(' ')
		default:
			b.WriteString(w)
		}
	}
	for i, r := range text {
		if !unicode.IsLetter(r) && !unicode.IsNumber(r) && r != '_' {
			flush(i)
			b.WriteRune(r)
			word = i + len(string(r))
		}
	}
	flush(len(text))
	return b.String()
}

var question = regexp.MustCompile(`\S(\s+(?:Q|Question):)`)

// Cut returns the text before the next question that a model went on to ask itself ("Q:", "Question:").
func Cut(text string) string {
	if at := question.FindStringSubmatchIndex(text); at != nil {
		return text[:at[2]]
	}
	return text
}

// "the answer is", "Answer:", "the answer (arabic numerals) is", "the answer would be"
var mark = regexp.MustCompile(`(?i)\banswer\s*(?:\([^()\n]*\)\s*)?(?:(?:is|(?:would|should|will)\s+be)\b\s*:?|[:=])`)

// afterMarks returns what stands behind each mark of an answer up to the end of that line, or of the next where that one is empty, the last mark first.
func afterMarks(text string) (rest []string) {
	for _, at := range mark.FindAllStringIndex(text, -1) {
		line, _, _ := strings.Cut(strings.TrimLeftFunc(text[at[1]:], unicode.IsSpace), "\n")
		rest = append([]string{line}, rest...)
	}
	return rest
}
