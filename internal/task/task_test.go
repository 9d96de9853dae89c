package task

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/data"
	"kdistill/internal/generate"
	"kdistill/internal/testutil"
	"kdistill/internal/tokenizer"
)

func write(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "task.jsonl")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRecords(t *testing.T) {
	for _, c := range []struct {
		line   string
		fields Fields
		prompt string // with its choices listed
		refs   []string
		gold   int
	}{
		{`{"prompt": "p", "reference": "r"}`, nil, "p", []string{"r"}, -1},
		{`{"prompt": "{x}", "references": ["r", 5, "s"]}`, nil, "{x}", []string{"r", "5", "s"}, -1},
		{`{"question": "q", "answer": "a"}`, nil, "Question: q\nAnswer:", []string{"a"}, -1},
		{`{"instruction": "i", "input": "", "output": "o", "answer": "a"}`, nil, "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\ni\n\n### Response:", []string{"a"}, -1},
		{`{"input": "i", "label": 3.5}`, nil, "i", []string{"3.5"}, -1},
		{`{"frage nr. 1": "f", "a": "x", "prompt": null}`, Fields{"prompt": "frage nr. 1", "reference": "a"}, "f", []string{"x"}, -1},
		{`{"question": "q", "choices": ["x", "y"], "answer": 1}`, nil, "Question: q\n(A) x\n(B) y\nAnswer:", []string{"y"}, 1},
		{`{"question": "q", "choices": ["x", "y"], "answer": "x"}`, nil, "Question: q\n(A) x\n(B) y\nAnswer:", []string{"x"}, 0},
		{`{"question": "q", "options": ["x", "y"], "answer": "b"}`, nil, "Question: q\n(A) x\n(B) y\nAnswer:", []string{"y"}, 1},
		{`{"question": "q", "choices": ["x", "y"], "label": "1"}`, nil, "Question: q\n(A) x\n(B) y\nAnswer:", []string{"y"}, 1},
		{`{"question": "q", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "1"}`, nil, "Question: q\n(A) x\n(B) y\nAnswer:", []string{"x"}, 0},
		{`{"prompt": "p", "choices": ["x", "y"]}`, nil, "p\n(A) x\n(B) y", nil, -1},
	} {
		records, err := Read(write(t, c.line), c.fields, false)
		if err != nil {
			t.Errorf("%s: %v", c.line, err)
			continue
		}
		r := records[0]
		prompt, err := (&Prompts{}).question(&r, true)
		if err != nil || prompt != c.prompt || !slices.Equal(r.References, c.refs) || r.Gold != c.gold {
			t.Errorf("%s: have %q, %q, %d, %v", c.line, prompt, r.References, r.Gold, err)
		}
	}
}

func TestWrongRecords(t *testing.T) {
	good := `{"prompt": "p", "reference": "r"}`
	for line, want := range map[string]string{
		`{"prompt"`:                                           "task.jsonl:2: not valid JSON",
		`[1]`:                                                 "task.jsonl:2: want a JSON object",
		`{"prompt": ["p"], "reference": "r"}`:                 `field "prompt": want a text, have ["p"]`,
		`{"prompt": "p", "reference": {"a": 1}}`:              `field "reference": want a text or a list of texts`,
		`{"prompt": "p", "reference": []}`:                    `field "reference": want a text or a list of texts`,
		`{"prompt": "p", "choices": ["x"], "gold": 0}`:        `field "choices": have 1 choices, want 2 to 26`,
		`{"prompt": "p", "choices": ["x", "y"], "gold": 2}`:   `field "gold": have "2", want the index (0 to 1)`,
		`{"prompt": "p", "choices": ["x", "y"], "gold": "z"}`: `want the index (0 to 1), label, letter or text of one of ["x" "y"]`,
		`{"prompt": "p", "choices": {"text": ["x", "y"], "label": ["A"]}, "gold": 0}`:        `have 2 texts and 1 labels`,
		`{"prompt": "p", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "gold": "A"}`: `have "A", want the index`,
	} {
		if _, err := Read(write(t, good, line), nil, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: have %v, want %s", line, err, want)
		}
	}
	for _, c := range []struct {
		line   string
		fields Fields
		want   string
	}{
		{good, Fields{"prompt": "q"}, `task.jsonl:1: no field "q" (prompt): have prompt, reference`},
		{"", nil, "no records in it"},
		{`{"prediction": 1}`, nil, ""},
		{`{"reference": "r"}`, nil, `want a field "prediction"`},
	} {
		_, err := Read(write(t, c.line), c.fields, c.fields == nil)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: have %v, want %q", c.line, err, c.want)
		}
	}
	if err := (Fields{"promt": "x"}).Check(); err == nil || !strings.Contains(err.Error(), `did you mean "prompt"`) {
		t.Errorf("have %v", err)
	}
}

// pool has questions q0, q1, … with answers a0, a1, …
func pool(t *testing.T, n int) []Record {
	var lines []string
	for i := range n {
		lines = append(lines, fmt.Sprintf(`{"question": "q%d", "answer": "a%d"}`, i, i))
	}
	records, err := Read(write(t, lines...), nil, false)
	if err != nil {
		t.Fatal(err)
	}
	return records
}

func TestShots(t *testing.T) {
	records := pool(t, 12)
	p := Prompts{Shots: 3, Separator: "\n\n", Seed: 1, Pool: records}
	seen := map[string]bool{}
	for i := range records {
		question, err := p.question(&records[i], true)
		if err != nil {
			t.Fatal(err)
		}
		shots, err := p.draw(i, question, true)
		if err != nil {
			t.Fatal(err)
		}
		text, err := p.compose(shots, turn{record: &records[i], question: question})
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(text, "\n\n")
		if len(parts) != 4 || parts[3] != question {
			t.Errorf("have %q", text)
		}
		for _, part := range parts[:3] {
			var a, b int
			if _, err := fmt.Sscanf(part, "Question: q%d\nAnswer: a%d", &a, &b); err != nil || a != b || a == i {
				t.Errorf("question %d: the demonstration %q: %v", i, part, err)
			}
		}
		seen[strings.Join(parts[:3], "")] = true
		if again, _ := p.draw(i, question, true); !slices.Equal(again, shots) {
			t.Errorf("the same draw gave %v, then %v", shots, again)
		}
	}
	if len(seen) < 10 {
		t.Errorf("have %d different draws for 12 questions", len(seen))
	}
	p.Shots = 12
	if _, err := p.draw(0, "Question: q0\nAnswer:", true); err == nil || !strings.Contains(err.Error(), "have 11 other records") {
		t.Errorf("have %v", err)
	}
}

func TestSolutions(t *testing.T) {
	records, err := Read(write(t, `{"question": "q", "choices": ["x", "y"], "answer": 1}`), nil, false)
	if err != nil {
		t.Fatal(err)
	}
	for template, want := range map[string]string{"": "(B) y", "Q: {question} {choices}\nA:": "(B) y", "Q: {question}\nA:": "y"} {
		if have := (&Prompts{Template: template}).solution(&records[0], true); have != want {
			t.Errorf("%q: have %q, want %q", template, have, want)
		}
	}
	if have := (&Prompts{}).solution(&records[0], false); have != "y" {
		t.Errorf("have %q of choices that are compared only", have)
	}
	if _, err := (&Prompts{Template: "{nothing}"}).question(&records[0], true); err == nil || !strings.Contains(err.Error(), `"nothing"`) {
		t.Errorf("have %v", err)
	}
}

func TestStops(t *testing.T) {
	records := pool(t, 2)
	plain, err := Read(write(t, `{"prompt": "p", "reference": "r"}`), nil, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		p       Prompts
		records []Record
		want    string
	}{
		{Prompts{}, records, "Question:"},
		{Prompts{Template: "Solve this.\n\nQ: {question}\nA:"}, records, "Q:"},
		{Prompts{Template: "{cot}"}, records, "Q:"},
		{Prompts{Template: "[label] {cot}"}, records, "[label] Q:"},
		{Prompts{}, plain, ""},
		{Prompts{Shots: 1, Separator: "\n\n"}, plain, "\n\n"},
		{Prompts{Chat: &tokenizer.ChatTemplate{}}, records, ""},
	} {
		if have := strings.Join(c.p.Stops(c.records), "|"); have != c.want {
			t.Errorf("%+v: have %q, want %q", c.p, have, c.want)
		}
	}
}

// TestAsTrained wants prompts to be, to the token, what the data formats put before what they learn.
func TestAsTrained(t *testing.T) {
	tok, err := tokenizer.Load(testutil.Shared(t, "models/stories260k"))
	if err != nil {
		t.Fatal(err)
	}
	choice := `{"question": "What?", "choices": ["x", "y"], "answer": "y", "rationale": "So."}`
	instruction := `{"instruction": "Add.", "input": "1 2", "output": "3"}`
	for _, c := range []struct {
		line string
		file data.File
		p    Prompts
	}{
		{choice, data.File{Format: "cot", Style: data.LabelOnly}, Prompts{Template: "{cot}"}},
		{choice, data.File{Format: "cot", Style: data.Multitask}, Prompts{Template: "[label] {cot}"}},
		{instruction, data.File{Format: "chat"}, Prompts{}},
		{instruction, data.File{Format: "chat"}, Prompts{Chat: template(t, tok, "alpaca"), Start: true}},
		{instruction, data.File{Format: "chat", ChatTemplate: "chatml"}, Prompts{Chat: template(t, tok, "chatml")}},
		{instruction, data.File{Format: "chat", ChatTemplate: "llama3"}, Prompts{Chat: template(t, tok, "llama3")}},
	} {
		c.file.Path = write(t, c.line)
		set, err := data.Load(t.Context(), []data.File{c.file}, tok, data.LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		source, err := data.NewSource(set, data.Options{SequenceLength: 256, Epochs: 1})
		if err != nil {
			t.Fatal(err)
		}
		batch, err := source.Next(1)
		if err != nil {
			t.Fatal(err)
		}
		context := slices.IndexFunc(batch.Labels, func(label int32) bool { return label != data.Ignore }) + 1
		records, err := Read(c.file.Path, nil, false)
		if err != nil {
			t.Fatal(err)
		}
		c.p.Tokenizer = tok
		prompts, err := c.p.Written(records, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if have, want := prompts[0].IDs, batch.Tokens[:context]; !slices.Equal(have, want) {
			t.Errorf("%+v: have %q, training has %q", c.file, tok.Decode(have, false), tok.Decode(want, false))
		}
	}
}

func template(t *testing.T, tok *tokenizer.Tokenizer, name string) *tokenizer.ChatTemplate {
	t.Helper()
	c, err := tok.ChatTemplate(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestRoom leaves out demonstrations that do not fit, and refuses a question that does not fit alone.
func TestRoom(t *testing.T) {
	tok, err := tokenizer.Load(testutil.Shared(t, "models/stories260k"))
	if err != nil {
		t.Fatal(err)
	}
	records := pool(t, 6)
	p := Prompts{Shots: 4, Separator: "\n\n", Seed: 1, Pool: records, Tokenizer: tok}
	free, err := p.Written(records[:1], 1000)
	if err != nil {
		t.Fatal(err)
	}
	for room := len(free[0].IDs); ; room-- {
		prompts, err := p.Written(records[:1], room)
		if err != nil {
			if !strings.Contains(err.Error(), "task.jsonl:1: the prompt has") {
				t.Error(err)
			}
			break
		}
		if have := prompts[0]; len(have.IDs) > room || have.Shots == 4 != (room == len(free[0].IDs)) || !strings.HasSuffix(free[0].Text, have.Text[strings.LastIndex(have.Text, "Question:"):]) {
			t.Fatalf("room %d: %d demonstrations, %d tokens: %q", room, have.Shots, len(have.IDs), have.Text)
		}
	}
	p.Chat, p.Shots = template(t, tok, "chatml"), 1
	prompts, err := p.Written(records[:1], 1000)
	if err != nil {
		t.Fatal(err)
	}
	if have := prompts[0].Text; strings.Count(have, "<|im_start|>user\nq") != 2 || !strings.HasSuffix(have, "q0<|im_end|>\n<|im_start|>assistant\n") || !strings.Contains(have, "<|im_start|>assistant\na") {
		t.Errorf("have %q", have)
	}
}

func TestWrite(t *testing.T) {
	prompts := make([]Prompt, 40)
	for i := range prompts {
		prompts[i].IDs = []int32{int32(i)}
	}
	w := Writing{Options: generate.Options{MaxTokens: 5}, Stops: []string{"x"}, Seed: 7, AtOnce: 3}
	ask := func(_ context.Context, r generate.Request) (generate.Result, error) {
		if r.Seed != Seed(7, int(r.Prompt[0])) || r.MaxTokens != 5 || r.StopStrings[0] != "x" {
			t.Errorf("prompt %d: have %+v", r.Prompt[0], r)
		}
		return generate.Result{Text: fmt.Sprint(r.Prompt[0])}, nil
	}
	done := 0
	answers, err := Write(t.Context(), prompts, ask, w, func(n int) { done = n })
	if err != nil || done != 40 {
		t.Fatal(done, err)
	}
	for i, a := range answers {
		if a.Text != fmt.Sprint(i) {
			t.Errorf("answer %d is %q", i, a.Text)
		}
	}
	broken := errors.New("broken")
	_, err = Write(t.Context(), prompts, func(context.Context, generate.Request) (generate.Result, error) { return generate.Result{}, broken }, w, func(int) {})
	if err != broken {
		t.Errorf("have %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Write(ctx, prompts, ask, w, func(int) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("have %v", err)
	}
}
