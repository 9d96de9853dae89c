package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"
	"unicode/utf8"

	"kdistill/internal/testutil"
)

// charOffsets encodes texts and returns the spans in characters, flat, as the reference counts them.
func charOffsets(t *testing.T, tok *Tokenizer, texts []corpusLine) [][]int {
	all := make([][]int, len(texts))
	for i, line := range texts {
		e, err := tok.Encode(line.Text, false)
		if err != nil {
			t.Fatal(err)
		}
		index := make([]int, len(line.Text)+1) // byte -> character
		n := 0
		for b := range index {
			index[b] = n
			if b < len(line.Text) && (b+1 == len(line.Text) || utf8.RuneStart(line.Text[b+1])) {
				n++
			}
		}
		all[i] = []int{}
		for _, s := range e.Spans {
			all[i] = append(all[i], index[s.Start], index[s.End])
		}
	}
	return all
}

func TestOffsetsClean(t *testing.T) {
	testutil.Sequential(t)
	dir := testutil.Testdata(t, "tokenizer/clean")
	var texts []corpusLine
	readJSON(t, filepath.Join(dir, "corpus.json"), &texts)
	for _, name := range names(t, dir) {
		t.Run(name, func(t *testing.T) {
			var want [][]int
			readJSON(t, filepath.Join(dir, "offsets", name+".json.gz"), &want)
			compareOffsets(t, charOffsets(t, load(t, filepath.Join(dir, name+".tokenizer.json")), texts), want, texts)
		})
	}
}

func compareOffsets(t *testing.T, have, want [][]int, texts []corpusLine) {
	wrong := 0
	for i := range want {
		if !slices.Equal(have[i], want[i]) {
			if wrong++; wrong <= 5 {
				t.Errorf("%d %.80q:\nhave %v\nwant %v", i, texts[i].Text, have[i], want[i])
			}
		}
	}
	t.Logf("%d texts, %d differences", len(want), wrong)
}

func TestOffsetsPublished(t *testing.T) {
	testutil.Sequential(t)
	dir := testutil.Shared(t, "data/tokenizer/hf")
	var texts []corpusLine
	readJSON(t, filepath.Join(dir, "corpus.json"), &texts)
	var want map[string]string
	readJSON(t, testutil.Testdata(t, "tokenizer/published-offsets.json"), &want)
	for _, name := range names(t, dir) {
		t.Run(name, func(t *testing.T) {
			data, err := json.Marshal(charOffsets(t, load(t, filepath.Join(dir, name+".tokenizer.json")), texts))
			if err != nil {
				t.Fatal(err)
			}
			if h := sha256.Sum256(data); hex.EncodeToString(h[:]) != want[name] {
				t.Errorf("offsets differ from the reference's (scripts/golden/tokenizer-offsets.py writes them in full)")
			}
		})
	}
}
