package tokenizer

import (
	"fmt"
	"slices"
	"testing"

	"kdistill/internal/testutil"
)

// TestComponents runs small tokenizers with every component on difficult texts.
func TestComponents(t *testing.T) {
	var file struct {
		Cases []struct {
			Name, Tokenizer string
			Texts           []struct {
				Text      string
				IDs, IDs0 []int32
				Offsets   []int
			}
			Decode []golden
		}
	}
	readJSON(t, testutil.Testdata(t, "tokenizer/components.json.gz"), &file)
	if len(file.Cases) < 200 {
		t.Fatalf("have %d cases", len(file.Cases))
	}
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			tok, err := parse(c.Tokenizer)
			if err != nil {
				t.Fatal(err)
			}
			var lines []corpusLine
			var offsets [][]int
			for _, w := range c.Texts {
				lines = append(lines, corpusLine{Text: w.Text})
				offsets = append(offsets, w.Offsets)
				with, err := tok.Encode(w.Text, true)
				without, err2 := tok.Encode(w.Text, false)
				if err != nil || err2 != nil || !slices.Equal(with.IDs, w.IDs) || !slices.Equal(without.IDs, w.IDs0) {
					t.Errorf("%q:\nhave %v\nwant %v\nwithout special %v\nwant %v (%v)", w.Text, with.IDs, w.IDs, without.IDs, w.IDs0, err)
				}
			}
			compareOffsets(t, charOffsets(t, tok, lines), offsets, lines)
			for _, w := range c.Decode {
				if s := fmt.Sprintf("%q %q", tok.Decode(w.IDs, false), tok.Decode(w.IDs, true)); s != fmt.Sprintf("%q %q", w.Dec, w.Decs) {
					t.Errorf("%v: decoded %s, want %q %q", w.IDs, s, w.Dec, w.Decs)
				}
			}
		})
	}
}
