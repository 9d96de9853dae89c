package tokenizer

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"kdistill/internal/testutil"
)

// clean reads a committed tokenizer.
func clean(t testing.TB, name string) *Tokenizer {
	return load(t, testutil.Testdata(t, "tokenizer/clean/"+name+".tokenizer.json"))
}

// checkEncoding fails where an encoding cannot be right whatever the text.
func checkEncoding(t *testing.T, tok *Tokenizer, text string) {
	t.Helper()
	e, err := tok.Encode(text, true)
	if err != nil {
		return
	}
	if len(e.IDs) != len(e.Spans) {
		t.Fatalf("%d ids and %d spans", len(e.IDs), len(e.Spans))
	}
	for i, s := range e.Spans {
		if s.Start < 0 || s.Start > s.End || s.End > len(text) {
			t.Fatalf("token %d of %q: span %v", i, text, s)
		}
		if e.IDs[i] < 0 || int(e.IDs[i]) >= tok.VocabSize() {
			t.Fatalf("token %d of %q: id %d", i, text, e.IDs[i])
		}
	}
	if s := tok.Decode(e.IDs, false); !utf8.ValidString(s) {
		t.Fatalf("%q decodes to ill-formed text", text)
	}
}

func FuzzEncode(f *testing.F) {
	dir := testutil.Testdata(f, "tokenizer/clean")
	var tokenizers []*Tokenizer
	for _, name := range names(f, dir) {
		tokenizers = append(tokenizers, clean(f, name))
	}
	for _, s := range []string{"", "Hello world", "\xff\xfe é 漢字 \xe6\xbc", " <s></s><|endoftext|>  x", "a\u0301\u0323 \r\n\t 123's'ſ", strings.Repeat("ab", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, tok := range tokenizers {
			checkEncoding(t, tok, s)
		}
	})
}

func FuzzDecode(f *testing.F) {
	dir := testutil.Testdata(f, "tokenizer/clean")
	var tokenizers []*Tokenizer
	for _, name := range names(f, dir) {
		tokenizers = append(tokenizers, clean(f, name))
	}
	f.Add([]byte{1, 0, 200, 3, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		var ids []int32
		for i := 0; i+1 < len(data); i += 2 {
			ids = append(ids, int32(data[i])<<8|int32(data[i+1])-100) // some out of range
		}
		for _, tok := range tokenizers {
			tok.Decode(ids, true)
			s := tok.NewStream(false)
			for _, id := range ids {
				s.Add(id)
			}
			s.Flush()
		}
	})
}

func FuzzLoad(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"model":{}}`, `[`, `{"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b","a b",["ab","ab"]]}}`,
		`{"model":{"type":"BPE","vocab":{"a":0,"aa":1,"aaa":2},"merges":["a a","aa a","a aa"],"byte_fallback":true,"unk_token":"a"},"pre_tokenizer":{"type":"ByteLevel"}}`,
		`{"model":{"type":"BPE","vocab":{"a":4294967296},"merges":[]}}`, `{"model":{"vocab":{"a":2147483646},"type":"WordLevel"}}`,
		`{"model":{"type":"Unigram","unk_id":7,"vocab":[["a",1e999],["b",-1.5]]},"decoder":{"type":"Metaspace","replacement":"__"}}`,
		`{"model":{"type":"Unigram","unk_id":0,"vocab":[["\ud83d\ude00",-1.25e-2],["",0]]},"normalizer":{"type":"Precompiled","precompiled_charsmap":"CAAAAAEAAAACAAAAYQ=="}}`,
		`{"model":{"type":"WordPiece","vocab":{"[UNK]":0,"##":1},"max_input_chars_per_word":5},"normalizer":{"type":"Sequence","normalizers":[{"type":"Strip"}]}}`,
		`{"model":{"type":"WordLevel","vocab":{"a":0},"unk_token":"a"},"pre_tokenizer":{"type":"Split","pattern":{"Regex":" ?[^(\\s|[.,!?]&&\\w[:^alpha:]-])]{,3}+\\x{e9}(?i:a)*?"},"behavior":"Contiguous"}}`,
		strings.Repeat(`{"model":`, 1000), strings.Repeat(`[`, 100000),
		`{"model":{"type":"WordLevel","vocab":{"a":0},"unk_token":"a"},"pre_tokenizer":{"type":"Split","pattern":{"Regex":"(a*)*b"},"behavior":"Isolated"},"added_tokens":[{"id":1,"content":"<","normalized":true,"lstrip":true,"rstrip":true}]}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := parse(s)
		if err != nil {
			return
		}
		if tok.VocabSize() == 0 {
			return
		}
		tok.Fingerprint()
		tok.Decode([]int32{0, 1, 2, 1 << 30, -5}, false)
		e, err := tok.Encode("ab <a\xffé aab  ", true)
		if err == nil && len(e.IDs) != len(e.Spans) {
			t.Fatalf("%d ids and %d spans", len(e.IDs), len(e.Spans))
		}
	})
}

// FuzzScanners compares the hand-written scanners with a regular expression engine.
func FuzzScanners(f *testing.F) {
	patterns := map[string]pattern{}
	for expression := range scanners {
		p, err := newRegex(expression)
		if err != nil {
			f.Fatal(err)
		}
		patterns[expression] = p
	}
	for _, s := range []string{"", "Hello  world's \n\n end\t", "12345 ١٢٣ ⅷ½'LL 'ſ'S", " \r\n \u00a0\u3000x", "!?,\r\n..a", "'", " '", "\u2028\u0085 a", "e\u0301é漢字"} {
		f.Add(s)
	}
	var texts []corpusLine
	readJSON(f, testutil.Testdata(f, "tokenizer/clean/corpus.json"), &texts)
	for i, line := range texts {
		if i%7 == 0 {
			f.Add(line.Text)
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = lossy(s)
		for _, r := range s {
			if unicode.In(r, laterLetters, laterNumbers) { // not known to the engine
				return
			}
		}
		for expression, next := range scanners {
			var have, want []int
			for i := 0; i < len(s); {
				i = next(s, i)
				have = append(have, i)
			}
			if err := patterns[expression].find(s, func(i, j int) { want = append(want, j) }); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(have, want) {
				t.Fatalf("%s on %q: words end at %v, want %v", expression, s, have, want)
			}
		}
	})
}

// TestLongWords encodes long texts in which nothing or everything is a word.
func TestLongWords(t *testing.T) {
	testutil.Sequential(t)
	if testing.Short() {
		t.Skip("long texts")
	}
	for _, name := range []string{"own-gpt2", "own-qwen3", "own-llama2", "own-llama2-metaspace", "own-bert", "own-t5"} {
		tok := clean(t, name)
		for _, part := range []string{"a", "th", " ", "\u0301", "漢", "\n ", "'s"} {
			done := make(chan struct{})
			go func() {
				checkEncoding(t, tok, strings.Repeat(part, (1<<17)/len(part)))
				close(done)
			}()
			select {
			case <-done:
			case <-time.After(time.Minute): // far more than a linear algorithm needs
				t.Fatalf("%s: 128 KB of %q take more than a minute", name, part)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	model := `"model":{"type":"WordLevel","vocab":{"a":0},"unk_token":"a"}`
	for file, want := range map[string]string{
		`{}`: "no model",
		`{"model":{"type":"Neural","vocab":{"a":0}}}`:                                                       `"Neural" is not supported`,
		`{` + model + `,"normalizer":{"type":"Magic"}}`:                                                     `"Magic" is not supported`,
		`{` + model + `,"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"UnicodeScripts"}]}}`:   `"UnicodeScripts" is not supported`,
		`{` + model + `,"decoder":{"type":"Reverse"}}`:                                                      `"Reverse" is not supported`,
		`{` + model + `,"post_processor":{"type":"Sandwich"}}`:                                              `"Sandwich" is not supported`,
		`{` + model + `,"pre_tokenizer":{"type":"Split","pattern":{"Regex":"\\X+"},"behavior":"Isolated"}}`: `not supported`,
		`{` + model + `,"pre_tokenizer":{"type":"Split","pattern":{"Regex":"("},"behavior":"Isolated"}}`:    `not supported`,
		`{` + model + `,"pre_tokenizer":{"type":"Split","pattern":{"String":"x"},"behavior":"Odd"}}`:        `behavior "Odd" is not supported`,
		`{` + model + `,"added_tokens":[{"id":9,"content":"<x>"}]}`:                                         `added token "<x>": have id 9, want 1`,
		`{"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b"]}}`:                                   `merge 0: the vocabulary has no token "ab"`,
		`{"model":{"type":"BPE","vocab":{"a":0},"merges":["a c"]}}`:                                         `merge 0: the vocabulary has no token "c"`,
		`{"model":{"type":"BPE","vocab":{"a":0},"merges":["abc"]}}`:                                         `merge 0`,
		`{"model":{"type":"BPE","dropout":0.1,"vocab":{"a":0},"merges":[]}}`:                                `dropout`,
		`{"model":{"type":"BPE","vocab":{"a":2000000000},"merges":[]}}`:                                     `without such gaps`,
		`{"model":{"type":"BPE","vocab":{"a":-1},"merges":[]}}`:                                             `a token id`,
		`{"model":{"type":"Unigram","vocab":[["a",0]],"unk_id":4}}`:                                         `unk_id: have 4`,
		`{"model":{"type":"Unigram","vocab":{"a":0}}}`:                                                      `form`,
		`{` + model + `} x`: `the end`,
		`{"model":`:         `invalid JSON`,
		`{` + model + `,"normalizer":{"type":"Precompiled","precompiled_charsmap":"/////w=="}}`:                 `precompiled_charsmap`,
		`{` + model + `,"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"x"}}]}}`: `special_tokens lacks "x"`,
		`{` + model + `,"post_processor":{"type":"TemplateProcessing","single":[]}}`:                            `once`,
		`{` + model + `,"decoder":{"type":"Metaspace","replacement":"__"}}`:                                     `want one character`,
		`{` + model + `,"normalizer":{"type":"Prepend"}}`:                                                       `"prepend" is missing`,
	} {
		tok, err := parse(file)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\nhave error %v\nwant %q (%v)", file, err, want, tok != nil)
		}
	}
}

func TestLoadFolder(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir); !errors.Is(err, ErrNone) {
		t.Errorf("empty folder: have %v, want ErrNone", err)
	}
	if _, err := Load(filepath.Join(dir, "absent")); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("absent folder: have %v", err)
	}
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(testutil.Testdata(t, "tokenizer/clean/own-bert.tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	write("tokenizer.json", string(data))
	write("tokenizer_config.json", `{"bos_token":null,"eos_token":{"content":"[SEP]","lstrip":false},"pad_token":"","unk_token":"<nothing>","clean_up_tokenization_spaces":true}`)
	write("special_tokens_map.json", `{"pad_token":"[PAD]","bos_token":"[CLS]","eos_token":"[PAD]"}`)
	tok := load(t, dir)
	if tok.BOS() != 2 || tok.EOS() != 0 || tok.PAD() != 0 || tok.UNK() != -1 { // special_tokens_map.json wins, as in transformers 5
		t.Errorf("bos %d, eos %d, pad %d, unk %d", tok.BOS(), tok.EOS(), tok.PAD(), tok.UNK())
	}
	if w := tok.Warnings(); len(w) != 1 || !strings.Contains(w[0], `unk_token: the vocabulary has no token "<nothing>"`) {
		t.Errorf("warnings %q", w)
	}
	write("special_tokens_map.json", `{}`)
	tok = load(t, dir)
	if w := tok.Warnings(); tok.BOS() != -1 || tok.PAD() != -1 || len(w) != 2 || w[1] != "bos_token, pad_token: empty or null, so the tokenizer has none" {
		t.Errorf("bos %d, pad %d, warnings %q", tok.BOS(), tok.PAD(), w)
	}
	write("special_tokens_map.json", `{"pad_token":"[PAD]"}`)
	write("tokenizer_config.json", `{"eos_token":"[SEP]","added_tokens_decoder":{}}`)
	if tok := load(t, dir); tok.BOS() != -1 || tok.EOS() != 3 || tok.PAD() != -1 {
		t.Errorf("with added_tokens_decoder the map counts nothing: bos %d, eos %d, pad %d", tok.BOS(), tok.EOS(), tok.PAD())
	}
	write("tokenizer_config.json", `{"unk_token":5}`)
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "tokenizer_config.json") {
		t.Errorf("wrong settings: have %v", err)
	}
}
