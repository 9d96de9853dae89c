package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"kdistill/internal/testutil"
)

// foldersFile is testdata/tokenizer/folders.json.gz, made by scripts/golden/tokenizer-folders.py.
type foldersFile struct {
	Models map[string][]byte
	Cases  []folderCase
	// Sentencepiece is what the sentencepiece library gives.
	Sentencepiece map[string][]struct {
		Text string
		IDs  []int32
	}
}

type folderCase struct {
	Name    string
	Files   map[string]string
	Special [4]int32 // bos, eos, pad, unk
	Texts   []struct {
		Text      string
		IDs, IDs0 []int32
		Offsets   []int
	}
	Decode    []golden
	SHA256    string
	NoOffsets bool `json:"no_offsets"` // SHA256 leaves them out: the reference's are wrong
}

// write makes the folder of a case.
func (c folderCase) write(t testing.TB, models map[string][]byte) string {
	dir := t.TempDir()
	for name, content := range c.Files {
		data := []byte(content)
		if model, ok := strings.CutPrefix(content, "model:"); ok {
			data = models[model]
		}
		writeFile(t, dir, name, data)
	}
	return dir
}

func writeFile(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFolders(t testing.TB) foldersFile {
	var file foldersFile
	readJSON(t, testutil.Testdata(t, "tokenizer/folders.json.gz"), &file)
	if len(file.Cases) < 30 || len(file.Models) < 5 {
		t.Fatalf("have %d cases and %d models", len(file.Cases), len(file.Models))
	}
	return file
}

func cleanCorpus(t testing.TB) []corpusLine {
	var lines []corpusLine
	readJSON(t, testutil.Testdata(t, "tokenizer/clean/corpus.json"), &lines)
	return lines
}

// TestFolders holds folders without a tokenizer.json to transformers' AutoTokenizer.
func TestFolders(t *testing.T) {
	testutil.Sequential(t)
	file, corpus := readFolders(t), cleanCorpus(t)
	for _, c := range file.Cases {
		t.Run(c.Name, func(t *testing.T) {
			tok := load(t, c.write(t, file.Models))
			if have := [4]int32{tok.BOS(), tok.EOS(), tok.PAD(), tok.UNK()}; have != c.Special {
				t.Errorf("bos, eos, pad, unk: have %d, want %d", have, c.Special)
			}
			var lines []corpusLine
			var offsets [][]int
			for _, w := range c.Texts {
				if w.Offsets != nil {
					lines = append(lines, corpusLine{Text: w.Text})
					offsets = append(offsets, w.Offsets)
				}
				with, err := tok.Encode(w.Text, true)
				without, err2 := tok.Encode(w.Text, false)
				if err != nil || err2 != nil || !slices.Equal(with.IDs, w.IDs) || !slices.Equal(without.IDs, w.IDs0) {
					t.Errorf("%q:\nhave %v\nwant %v\nwithout special %v\nwant %v (%v)", w.Text, with.IDs, w.IDs, without.IDs, w.IDs0, err)
				}
			}
			compareOffsets(t, charOffsets(t, tok, lines), offsets, lines)
			for _, w := range c.Decode {
				if have, want := [2]string{tok.Decode(w.IDs, false), tok.Decode(w.IDs, true)}, [2]string{w.Dec, w.Decs}; have != want {
					t.Errorf("%v: decoded %q, want %q", w.IDs, have, want)
				}
			}
			if have := corpusSum(t, tok, corpus, !c.NoOffsets); have != c.SHA256 {
				t.Errorf("the %d texts of the corpus: have SHA-256 %s, want %s", len(corpus), have, c.SHA256)
			}
		})
	}
}

// corpusSum hashes what a tokenizer makes of texts as scripts/golden/tokenizer-folders.py does.
func corpusSum(t *testing.T, tok *Tokenizer, lines []corpusLine, spans bool) string {
	h := sha256.New()
	offsets := make([][]int, len(lines))
	if spans {
		offsets = charOffsets(t, tok, lines)
	}
	for i, line := range lines {
		with, err := tok.Encode(line.Text, true)
		without, err2 := tok.Encode(line.Text, false)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		numbers := func(v any) string { return strings.Trim(fmt.Sprint(v), "[]") }
		fmt.Fprintf(h, "%s|%s|%s|%s|%s\n", numbers(with.IDs), numbers(without.IDs), numbers(offsets[i]),
			tok.Decode(with.IDs, false), tok.Decode(with.IDs, true))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// TestSentencePieceFile holds models that are no part of a folder to the sentencepiece library.
func TestSentencePieceFile(t *testing.T) {
	file := readFolders(t)
	if len(file.Sentencepiece) < 2 {
		t.Fatalf("have %d models", len(file.Sentencepiece))
	}
	for name, want := range file.Sentencepiece {
		t.Run(name, func(t *testing.T) {
			tok := loadModel(t, file.Models[name])
			for _, w := range want {
				e, err := tok.Encode(w.Text, true)
				if err != nil || !slices.Equal(e.IDs, w.IDs) {
					t.Errorf("%q:\nhave %v\nwant %v (%v)", w.Text, e.IDs, w.IDs, err)
				}
			}
			if tok.BOS() != 1 || tok.EOS() != 2 || tok.UNK() != 0 {
				t.Errorf("bos %d, eos %d, unk %d", tok.BOS(), tok.EOS(), tok.UNK())
			}
			e, err := tok.Encode("a bc", false)
			if s := tok.Decode(slices.Concat([]int32{1}, e.IDs, []int32{2}), true); err != nil || s != "a bc" {
				t.Errorf("decoded %q (%v)", s, err)
			}
		})
	}
	for _, name := range []string{"bpe-symbols", "bpe-rules", "unigram-nfkc"} {
		path := filepath.Join(t.TempDir(), "m.model")
		writeFile(t, filepath.Dir(path), "m.model", file.Models[name])
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), "name it tokenizer.model in a folder") {
			t.Errorf("%s: have %v", name, err)
		}
	}
}

// TestSentencePieceControl: the sentencepiece library makes no control piece of a text, by merging neither.
func TestSentencePieceControl(t *testing.T) {
	pieces := slices.Concat(smallPieces, []piece{{"</", -5, pieceNormal}, {"s>", -6, pieceNormal}, {"<", -7, pieceNormal}, {"/", -8, pieceNormal}, {"s", -9, pieceNormal}, {">", -10, pieceNormal}})
	e, err := loadModel(t, modelFile(pieces, algorithmBPE, nil)).Encode("</s>", false)
	if want := []int32{4, 7, 8}; err != nil || !slices.Equal(e.IDs, want) {
		t.Errorf("have %v, want %v (%v)", e.IDs, want, err)
	}
}

func loadModel(t *testing.T, data []byte) *Tokenizer {
	dir := t.TempDir()
	writeFile(t, dir, "m.model", data)
	return load(t, filepath.Join(dir, "m.model"))
}

// TestPublishedModels reads the model of Llama 2, and that of T5 put together again, as folders and alone.
func TestPublishedModels(t *testing.T) {
	dir := testutil.Shared(t, "data/tokenizer")
	llama, err := os.ReadFile(filepath.Join(dir, "llama32k", "tokenizer.model"))
	if err != nil {
		t.Fatal(err)
	}
	var want struct{ SHA256 map[string]string }
	readJSON(t, testutil.Testdata(t, "tokenizer/published-folders.json"), &want)
	var corpus []corpusLine
	readJSON(t, filepath.Join(dir, "hf", "corpus.json"), &corpus)
	for _, c := range []struct {
		name, config string
		model        func() []byte
	}{
		{"llama", `{"tokenizer_class": "LlamaTokenizer", "add_bos_token": true}`, func() []byte { return llama }},
		{"llama legacy", `{"tokenizer_class": "LlamaTokenizer", "legacy": true}`, func() []byte { return llama }},
		{"llama no class", `{}`, func() []byte { return llama }},
		{"t5", `{"tokenizer_class": "T5Tokenizer"}`, func() []byte { return t5Model(t, filepath.Join(dir, "hf", "t5-small.tokenizer.json")) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := t.TempDir()
			writeFile(t, folder, "tokenizer.model", c.model())
			writeFile(t, folder, "tokenizer_config.json", []byte(c.config))
			if have := corpusSum(t, load(t, folder), corpus, true); have != want.SHA256[c.name] {
				t.Errorf("have SHA-256 %s, want %s", have, want.SHA256[c.name])
			}
		})
	}
	t.Run("llama sentencepiece", func(t *testing.T) {
		tok := loadModel(t, llama)
		h := sha256.New()
		for _, line := range corpus {
			e, err := tok.Encode(line.Text, true)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(h, strings.Trim(fmt.Sprint(e.IDs), "[]"))
		}
		if have := hex.EncodeToString(h.Sum(nil)); have != want.SHA256["llama sentencepiece"] {
			t.Errorf("have SHA-256 %s, want %s", have, want.SHA256["llama sentencepiece"])
		}
	})
}

// t5Model makes the SentencePiece model that a T5 tokenizer was made of.
func t5Model(t *testing.T, path string) []byte {
	var file struct {
		Normalizer component
		Model      struct{ Vocab [][2]any }
	}
	readJSON(t, path, &file)
	var pieces []piece
	for id, v := range file.Model.Vocab[:32000] { // the others are the sentinels
		p := piece{v[0].(string), float32(v[1].(float64)), pieceNormal}
		if id < 3 {
			p.kind = []uint64{pieceControl, pieceControl, pieceUnknown}[id]
		}
		pieces = append(pieces, p)
	}
	return modelFile(pieces, algorithmUnigram, file.Normalizer.Charsmap)
}

// TestTrainedModel reads the model that the network of models/en10-tok105 was trained with.
func TestTrainedModel(t *testing.T) {
	tok := load(t, testutil.Shared(t, "data/ckpt/en10-tok105/tok105.model"))
	var want struct {
		Tokenization []struct {
			Text, Decoded string
			IDs           []int32
		}
	}
	readJSON(t, testutil.Shared(t, "golden/en10-tok105.json"), &want)
	if len(want.Tokenization) < 10 {
		t.Fatalf("have %d texts", len(want.Tokenization))
	}
	for _, w := range want.Tokenization {
		if w.Text == "▁" {
			continue // for the sentencepiece library it is a space; the numbers come from a tokenizer.json
		}
		e, err := tok.Encode(w.Text, false)
		if err != nil || !slices.Equal(append([]int32{tok.BOS()}, e.IDs...), w.IDs) {
			t.Errorf("%q:\nhave %v\nwant %v after the start token (%v)", w.Text, e.IDs, w.IDs, err)
		}
		if s := tok.Decode(w.IDs, true); s != w.Decoded {
			t.Errorf("%v: decoded %q, want %q", w.IDs, s, w.Decoded)
		}
	}
}

// TestPublishedFolders takes published tokenizers apart into the files that they were made of.
func TestPublishedFolders(t *testing.T) {
	dir := testutil.Shared(t, "data/tokenizer/hf")
	type contents struct {
		Model struct {
			Vocab  json.RawMessage
			Merges []string
		}
	}
	for name, files := range map[string]func(t *testing.T, c contents) map[string][]byte{
		"gpt2": func(t *testing.T, c contents) map[string][]byte {
			return map[string][]byte{"vocab.json": c.Model.Vocab, "merges.txt": []byte("#version: 0.2\n" + strings.Join(c.Model.Merges, "\n") + "\n")}
		},
		"bert-base-uncased": func(t *testing.T, c contents) map[string][]byte {
			var vocab map[string]int
			if err := json.Unmarshal(c.Model.Vocab, &vocab); err != nil {
				t.Fatal(err)
			}
			lines := make([]string, len(vocab))
			for token, id := range vocab {
				lines[id] = token
			}
			return map[string][]byte{"vocab.txt": []byte(strings.Join(lines, "\n"))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			var c contents
			readJSON(t, filepath.Join(dir, name+".tokenizer.json"), &c)
			folder := t.TempDir()
			for file, data := range files(t, c) {
				writeFile(t, folder, file, data)
			}
			testEncode(t, folder, filepath.Join(dir, "corpus.json"), filepath.Join(dir, "expected", "enc-"+name+".json.gz"))
		})
	}
}

// modelFile writes a SentencePiece model.
func modelFile(pieces []piece, algorithm uint64, charsmap []byte) []byte {
	var out []byte
	message := func(number protowire.Number, content []byte) {
		out = protowire.AppendBytes(protowire.AppendTag(out, number, protowire.BytesType), content)
	}
	for _, p := range pieces {
		m := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), p.text)
		m = protowire.AppendFixed32(protowire.AppendTag(m, 2, protowire.Fixed32Type), math.Float32bits(p.score))
		message(1, protowire.AppendVarint(protowire.AppendTag(m, 3, protowire.VarintType), p.kind))
	}
	message(2, protowire.AppendVarint(protowire.AppendTag(nil, 3, protowire.VarintType), algorithm))
	message(3, protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), charsmap))
	return out
}
