package data

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/testutil"
	"kdistill/internal/tokenizer"
)

// learned is the text of the labels of document i, with a bar between runs; characters stand for themselves, the end token for "$".
func learned(d *Dataset, i int, decode func(ids []int32) string) string {
	ids, labels := d.Document(i)
	var runs []string
	for at := 0; at < len(ids); {
		to := at
		for to < len(ids) && (labels[to] == Ignore) == (labels[at] == Ignore) {
			to++
		}
		if labels[at] != Ignore {
			runs = append(runs, decode(ids[at:to]))
		}
		at = to
	}
	return strings.Join(runs, "|")
}

// plain decodes what fake encodes.
func plain(ids []int32) string {
	var b strings.Builder
	for _, id := range ids {
		if id == 2 {
			b.WriteByte('$')
		} else {
			b.WriteByte(byte(id - 3))
		}
	}
	return b.String()
}

func whole(d *Dataset, i int) string {
	ids, _ := d.Document(i)
	return plain(ids)
}

// TestChatGolden compares tokens and what is learned of them with transformers' apply_chat_template and its mask of the assistant's tokens.
func TestChatGolden(t *testing.T) {
	var golden struct {
		Templates map[string]string
		Cases     []struct {
			Tokenizer, BOS, EOS, Template string
			Messages                      json.RawMessage
			IDs, Mask                     []int32
		}
	}
	text, err := os.ReadFile(testutil.Testdata(t, "golden/chat_training.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &golden); err != nil || len(golden.Cases) < 60 {
		t.Fatalf("%d cases, %v", len(golden.Cases), err)
	}
	tokenizers := map[string]*tokenizer.Tokenizer{}
	for _, c := range golden.Cases {
		tok := tokenizers[c.Tokenizer]
		if tok == nil {
			dir := t.TempDir()
			file, err := os.ReadFile(testutil.Testdata(t, "tokenizer/clean/"+c.Tokenizer+".tokenizer.json"))
			if err != nil {
				t.Fatal(err)
			}
			var templates []map[string]string
			for name, source := range golden.Templates {
				templates = append(templates, map[string]string{"name": name, "template": source})
			}
			settings, err := json.Marshal(map[string]any{"bos_token": c.BOS, "eos_token": c.EOS, "chat_template": templates})
			if err != nil {
				t.Fatal(err)
			}
			for name, text := range map[string][]byte{"tokenizer.json": file, "tokenizer_config.json": settings} {
				if err := os.WriteFile(filepath.Join(dir, name), text, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			if tok, err = tokenizer.Load(dir); err != nil {
				t.Fatal(err)
			}
			tokenizers[c.Tokenizer] = tok
		}
		var line bytes.Buffer
		if err := json.Compact(&line, c.Messages); err != nil {
			t.Fatal(err)
		}
		path := write(t, "chat.jsonl", `{"messages":`+line.String()+"}\n")
		d := load(t, tok, LoadOptions{Bytes: true}, File{Path: path, Format: "chat", ChatTemplate: c.Template})
		ids, labels := d.Document(0)
		mask := make([]int32, len(ids))
		for i := range mask {
			if labels[i] != Ignore {
				mask[i] = 1
			}
		}
		if !slices.Equal(ids, c.IDs) || !slices.Equal(mask, c.Mask) {
			t.Errorf("%s, %s, %s:\nhave %v\n     %v\nwant %v\n     %v", c.Tokenizer, c.Template, c.Messages, ids, mask, c.IDs, c.Mask)
		}
		s, err := NewSource(d, Options{SequenceLength: 512, Epochs: 1})
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Next(1)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(b.Tokens[:len(ids)], ids) {
			t.Errorf("%s, %s: the batch has other tokens than the template wrote: %v", c.Tokenizer, c.Template, b.Tokens)
		}
	}
}

// TestAlpaca compares prompts with those of Stanford Alpaca's training script.
func TestAlpaca(t *testing.T) {
	var golden struct {
		Alpaca []struct{ Instruction, Input, Output, Prompt string }
	}
	text, err := os.ReadFile(testutil.Testdata(t, "golden/chat_training.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &golden); err != nil || len(golden.Alpaca) == 0 {
		t.Fatal(err)
	}
	records, err := json.Marshal(golden.Alpaca)
	if err != nil {
		t.Fatal(err)
	}
	lower := strings.NewReplacer("Instruction\"", "instruction\"", "\"Input\"", "\"input\"", "\"Output\"", "\"output\"").Replace(string(records))
	d := load(t, fake{prefix: []int32{1}}, LoadOptions{}, File{Path: write(t, "a.json", lower), Format: "chat"})
	for i, want := range golden.Alpaca {
		have, _ := d.Document(i)
		if all := ids(want.Prompt + want.Output); !slices.Equal(have, all) { // fake's template knows no end token
			t.Errorf("record %d: have %v, want %v", i, have, all)
		}
		_, labels := d.Document(i)
		if first := slices.IndexFunc(labels, func(l int32) bool { return l != Ignore }); first != len([]rune(want.Prompt)) {
			t.Errorf("record %d: learned from token %d on, want %d", i, first, len([]rune(want.Prompt)))
		}
	}
	if notes := d.Notes(); len(notes) != 1 || !strings.Contains(notes[0], "has no chat template: chats are written as Alpaca's prompt") {
		t.Errorf("have notes %q", notes)
	}
	named := load(t, fake{}, LoadOptions{}, File{Path: write(t, "a.json", lower), Format: "chat", ChatTemplate: "alpaca"})
	if len(named.Notes()) != 0 {
		t.Errorf("have notes %q, the template was named", named.Notes())
	}
}

// TestChatShapes reads every shape of a record, and learns every turn of the assistant's, or the completion alone.
func TestChatShapes(t *testing.T) {
	for line, want := range map[string][2]string{
		`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"assistant","content":"d"}]}`: {"abcd", "b|d"},
		`{"conversations":[{"from":"system","value":"s"},{"from":"human","value":"a"},{"from":"gpt","value":"b"},{"from":"user","value":"c"}]}`:            {"sabc", "b"},
		`{"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}],"system":"s"}`:                                                         {"sab", "b"},
		`{"conversations":[{"from":"system","value":"t"},{"from":"human","value":"a"},{"from":"gpt","value":"b"}],"system":"s"}`:                           {"tab", "b"},
		`{"messages":[{"role":"user","content":""},{"role":"assistant","content":"b"}]}`:                                                                   {"b", "b"},
		`{"instruction":"a","input":"b","output":"c","system":"s"}`:                                                                                        {"sa\n\nbc", "c"},
		`{"instruction":"a","output":"c","input":null}`:                                                                                                    {"ac", "c"},
		`{"prompt":"a","completion":"b"}`: {"ab", "b"},
		`{"prompt":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],"completion":[{"role":"assistant","content":"c"}]}`:      {"abc", "c"},
		`{"prompt":"a","completion":"b","messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y"}],"finish_reason":"stop"}`: {"xy", "y"},
	} {
		d := load(t, fake{}, LoadOptions{}, File{Path: write(t, "c.jsonl", line), Format: "chat", ChatTemplate: "none"})
		if have := [2]string{strings.TrimSuffix(whole(d, 0), "$"), strings.TrimSuffix(strings.TrimSuffix(learned(d, 0, plain), "$"), "|")}; have != want {
			t.Errorf("%s: have %q, want %q", line, have, want)
		}
	}
	renamed := File{Path: write(t, "c.jsonl", `{"q":"a","r":"b"}`), Format: "chat", ChatTemplate: "none", Fields: map[string]string{"instruction": "q", "output": "r"}}
	if d := load(t, fake{}, LoadOptions{}, renamed); !strings.HasPrefix(whole(d, 0), "ab") {
		t.Errorf("renamed: have %q", whole(d, 0))
	}
}

// TestSynthesised reads lines of kdistill synth as they are; answers that were cut short are left out and counted, unless they are asked for.
func TestSynthesised(t *testing.T) {
	lines := `{"prompt":"ab","completion":"cd","finish_reason":"stop","teacher":"t","request":{"prompt":"ab"},"usage":null,"time":"2026-01-01T00:00:00Z"}
{"prompt":"ab","completion":"c","finish_reason":"length"}
{"prompt":"","completion":"e","finish_reason":"stop"}
`
	path := write(t, "s.jsonl", lines)
	d := load(t, fake{}, LoadOptions{}, File{Path: path})
	if d.Len() != 2 || whole(d, 0) != "abcd$" || learned(d, 0, plain) != "cd$" || whole(d, 1) != "e$" {
		t.Errorf("have %d documents, %q, %q", d.Len(), whole(d, 0), learned(d, 0, plain))
	}
	if notes := d.Notes(); len(notes) != 1 || !strings.Contains(notes[0], "left out: 1 answers that a limit of tokens cut short") {
		t.Errorf("have notes %q", notes)
	}
	both := File{Path: write(t, "m.jsonl", `{"prompt":"a","completion":"b","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}`)}
	if notes := load(t, fake{}, LoadOptions{}, both).Notes(); len(notes) != 1 || !strings.Contains(notes[0], "1 records have messages: format: chat") {
		t.Errorf("have notes %q", notes)
	}
	both.PromptField, both.CompletionField = "prompt", "completion"
	if notes := load(t, fake{}, LoadOptions{}, both).Notes(); notes != nil {
		t.Errorf("the fields were named: have notes %q", notes)
	}
	if all := load(t, fake{}, LoadOptions{}, File{Path: path, KeepTruncated: true}); all.Len() != 3 || all.Notes() != nil {
		t.Errorf("have %d documents, %q", all.Len(), all.Notes())
	}
	if text := load(t, fake{}, LoadOptions{}, File{Path: write(t, "t.jsonl", `{"text":"x","prompt":"a","completion":"b"}`)}); whole(text, 0) != "x" {
		t.Errorf("a text with other fields: have %q", whole(text, 0))
	}
	for _, format := range []string{"", "chat"} {
		_, err := Load(context.Background(), []File{{Path: write(t, "s.jsonl", `{"prompt":"ab","completion":"c","finish_reason":"length"}`), Format: format}}, fake{}, LoadOptions{})
		if err == nil || !strings.Contains(err.Error(), "no documents in it") || !strings.Contains(err.Error(), "left out are 1 answers") {
			t.Errorf("nothing left: have error %v", err)
		}
	}
}

func TestChatRefuses(t *testing.T) {
	for _, c := range []struct {
		line, want string
		file       File
		o          LoadOptions
	}{
		{`{"text":"a"}`, "want messages, conversations, instruction with output, or prompt with completion, have text", File{}, LoadOptions{}},
		{`{"instruction":"a"}`, "instruction without output", File{}, LoadOptions{}},
		{`{"prompt":"a"}`, "prompt without completion", File{}, LoadOptions{}},
		{`{"prompt":3,"completion":"b"}`, `field "prompt": want a string or a list of messages, have a number`, File{}, LoadOptions{}},
		{`{"messages":[{"role":"user","content":"a"}]}`, "without an assistant's turn", File{}, LoadOptions{}},
		{`{"messages":"a"}`, "messages", File{}, LoadOptions{}},
		{`{"messages":[]}`, "want at least one", File{}, LoadOptions{}},
		{`{"conversations":[{"from":"tool","value":"a"}]}`, `turn 1 is from "tool"`, File{}, LoadOptions{}},
		{`{"conversations":[{"from":"human"}]}`, `turn 1 has no value`, File{}, LoadOptions{}},
		{`{"conversations":[{"from":"gpt","value":"a"}],"system":3}`, `field "system": want a string, have a number`, File{}, LoadOptions{}},
		{`{"messages":[{"role":"user","content":"a"},{"content":"b"}]}`, `c.jsonl:1: message 2: want a field "role" with a string, have nothing`, File{}, LoadOptions{}},
		{`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":null}]}`, `c.jsonl:1: message 2: "assistant" says nothing: want a field "content"`, File{}, LoadOptions{}},
		{`{"conversations":{}}`, "want a list of objects", File{}, LoadOptions{}},
		{`{"instruction":["a"],"output":"b"}`, `field "instruction": want a string, have a list`, File{}, LoadOptions{}},
		{`{}`, `chat template "vicuna": want one of`, File{ChatTemplate: "vicuna"}, LoadOptions{}},
		{`{}`, "fields: ", File{Fields: map[string]string{"mesages": "x"}}, LoadOptions{}},
		{`{}`, "style is for cot, the format is chat", File{Style: LabelOnly}, LoadOptions{}},
		{`{}`, "shots is for icl", File{Shots: 2}, LoadOptions{}},
		{`{}`, "mask_prompt", File{MaskPrompt: true}, LoadOptions{}},
		{`{}`, "format chat is for models that predict the next token", File{}, LoadOptions{Task: Masked}},
	} {
		c.file.Path, c.file.Format = write(t, "c.jsonl", c.line), "chat"
		if _, err := Load(context.Background(), []File{c.file}, fake{}, c.o); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: have error %v, want %q", c.line, err, c.want)
		}
	}
}

// FuzzChat wants an error or documents of any record.
func FuzzChat(f *testing.F) {
	for _, line := range []string{
		`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}`, `{"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}]}`,
		`{"instruction":"a","input":"b","output":"c"}`, `{"prompt":[{"role":"user"}],"completion":"b"}`, `[{"messages":null}]`,
		`{"question":"q","choices":["a","b"],"answer":"b","rationale":"r"}`,
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		path := write(t, "c.jsonl", line)
		for _, file := range []File{{Format: "chat", ChatTemplate: "chatml"}, {Format: "chat"}, {Format: "cot", Style: Multitask}, {Format: "icl", Shots: 2}, {Format: "jsonl"}} {
			file.Path = path
			d, err := Load(context.Background(), []File{file}, fake{}, LoadOptions{})
			if err == nil && d.Len() == 0 {
				t.Error("no error, and no documents")
			}
		}
	})
}
