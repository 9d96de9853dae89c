package tokenizer

import (
	"unicode"
	"unicode/utf8"
)

// scanners are hand-written equals of the patterns that most byte-level tokenizers use, several times faster than a
// regular expression engine. Each returns the end of the word that begins at byte i of s; words cover the text.
var scanners = map[string]func(s string, i int) int{
	`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`:                                          nextGPT2,
	`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`: nextLlama3,
	`'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`:       nextLlama3, // cl100k
	qwenPattern: nextQwen,
}

const qwenPattern = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`

// class is what the patterns tell apart.
type class uint8

const (
	other class = iota
	letter
	number
	space
)

var asciiClass = func() (table [utf8.RuneSelf]class) {
	for c := range table {
		table[c] = runeClass(rune(c))
	}
	return table
}()

func runeClass(r rune) class {
	switch {
	case isLetter(r):
		return letter
	case isNumber(r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}

// classAt returns the class and the size of the character at byte i of s; size 0 at the end.
func classAt(s string, i int) (class, int) {
	if i >= len(s) {
		return space, 0
	}
	if c := s[i]; c < utf8.RuneSelf {
		return asciiClass[c], 1
	}
	r, size := utf8.DecodeRuneInString(s[i:])
	return runeClass(r), size
}

// run returns the end of the characters of class k from byte i on.
func run(s string, i int, k class) int {
	for {
		c, size := classAt(s, i)
		if size == 0 || c != k {
			return i
		}
		i += size
	}
}

func nextGPT2(s string, i int) int {
	c, size := classAt(s, i)
	if s[i] == '\'' {
		if n := contraction(s[i+1:], false); n > 0 {
			return i + 1 + n
		}
	}
	if s[i] == ' ' {
		if c2, size2 := classAt(s, i+1); size2 > 0 && c2 != space {
			return run(s, i+1+size2, c2)
		}
	}
	if c != space {
		return run(s, i+size, c)
	}
	return nextSpace(s, i)
}

// nextSpace is \s+(?!\S)|\s+: a run of white space, without its last character where a word follows.
func nextSpace(s string, i int) int {
	end := run(s, i, space)
	if end == len(s) {
		return end
	}
	_, size := utf8.DecodeLastRuneInString(s[i:end])
	if end-size > i {
		return end - size
	}
	return end
}

// contraction returns the length of what follows the apostrophe in 's 't 're 've 'm 'll 'd, 0 for anything else.
func contraction(s string, anyCase bool) int {
	if s == "" {
		return 0
	}
	if anyCase && len(s) > 1 && s[:2] == "ſ" {
		return 2 // folds to s
	}
	lower := func(c byte) byte {
		if anyCase && c >= 'A' && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}
	a := lower(s[0])
	switch a {
	case 's', 't', 'm', 'd':
		return 1
	}
	if len(s) > 1 {
		switch b := lower(s[1]); {
		case (a == 'r' || a == 'v') && b == 'e', a == 'l' && b == 'l':
			return 2
		}
	}
	return 0
}

func nextLlama3(s string, i int) int { return nextCL100K(s, i, 3) }
func nextQwen(s string, i int) int   { return nextCL100K(s, i, 1) }

// nextCL100K takes numbers in groups of at most the given digits.
func nextCL100K(s string, i, digits int) int {
	first := s[i]
	if first == '\'' {
		if n := contraction(s[i+1:], true); n > 0 {
			return i + 1 + n
		}
	}
	c, size := classAt(s, i)
	switch c {
	case letter:
		return run(s, i+size, letter)
	case number:
		for k := 0; k < digits && size > 0 && c == number; k++ {
			i += size
			c, size = classAt(s, i)
		}
		return i
	}
	next, nextSize := classAt(s, i+size)
	if nextSize > 0 && next == letter && first != '\r' && first != '\n' {
		return run(s, i+size+nextSize, letter)
	}
	if c == other || first == ' ' && nextSize > 0 && next == other {
		if c != other {
			i++
		}
		i = run(s, i, other)
		for i < len(s) && (s[i] == '\r' || s[i] == '\n') {
			i++
		}
		return i
	}
	end := run(s, i, space)
	for k := end; k > i; k-- {
		if s[k-1] == '\r' || s[k-1] == '\n' {
			return k
		}
	}
	return nextSpace(s, i)
}
