package tokenizer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// reader is a forward reader of JSON for the large parts of tokenizer.json (vocabularies and merges), which
// encoding/json reads several times slower. Strings without escapes are slices of the file.
type reader struct {
	s string
	i int
}

var errJSON = errors.New("invalid JSON")

func (r *reader) fail(want string) error {
	have := "the end"
	if r.i < len(r.s) {
		have = strconv.QuoteRune([]rune(r.s[r.i:min(len(r.s), r.i+4)])[0])
	}
	return fmt.Errorf("%w at byte %d: have %s, want %s", errJSON, r.i, have, want)
}

// peek skips white space and returns the next byte, 0 at the end.
func (r *reader) peek() byte {
	for r.i < len(r.s) {
		switch c := r.s[r.i]; c {
		case ' ', '\n', '\t', '\r':
			r.i++
		default:
			return c
		}
	}
	return 0
}

// accept consumes c where it is next.
func (r *reader) accept(c byte) bool {
	if r.peek() != c {
		return false
	}
	r.i++
	return true
}

// object calls f with each key; f must consume the value.
func (r *reader) object(f func(key string) error) error {
	if !r.accept('{') {
		return r.fail("an object")
	}
	if r.accept('}') {
		return nil
	}
	for {
		key, err := r.str()
		if err != nil {
			return err
		}
		if !r.accept(':') {
			return r.fail("':'")
		}
		if err := f(key); err != nil {
			return err
		}
		if r.accept(',') {
			continue
		}
		if r.accept('}') {
			return nil
		}
		return r.fail("',' or '}'")
	}
}

// array calls f before each element; f must consume it.
func (r *reader) array(f func() error) error {
	if !r.accept('[') {
		return r.fail("a list")
	}
	if r.accept(']') {
		return nil
	}
	for {
		if err := f(); err != nil {
			return err
		}
		if r.accept(',') {
			continue
		}
		if r.accept(']') {
			return nil
		}
		return r.fail("',' or ']'")
	}
}

// str reads a string.
func (r *reader) str() (string, error) {
	if !r.accept('"') {
		return "", r.fail("a string")
	}
	start := r.i
	for r.i < len(r.s) {
		switch c := r.s[r.i]; {
		case c == '"':
			r.i++
			return r.valid(r.s[start : r.i-1])
		case c == '\\':
			return r.escaped(start)
		case c < ' ':
			return "", r.fail("an escaped control character")
		}
		r.i++
	}
	return "", r.fail(`'"'`)
}

func (r *reader) valid(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("%w before byte %d: a string is not UTF-8", errJSON, r.i)
	}
	return s, nil
}

// escaped reads the rest of a string that began at start and has an escape at r.i.
func (r *reader) escaped(start int) (string, error) {
	var b strings.Builder
	b.WriteString(r.s[start:r.i])
	for r.i < len(r.s) {
		c := r.s[r.i]
		r.i++
		switch {
		case c == '"':
			return r.valid(b.String())
		case c < ' ':
			r.i--
			return "", r.fail("an escaped control character")
		case c != '\\':
			b.WriteByte(c)
			continue
		}
		if r.i == len(r.s) {
			break
		}
		c = r.s[r.i]
		r.i++
		switch c {
		case '"', '\\', '/':
			b.WriteByte(c)
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'u':
			u, err := r.hex4()
			if err != nil {
				return "", err
			}
			if u >= 0xD800 && u < 0xDC00 && strings.HasPrefix(r.s[r.i:], `\u`) {
				r.i += 2
				low, err := r.hex4()
				if err != nil {
					return "", err
				}
				if low < 0xDC00 || low > 0xDFFF {
					return "", r.fail("the second half of a surrogate pair")
				}
				u = (u-0xD800)<<10 + (low - 0xDC00) + 0x10000
			} else if u >= 0xD800 && u <= 0xDFFF {
				return "", r.fail("a surrogate pair")
			}
			b.WriteRune(u)
		default:
			r.i--
			return "", r.fail("an escape")
		}
	}
	return "", r.fail(`'"'`)
}

func (r *reader) hex4() (rune, error) {
	if r.i+4 > len(r.s) {
		return 0, r.fail("four hexadecimal digits")
	}
	u, err := strconv.ParseUint(r.s[r.i:r.i+4], 16, 16)
	if err != nil {
		return 0, r.fail("four hexadecimal digits")
	}
	r.i += 4
	return rune(u), nil
}

// id reads a token id: an integer from 0 to 2³¹ − 2.
func (r *reader) id() (int32, error) {
	c := r.peek()
	start, n := r.i, int64(0)
	for ; c >= '0' && c <= '9' && n < 1<<31; r.i++ {
		n = n*10 + int64(c-'0')
		c = 0
		if r.i+1 < len(r.s) {
			c = r.s[r.i+1]
		}
	}
	if r.i == start || n >= 1<<31-1 || c == '.' || c == 'e' || c == 'E' {
		r.i = start
		return 0, r.fail("a token id")
	}
	return int32(n), nil
}

// number reads a number with the arithmetic of the reference library's JSON reader (digits as one integer, then one
// multiplication or division by a power of ten), which is not always the nearest float64: scores must tie as there.
func (r *reader) number() (float64, error) {
	r.peek()
	start := r.i
	negative := r.i < len(r.s) && r.s[r.i] == '-'
	if negative {
		r.i++
	}
	var digits uint64
	exponent, seen, point, full := 0, false, false, false
scan:
	for ; r.i < len(r.s); r.i++ {
		c := r.s[r.i]
		switch {
		case c >= '0' && c <= '9':
			seen = true
			d := uint64(c - '0')
			if full = full || digits > (1<<64-1)/10 || digits == (1<<64-1)/10 && d > 5; full {
				if !point {
					exponent++
				}
				continue
			}
			digits = digits*10 + d
			if point {
				exponent--
			}
		case c == '.' && !point:
			point = true
		default:
			break scan
		}
	}
	if seen && r.i < len(r.s) && (r.s[r.i] == 'e' || r.s[r.i] == 'E') {
		end := r.i + 1
		for end < len(r.s) && (r.s[end] == '+' || r.s[end] == '-' || r.s[end] >= '0' && r.s[end] <= '9') {
			end++
		}
		e, err := strconv.Atoi(r.s[r.i+1 : end])
		if err != nil || e > 1000 || e < -1000 {
			return 0, r.fail("an exponent")
		}
		exponent += e
		r.i = end
	}
	if !seen {
		r.i = start
		return 0, r.fail("a number")
	}
	f := float64(digits)
	for ; exponent < -308; exponent += 308 {
		f /= 1e308
	}
	if exponent < 0 {
		f /= pow10(-exponent)
	} else if digits != 0 {
		f *= pow10(min(exponent, 308))
	}
	if negative {
		f = -f
	}
	return f, nil
}

func pow10(n int) float64 {
	f, _ := strconv.ParseFloat("1e"+strconv.Itoa(n), 64)
	return f
}

// raw consumes one value, of any depth, and returns its text. Brackets are matched, other syntax is left to the
// reader of the value.
func (r *reader) raw() (string, error) {
	r.peek()
	start := r.i
	var open []byte
	for {
		switch c := r.peek(); c {
		case 0:
			return "", r.fail("a value")
		case '{', '[':
			open = append(open, c)
			r.i++
		case '}', ']':
			if len(open) == 0 || open[len(open)-1] != c-2 {
				return "", r.fail("a value")
			}
			open = open[:len(open)-1]
			r.i++
		case '"':
			if err := r.skipString(); err != nil {
				return "", err
			}
		case ',', ':':
			if len(open) == 0 {
				return "", r.fail("a value")
			}
			r.i++
			continue
		default:
			from := r.i
			for r.i < len(r.s) && !strings.ContainsRune(" \n\t\r,:{}[]\"", rune(r.s[r.i])) {
				r.i++
			}
			if r.i == from {
				return "", r.fail("a value")
			}
		}
		if len(open) == 0 {
			return r.s[start:r.i], nil
		}
	}
}

func (r *reader) skipString() error {
	for r.i++; r.i < len(r.s); r.i++ {
		switch r.s[r.i] {
		case '"':
			r.i++
			return nil
		case '\\':
			r.i++
		}
	}
	return r.fail(`'"'`)
}
