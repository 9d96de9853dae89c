package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
)

// pattern finds matches in a text, from left to right, none overlapping.
type pattern interface {
	find(s string, found func(i, j int)) error
}

// newPattern reads the pattern of a Split or Replace.
func newPattern(c component) (pattern, error) {
	switch {
	case c.Pattern != nil && c.Pattern.String != nil:
		return literal(*c.Pattern.String), nil
	case c.Pattern != nil && c.Pattern.Regex != nil:
		return newRegex(*c.Pattern.Regex)
	}
	return nil, fmt.Errorf("%s: pattern: want a String or a Regex", c.Type)
}

type literal string

func (p literal) find(s string, found func(i, j int)) error {
	if p == "" {
		return nil
	}
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
type regex struct{ re *regexp2.Regexp }

// regexTimeout is for one text; the common patterns have scanners and do not come here.
const regexTimeout = 30 * time.Second

func newRegex(expression string) (pattern, error) {
	// What Oniguruma reads differently, or this engine does not know.
	for _, s := range []string{`\h`, `\H`, `\R`, `\X`, `\K`, `\G`, `\g`, `[[:`, `&&`, `(?m`, `(?W`, `(?D`, `(?S`, `(?P`, `\O`, `\y`, `\Y`, `(?~`} {
		if strings.Contains(strings.ReplaceAll(expression, `\\`, ""), s) {
			return nil, fmt.Errorf("regular expression %q: %q is not supported", expression, s)
		}
	}
	re, err := regexp2.Compile(expression, regexp2.Multiline)
	if err != nil {
		return nil, fmt.Errorf("regular expression %q is not supported: %w", expression, err)
	}
	re.MatchTimeout = regexTimeout
	return regex{re}, nil
}

func (p regex) find(s string, found func(i, j int)) error {
	runes := []rune(s)
	at, pos := 0, 0 // byte at of s is rune pos
	ascii := len(runes) == len(s)
	offset := func(target int) int {
		if ascii {
			return target
		}
		for ; pos < target; pos++ {
			at += utf8.RuneLen(runes[pos])
		}
		return at
	}
	err := p.re.FindRunesMatches(runes, -1, func(m regexp2.MatchView) bool {
		index, length, _ := m.GroupRange(0)
		i := offset(index)
		if j := offset(index + length); i < j {
			found(i, j)
		}
		return true
	})
	if err != nil {
		return errors.Join(fmt.Errorf("regular expression %q on a text of %d bytes", p.re, len(s)), err)
	}
	return nil
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
