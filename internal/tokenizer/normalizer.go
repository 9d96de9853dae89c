package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// normalizer changes a text before it is cut into words.
type normalizer func(t text) (text, error)

func newNormalizers(c *component) ([]normalizer, error) {
	var all []normalizer
	for _, c := range flatten(c, func(c component) []component { return c.Normalizers }) {
		n, err := newNormalizer(c)
		if err != nil {
			return nil, fmt.Errorf("normalizer: %w", err)
		}
		all = append(all, n)
	}
	return all, nil
}

func newNormalizer(c component) (normalizer, error) {
	switch c.Type {
	case "NFC":
		return normalForm(true, false), nil
	case "NFD":
		return normalForm(false, false), nil
	case "NFKC":
		return normalForm(true, true), nil
	case "NFKD":
		return normalForm(false, true), nil
	case "Lowercase":
		return always(lowercase), nil
	case "StripAccents":
		return filter(func(r rune) bool { return !isMark(r) }), nil
	case "Strip":
		return strip(or(c.StripLeft, true), or(c.StripRight, true)), nil
	case "Nmt":
		return nmt, nil
	case "BertNormalizer":
		return bertNormalizer(c), nil
	case "ByteLevel":
		return always(byteLevel), nil
	case "Prepend":
		prefix, err := need(c.Prepend, c, "prepend")
		if err == nil && prefix == "" { // the reference gives the first character no place then, and later steps repeat it
			err = errors.New("the text of Prepend is empty; take the normalizer out")
		}
		return always(func(t text) text { return prepend(t, prefix) }), err
	case "Replace":
		return replaceNormalizer(c)
	case "Precompiled":
		return newPrecompiled(c.Charsmap)
	}
	return nil, unknown(c)
}

func unknown(c component) error {
	return fmt.Errorf("%q is not supported: without it the ids would be wrong", c.Type)
}

// always is for normalizers that cannot fail.
func always(f func(text) text) normalizer {
	return func(t text) (text, error) { return f(t), nil }
}

// filter keeps the characters for which keep is true.
func filter(keep func(rune) bool) normalizer {
	return always(func(t text) text {
		if strings.IndexFunc(t.s, func(r rune) bool { return !keep(r) }) < 0 {
			return t
		}
		w := rewrite(t)
		for i, r := range t.s {
			if keep(r) {
				w.keep(i + utf8.RuneLen(r))
			} else {
				w.skip(1)
			}
		}
		return w.text()
	})
}

func strip(left, right bool) normalizer {
	return always(func(t text) text {
		i, j := 0, len(t.s)
		if left {
			i = j - len(strings.TrimLeftFunc(t.s, unicode.IsSpace))
		}
		if right {
			j = i + len(strings.TrimRightFunc(t.s[i:], unicode.IsSpace))
		}
		if i == 0 && j == len(t.s) {
			return t
		}
		return text{s: t.s[i:j], from: t.origins()[i:j:j], start: t.start, mem: t.mem}
	})
}

func lowercase(t text) text {
	if strings.IndexFunc(t.s, func(r rune) bool { return toLower(r) != r || r == 'İ' }) < 0 {
		return t
	}
	w := rewrite(t)
	for _, r := range t.s {
		w.put(toLower(r), 0)
		if r == 'İ' {
			w.put('\u0307', 1)
		}
	}
	return w.text()
}

// byteLevel writes each byte as the character that stands for it.
func byteLevel(t text) text {
	w := rewrite(t)
	for i, r := range t.s {
		for k := range utf8.RuneLen(r) {
			w.put(byteRunes[t.s[i+k]], min(k, 1))
		}
	}
	return w.text()
}

func replaceNormalizer(c component) (normalizer, error) {
	p, err := newPattern(c)
	if err != nil {
		return nil, err
	}
	content, err := need(c.Content, c, "content")
	if err != nil {
		return nil, err
	}
	return func(t text) (text, error) {
		var w *rewriter
		err := p.find(t.s, func(i, j int) {
			if w == nil {
				w = rewrite(t)
			}
			w.keep(i)
			w.replace(j, content)
		})
		if w == nil || err != nil {
			return t, err
		}
		w.keep(len(t.s))
		return w.text(), nil
	}, nil
}

// nmt is the cleaning of SentencePiece's nmt_nfkc rules as the reference library has it.
func nmt(t text) (text, error) {
	t, _ = filter(func(r rune) bool {
		return !(r >= 1 && r <= 8 || r == 11 || r >= 14 && r <= 31 || r == 127 || r == 0x8F || r == 0x9F)
	})(t)
	return mapRunes(t, func(r rune) rune {
		switch {
		case r == 9, r == 10, r == 12, r == 13, r == 0x1680, r >= 0x200B && r <= 0x200F, r == 0x2028, r == 0x2029,
			r == 0x2581, r == 0xFEFF, r == 0xFFFD:
			return ' '
		}
		return r
	}), nil
}

func mapRunes(t text, f func(rune) rune) text {
	if strings.IndexFunc(t.s, func(r rune) bool { return f(r) != r }) < 0 {
		return t
	}
	w := rewrite(t)
	for _, r := range t.s {
		w.put(f(r), 0)
	}
	return w.text()
}

// bertNormalizer is BERT's basic cleaning.
func bertNormalizer(c component) normalizer {
	lower := or(c.Lowercase, true)
	var steps []normalizer
	if or(c.CleanText, true) {
		steps = append(steps,
			filter(func(r rune) bool { return r != 0 && r != utf8.RuneError && !isControl(r) }),
			always(func(t text) text {
				return mapRunes(t, func(r rune) rune {
					if unicode.IsSpace(r) {
						return ' '
					}
					return r
				})
			}))
	}
	if or(c.ChineseChars, true) {
		steps = append(steps, always(spaceChinese))
	}
	if or(c.StripAccents, lower) {
		steps = append(steps, normalForm(false, false), filter(func(r rune) bool { return !isAccent(r) }))
	}
	if lower {
		steps = append(steps, always(lowercase))
	}
	return func(t text) (text, error) { return applyAll(steps, t) }
}

func applyAll(steps []normalizer, t text) (text, error) {
	for _, step := range steps {
		var err error
		if t, err = step(t); err != nil {
			return t, err
		}
	}
	return t, nil
}

// spaceChinese puts spaces around Chinese characters.
func spaceChinese(t text) text {
	if strings.IndexFunc(t.s, isChinese) < 0 {
		return t
	}
	w := rewrite(t)
	for i, r := range t.s {
		if !isChinese(r) {
			w.keep(i + utf8.RuneLen(r))
			continue
		}
		w.put(' ', 0)
		w.put(r, 1)
		w.put(' ', 1)
	}
	return w.text()
}
