package tokenizer

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// preTokenizer cuts a text into the words that the model sees one by one.
type preTokenizer struct {
	stages []stage
	// next, where it is set, makes the last cut of every piece: the end of the word that begins at byte i of s.
	next func(s string, i int) int
	// raw: the model takes words as raw bytes (byte level).
	raw bool
}

// stage appends the parts of t to out.
type stage func(t text, out []text) ([]text, error)

// newPreTokenizer builds the pre-tokenizer. Where rawBytes is set and ByteLevel comes last, words are left as raw
// bytes for a model that understands them, instead of being written in the 256 characters that stand for bytes.
func newPreTokenizer(c *component, rawBytes bool) (*preTokenizer, error) {
	p := new(preTokenizer)
	all := flatten(c, func(c component) []component { return c.PreTokenizers })
	for i, c := range all {
		last := i == len(all)-1
		if c.Type == "ByteLevel" {
			if or(c.AddPrefixSpace, true) {
				p.stages = append(p.stages, prefixSpace)
			}
			if p.raw = last && rawBytes; p.raw {
				if or(c.UseRegex, true) {
					p.next = nextGPT2
				} else {
					p.foldScanner(all[:i])
				}
				break
			}
			if or(c.UseRegex, true) {
				p.stages = append(p.stages, isolate(nextGPT2))
			}
			p.stages = append(p.stages, one(byteLevel))
			continue
		}
		s, err := newStage(c)
		if err != nil {
			return nil, fmt.Errorf("pre-tokenizer: %w", err)
		}
		p.stages = append(p.stages, s)
	}
	return p, nil
}

// foldScanner takes a Split by a known pattern off the end of the stages and makes it the last cut: the same words,
// without a list of them in between.
func (p *preTokenizer) foldScanner(before []component) {
	if len(before) == 0 || len(p.stages) != len(before) {
		return
	}
	c := before[len(before)-1]
	if c.Type != "Split" || c.Behavior != "Isolated" || c.Pattern == nil {
		return
	}
	if next := scanners[or(c.Pattern.Regex, "")]; next != nil {
		p.stages, p.next = p.stages[:len(p.stages)-1], next
	}
}

func newStage(c component) (stage, error) {
	switch c.Type {
	case "Split":
		return splitStage(c)
	case "Whitespace":
		return isolateRuns(func(r rune) int {
			switch {
			case unicode.IsSpace(r):
				return dropRun
			case isWord(r):
				return 1
			}
			return 2
		}), nil
	case "WhitespaceSplit":
		return isolateRuns(func(r rune) int {
			if unicode.IsSpace(r) {
				return dropRun
			}
			return 1
		}), nil
	case "BertPreTokenizer":
		return isolateRuns(func(r rune) int {
			switch {
			case unicode.IsSpace(r):
				return dropRun
			case isPunctuation(r):
				return ownRun
			}
			return 1
		}), nil
	case "Punctuation":
		behavior := c.Behavior
		if behavior == "" {
			behavior = "Isolated"
		}
		return byBehavior(runePattern(isPunctuation), behavior, false)
	case "Digits":
		behavior := "Contiguous"
		if c.IndividualDigits {
			behavior = "Isolated"
		}
		return byBehavior(runePattern(isNumeric), behavior, false)
	case "CharDelimiterSplit":
		r, err := needRune(c.Delimiter, c, "delimiter")
		if err != nil {
			return nil, err
		}
		return byBehavior(runePattern(func(x rune) bool { return x == r }), "Removed", false)
	case "Metaspace":
		return metaspaceStage(c)
	case "FixedLength":
		n := or(c.Length, 5)
		if n < 1 {
			return nil, fmt.Errorf("length of FixedLength: have %d, want 1 or more", n)
		}
		return isolate(func(s string, i int) int {
			for k := 0; k < n && i < len(s); k++ {
				_, size := utf8.DecodeRuneInString(s[i:])
				i += size
			}
			return i
		}), nil
	}
	return nil, unknown(c)
}

// one is a stage that changes a text and does not cut it.
func one(f func(text) text) stage {
	return func(t text, out []text) ([]text, error) { return append(out, f(t)), nil }
}

func prefixSpace(t text, out []text) ([]text, error) {
	if !strings.HasPrefix(t.s, " ") {
		t = prepend(t, " ")
	}
	return append(out, t), nil
}

// isolate cuts a text by a scanner that covers all of it.
func isolate(next func(s string, i int) int) stage {
	return func(t text, out []text) ([]text, error) {
		for i := 0; i < len(t.s); {
			j := next(t.s, i)
			out = append(out, t.slice(i, j))
			i = j
		}
		return out, nil
	}
}

// Kinds of characters for isolateRuns: runs of one positive kind are a word.
const (
	dropRun = 0  // belongs to no word
	ownRun  = -1 // is a word by itself
)

func isolateRuns(kind func(rune) int) stage {
	return func(t text, out []text) ([]text, error) {
		start, last := 0, dropRun
		for i, r := range t.s {
			k := kind(r)
			if k == last && k != ownRun {
				continue
			}
			if last != dropRun {
				out = append(out, t.slice(start, i))
			}
			start, last = i, k
		}
		if last != dropRun {
			out = append(out, t.slice(start, len(t.s)))
		}
		return out, nil
	}
}

func splitStage(c component) (stage, error) {
	if c.Pattern != nil && c.Pattern.Regex != nil && c.Behavior == "Isolated" {
		if next := scanners[*c.Pattern.Regex]; next != nil {
			return isolate(next), nil
		}
	}
	p, err := newPattern(c)
	if err != nil {
		return nil, err
	}
	return byBehavior(p, c.Behavior, c.Invert)
}

// byBehavior cuts a text at the matches of p; behavior tells what becomes of the matches themselves. invert: matches
// and what lies between them change places.
func byBehavior(p pattern, behavior string, invert bool) (stage, error) {
	join := func(last, hit bool) bool { return false }
	switch behavior {
	case "Removed", "Isolated":
	case "Contiguous":
		join = func(last, hit bool) bool { return last == hit }
	case "MergedWithPrevious":
		join = func(last, hit bool) bool { return hit != invert && last == invert }
	case "MergedWithNext":
		join = func(last, hit bool) bool { return last != invert && hit == invert }
	default:
		return nil, fmt.Errorf("behavior %q is not supported", behavior)
	}
	return func(t text, out []text) ([]text, error) {
		start, end := 0, 0        // the part that is being joined
		any, last := false, false // there is one, and it ends with a match
		flush := func() {
			if start < end && (behavior != "Removed" || last == invert) {
				out = append(out, t.slice(start, end))
			}
		}
		next := func(to int, hit bool) {
			if !any || !join(last, hit) {
				flush()
				start = end
			}
			end, any, last = to, true, hit
		}
		err := p.find(t.s, func(i, j int) {
			if end < i {
				next(i, false)
			}
			next(j, true)
		})
		if err != nil {
			return out, err
		}
		if end < len(t.s) {
			next(len(t.s), false)
		}
		flush()
		return out, nil
	}, nil
}

// metaspace is SentencePiece's way of keeping spaces: written as a visible character, one put before the text.
type metaspace struct {
	mark   string
	scheme string // "always", "first": only where the input begins, "never"
	split  bool
}

func newMetaspace(c component) (metaspace, error) {
	r, err := needRune(c.Replacement, c, "replacement")
	m := metaspace{mark: string(r), scheme: or(c.PrependScheme, "always"), split: or(c.Split, true)}
	switch {
	case err != nil:
		return m, err
	case m.scheme != "always" && m.scheme != "first" && m.scheme != "never":
		return m, fmt.Errorf("prepend_scheme %q of Metaspace is not supported", m.scheme)
	case c.AddPrefixSpace != nil && !*c.AddPrefixSpace:
		if c.PrependScheme != nil && m.scheme != "never" {
			return m, fmt.Errorf("settings of Metaspace: add_prefix_space false contradicts prepend_scheme %q", m.scheme)
		}
		m.scheme = "never"
	}
	return m, nil
}

func metaspaceStage(c component) (stage, error) {
	m, err := newMetaspace(c)
	if err != nil {
		return nil, err
	}
	cutAtMarks := isolate(func(s string, i int) int {
		_, size := utf8.DecodeRuneInString(s[i:])
		if n := strings.Index(s[i+size:], m.mark); n >= 0 {
			return i + size + n
		}
		return len(s)
	})
	return func(t text, out []text) ([]text, error) {
		t = replaceString(t, " ", m.mark)
		if (m.scheme == "always" || m.scheme == "first" && t.start == 0) && !strings.HasPrefix(t.s, m.mark) {
			t = prepend(t, m.mark)
		}
		if !m.split {
			return append(out, t), nil
		}
		return cutAtMarks(t, out)
	}, nil
}
