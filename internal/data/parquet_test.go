package data

import (
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

// TestParquetGolden: rows with lists and groups in them are the records that pyarrow was given, and every format of records reads them.
func TestParquetGolden(t *testing.T) {
	folder := testutil.Testdata(t, "golden/parquet")
	rows, err := Objects(filepath.Join(folder, "records.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	lines, err := Objects(filepath.Join(folder, "records.jsonl"))
	if err != nil || len(rows) != len(lines) {
		t.Fatalf("have %d rows, %d lines, %v", len(rows), len(lines), err)
	}
	values := func(o Object) (all map[string]any) {
		text, err := json.Marshal(o.Fields)
		if err == nil {
			err = json.Unmarshal(text, &all)
		}
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	for i := range rows {
		if have, want := values(rows[i]), values(lines[i]); !reflect.DeepEqual(have, want) {
			t.Errorf("%s: have %v, want %v", rows[i].Place, have, want)
		}
	}
}

// TestParquetFormats: every format of records learns the same of rows and of JSON lines. A null is a field that is not there.
func TestParquetFormats(t *testing.T) {
	type turn struct {
		Role    string `parquet:"role" json:"role"`
		Content string `parquet:"content" json:"content"`
	}
	type row struct {
		Messages   []turn   `parquet:"messages,list" json:"messages,omitempty"`
		Question   string   `parquet:"question" json:"question"`
		Choices    []string `parquet:"choices,list" json:"choices"`
		Answer     string   `parquet:"answer" json:"answer"`
		Rationale  *string  `parquet:"rationale,optional" json:"rationale,omitempty"`
		Prompt     *string  `parquet:"prompt,optional" json:"prompt,omitempty"`
		Completion *string  `parquet:"completion,optional" json:"completion,omitempty"`
		Task       *string  `parquet:"task,optional" json:"task,omitempty"`
		Finish     string   `parquet:"finish_reason" json:"finish_reason"`
		IDs        []int32  `parquet:"input_ids,list" json:"input_ids"`
		Text       *string  `parquet:"text,optional" json:"text,omitempty"`
	}
	var rows []row
	var lines strings.Builder
	for i := range 150 {
		text := func(name string) string { return fmt.Sprint(name, i) }
		some := func(name string, every int) *string {
			if i%every > 0 {
				return nil
			}
			name = text(name)
			return &name
		}
		r := row{
			Messages: []turn{{"user", text("u")}, {"assistant", text("a")}}, Question: text("q"), Choices: []string{"x", text("y")}[:1+i%2], Answer: text("w"), Rationale: some("r", 3),
			Prompt: some("p", 1), Completion: some("c", 1), Finish: []string{"stop", "length"}[i/140], IDs: []int32{5, int32(i)},
		}
		if i%2 == 0 {
			r.Task = new(string)
		}
		rows = append(rows, r)
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(append(line, '\n'))
	}
	table := filepath.Join(t.TempDir(), "a.parquet")
	if err := parquet.WriteFile(table, rows, parquet.MaxRowsPerRowGroup(70)); err != nil {
		t.Fatal(err)
	}
	list := write(t, "a.jsonl", lines.String())
	for _, f := range []File{
		{}, {Field: "question"}, {Format: "chat", ChatTemplate: "none"}, {Format: "chat", ChatTemplate: "none", Fields: map[string]string{"messages": "-", "instruction": "question", "output": "answer"}},
		{Format: "cot", Style: LabelOnly}, {Format: "cot", Style: Multitask, KeepTruncated: true}, {Format: "icl", Shots: 2}, {Format: "icl", Shots: 1, Fields: map[string]string{"prompt": "-"}},
		{Format: "tokens", KeepTruncated: true},
	} {
		f.Path = list
		want := load(t, fake{}, LoadOptions{}, f)
		f.Path = table
		have := load(t, fake{}, LoadOptions{}, f)
		same := have.Len() == want.Len()
		for i := 0; same && i < want.Len(); i++ {
			haveIDs, haveLabels := have.Document(i)
			wantIDs, wantLabels := want.Document(i)
			same = slices.Equal(haveIDs, wantIDs) && slices.Equal(haveLabels, wantLabels)
		}
		if !same || !slices.Equal(tails(have.Notes()), tails(want.Notes())) {
			t.Errorf("format %s: the documents differ: %d, want %d; notes %q, want %q", f.Format, have.Len(), want.Len(), have.Notes(), want.Notes())
		}
	}
}

// tails are notes without the file's name.
func tails(notes []string) (all []string) {
	for _, n := range notes {
		_, tail, _ := strings.Cut(n, ": ")
		all = append(all, tail)
	}
	return all
}

// TestNull: null is no answer.
func TestNull(t *testing.T) {
	for line, want := range map[string]struct {
		f    File
		want string
	}{
		`{"prompt": "a", "completion": null}`:                                 {File{Format: "chat"}, `field "completion": want a string or a list of messages, have null`},
		`{"instruction": "a", "output": null}`:                                {File{Format: "chat"}, "instruction without output"},
		`{"prompt": "a", "completion": null}` + "\n" + `{"prompt": "a"}`:      {File{Format: "icl", Shots: 1}, `field "completion": want a string, have null`},
		`{"text": null, "prompt": "a", "completion": null}`:                   {File{}, `field "text": want a string, have null`},
		`{"question": "a", "answer": null}` + "\n" + `{"question": "a"}` + "": {File{Format: "icl", Shots: 1}, `field "answer": want`},
	} {
		want.f.Path = write(t, "a.jsonl", line)
		fails(t, fake{}, LoadOptions{}, want.want, want.f)
	}
}
