package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"kdistill/internal/testutil"
)

// TestStream holds what a stream writes to the decoded whole.
func TestStream(t *testing.T) {
	testutil.Sequential(t)
	dir := testutil.Testdata(t, "tokenizer/clean")
	for _, name := range names(t, dir) {
		t.Run(name, func(t *testing.T) {
			tok := clean(t, name)
			var want []golden
			readJSON(t, filepath.Join(dir, "expected", name+".json.gz"), &want)
			for _, w := range want {
				for skip, whole := range map[bool]string{false: w.Dec, true: w.Decs} {
					var b strings.Builder
					s := tok.NewStream(skip)
					for _, id := range w.IDs {
						piece := s.Add(id)
						if !utf8.ValidString(piece) {
							t.Fatalf("%v: %q is not whole characters", w.IDs, piece)
						}
						b.WriteString(piece)
					}
					b.WriteString(s.Flush())
					if b.String() != whole {
						t.Errorf("%v: have %q, want %q", w.IDs, b.String(), whole)
					}
				}
			}
		})
	}
}

func TestStreamHoldsBackPartsOfCharacters(t *testing.T) {
	for _, name := range []string{"own-gpt2", "own-llama2"} {
		tok := clean(t, name)
		e, err := tok.Encode("x🦔", false)
		if err != nil || len(e.IDs) < 4 {
			t.Fatalf("%s: have %v, want the bytes of the character (%v)", name, e.IDs, err)
		}
		s := tok.NewStream(true)
		var pieces []string
		for _, id := range e.IDs {
			if p := s.Add(id); p != "" {
				pieces = append(pieces, p)
			}
		}
		if strings.Join(pieces, "|") != "x|🦔" {
			t.Errorf("%s: have %q", name, pieces)
		}
		s.Add(e.IDs[len(e.IDs)-2]) // the middle of the character
		if p := s.Flush(); p != "\uFFFD" {
			t.Errorf("%s: a broken character: have %q", name, p)
		}
		if p := s.Flush(); p != "" {
			t.Errorf("%s: flushed twice: have %q", name, p)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	dir := testutil.Testdata(t, "tokenizer/clean")
	var lines []corpusLine
	readJSON(t, filepath.Join(dir, "corpus.json"), &lines)
	var texts []string
	for _, line := range lines[:300] {
		texts = append(texts, line.Text)
	}
	for _, name := range names(t, dir) {
		tok := clean(t, name)
		var want []Encoding
		for _, s := range texts {
			e, err := clean1(tok, s)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, e)
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				have, err := tok.EncodeBatch(texts, true)
				if err != nil || !reflect.DeepEqual(have, want) {
					t.Errorf("%s: a batch differs from single texts (%v)", name, err)
				}
			})
		}
		wg.Wait()
	}
}

// clean1 encodes with a state of its own, so that nothing is cached.
func clean1(tok *Tokenizer, s string) (e Encoding, err error) {
	err = tok.encode(&e, s, true, new(state))
	return e, err
}

func TestEncodeBatchError(t *testing.T) {
	tok, err := parse(`{"model":{"type":"WordLevel","vocab":{"a":0},"unk_token":"<unk>"}}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tok.EncodeBatch([]string{"a", "b", "c"}, true); err == nil || !strings.Contains(err.Error(), `text 1: the word "b" is unknown`) {
		t.Errorf("have %v", err)
	}
}

func TestIllFormedText(t *testing.T) {
	tok := clean(t, "own-gpt2")
	want, err := tok.Encode("a\uFFFD\uFFFDb\uFFFD", false) // as Python's bytes.decode(errors="replace") has it
	if err != nil {
		t.Fatal(err)
	}
	have, err := tok.Encode("a\xff\xe6\xbcb\xf0\x9f\x98", false)
	if err != nil || !reflect.DeepEqual(have.IDs, want.IDs) {
		t.Errorf("have %v, want %v (%v)", have.IDs, want.IDs, err)
	}
	if last := have.Spans[len(have.Spans)-1]; last != (Span{5, 8}) {
		t.Errorf("span of the last: have %v, want bytes 5 to 8", last)
	}
}

// edited loads a clean tokenizer with changes made to its file.
func edited(t *testing.T, name string, edit func(file map[string]any)) *Tokenizer {
	t.Helper()
	data, err := os.ReadFile(testutil.Testdata(t, "tokenizer/clean/"+name+".tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]any
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	edit(file)
	if data, err = json.Marshal(file); err != nil {
		t.Fatal(err)
	}
	tok, err := parse(string(data))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestFingerprint(t *testing.T) {
	dir := testutil.Testdata(t, "tokenizer/clean")
	all := names(t, dir)
	for i, x := range all {
		for j, y := range all {
			a, b := clean(t, x), clean(t, y)
			if same := a.Fingerprint() == b.Fingerprint(); same != (i == j) || same != (Difference(a, b) == "") {
				t.Errorf("%s and %s: same fingerprint: %v; difference: %q", x, y, same, Difference(a, b))
			}
		}
	}
	model := func(f map[string]any) map[string]any { return f["model"].(map[string]any) }
	original := clean(t, "own-gpt2")
	for want, edit := range map[string]func(f map[string]any){
		// What does not touch ids, or says the same in another way.
		"": func(f map[string]any) {
			f["pre_tokenizer"] = map[string]any{"type": "Sequence", "pretokenizers": []any{map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false}}}
			f["decoder"], f["post_processor"] = nil, nil
			merges := model(f)["merges"].([]any)
			for i, m := range merges {
				left, right, _ := strings.Cut(m.(string), " ")
				merges[i] = []string{left, right}
			}
			f["added_tokens"].([]any)[0].(map[string]any)["special"] = false
		},
		`merge 5 differs`: func(f map[string]any) {
			m := model(f)["merges"].([]any)
			m[5], m[6] = m[6], m[5]
		},
		`the number of merges differs: 900 and 899`: func(f map[string]any) { model(f)["merges"] = model(f)["merges"].([]any)[:899] },
		`token 65 is "b" in the first and "c" in the second`: func(f map[string]any) {
			v := model(f)["vocab"].(map[string]any)
			v["b"], v["c"] = v["c"], v["b"]
		},
		`token 1157 is none in the first and "<pad>" in the second`: func(f map[string]any) {
			f["added_tokens"] = append(f["added_tokens"].([]any), map[string]any{"id": 1157, "content": "<pad>", "special": true})
		},
		`the added tokens differ`:   func(f map[string]any) { f["added_tokens"].([]any)[0].(map[string]any)["lstrip"] = true },
		`the normalizers differ`:    func(f map[string]any) { f["normalizer"] = map[string]any{"type": "NFC"} },
		`the pre_tokenizers differ`: func(f map[string]any) { f["pre_tokenizer"].(map[string]any)["add_prefix_space"] = true },
		`the models differ: BPE`:    func(f map[string]any) { model(f)["ignore_merges"] = true },
	} {
		other := edited(t, "own-gpt2", edit)
		have := Difference(original, other)
		if !strings.HasPrefix(have, want) || (have == "") != (want == "") {
			t.Errorf("have %q, want %q", have, want)
		}
		if same := original.Fingerprint() == other.Fingerprint(); same != (want == "") {
			t.Errorf("%q: same fingerprint: %v", want, same)
		}
	}
}
