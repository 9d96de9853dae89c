package data

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"kdistill/internal/testutil"
)

// TestPairsLikeTransformers: ids, token types and truncation of pairs are those of Hugging Face's tokenizers.
func TestPairsLikeTransformers(t *testing.T) {
	var golden struct {
		Truncated []struct {
			A, B       string
			Length     int
			IDs, Types []int32
		}
	}
	if err := json.Unmarshal(read(t, "tokenizer/pairs.json"), &golden); err != nil {
		t.Fatal(err)
	}
	tok, shortened := ownBERT(t), 0
	for _, g := range golden.Truncated {
		line, err := json.Marshal(map[string]any{"text": g.A, "other": g.B, "label": 1})
		if err != nil {
			t.Fatal(err)
		}
		d := load(t, tok, LoadOptions{Task: Classification, Classes: Classes{Count: 2}}, File{Path: write(t, "a.jsonl", string(line)), PairField: "other"})
		s := newSource(t, d, Options{SequenceLength: g.Length, Packing: true})
		b, err := s.Next(1)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(g.IDs); s.Stats().Tokens != n || !slices.Equal(b.Tokens[:n], g.IDs) || !slices.Equal(b.TokenTypes[:n], g.Types) {
			t.Errorf("%q, %q in %d: have %v, types %v\nwant %v, types %v", g.A, g.B, g.Length, b.Tokens, b.TokenTypes, g.IDs, g.Types)
		}
		if s.Stats().Dropped > 0 {
			shortened++
		}
	}
	if shortened < 20 {
		t.Errorf("only %d pairs were truncated: nothing is tested", shortened)
	}
}

// TestClassesOfFiles: the same documents in every format.
func TestClassesOfFiles(t *testing.T) {
	type row struct {
		S string `parquet:"s"`
		Y int32  `parquet:"y"`
	}
	table := filepath.Join(t.TempDir(), "a.parquet")
	if err := parquet.WriteFile(table, []row{{"abc", 1}, {"de", 0}}); err != nil {
		t.Fatal(err)
	}
	x := ids("abcde")
	for _, f := range []File{
		{Path: write(t, "a.tsv", "y\tid\ts\r\n1\t7\tabc\r\n\r\n0\t8\tde"), Field: "s", LabelField: "y"},
		{Path: write(t, "b.tsv", "abc\t1\nde\t0\n"), Columns: []string{"text", "label"}},
		{Path: write(t, "c.tsv", "text\tlabel\nabc\tgood\nde\tbad\n")},
		{Path: write(t, "a.jsonl", `{"text": "abc", "label": 1}`+"\n"+`{"text": "de", "label": "bad"}`)},
		{Path: write(t, "b.json", `[{"text": "abc", "label": "1"}, {"text": "de", "label": 0}]`)},
		{Path: table, Field: "s", LabelField: "y"},
	} {
		d := load(t, fake{prefix: []int32{1}, suffix: []int32{2}}, LoadOptions{Task: Classification, Classes: Classes{2, []string{"bad", "good"}}}, f)
		s := newSource(t, d, Options{SequenceLength: 8})
		b, err := s.Next(2)
		if err != nil {
			t.Fatal(err)
		}
		want := [][]int32{{1, x[0], x[1], x[2], 2, 0, 0, 0, 1, x[3], x[4], 2, 0, 0, 0, 0}, {1, -100, -100, -100, -100, -100, -100, -100, 0, -100, -100, -100, -100, -100, -100, -100}}
		if !reflect.DeepEqual([][]int32{b.Tokens, b.Labels}, want) || b.TokenTypes != nil || b.Targets != nil {
			t.Errorf("%s: have %v, labels %v, want %v", f.Path, b.Tokens, b.Labels, want)
		}
		if have := [2]int{b.Labelled(), s.Stats().Labels}; have != [2]int{2, 2} {
			t.Errorf("%s: have %v labels, want 2", f.Path, have)
		}
	}
}

// TestClassifiedTokens: ids with a label are taken as they are, and cut at the end.
func TestClassifiedTokens(t *testing.T) {
	f := File{Path: write(t, "a.jsonl", `{"input_ids": [1, 5, 6, 2, 0], "attention_mask": [1, 1, 1, 1, 0], "token_type_ids": [0, 0, 1, 1, 0], "labels": 2}`), Format: "tokens"}
	d := load(t, nil, LoadOptions{Task: Classification, Vocab: 10, Classes: Classes{Count: 3}}, f)
	s := newSource(t, d, Options{SequenceLength: 3})
	b, err := s.Next(1)
	if err != nil || !slices.Equal(b.Tokens, []int32{1, 5, 6}) || !slices.Equal(b.TokenTypes, []int32{0, 0, 1}) || !slices.Equal(b.Labels, []int32{2, -100, -100}) {
		t.Errorf("have %+v, error %v", b, err)
	}
	if s.Stats().Dropped != 1 {
		t.Errorf("have %d tokens dropped, want 1", s.Stats().Dropped)
	}
}

func TestRegression(t *testing.T) {
	f := File{Path: write(t, "a.tsv", "text\tlabel\nabc\t-1.25\nde\t3\n")}
	d := load(t, fake{}, LoadOptions{Task: Classification, Classes: Classes{Count: 1}}, f)
	s := newSource(t, d, Options{SequenceLength: 3})
	b, err := s.Next(2)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(b.Labels, []int32{0, -100, -100, 0, -100, -100}) || !slices.Equal(b.Targets, []float32{-1.25, 0, 0, 3, 0, 0}) {
		t.Errorf("have labels %v, targets %v", b.Labels, b.Targets)
	}
	if v := b.Rows(1, 2); !slices.Equal(v.Targets, []float32{3, 0, 0}) {
		t.Errorf("have targets %v of the second row", v.Targets)
	}
	other := load(t, fake{}, LoadOptions{Task: Classification, Classes: Classes{Count: 1}}, File{Path: write(t, "a.tsv", "text\tlabel\nabc\t-1.5\nde\t3\n")})
	if other.Fingerprint() == d.Fingerprint() {
		t.Error("the fingerprint does not change with a target")
	}
}

func TestFindClasses(t *testing.T) {
	for _, test := range []struct {
		labels string
		want   Classes
		err    string
	}{
		{"0 1 0", Classes{Count: 2}, ""},
		{"2 0", Classes{Count: 3}, ""},
		{"yes no maybe no", Classes{3, []string{"maybe", "no", "yes"}}, ""},
		{"0.5 1 2.5", Classes{Count: 1}, ""},
		{"1.0 2.0", Classes{Count: 1}, ""},
		{"1 x", Classes{2, []string{"1", "x"}}, ""},
		{"yes yes", Classes{}, `every label is "yes"`},
		{"0 99999999", Classes{}, "too many classes"},
		{"-1 0 1", Classes{Count: 1}, ""},
	} {
		content := "text\tlabel"
		for _, label := range strings.Fields(test.labels) {
			content += "\na\t" + label
		}
		files := []File{{Path: write(t, "a.tsv", content)}}
		have, err := FindClasses(context.Background(), files)
		if !reflect.DeepEqual(have, test.want) || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: have %+v, error %v, want %+v, %q", test.labels, have, err, test.want, test.err)
		}
		if files[0].LabelField != "" {
			t.Error("the caller's files were changed")
		}
	}
	for content, want := range map[string]string{
		"text\tlabel\na\tb\tc":      "a.tsv:2: have 3 values",
		"text\tlabel\na\tyes\nb\t ": `a.tsv:3: label: have " ", want a class's name or number`,
		"text\tlabel\n":             "there are no documents, so no labels",
	} {
		if _, err := FindClasses(context.Background(), []File{{Path: write(t, "a.tsv", content)}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: have error %v, want %s", content, err, want)
		}
	}
}

func TestWrongClasses(t *testing.T) {
	o := LoadOptions{Task: Classification, Classes: Classes{2, []string{"bad", "good"}}}
	for _, test := range []struct {
		file, content string
		f             File
		want          string
	}{
		{"a.tsv", "text\tlabel\nab\tgood\n\nab\tugly\n", File{}, `a.tsv:4: label: have "ugly", want a class from 0 to 1 or its name: bad, good`},
		{"a.tsv", "text\tlabel\nab\t2\n", File{}, `a.tsv:2: label: have "2"`},
		{"a.tsv", "text\tlabel\nab\t-1\n", File{}, `a.tsv:2: label: have "-1"`},
		{"a.jsonl", `{"text": "a", "label": 1.5}`, File{}, `a.jsonl:1: label: have "1.5"`},
		{"a.jsonl", `{"text": "a", "label": null}`, File{}, `a.jsonl:1: field "label": want a name or a number, have null`},
		{"a.jsonl", `{"text": "a", "y": 1}`, File{}, `no field "label": set label_field to one of text, y`},
		{"a.jsonl", `{"text": "a", "label": 1}`, File{PairField: "b"}, `no field "b": set pair_field to one of label, text`},
		{"a.jsonl", `{"text": "a", "label": 1, "b": "~"}`, File{PairField: "b"}, "second text: a document without tokens"},
		{"a.tsv", "ab\tgood\nx\tbad", File{}, `no field "text": set field to one of ab, good (the first line was read as the columns' names: if it is a record, set columns)`},
		{"a.tsv", "ab\tgood", File{Columns: []string{"a", "b"}}, `no field "text": set field to one of a, b`},
		{"a.tsv", "ab\tgood\tx", File{Columns: []string{"text", "label"}}, "a.tsv:1: have 3 values, want 2: text, label"},
		{"a.tsv", "\xff\tgood", File{Columns: []string{"text", "label"}}, "a.tsv:1: invalid UTF-8"},
		{"a.tsv", "text\tlabel", File{}, "no documents"},
		{"a.txt", "ab", File{}, "the model classifies, and text holds no labels"},
		{"a.jsonl", `{"input_ids": [5]}`, File{Format: "tokens"}, `no field "labels"`},
		{"a.jsonl", `{"input_ids": [5], "labels": [1]}`, File{Format: "tokens"}, "labels: want a name or a number, have a list"},
		{"a.jsonl", `{"input_ids": [5], "labels": 1, "token_type_ids": [-1]}`, File{Format: "tokens"}, "token_type_ids: have -1"},
		{"a.jsonl", "", File{PromptField: "a", CompletionField: "b"}, "the model classifies: in place of prompt_field"},
		{"a.jsonl", "", File{PromptField: "a", CompletionField: "b", LabelField: "c"}, "prompt_field is not: remove one"},
		{"a.jsonl", "", File{AppendEOS: "false"}, "append_eos is for models that predict the next token"},
		{"a.jsonl", "", File{Columns: []string{"a"}}, "columns is for tsv"},
	} {
		test.f.Path = write(t, test.file, test.content)
		fails(t, fake{}, o, test.want, test.f)
	}
	path := write(t, "a.tsv", "text\tlabel\tb\nab\t0.x\tab")
	fails(t, fake{}, LoadOptions{Task: Classification, Classes: Classes{Count: 1}}, `label: have "0.x", want a number: the model has one output`, File{Path: path})
	fails(t, fake{}, LoadOptions{Task: Classification}, "the number of classes must be given", File{Path: path})
	fails(t, fake{noPair: true}, o, "no template", File{Path: path, PairField: "b"})
	d := load(t, fake{}, LoadOptions{Task: Classification, Classes: Classes{Count: 2}}, File{Path: write(t, "b.tsv", "text\tlabel\tb\nab\t0\tab"), PairField: "b"})
	if _, err := NewSource(d, Options{SequenceLength: 4}); err == nil || !strings.Contains(err.Error(), "sequence_length: have 4, want at least 5") {
		t.Errorf("have error %v", err)
	}
}

// TestSST2 reads the real task.
func TestSST2(t *testing.T) {
	tok := ownBERT(t)
	for name, want := range map[string][2]int{"sst2_train.tsv": {6920, 3610}, "sst2_dev.tsv": {872, 444}} {
		f := File{Path: testutil.Shared(t, "data/tasks/"+name), Columns: []string{"sentence", "label"}, Field: "sentence"}
		c, err := FindClasses(context.Background(), []File{f})
		if err != nil || !reflect.DeepEqual(c, Classes{Count: 2}) {
			t.Fatalf("have %+v, error %v, want two classes", c, err)
		}
		d := load(t, tok, LoadOptions{Task: Classification, Classes: c}, f)
		positive := 0
		for _, class := range d.classes {
			positive += int(class)
		}
		if have := [2]int{d.Len(), positive}; have != want {
			t.Errorf("%s: have %v documents and positive ones, want %v", name, have, want)
		}
	}
}

// FuzzTSV: no content makes the reader fail otherwise than by an error, and what it reads is what splitting at tabs gives.
func FuzzTSV(f *testing.F) {
	f.Add("text\tlabel\na\t1\n\nb\t0")
	f.Add("\ufefftext\tlabel\r\na\t1\r\n")
	f.Add("text\ttext\tlabel\n\t\t\n")
	f.Add("\x00\t\xff\n")
	f.Fuzz(func(t *testing.T, content string) {
		file := File{Path: write(t, "a.tsv", content)}
		d, err := Load(context.Background(), []File{file}, fake{}, LoadOptions{Task: Classification, Classes: Classes{Count: 2}})
		if err == nil && d.Len() > strings.Count(content, "\n") {
			t.Errorf("have %d documents of %d lines", d.Len(), strings.Count(content, "\n")+1)
		}
		if err != nil && !strings.Contains(fmt.Sprint(err), "a.tsv") {
			t.Errorf("have error %v without the file's name", err)
		}
	})
}
