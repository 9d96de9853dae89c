package tokenizer

import (
	"encoding/json"
	"strconv"
	"testing"
	"unicode"
	"unicode/utf8"

	"kdistill/internal/testutil"
)

// TestUnicode compares every code point with what the reference library takes it for.
func TestUnicode(t *testing.T) {
	var file struct {
		Classes map[string][][2]rune
		Changes map[string]json.RawMessage
	}
	readJSON(t, testutil.Testdata(t, "tokenizer/unicode.json.gz"), &file)
	not := func(f func(rune) bool) func(rune) bool { return func(r rune) bool { return !f(r) } }
	for name, class := range map[string]func(rune) bool{
		"letter":      isLetter,
		"number":      isNumber,
		"numeric":     isNumeric,
		"space":       unicode.IsSpace,
		"white_space": unicode.IsSpace,
		"not_word":    not(isWord),
		"punctuation": isPunctuation,
		"bert_split":  func(r rune) bool { return isPunctuation(r) || unicode.IsSpace(r) },
		"mark":        isMark,
		"accent":      isAccent,
		"control":     func(r rune) bool { return r == 0 || r == utf8.RuneError || isControl(r) },
	} {
		compareClass(t, name, file.Classes[name], class)
	}
	var chinese [][2]rune
	if err := json.Unmarshal(file.Changes["chinese"], &chinese); err != nil {
		t.Fatal(err)
	}
	compareClass(t, "chinese", chinese, isChinese)
	for name, c := range map[string]component{
		"lowercase": {Type: "Lowercase"}, "nfd": {Type: "NFD"}, "nfkd": {Type: "NFKD"}, "nfc": {Type: "NFC"}, "nfkc": {Type: "NFKC"}, "nmt": {Type: "Nmt"},
	} {
		normalize, err := newNormalizer(c)
		if err != nil {
			t.Fatal(err)
		}
		changes := map[string]string{}
		if err := json.Unmarshal(file.Changes[name], &changes); err != nil || len(changes) < 10 {
			t.Fatal(name, len(changes), err)
		}
		wrong := 0
		for r := range rune(utf8.MaxRune + 1) {
			want, ok := changes[strconv.Itoa(int(r))]
			if !ok {
				want = string(r)
			}
			if !utf8.ValidRune(r) {
				continue
			}
			if have, _ := normalize(text{s: string(r)}); have.s != want {
				if wrong++; wrong < 10 {
					t.Errorf("%s of %U: have %q, want %q", name, r, have.s, want)
				}
			}
		}
	}
}

func compareClass(t *testing.T, name string, ranges [][2]rune, class func(rune) bool) {
	if len(ranges) == 0 {
		t.Fatalf("%s: no data", name)
	}
	want := make([]bool, utf8.MaxRune+1)
	for _, r := range ranges {
		for c := r[0]; c <= r[1]; c++ {
			want[c] = true
		}
	}
	wrong := 0
	for r := range rune(utf8.MaxRune + 1) {
		if utf8.ValidRune(r) && class(r) != want[r] {
			if wrong++; wrong < 10 {
				t.Errorf("%s of %U: have %v, want %v", name, r, class(r), want[r])
			}
		}
	}
}
