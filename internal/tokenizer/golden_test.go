package tokenizer

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/testutil"
)

// load reads a tokenizer or fails the test.
func load(t testing.TB, path string) *Tokenizer {
	t.Helper()
	tok, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// readJSON reads a JSON file, gzipped where its name says so.
func readJSON(t testing.TB, path string, into any) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := json.NewDecoder(f)
	if strings.HasSuffix(path, ".gz") {
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		d = json.NewDecoder(z)
	}
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

type corpusLine struct{ Cat, Text string }

// golden is what Hugging Face's library gives for one text.
type golden struct {
	IDs  []int32 // with special tokens
	IDs0 []int32 // without
	Dec  string  // IDs decoded
	Decs string  // without special tokens
}

func testEncode(t *testing.T, tokenizer, corpus, expected string) {
	tok := load(t, tokenizer)
	var texts []corpusLine
	var want []golden
	readJSON(t, corpus, &texts)
	readJSON(t, expected, &want)
	if len(texts) != len(want) || len(texts) < 1000 {
		t.Fatalf("have %d texts and %d results", len(texts), len(want))
	}
	wrong := 0
	report := func(i int, what string, have, want any) {
		if wrong++; wrong <= 10 {
			t.Errorf("%s %d %s %.80q:\nhave %.300v\nwant %.300v", what, i, texts[i].Cat, texts[i].Text, have, want)
		}
	}
	for i, w := range want {
		with, err := tok.Encode(texts[i].Text, true)
		if err != nil || !slices.Equal(with.IDs, w.IDs) {
			report(i, "with special", with.IDs, w.IDs)
		}
		without, err := tok.Encode(texts[i].Text, false)
		if err != nil || !slices.Equal(without.IDs, w.IDs0) {
			report(i, "without special", without.IDs, w.IDs0)
		}
		if around := slices.Concat(tok.Prefix(), without.IDs, tok.Suffix()); !slices.Equal(around, with.IDs) {
			report(i, "prefix and suffix", around, with.IDs)
		}
		if want := specialSpans(tok, without, len(texts[i].Text)); !slices.Equal(with.Spans, want) {
			report(i, "spans of special tokens", with.Spans, want)
		}
		if s := tok.Decode(w.IDs, false); s != w.Dec {
			report(i, "decode", s, w.Dec)
		}
		if s := tok.Decode(w.IDs, true); s != w.Decs {
			report(i, "decode without special", s, w.Decs)
		}
	}
	t.Logf("%d texts, %d differences", len(want), wrong)
}

// specialSpans puts the spans of the special tokens around those of the text: empty, at its beginning and its end.
func specialSpans(tok *Tokenizer, e Encoding, length int) []Span {
	spans := make([]Span, len(tok.Prefix()))
	spans = append(spans, e.Spans...)
	for range tok.Suffix() {
		spans = append(spans, Span{length, length})
	}
	return spans
}

func TestEncodeClean(t *testing.T) {
	dir := testutil.Testdata(t, "tokenizer/clean")
	for _, name := range names(t, dir) {
		t.Run(name, func(t *testing.T) {
			testEncode(t, filepath.Join(dir, name+".tokenizer.json"), filepath.Join(dir, "corpus.json"), filepath.Join(dir, "expected", name+".json.gz"))
		})
	}
}

func TestEncodePublished(t *testing.T) {
	testutil.Sequential(t)
	dir := testutil.Shared(t, "data/tokenizer/hf")
	for _, name := range names(t, dir) {
		t.Run(name, func(t *testing.T) {
			testEncode(t, filepath.Join(dir, name+".tokenizer.json"), filepath.Join(dir, "corpus.json"), filepath.Join(dir, "expected", "enc-"+name+".json.gz"))
		})
	}
}

func TestDecodePublished(t *testing.T) {
	testutil.Sequential(t)
	dir := testutil.Shared(t, "data/tokenizer/hf")
	for _, name := range names(t, dir) {
		t.Run(name, func(t *testing.T) {
			tok := load(t, filepath.Join(dir, name+".tokenizer.json"))
			var want []golden
			readJSON(t, filepath.Join(dir, "expected", "dec-"+name+".json.gz"), &want)
			wrong := 0
			for _, w := range want {
				for skip, text := range map[bool]string{false: w.Dec, true: w.Decs} {
					if s := tok.Decode(w.IDs, skip); s != text {
						if wrong++; wrong <= 10 {
							t.Errorf("%v skip %v:\nhave %q\nwant %q", w.IDs, skip, s, text)
						}
					}
				}
			}
			t.Logf("%d lists of ids, %d differences", len(want), wrong)
		})
	}
}

// names returns the tokenizers of a folder of NAME.tokenizer.json files.
func names(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.tokenizer.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no tokenizers (%v)", dir, err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".tokenizer.json")
	}
	return files
}

// TestModels holds the tokenizers of the real models to their reference.
func TestModels(t *testing.T) {
	for _, name := range []string{"stories260k", "en10-tok105"} {
		t.Run(name, func(t *testing.T) {
			tok := load(t, testutil.Shared(t, "models/"+name))
			var want struct {
				Tokenization []struct {
					Text    string
					IDs     []int32
					Tokens  []string
					Decoded string
				}
			}
			readJSON(t, testutil.Shared(t, "golden/"+name+".json"), &want)
			if len(want.Tokenization) < 10 {
				t.Fatal("no cases")
			}
			for _, w := range want.Tokenization {
				e, err := tok.Encode(w.Text, true)
				if err != nil || !slices.Equal(e.IDs, w.IDs) {
					t.Errorf("%q: have %v, want %v (%v)", w.Text, e.IDs, w.IDs, err)
				}
				for i, id := range e.IDs {
					if s, _ := tok.Token(id); s != w.Tokens[i] {
						t.Errorf("%q: token %d: have %q, want %q", w.Text, i, s, w.Tokens[i])
					}
				}
				if s := tok.Decode(e.IDs, true); s != w.Decoded {
					t.Errorf("%q: decoded %q, want %q", w.Text, s, w.Decoded)
				}
			}
			if tok.BOS() != 1 || tok.EOS() != 2 || tok.UNK() != 0 || tok.PAD() != -1 {
				t.Errorf("special tokens %d %d %d %d", tok.BOS(), tok.EOS(), tok.UNK(), tok.PAD())
			}
		})
	}
}
