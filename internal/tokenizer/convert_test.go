package tokenizer

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// smallPieces are enough for a text of a, b and spaces.
var smallPieces = []piece{
	{"<unk>", 0, pieceUnknown}, {"<s>", 0, pieceControl}, {"</s>", 0, pieceControl},
	{"▁a", -1, pieceNormal}, {"▁", -2, pieceNormal}, {"a", -3, pieceNormal}, {"b", -4, pieceNormal},
}

func TestConvertRefusals(t *testing.T) {
	model := string(modelFile(smallPieces, algorithmBPE, nil))
	with := func(p piece) string {
		return string(modelFile(append(slices.Clone(smallPieces), p), algorithmBPE, nil))
	}
	llama := `{"tokenizer_class":"LlamaTokenizer"}`
	const vocab = `{"a":0,"b":1,"ab":2,"<|endoftext|>":3}`
	for _, c := range []struct {
		name, want string
		files      map[string]string
	}{
		{"no class by the files", "no tokenizer", map[string]string{"tokenizer_config.json": `{}`}},
		{"another class", `"XLNetTokenizer" is not supported`, map[string]string{"tokenizer.model": model, "tokenizer_config.json": `{"tokenizer_class":"XLNetTokenizerFast"}`}},
		{"another model's class", `"GPTNeoXTokenizer" is not supported`, map[string]string{"vocab.json": vocab, "config.json": `{"model_type":"gpt_neox"}`}},
		{"the class of other files", "LlamaTokenizer is made of tokenizer.model, which is missing", map[string]string{"vocab.txt": "a\n", "tokenizer_config.json": llama}},
		{"a wrong config.json", "config.json: ", map[string]string{"tokenizer.model": model, "config.json": `{`}},
		{"a wrong setting", "legacy", map[string]string{"tokenizer.model": model, "tokenizer_config.json": `{"tokenizer_class":"LlamaTokenizer","legacy":"yes"}`}},
		{"a cut model", "tokenizer.model: not a SentencePiece model: unexpected EOF", map[string]string{"tokenizer.model": model[:len(model)-3]}},
		{"an empty model", "it has no pieces", map[string]string{"tokenizer.model": ""}},
		{"a model of tiktoken", "not a SentencePiece model", map[string]string{"tokenizer.model": "IQ== 0\nIg== 1\nIw== 2\n"}},
		{"a word model", "model type 3", map[string]string{"tokenizer.model": string(modelFile(smallPieces, 3, nil))}},
		{"equal pieces", `piece 7 ("a") is piece 5 again`, map[string]string{"tokenizer.model": with(piece{"a", -9, pieceNormal})}},
		{"an empty piece", "piece 7 is empty", map[string]string{"tokenizer.model": with(piece{"", -9, pieceNormal})}},
		{"a piece of bytes", "not UTF-8", map[string]string{"tokenizer.model": with(piece{"\xff", -9, pieceNormal})}},
		{"an endless piece", "want at most", map[string]string{"tokenizer.model": with(piece{strings.Repeat("a", longestPiece+1), -9, pieceNormal})}},
		{"a cut map of characters", "precompiled_charsmap", map[string]string{"tokenizer.model": string(modelFile(smallPieces, algorithmBPE, []byte("xx")))}},
		{"no start token", "bos_token: LlamaTokenizer puts it around a text", map[string]string{"tokenizer.model": model, "tokenizer_config.json": `{"tokenizer_class":"LlamaTokenizer","add_bos_token":true,"bos_token":"<b>"}`}},
		{"a gap", "ids must go on", map[string]string{"tokenizer.model": model, "added_tokens.json": `{"<x>":9}`}},
		{"no id", "want a token id", map[string]string{"tokenizer.model": model, "added_tokens.json": `{"<x>":"x"}`}},
		{"too few sentinels", "extra_ids: have 3", map[string]string{"spiece.model": with(piece{"<extra_id_0>", 0, pieceUser}), "tokenizer_config.json": `{"extra_ids":3}`}},
		{"no merges", "GPT2Tokenizer is made of merges.txt, which is missing", map[string]string{"vocab.json": vocab}},
		{"no vocabulary", "GPT2Tokenizer is made of vocab.json, which is missing", map[string]string{"merges.txt": "a b\n"}},
		{"an odd merge", `merges.txt: merge 1: have "a", want two tokens`, map[string]string{"vocab.json": vocab, "merges.txt": "#version: 0.2\na b\na\n"}},
		{"an unknown merge", `merge 0: the vocabulary has no token "c"`, map[string]string{"vocab.json": vocab, "merges.txt": "a c\n"}},
		{"merges of bytes", "merges.txt: it is not UTF-8", map[string]string{"vocab.json": vocab, "merges.txt": "a \xff\n"}},
		{"a wrong vocabulary", "vocab.json: invalid JSON", map[string]string{"vocab.json": vocab + "x", "merges.txt": "a b\n"}},
		{"no tokens around a text", "cls_token: BertTokenizer puts it around a text", map[string]string{"vocab.txt": "[UNK]\na\n"}},
		{"words of bytes", "vocab.txt: it is not UTF-8", map[string]string{"vocab.txt": "[CLS]\n[SEP]\n\xff\n"}},
	} {
		dir := t.TempDir()
		for name, content := range c.files {
			writeFile(t, dir, name, []byte(content))
		}
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\nhave %v\nwant %q", c.name, err, c.want)
		}
	}
	dir := t.TempDir()
	writeFile(t, dir, "vocab.bin", nil)
	if _, err := Load(dir); !errors.Is(err, ErrNone) {
		t.Errorf("a folder without a tokenizer: have %v", err)
	}
}

// TestConvertNotes holds what is reported where a class does not do what its SentencePiece model asks for.
func TestConvertNotes(t *testing.T) {
	for class, want := range map[string][]string{
		"LlamaTokenizer":    {"makes one space of several", "has an unknown token"},
		"T5Tokenizer":       nil,
		"TokenizersBackend": {"puts a space before each text", "makes one space of several"},
	} {
		dir := t.TempDir()
		writeFile(t, dir, "tokenizer.model", modelFile(smallPieces, algorithmBPE, nil))
		writeFile(t, dir, "tokenizer_config.json", []byte(`{"tokenizer_class":"`+class+`"}`))
		have := load(t, dir).Warnings()
		if len(have) != len(want) {
			t.Errorf("%s: have %q", class, have)
			continue
		}
		for i := range want {
			if !strings.Contains(have[i], want[i]) || !strings.Contains(have[i], class) {
				t.Errorf("%s: have %q, want %q", class, have[i], want[i])
			}
		}
	}
}

// TestWordPieceFile: of two equal lines the later counts, and white space at the end of a line is no part of it.
func TestWordPieceFile(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir, "vocab.txt", []byte("[PAD]\n[UNK]\r\n[CLS]\n[SEP]\nword\nword \nb"))
	tok := load(t, dir)
	e, err := tok.Encode("Word b", true)
	if err != nil || !slices.Equal(e.IDs, []int32{2, 5, 6, 3}) || tok.Decode([]int32{4, 5}, false) != "word" {
		t.Errorf("have %v (%v), decoded %q", e.IDs, err, tok.Decode([]int32{4, 5}, false))
	}
}

// FuzzSentencePiece: whatever the bytes of a model are, loading it ends with an error or a tokenizer that works.
func FuzzSentencePiece(f *testing.F) {
	f.Add(modelFile(smallPieces, algorithmBPE, nil), "a b")
	f.Add(modelFile(smallPieces, algorithmUnigram, nil), " <s>ab▁")
	f.Add([]byte("\x0a\x05\x0a\x01a\x18\x04\x12\x02\x18\x02"), "a")
	pieces := slices.Concat(smallPieces, []piece{{"ab", 1, pieceUser}, {"<0x41>", 0, 6}, {"▁ab", 2, pieceUnused}})
	f.Add(modelFile(pieces, algorithmBPE, []byte("\x04\x00\x00\x00\x00\x00\x00\x00a\x00")), "ab  é")
	f.Fuzz(func(t *testing.T, model []byte, s string) {
		for _, class := range []string{genericClass, "LlamaTokenizer", "GemmaTokenizer", "T5Tokenizer", ""} {
			var tok *Tokenizer
			var err error
			if class == "" {
				tok, err = loadSentencePiece(model)
			} else {
				tok, err = loadFolder(fstest.MapFS{
					"tokenizer.model":       {Data: model},
					"tokenizer_config.json": {Data: []byte(`{"tokenizer_class":"` + class + `","extra_ids":2}`)},
				})
			}
			if err != nil {
				continue
			}
			e, err := tok.Encode(s, true)
			if err != nil {
				continue
			}
			for i, span := range e.Spans {
				if span.Start < 0 || span.Start > span.End || span.End > len(s) {
					t.Fatalf("%q: token %d has span %v", s, e.IDs[i], span)
				}
			}
			tok.Decode(e.IDs, true)
		}
	})
}
