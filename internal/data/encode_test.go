package data

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/tokenizer"
)

func TestAppendEOS(t *testing.T) {
	text, pair := `{"text": "ab"}`, `{"q": "a", "a": "b"}`
	tests := []struct {
		encoder fake
		content string
		eos     string
		want    []int32
	}{
		{fake{}, text, "", ids("ab")},
		{fake{}, text, "true", append(ids("ab"), 2)},
		{fake{}, pair, "auto", append(ids("ab"), 2)},
		{fake{}, pair, "false", ids("ab")},
		{fake{noEOS: true}, pair, "auto", ids("ab")},
		{fake{suffix: []int32{2}}, text, "auto", append(ids("ab"), 2)},
		{fake{suffix: []int32{2}}, text, "false", ids("ab")},
		{fake{suffix: []int32{2}}, pair, "true", append(ids("ab"), 2)},
		{fake{suffix: []int32{9}}, pair, "", append(ids("ab"), 9, 2)},
		{fake{suffix: []int32{9}}, text, "", append(ids("ab"), 9)},
		{fake{}, `{"q": "a", "a": "b</s>"}`, "", append(ids("ab"), 2)},
		{fake{suffix: []int32{2}}, `{"text": "ab</s>"}`, "", append(ids("ab"), 2)},
		{fake{}, `{"q": "ab", "a": ""}`, "", append(ids("ab"), 2)},
	}
	for _, test := range tests {
		f := File{Path: write(t, "a.jsonl", test.content), AppendEOS: test.eos}
		if strings.Contains(test.content, "\"q\"") {
			f.PromptField, f.CompletionField = "q", "a"
		}
		d := load(t, test.encoder, LoadOptions{Bytes: true}, f)
		documentsAre(t, d, [][]int32{test.want})
		if len(d.bytes) != len(test.want) {
			t.Errorf("%s: have bytes of %d tokens, want %d", test.content, len(d.bytes), len(test.want))
		}
	}
}

func TestMaskPrompt(t *testing.T) {
	tests := []struct {
		prompt, completion string
		words              bool
		prompts            int // masked tokens
		total              int
	}{
		{"ab", "cde", false, 2, 6},
		{"né", "é", false, 2, 4},
		{"one two", " three four", true, 2, 5},
		{"one two ", "three four", true, 2, 5}, // " three" covers a byte of the completion
		{"", "ab", false, 0, 3},
		{"~~", "ab", false, 0, 3},
		{"ab", "", false, 2, 3},
	}
	for _, test := range tests {
		line, err := json.Marshal(map[string]string{"q": test.prompt, "a": test.completion})
		if err != nil {
			t.Fatal(err)
		}
		f := File{Path: write(t, "a.jsonl", string(line)), PromptField: "q", CompletionField: "a"}
		for _, f.MaskPrompt = range []bool{false, true} {
			ids, labels := load(t, fake{words: test.words}, LoadOptions{}, f).Document(0)
			if len(ids) != test.total {
				t.Errorf("%q %q: have %d tokens, want %d", test.prompt, test.completion, len(ids), test.total)
			}
			for i := range ids {
				want := ids[i]
				if f.MaskPrompt && i < test.prompts {
					want = Ignore
				}
				if labels[i] != want {
					t.Errorf("%q %q, mask %v: label %d: have %d, want %d", test.prompt, test.completion, f.MaskPrompt, i, labels[i], want)
				}
			}
		}
	}
}

// The end token 2 also pads, on both sides and inside; only the mask says which ones are real.
func TestTokensMaskAndLabels(t *testing.T) {
	path := write(t, "a.jsonl", `{"input_ids": [2, 2, 5, 6, 2, 7, 2, 2], "attention_mask": [0, 0, 1, 1, 0, 1, 1, 0]}
{"input_ids": [2, 5, 6, 7, 2, 2], "attention_mask": [0, 1, 1, 1, 1, 0], "labels": [9, -100, 8, -100, 2, 2]}
{"input_ids": [5, 6]}`)
	d := load(t, nil, LoadOptions{Vocab: 10, Bytes: true}, File{Path: path, Format: "tokens"})
	documentsAre(t, d, [][]int32{{5, 6, 7, 2}, {5, 6, 7, 2}, {5, 6}})
	for i, want := range [][]int32{{5, 6, 7, 2}, {Ignore, 8, Ignore, 2}, {5, 6}} {
		if _, labels := d.Document(i); !slices.Equal(labels, want) {
			t.Errorf("document %d: have labels %v, want %v", i, labels, want)
		}
	}
	b, err := newSource(t, d, Options{SequenceLength: 4}).Next(2)
	if err != nil {
		t.Fatal(err)
	}
	want := &Batch{
		B: 2, T: 4,
		Tokens: []int32{5, 6, 7, 2, 5, 6, 7, 2}, Labels: []int32{6, 7, 2, Ignore, 8, Ignore, 2, Ignore},
		Segments: make([]int32, 8), Positions: []int32{0, 1, 2, 3, 0, 1, 2, 3}, Documents: []int32{0, 0, 0, 0, 1, 1, 1, 1},
	}
	if !reflect.DeepEqual(b, want) {
		t.Errorf("have %+v\nwant %+v", b, want)
	}
}

func TestCoveredBytes(t *testing.T) {
	// "▁" in front of the text, three byte tokens of one character, a gap that no token covers, a special token
	spans := []tokenizer.Span{{Start: 0, End: 0}, {Start: 0, End: 2}, {Start: 2, End: 5}, {Start: 2, End: 5}, {Start: 2, End: 5}, {Start: 7, End: 8}, {Start: 0, End: 0}}
	if have, want := coveredBytes(spans), []int32{0, 2, 3, 0, 0, 1, 0}; !slices.Equal(have, want) {
		t.Errorf("have %v, want %v", have, want)
	}
}
