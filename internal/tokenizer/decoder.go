package tokenizer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decoder turns tokens back into text, a list of pieces into another one.
type decoder func(pieces []string) []string

func newDecoders(c *component) ([]decoder, error) {
	if c == nil {
		return nil, nil
	}
	all := []decoder{} // an empty Sequence joins the pieces as they are
	for _, c := range flatten(c, func(c component) []component { return c.Decoders }) {
		d, err := newDecoder(c)
		if err != nil {
			return nil, fmt.Errorf("decoder: %w", err)
		}
		all = append(all, d)
	}
	return all, nil
}

func newDecoder(c component) (decoder, error) {
	switch c.Type {
	case "ByteLevel":
		return decodeByteLevel, nil
	case "ByteFallback":
		return decodeByteFallback, nil
	case "Fuse":
		return func(pieces []string) []string { return []string{strings.Join(pieces, "")} }, nil
	case "Replace":
		return replaceDecoder(c)
	case "Strip":
		return stripDecoder(c)
	case "Metaspace":
		m, err := newMetaspace(c)
		return m.decode, err
	case "WordPiece":
		prefix, cleanup := or(c.Prefix, "##"), or(c.Cleanup, true)
		return func(pieces []string) []string { return decodeWordPiece(pieces, prefix, cleanup) }, nil
	case "BPEDecoder":
		suffix := or(c.Suffix, "</w>")
		return func(pieces []string) []string {
			for i, s := range pieces {
				with := " "
				if i == len(pieces)-1 {
					with = ""
				}
				pieces[i] = strings.ReplaceAll(s, suffix, with)
			}
			return pieces
		}, nil
	case "CTC":
		return ctcDecoder(c), nil
	}
	return nil, unknown(c)
}

func decodeByteLevel(pieces []string) []string {
	var b []byte
	for _, s := range pieces {
		start := len(b)
		for _, r := range s {
			c, ok := runeByte(r)
			if !ok { // not written at the byte level: an added token
				b = append(b[:start], s...)
				break
			}
			b = append(b, c)
		}
	}
	return []string{lossy(string(b))}
}

// decodeByteFallback joins runs of byte tokens; a run that is not UTF-8 becomes one U+FFFD for each byte.
func decodeByteFallback(pieces []string) []string {
	var out []string
	var run []byte
	flush := func() {
		if utf8.Valid(run) {
			if len(run) > 0 {
				out = append(out, string(run))
			}
		} else {
			for range run {
				out = append(out, "\uFFFD")
			}
		}
		run = run[:0]
	}
	for _, s := range pieces {
		if b, ok := byteToken(s); ok {
			run = append(run, b)
			continue
		}
		flush()
		out = append(out, s)
	}
	flush()
	return out
}

// byteToken reads <0x0A>.
func byteToken(s string) (byte, bool) {
	if len(s) != 6 || !strings.HasPrefix(s, "<0x") || s[5] != '>' {
		return 0, false
	}
	b, err := strconv.ParseUint(strings.TrimPrefix(s[3:5], "+"), 16, 8) // Rust reads +F as F
	return byte(b), err == nil
}

func replaceDecoder(c component) (decoder, error) {
	p, err := newPattern(c)
	if err != nil {
		return nil, err
	}
	content, err := need(c.Content, c, "content")
	if err != nil {
		return nil, err
	}
	return func(pieces []string) []string {
		for i, s := range pieces {
			var b strings.Builder
			done, any := 0, false
			if p.find(s, func(i, j int) {
				b.WriteString(s[done:i])
				b.WriteString(content)
				done, any = j, true
			}) == nil && any {
				b.WriteString(s[done:])
				pieces[i] = b.String()
			}
		}
		return pieces
	}, nil
}

// stripDecoder takes at most start characters off the beginning and stop off the end of each piece.
func stripDecoder(c component) (decoder, error) {
	r, err := needRune(c.Content, c, "content")
	cut := string(r)
	return func(pieces []string) []string {
		for i, s := range pieces {
			for n := 0; n < c.Start && strings.HasPrefix(s, cut); n++ {
				s = s[len(cut):]
			}
			for n := 0; n < c.Stop && strings.HasSuffix(s, cut); n++ {
				s = s[:len(s)-len(cut)]
			}
			pieces[i] = s
		}
		return pieces
	}, err
}

func (m metaspace) decode(pieces []string) []string {
	for i, s := range pieces {
		with := " "
		if i == 0 && m.scheme != "never" {
			with = ""
		}
		pieces[i] = strings.ReplaceAll(s, m.mark, with)
	}
	return pieces
}

func decodeWordPiece(pieces []string, prefix string, cleanup bool) []string {
	for i, s := range pieces {
		if i > 0 {
			if rest, ok := strings.CutPrefix(s, prefix); ok {
				s = rest
			} else {
				s = " " + s
			}
		}
		if cleanup {
			s = cleanUpWordPiece(s)
		}
		pieces[i] = s
	}
	return pieces
}

func cleanUpWordPiece(s string) string {
	for _, r := range [][2]string{{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"},
		{" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}} {
		s = strings.ReplaceAll(s, r[0], r[1])
	}
	return s
}

// cleanUpSpaces is transformers' clean_up_tokenization.
func cleanUpSpaces(s string) string {
	for _, r := range [][2]string{{" .", "."}, {" ?", "?"}, {" !", "!"}, {" ,", ","}, {" ' ", "'"}, {" n't", "n't"},
		{" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}} {
		s = strings.ReplaceAll(s, r[0], r[1])
	}
	return s
}

// ctcDecoder drops repeated tokens and padding (speech recognition).
func ctcDecoder(c component) decoder {
	pad, delimiter, cleanup := or(c.PadToken, "<pad>"), or(c.WordDelimiter, "|"), or(c.Cleanup, true)
	return func(pieces []string) []string {
		var out []string
		for _, s := range slices.Compact(pieces) {
			s = strings.ReplaceAll(s, pad, "")
			if cleanup {
				s = strings.ReplaceAll(cleanUpWordPiece(s), delimiter, " ")
			}
			if s != "" {
				out = append(out, s)
			}
		}
		return out
	}
}
