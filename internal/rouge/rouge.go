// Package rouge measures how much of one text's words another has, as google-research's rouge_score does: the same tokens, the same bits.
// There is no ROUGE-Lsum, and words are those of the letters a to z and of digits.
package rouge

import "strings"

// Tokens returns the runs of a-z and 0-9 of the text in lower case.
func Tokens(text string) []string {
	text = strings.ReplaceAll(text, "İ", "i ") // whose lower case is an i and a mark
	return strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
}

// Stems returns each token longer than three letters as its Porter stem, the others as they are.
func Stems(tokens []string) []string {
	out := make([]string, len(tokens))
	for i, t := range tokens {
		if out[i] = t; len(t) > 3 {
			out[i] = Stem(t)
		}
	}
	return out
}

// N is the F-measure of the n-grams that two texts share, 0 to 1 (ROUGE-N; Lin 2004).
func N(n int, a, b []string) float64 {
	left := map[string]int{}
	for i := range max(len(a)-n+1, 0) {
		left[strings.Join(a[i:i+n], " ")]++
	}
	shared := 0
	for i := range max(len(b)-n+1, 0) {
		if gram := strings.Join(b[i:i+n], " "); left[gram] > 0 {
			left[gram]--
			shared++
		}
	}
	return fMeasure(shared, len(a)-n+1, len(b)-n+1)
}

// L is the F-measure of the longest common subsequence, 0 to 1 (ROUGE-L; Lin 2004). It takes len(a)·len(b) comparisons.
func L(a, b []string) float64 {
	row := make([]int, len(b)+1) // row[j]: longest of what was seen of a, and of b[:j]
	for _, x := range a {
		before := 0 // row[j] of the previous row
		for j, y := range b {
			above := row[j+1]
			if x == y {
				row[j+1] = before + 1
			} else {
				row[j+1] = max(row[j], above)
			}
			before = above
		}
	}
	return fMeasure(row[len(b)], len(a), len(b))
}

// fMeasure is the harmonic mean of shared/a and shared/b, in the reference's order of operations.
func fMeasure(shared, a, b int) float64 {
	if shared == 0 {
		return 0
	}
	p, r := float64(shared)/float64(b), float64(shared)/float64(a)
	return 2 * p * r / (p + r)
}
