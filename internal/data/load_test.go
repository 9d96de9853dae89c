package data

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"kdistill/internal/tokenizer"
)

func TestFormats(t *testing.T) {
	text := func(documents ...string) (want [][]int32) {
		for _, d := range documents {
			want = append(want, ids(d))
		}
		return want
	}
	tests := []struct {
		name, file, content string
		f                   File
		want                [][]int32
	}{
		{"one document a file, as it is", "a.txt", " ab \ncd\n", File{}, text(" ab \ncd\n")},
		{"byte order mark", "a.txt", "\ufeffab", File{}, text("ab")},
		{"separator, stripped, blanks skipped", "a.md", "\n ab \n<|e|>\n<|e|><|e|> c d <|e|>\n", File{Separator: "<|e|>"}, text("ab", "c d")},
		{"separator of one line", "names.txt", "emma\r\nolivia\n\nava", File{Separator: "\n"}, text("emma", "olivia", "ava")},
		{"separator that overlaps itself", "a.txt", "xaaay", File{Separator: "aa"}, text("x", "ay")},
		{"JSON lines", "a.jsonl", "\ufeff\n{\"text\": \"ab\"}\r\n\n  {\"id\": 1, \"text\": \"c\\u00e9\"}", File{}, text("ab", "cé")},
		{"another field", "a.ndjson", `{"body": "ab", "Body": 3, "text": 7}`, File{Field: "body"}, text("ab")},
		{"JSON array", "a.json", " [\n{\"text\": \"ab\"},\n\n {\"text\":\n\"c\"} ]\n", File{}, text("ab", "c")},
		{"named format", "a.dat", `{"text": "ab"}`, File{Format: "jsonl"}, text("ab")},
		{"prompt and completion", "a.jsonl", `{"q": "ab", "a": "c"}`, File{PromptField: "q", CompletionField: "a"}, [][]int32{append(ids("abc"), 2)}},
		{"tokens", "a.jsonl", "{\"input_ids\": [5,6]}\n{\"input_ids\": [ 7 ], \"labels\": null, \"position_ids\": [9]}", File{Format: "tokens"}, [][]int32{{5, 6}, {7}}},
		{"tokens in an array", "a.json", `[{"input_ids":[5,6]},{"input_ids":[7]}]`, File{Format: "tokens"}, [][]int32{{5, 6}, {7}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.f.Path = write(t, test.file, test.content)
			documentsAre(t, load(t, fake{}, LoadOptions{}, test.f), test.want)
		})
	}
}

func documentsAre(t *testing.T, d *Dataset, want [][]int32) {
	t.Helper()
	var have [][]int32
	for i := range d.Len() {
		ids, _ := d.Document(i)
		have = append(have, ids)
	}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("have %v, want %v", have, want)
	}
}

func TestParquet(t *testing.T) {
	type row struct {
		N        int64   `parquet:"n"`
		Text     string  `parquet:"text"`
		Question *string `parquet:"question"`
		Answer   string  `parquet:"answer,dict"`
	}
	path := filepath.Join(t.TempDir(), "a.parquet")
	var rows []row
	var texts, pairs [][]int32
	for i := range 500 {
		q := fmt.Sprintf("q%d", i)
		r := row{int64(i), strings.Repeat("x", 1+i), &q, fmt.Sprint("a", i%7)}
		rows = append(rows, r)
		texts, pairs = append(texts, ids(r.Text)), append(pairs, append(ids(q+r.Answer), 2))
	}
	save := func() {
		t.Helper()
		if err := parquet.WriteFile(path, rows, parquet.MaxRowsPerRowGroup(123), parquet.PageBufferSize(1000)); err != nil {
			t.Fatal(err)
		}
	}
	save()
	documentsAre(t, load(t, fake{}, LoadOptions{}, File{Path: path}), texts)
	documentsAre(t, load(t, fake{}, LoadOptions{}, File{Path: path, PromptField: "question", CompletionField: "answer"}), pairs)

	rows[200].Question = nil
	save()
	for _, test := range []struct {
		f    File
		want string
	}{
		{File{PromptField: "question", CompletionField: "answer"}, `row 201: field "question": want a string, have null`},
		{File{Field: "n"}, `row 1: field "n": want a string, have a number`},
		{File{Field: "body"}, `no field "body": set field to one of answer, n, question, text`},
	} {
		test.f.Path = path
		fails(t, fake{}, LoadOptions{}, test.want, test.f)
	}

	// Damage anywhere is an error or goes unnoticed, but never a panic.
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := 0; cut < len(whole); cut += 1 + len(whole)/40 {
		fails(t, fake{}, LoadOptions{}, "cut.parquet", File{Path: write(t, "cut.parquet", string(whole[:cut]))})
	}
	for at := 0; at < len(whole); at += 1 + len(whole)/150 {
		damaged := slices.Clone(whole)
		damaged[at] ^= 0x55
		if err := os.WriteFile(path, damaged, 0o644); err != nil {
			t.Fatal(err)
		}
		_, _ = Load(context.Background(), []File{{Path: path}}, fake{}, LoadOptions{})
	}
}

// fails checks that loading f gives an error that contains want.
func fails(t *testing.T, encoder Encoder, o LoadOptions, want string, f File) {
	t.Helper()
	_, err := Load(context.Background(), []File{f}, encoder, o)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("have error %v, want %q", err, want)
	}
}

func TestWrongDocuments(t *testing.T) {
	tokens, pair := File{Format: "tokens"}, File{PromptField: "q", CompletionField: "a"}
	tests := []struct {
		file, content string
		f             File
		want          string
	}{
		{"a.txt", "", File{}, "a.txt: no documents in it (format text)"},
		{"a.txt", " \n ", File{}, "a.txt: no documents"},
		{"a.txt", "--\n--", File{Separator: "--"}, "a.txt: no documents"},
		{"a.txt", "ab\n--\n\nc\xffd--", File{Separator: "--"}, "a.txt:4: invalid UTF-8 at byte 1 of the document: convert"},
		{"a.txt", "ab--~~--c", File{Separator: "--"}, "a.txt:1: a document without tokens"},
		{"a.txt", "ab--!", File{Separator: "--"}, "a.txt:1: the encoder fails"},
		{"a.jsonl", "\n", File{}, "a.jsonl: no documents"},
		{"a.json", "[]", File{}, "a.json: no documents"},
		{"a.jsonl", "{\"text\": \"ab\"}\n\n{\"text\": \"\"}", File{}, "a.jsonl:3: a document without tokens"},
		{"a.jsonl", "{\"text\": \"ab\"}\n{\"text\": \"\xff\"}", File{}, "a.jsonl:2: invalid UTF-8"},
		{"a.jsonl", "{\"text\": \"ab\"}\n{\"text\": \"c", File{}, "a.jsonl:2: not valid JSON"},
		{"a.jsonl", "{\n\"text\": \"ab\"}", File{}, "a.jsonl:1: not valid JSON: unexpected end of JSON input (each line must be one object"},
		{"a.jsonl", "hello", File{}, "a.jsonl:1: not valid JSON"},
		{"a.jsonl", `"hello"`, File{}, "a.jsonl:1: want a JSON object, have a string"},
		{"a.jsonl", "null", File{}, "a.jsonl:1: want a JSON object, have null"},
		{"a.jsonl", `{"body": "x", "ab": 1}`, File{}, `a.jsonl:1: no field "text": set field to one of ab, body`},
		{"a.jsonl", `{}`, File{}, `a.jsonl:1: no field "text": there are no fields`},
		{"a.jsonl", `{"input_ids": [1]}`, File{}, `no field "text", but input_ids: set format: tokens`},
		{"a.jsonl", `{"q": "x", "b": "y"}`, pair, `no field "a": set completion_field to one of b, q`},
		{"a.jsonl", `{"text": 3}`, File{}, `a.jsonl:1: field "text": want a string, have a number`},
		{"a.jsonl", `{"text": null}`, File{}, `want a string, have null`},
		{"a.json", `[{"text": "ab"}, {"text": ["c"]}]`, File{}, `a.json: element 2: field "text": want a string, have a list`},
		{"a.json", `[{"text": "ab"}, 7]`, File{}, `a.json: element 2: want a JSON object, have a number`},
		{"a.json", `[{"text": "ab"}, {"te`, File{}, `a.json: near element 2 of the array`},
		{"a.json", `[{"text": "ab"}`, File{}, `a.json: near element 1 of the array`},
		{"a.json", `[{"text": "ab"}] 3`, File{}, `something follows the closing bracket`},
		{"a.json", `[{"text": "ab"} {"text": "ab"}]`, File{}, `a.json: near element 2 of the array`},
		{"a.jsonl", `{"text": "x"}`, tokens, `a.jsonl:1: no field "input_ids" (there is: text)`},
		{"a.jsonl", "{\"input_ids\": [5]}\n{\"input_ids\": []}", tokens, "a.jsonl:2: a document without tokens"},
		{"a.jsonl", `{"input_ids": [5, 6], "attention_mask": [0, 0]}`, tokens, "a.jsonl:1: a document without tokens"},
		{"a.jsonl", `{"input_ids": "5 6"}`, tokens, "a.jsonl:1: input_ids: want a list of integers, have a string"},
		{"a.jsonl", `{"input_ids": null}`, tokens, "input_ids: want a list of integers, have null"},
		{"a.jsonl", `{"input_ids": [5, null]}`, tokens, "input_ids[1]: want an integer, have null"},
		{"a.jsonl", `{"input_ids": [5, 6.5]}`, tokens, "input_ids[1]: want an integer, have 6.5"},
		{"a.jsonl", `{"input_ids": [[5, 6]]}`, tokens, "input_ids[0]: want an integer, have [5"},
		{"a.jsonl", `{"input_ids": [5, 4294967301]}`, tokens, "input_ids[1]: 4294967301 is too large for an id"},
		{"a.jsonl", `{"input_ids": [5, 200]}`, tokens, "a.jsonl:1: token 1 is 200, outside the vocabulary of 200 ids"},
		{"a.jsonl", `{"input_ids": [-100]}`, tokens, "token 0 is -100, outside"},
		{"a.jsonl", `{"input_ids": [5], "labels": [-1]}`, tokens, "label 0 is -1, outside"},
		{"a.jsonl", `{"input_ids": [5], "labels": [200]}`, tokens, "label 0 is 200, outside"},
		{"a.jsonl", `{"input_ids": [5], "labels": [5, 6]}`, tokens, "labels: have 2 entries, want 1"},
		{"a.jsonl", `{"input_ids": [5, 6], "labels": [5]}`, tokens, "labels: have 1 entries, want 2"},
		{"a.jsonl", `{"input_ids": [5, 6], "attention_mask": [1]}`, tokens, "attention_mask: have 1 entries, want 2"},
		{"a.jsonl", `{"input_ids": [5, 6], "attention_mask": [1, 2]}`, tokens, "attention_mask[1]: have 2, want 0 or 1"},
		{"a.jsonl", `{"input_ids": [5, 6], "attention_mask": [1, true]}`, tokens, "attention_mask[1]: want an integer, have true"},
		{"a.parquet", "PAR1 is what it begins with", File{}, "a.parquet: not a parquet file"},
		{"a.dat", "x", File{}, `a.dat: the extension ".dat" tells no format: set format to one of chat, cot, icl, jsonl, parquet, text, tokens`},
		{"a.txt", "x", File{Format: "csv"}, `unknown format "csv"`},
		{"a.txt", "x", File{AppendEOS: "yes"}, `append_eos: have "yes"`},
		{"a.txt", "x", File{Field: "text"}, "are for jsonl, parquet and tsv"},
		{"a.jsonl", "x", File{Separator: "--"}, "separator is for text"},
		{"a.jsonl", "x", File{PromptField: "q"}, "belong together"},
		{"a.jsonl", "x", File{Field: "x", PromptField: "q", CompletionField: "a"}, "exclude each other"},
		{"a.jsonl", "x", File{MaskPrompt: true}, "mask_prompt needs"},
		{"a.jsonl", "x", File{Format: "tokens", AppendEOS: "true"}, "put the end token into input_ids"},
	}
	for _, test := range tests {
		t.Run(test.want, func(t *testing.T) {
			test.f.Path = write(t, test.file, test.content)
			fails(t, fake{}, LoadOptions{}, test.want, test.f)
		})
	}

	path := write(t, "a.txt", "x")
	fails(t, fake{}, LoadOptions{}, "missing.txt", File{Path: path + "/missing.txt"})
	fails(t, fake{}, LoadOptions{}, "a file without path", File{})
	fails(t, fake{noEOS: true}, LoadOptions{}, "no end token", File{Path: path, AppendEOS: "true"})
	fails(t, fake{}, LoadOptions{Vocab: 10}, "outside the vocabulary of 10 ids", File{Path: path})
	fails(t, fake{prefix: []int32{150}}, LoadOptions{Vocab: 140}, "the tokenizer's start token 0 is 150", File{Path: path})
	fails(t, nil, LoadOptions{Vocab: 10}, "needs a tokenizer", File{Path: path})
	fails(t, nil, LoadOptions{}, "size of the vocabulary must be given", File{Path: path, Format: "tokens"})
	if _, err := Load(context.Background(), nil, fake{}, LoadOptions{}); err == nil {
		t.Error("no files: want an error")
	}
}

// manyFiles are enough documents to keep all workers busy, over several files.
func manyFiles(t *testing.T) []File {
	var files []File
	for i := range 3 {
		var b strings.Builder
		for j := range 700 {
			fmt.Fprintf(&b, "document %d %d %s\n", i, j, strings.Repeat("x", j%50))
		}
		files = append(files, File{Path: write(t, fmt.Sprintf("%d.txt", i), b.String()), Separator: "\n"})
	}
	return files
}

func TestLoadDoesNotDependOnThreads(t *testing.T) {
	files := manyFiles(t)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	one := load(t, fake{}, LoadOptions{Bytes: true}, files...)
	runtime.GOMAXPROCS(7)
	seven := load(t, fake{}, LoadOptions{Bytes: true}, files...)
	if !reflect.DeepEqual(one, seven) {
		t.Error("one and seven threads give different data")
	}
	if have, want := one.Len(), 2100; have != want {
		t.Errorf("have %d documents, want %d", have, want)
	}
	if have, want := one.Name(700), files[1].Path+", document 1"; have != want {
		t.Errorf("have name %q, want %q", have, want)
	}
	if have, want := one.Name(2099), files[2].Path+", document 700"; have != want {
		t.Errorf("have name %q, want %q", have, want)
	}

	first := load(t, fake{}, LoadOptions{Limit: 750}, files...)
	if first.Len() != 750 || first.Tokens() != one.start[750] || !slices.Equal(first.ids, one.ids[:first.Tokens()]) {
		t.Errorf("limit: have %d documents and %d tokens, want 750 and %d", first.Len(), first.Tokens(), one.start[750])
	}

	// Of several wrong documents the first is named, however fast the others are.
	content, err := os.ReadFile(files[1].Path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(content), "\n")
	for i := 300; i < len(lines); i++ {
		lines[i] = "!"
	}
	files[1].Path = write(t, "wrong.txt", strings.Join(lines, "\n"))
	files[2].Path = write(t, "wrong.txt", "")
	for range 20 {
		_, err := Load(context.Background(), files, fake{}, LoadOptions{})
		if err == nil || !strings.HasSuffix(err.Error(), "wrong.txt:301: the encoder fails") {
			t.Fatalf("have error %v, want line 301", err)
		}
	}
}

// cancelling cancels its context at the n-th text.
type cancelling struct {
	fake
	cancel context.CancelFunc
}

func (c cancelling) Encode(text string, special bool) (tokenizer.Encoding, error) {
	if strings.HasPrefix(text, "document 1 5") {
		c.cancel()
	}
	return c.fake.Encode(text, special)
}

func TestLoadStopsWithItsContext(t *testing.T) {
	files := manyFiles(t)
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if d, err := Load(ctx, files, cancelling{cancel: cancel}, LoadOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("have %v, %v, want context.Canceled", d, err)
	}
	load(t, fake{}, LoadOptions{Limit: 1}, files...)
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("have %d goroutines, want %d as before", after, before)
	}
}

func TestHugeLine(t *testing.T) {
	text := strings.Repeat("ab", 4<<20)
	path := write(t, "a.jsonl", `{"text": "`+text+`"}`)
	if d := load(t, fake{words: true}, LoadOptions{Vocab: 1 << 30}, File{Path: path}); d.ids[0] != int32(10+len(text)) {
		t.Errorf("have token %d, want one of %d bytes", d.ids[0], len(text))
	}
	path = write(t, "a.txt", text+"--"+text)
	if d := load(t, fake{words: true}, LoadOptions{Vocab: 1 << 30}, File{Path: path, Separator: "--"}); d.Len() != 2 {
		t.Errorf("have %d documents, want 2", d.Len())
	}
	for n := 4080; n < 4100; n++ { // a separator across the ends of what was read at once
		path := write(t, "a.txt", strings.Repeat("x", n)+"<sep>y")
		if d := load(t, fake{}, LoadOptions{}, File{Path: path, Separator: "<sep>"}); d.Len() != 2 {
			t.Errorf("separator at byte %d: have %d documents, want 2", n, d.Len())
		}
	}
}

func TestFingerprint(t *testing.T) {
	base := []document{{ids: []int32{1, 2, 3}}, {ids: []int32{4}}}
	same := dataset(nil, true, base...).Fingerprint()
	if have := dataset(nil, true, base[0], document{ids: []int32{4}}).Fingerprint(); have != same {
		t.Error("equal documents have different fingerprints")
	}
	for name, d := range map[string]*Dataset{
		"token":    dataset(nil, true, base[0], document{ids: []int32{5}}),
		"boundary": dataset(nil, true, document{ids: []int32{1, 2}}, document{ids: []int32{3, 4}}),
		"label":    dataset(nil, true, base[0], document{ids: []int32{4}, labels: []int32{Ignore}}),
		"order":    dataset(nil, true, base[1], base[0]),
		"prefix":   dataset([]int32{1}, true, base...),
		"raw":      dataset(nil, false, base...),
	} {
		if d.Fingerprint() == same {
			t.Errorf("another %s has the same fingerprint", name)
		}
	}
	one := dataset(nil, true, document{ids: []int32{1, 2}, labels: []int32{Ignore, 2}})
	other := dataset(nil, true, document{ids: []int32{1, 2}, labels: []int32{1, Ignore}})
	if one.Fingerprint() == other.Fingerprint() {
		t.Error("other labels have the same fingerprint")
	}
}

// Whatever the bytes are, reading gives documents within the vocabulary, each with as many labels as ids, or an error that names the file.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{"input_ids": [1, 2], "labels": [-100, 2], "attention_mask": [1, 0], "text": "ab"}`,
		"[{\"input_ids\": [3]},\n{\"text\": \"\\ud800\"}]", "\ufeff{}\n\r\n{\"input_ids\":[]}", "[", "[1", "{\"text\": 3}", "\xff", "[[]]", "{\"input_ids\": [1e3, -0, 00]}",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	path := filepath.Join(f.TempDir(), "a.json")
	f.Fuzz(func(t *testing.T, content []byte, tokens bool) {
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		file := File{Path: path}
		if tokens {
			file.Format = "tokens"
		}
		d, err := Load(context.Background(), []File{file}, fake{}, LoadOptions{})
		if err != nil {
			if !strings.HasPrefix(err.Error(), path) {
				t.Errorf("an error without its place: %v", err)
			}
			return
		}
		for i := range d.Len() {
			ids, labels := d.Document(i)
			if len(ids) == 0 || len(labels) != len(ids) {
				t.Errorf("document %d: %d ids, %d labels", i, len(ids), len(labels))
			}
			if err := errors.Join(inVocabulary("token", ids, fakeVocab, false), inVocabulary("label", labels, fakeVocab, true)); err != nil {
				t.Error(err)
			}
		}
	})
}
