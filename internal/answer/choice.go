package answer

import (
	"regexp"
	"slices"
	"strings"
)

// letters are labels of choices; a text without its choices may have A to J.
const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// MaxChoices is how many choices have letters.
const MaxChoices = len(letters)

// A letter is a choice's label where brackets, an end or a mark behind it say so; "A" and "I" are words too, and "A:" is whose turn it is.
var (
	leading = regexp.MustCompile(`^(?:\s*A:)?[\s*"'\[$]*(?:\\boxed\{)?(?:\(([A-Za-z])\)|([A-Z])(?:[*"'.\]$}]*\s*$|[)*\]$},;]|\.\s|\s+(?:is\b|because\b|since\b|[-–—(]))|([B-Z]):|([a-z])(?:[*"'.]*\s*$|\)|\.\s))`)
	inside  = regexp.MustCompile(`\(([A-Za-z])\)|\\boxed\{([A-Z])\}|\[([A-Z])\]`)
	option  = regexp.MustCompile(`(?i:\b(?:option|choice)(?:\s+is|:)?)\s+\(?([A-Z])\b`)
	alone   = regexp.MustCompile(`\b(?:([B-HJ-Z])\b(?:[^'’]|$)|([AI])(?:[.,;:)*"\]$}]|\s*$|\s+is\b))`)
)

// Letter is the label of the choice with index i.
func Letter(i int) string { return letters[i : i+1] }

// FindChoice returns the index of the choice that a text takes. A text that is one of the choices is that one; else it is told by its letter:
// at the beginning of what follows the last "answer is" ("(B)", "B.", "B"), of the whole text, by the last "option B", the last "(B)";
// else by the only choice whose words stand behind "answer is", or in the text; else by the last capital letter that stands alone. choices may be nil:
// then letters from A to J count. Choices of equal text are one, the first.
func FindChoice(text string, choices []string) (int, bool) {
	text = Cut(text)
	words := normalized(choices)
	if i := slices.Index(words, Normalize(text)); i >= 0 {
		return i, true
	}
	count := len(choices)
	if count == 0 {
		count = 10
	}
	labelled := func(groups []string) (int, bool) {
		for _, g := range groups {
			if i := strings.Index(letters[:min(count, len(letters))], strings.ToUpper(g)); g != "" && i >= 0 {
				if len(words) > 0 {
					i = slices.Index(words, words[i])
				}
				return i, true
			}
		}
		return 0, false
	}
	last := func(pattern *regexp.Regexp) (int, bool) {
		for _, m := range slices.Backward(pattern.FindAllStringSubmatch(text, -1)) {
			if i, ok := labelled(m[1:]); ok {
				return i, true
			}
		}
		return 0, false
	}
	for _, part := range append(afterMarks(text), text) {
		if m := leading.FindStringSubmatch(part); m != nil {
			if i, ok := labelled(m[1:]); ok {
				return i, true
			}
		}
	}
	for _, pattern := range []*regexp.Regexp{option, inside} {
		if i, ok := last(pattern); ok {
			return i, true
		}
	}
	if i, ok := FindNamed(text, choices); ok {
		return i, true
	}
	return last(alone)
}

// FindNamed returns the index of the choice whose words a text is, or which is the only one whose words stand behind "answer is", or in the text.
// Choices of equal text are one, the first.
func FindNamed(text string, choices []string) (int, bool) {
	text = Cut(text)
	words := normalized(choices)
	if i := slices.Index(words, Normalize(text)); i >= 0 {
		return i, true
	}
	for _, part := range append(afterMarks(text), text) {
		if i, ok := mentioned(Normalize(part), words); ok {
			return i, true
		}
	}
	return 0, false
}

func normalized(choices []string) []string {
	words := make([]string, len(choices))
	for i, c := range choices {
		words[i] = Normalize(c)
	}
	return words
}

// mentioned returns the only choice whose words stand in the text; of two, one inside the other, the longer.
func mentioned(text string, words []string) (int, bool) {
	found, text := -1, " "+text+" "
	for i, w := range words {
		if w == "" || !strings.Contains(text, " "+w+" ") || slices.Index(words, w) < i {
			continue
		}
		switch {
		case found < 0 || strings.Contains(w, words[found]):
			found = i
		case !strings.Contains(words[found], w):
			return 0, false
		}
	}
	return found, found >= 0
}
