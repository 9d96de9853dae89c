package tokenizer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
)

// pattern finds matches in a text, from left to right, none overlapping; of a regular expression also empty ones.
type pattern interface {
	find(s string, found func(i, j int)) error
}

// newPattern reads the pattern of a Split or Replace.
func newPattern(c component) (pattern, error) {
	switch {
	case c.Pattern != nil && c.Pattern.String != nil && *c.Pattern.String == "": // matches everywhere, as an expression does
		return newRegex("")
	case c.Pattern != nil && c.Pattern.String != nil:
		return literal(*c.Pattern.String), nil
	case c.Pattern != nil && c.Pattern.Regex != nil:
		return newRegex(*c.Pattern.Regex)
	}
	return nil, fmt.Errorf("%s: pattern: want a String or a Regex", c.Type)
}

type literal string

func (p literal) find(s string, found func(i, j int)) error {
	for done := 0; ; {
		i := strings.Index(s[done:], string(p))
		if i < 0 {
			return nil
		}
		found(done+i, done+i+len(p))
		done += i + len(p)
	}
}

// runePattern matches single characters.
type runePattern func(r rune) bool

func (p runePattern) find(s string, found func(i, j int)) error {
	for i, r := range s {
		if p(r) {
			found(i, i+utf8.RuneLen(r))
		}
	}
	return nil
}

// regex is any other regular expression. It is run by a backtracking engine, so a time-out guards it.
type regex struct {
	expression string // as the file has it
	re         *regexp2.Regexp
}

// regexTimeout is for one text; the common patterns have scanners and do not come here.
const regexTimeout = 30 * time.Second

func newRegex(expression string) (pattern, error) {
	translated, err := translateOniguruma(expression)
	if err != nil {
		return nil, err
	}
	re, err := regexp2.Compile(translated, regexp2.Multiline)
	if err != nil {
		return nil, fmt.Errorf("regular expression %q is not supported: %w", expression, err)
	}
	re.MatchTimeout = regexTimeout
	return regex{expression, re}, nil
}

func (p regex) find(s string, found func(i, j int)) error {
	if s == "" {
		return nil
	}
	runes := []rune(s)
	at, pos := 0, 0 // byte at of s is rune pos
	end := -1       // of the last match
	ascii := len(runes) == len(s)
	matched := runes
	for i, r := range runes { // the engine has Go's tables
		if r >= newer[0].low {
			if old := like(r); old != r {
				if &matched[0] == &runes[0] {
					matched = slices.Clone(runes)
				}
				matched[i] = old
			}
		}
	}
	offset := func(target int) int {
		if ascii {
			return target
		}
		for ; pos < target; pos++ {
			at += utf8.RuneLen(runes[pos])
		}
		return at
	}
	err := p.re.FindRunesMatches(matched, -1, func(m regexp2.MatchView) bool {
		index, length, _ := m.GroupRange(0)
		i := offset(index)
		if j := offset(index + length); i < j || i != end { // an empty one right after another does not count
			found(i, j)
			end = j
		}
		return true
	})
	if err != nil {
		return errors.Join(fmt.Errorf("regular expression %q on a text of %d bytes", p.expression, len(s)), err)
	}
	return nil
}

// like returns a character of the same kind as r that the engine knows.
func like(r rune) rune {
	i, found := slices.BinarySearchFunc(newer, r, func(x struct{ low, high, like rune }, r rune) int {
		switch {
		case x.high < r:
			return -1
		case x.low > r:
			return 1
		}
		return 0
	})
	if found {
		return newer[i].like
	}
	return r
}

func replaceString(t text, old, content string) text {
	if !strings.Contains(t.s, old) {
		return t
	}
	w := rewrite(t)
	_ = literal(old).find(t.s, func(i, j int) {
		w.keep(i)
		w.replace(j, content)
	})
	w.keep(len(t.s))
	return w.text()
}
