package tokenizer

import (
	"cmp"
	"slices"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// normalForm returns the Unicode normal form NFD, NFC, NFKD or NFKC. golang.org/x/text holds the data; the algorithm
// is run here, because every character's origin must be the reference library's: a decomposed character replaces the
// old one, its further parts are additions, a composed one replaces all it is made of.
func normalForm(compose, compatible bool) normalizer {
	form := norm.NFD
	switch {
	case compose && compatible:
		form = norm.NFKC
	case compose:
		form = norm.NFC
	case compatible:
		form = norm.NFKD
	}
	return always(func(t text) text {
		if form.IsNormalString(t.s) {
			return t
		}
		chars := decompose(t.s, compatible)
		if compose {
			chars = recompose(chars)
		}
		w := rewrite(t)
		for _, c := range chars {
			w.put(c.r, c.change)
		}
		return w.text()
	})
}

// char is a character with its canonical combining class and what it changes (see rewriter.put).
type char struct {
	r      rune
	class  uint8
	change int
}

func decompose(s string, compatible bool) []char {
	chars := make([]char, 0, len(s))
	ready := 0 // characters before it are in order
	for _, r := range s {
		for i, d := range decomposition(r, compatible) {
			class := norm.NFD.PropertiesString(string(d)).CCC()
			if class > 0 && unicode.Is(laterCombining, d) {
				class = 0
			}
			if class == 0 {
				sortByClass(chars[ready:])
				ready = len(chars)
			}
			chars = append(chars, char{d, class, min(i, 1)})
		}
	}
	sortByClass(chars[ready:])
	return chars
}

func sortByClass(chars []char) {
	slices.SortStableFunc(chars, func(a, b char) int { return cmp.Compare(a.class, b.class) })
}

func decomposition(r rune, compatible bool) []rune {
	if r < 0x80 || unicode.Is(laterDecompositions, r) {
		return []rune{r}
	}
	form := norm.NFD
	if compatible {
		form = norm.NFKD
	}
	return []rune(form.String(string(r)))
}

// recompose composes canonically (UAX #15).
func recompose(chars []char) []char {
	out := make([]char, 0, len(chars))
	starter := -1  // index in out of the last starter
	var class = -1 // combining class of the last character after it, -1: none
	for _, c := range chars {
		if starter >= 0 && (class < 0 || class < int(c.class)) {
			if r, ok := composition(out[starter].r, c.r); ok {
				out[starter].r = r
				out[starter].change += c.change - 1
				continue
			}
		}
		switch {
		case c.class == 0:
			starter, class = len(out), -1
		case starter >= 0:
			class = int(c.class)
		}
		out = append(out, c)
	}
	return out
}

// composition returns the character that a and b compose to.
func composition(a, b rune) (rune, bool) {
	if a < 0x80 && b < 0x300 {
		return 0, false
	}
	var buffer [16]byte
	s := append(buffer[:0], string(a)...)
	s = append(s, string(b)...)
	composed := []rune(string(norm.NFC.Bytes(s)))
	if len(composed) != 1 {
		return 0, false
	}
	return composed[0], true
}
