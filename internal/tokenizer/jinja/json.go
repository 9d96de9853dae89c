package jinja

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// FromJSON returns the value that Python's json module reads: objects keep their order, and 1 and 1.0 differ. What this
// package could not keep exact is an error: an integer of more than 64 bits, half a surrogate pair.
func FromJSON(data []byte) (v any, err error) {
	defer recovered(&err)
	if !utf8.Valid(data) {
		return nil, errors.New("the JSON is not UTF-8")
	}
	if err := checkSurrogates(string(data)); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if v, err = fromJSON(d, 0); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("there is more behind the JSON value")
	}
	return v, nil
}

func fromJSON(d *json.Decoder, depth int) (any, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("the JSON is nested more than %d deep", maxNesting)
	}
	token, err := d.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Number:
		return jsonNumber(string(t))
	case json.Delim:
		list, dict := List{}, NewDict()
		for d.More() {
			key := ""
			if t == '{' {
				k, err := d.Token()
				if err != nil {
					return nil, err
				}
				key = k.(string)
			}
			v, err := fromJSON(d, depth+1)
			if err != nil {
				return nil, err
			}
			if t == '{' {
				dict.Set(key, v)
			} else {
				list = append(list, v)
			}
		}
		if _, err := d.Token(); err != nil {
			return nil, err
		}
		if t == '{' {
			return dict, nil
		}
		return list, nil
	}
	return token, nil // a string, a bool or nil
}

func jsonNumber(s string) (any, error) {
	if strings.ContainsAny(s, ".eE") {
		f, _ := strconv.ParseFloat(s, 64) // beyond the range: infinity, as in Python
		return f, nil
	}
	i, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("the integer %s has more than 64 bits", s)
	}
	return i, nil
}

// checkSurrogates refuses an escape that is half a surrogate pair, which encoding/json would replace.
func checkSurrogates(s string) error {
	for i := strings.IndexByte(s, '\\'); i >= 0 && i+1 < len(s); {
		high := surrogate(s[i:])
		switch low := surrogate(s[min(i+6, len(s)):]); {
		case high == 0:
			i += 2
		case utf16.DecodeRune(high, low) == utf8.RuneError:
			return fmt.Errorf("the escape %s is half a character", s[i:i+6])
		default:
			i += 12
		}
		next := strings.IndexByte(s[min(i, len(s)):], '\\')
		if next < 0 {
			return nil
		}
		i += next
	}
	return nil
}

// surrogate returns the surrogate that s begins with as an escape, 0 where it begins with none.
func surrogate(s string) rune {
	if len(s) < 6 || s[:2] != `\u` {
		return 0
	}
	u, err := strconv.ParseUint(s[2:6], 16, 16)
	if err != nil || !utf16.IsSurrogate(rune(u)) {
		return 0
	}
	return rune(u)
}
