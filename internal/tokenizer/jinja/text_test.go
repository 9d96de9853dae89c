package jinja

import (
	"strings"
	"testing"
	"unicode"
)

// TestCase holds the cases of every character, and of some words, to Python's.
func TestCase(t *testing.T) {
	var golden struct {
		Characters [][4]string // a character that has another case: itself, upper, lower, title
		Words      [][5]string // the same with str.title and str.capitalize
	}
	read(t, "case.json.gz", &golden)
	if len(golden.Characters) < 2000 {
		t.Fatalf("%d characters", len(golden.Characters))
	}
	known := map[rune]bool{}
	for _, row := range golden.Characters {
		c := []rune(row[0])[0]
		known[c] = true
		if u, l, ti := upper(row[0]), lower(row[0]), title(c); u != row[1] || l != row[2] || ti != row[3] {
			t.Errorf("%U: have %q %q %q, want %q", c, u, l, ti, row[1:])
		}
	}
	for c := rune(0); c <= unicode.MaxRune; c++ {
		if !isLower(c) && !isUpper(c) && !isTitleCase(c) || known[c] {
			continue
		}
		if s := string(c); upper(s) != s || lower(s) != s || title(c) != s {
			t.Errorf("%U: have %q %q %q, want no case", c, upper(s), lower(s), title(c))
		}
	}
	for _, row := range golden.Words {
		for i, f := range []func(string) string{upper, lower, titleWords, capitalize} {
			have, err := guarded(func() string { return f(row[0]) })
			if err == nil && have != row[i+1] || err != nil && !strings.Contains(err.Error(), "sigma") {
				t.Errorf("%q, case %d: have %q (%v), want %q", row[0], i, have, err, row[i+1])
			}
		}
	}
}

func guarded(f func() string) (s string, err error) {
	defer recovered(&err)
	return f(), nil
}
