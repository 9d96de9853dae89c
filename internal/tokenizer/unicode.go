package tokenizer

import "unicode"

// isLetter is \p{L} of Oniguruma.
func isLetter(r rune) bool { return unicode.IsLetter(r) || r >= 0x80 && unicode.Is(laterLetters, r) }

// isNumber is \p{N} of Oniguruma.
func isNumber(r rune) bool { return unicode.IsNumber(r) || r >= 0x80 && unicode.Is(laterNumbers, r) }

// isNumeric is Rust's char::is_numeric.
func isNumeric(r rune) bool { return isNumber(r) || r >= 0x80 && unicode.Is(latestNumbers, r) }

// isWord is \w of Rust's regex crate.
func isWord(r rune) bool {
	return isLetter(r) || unicode.In(r, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic,
		unicode.Join_Control, laterWords)
}

// isPunctuation is BERT's: Unicode's, and the symbols of ASCII.
func isPunctuation(r rune) bool {
	if r < 0x80 {
		return unicode.IsPunct(r) || unicode.IsSymbol(r)
	}
	return unicode.IsPunct(r) && !unicode.Is(laterPunctuation, r) || unicode.Is(formerPunctuation, r)
}

// isMark is what StripAccents drops.
func isMark(r rune) bool {
	return r >= 0x300 && (unicode.Is(unicode.M, r) && !unicode.Is(laterMarks, r) || unicode.Is(formerMarks, r))
}

// isAccent is what BERT's normalizer drops as accents.
func isAccent(r rune) bool {
	return r >= 0x300 && (unicode.Is(unicode.Mn, r) && !unicode.Is(laterAccents, r) || unicode.Is(formerAccents, r))
}

// isControl is what BERT's normalizer drops as control characters.
func isControl(r rune) bool {
	if r == '\t' || r == '\n' || r == '\r' {
		return false
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co) && !unicode.Is(laterControls, r)
}

// isChinese is BERT's notion of a Chinese character, as the reference has it (with a gap from 2B820 to 2B91F).
func isChinese(r rune) bool {
	return r >= 0x3400 && (r <= 0x4DBF || r >= 0x4E00 && r <= 0x9FFF || r >= 0xF900 && r <= 0xFAFF ||
		r >= 0x20000 && r <= 0x2A6DF || r >= 0x2A700 && r <= 0x2B81F || r >= 0x2B920 && r <= 0x2CEAF ||
		r >= 0x2F800 && r <= 0x2FA1F)
}

// toLower is the first character of Rust's char::to_lowercase; only İ has a second one, U+0307.
func toLower(r rune) rune {
	if r < 0x1C89 {
		return unicode.ToLower(r)
	}
	switch { // pairs since Unicode 15.1
	case r == 0xA7CB:
		return 0x264
	case r == 0xA7DC:
		return 0x19B
	case r == 0x1C89, r == 0xA7CC, r == 0xA7CE, r == 0xA7D2, r == 0xA7D4, r == 0xA7DA:
		return r + 1
	case r >= 0x10D50 && r <= 0x10D65:
		return r + 0x20
	case r >= 0x16EA0 && r <= 0x16EB8:
		return r + 0x1B
	}
	return unicode.ToLower(r)
}
