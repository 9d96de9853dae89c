package synth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kdistill/internal/config"
	"kdistill/internal/rouge"
)

// scripted is a teacher whose answers hang on the request alone. It can die at a request.
type scripted struct {
	write func(r Request, i int) string
	die   int // at which request; 0: never

	mu    sync.Mutex
	asked []Request
}

func (s *scripted) Identity() string { return "scripted" }

func (s *scripted) Answers(ctx context.Context, r Request) (all []Answer, u *Usage, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, r)
	if len(s.asked) == s.die {
		return nil, nil, context.DeadlineExceeded
	}
	for i := range r.N {
		a := Answer{Text: s.write(r, i), FinishReason: FinishStop}
		if strings.HasSuffix(a.Text, "…") {
			a.FinishReason = FinishLength
		}
		all = append(all, a)
	}
	return all, &Usage{PromptTokens: 1, CompletionTokens: r.N}, nil
}

// play makes data with a scripted teacher.
func play(t testing.TB, dir string, s *scripted, input, values string) (*Report, []Line, error) {
	t.Helper()
	c := configured(t, dir, "http://x", input, values)
	rep, err := Make(t.Context(), c, Options{Log: io.Discard, now: func() time.Time { return time.Time{} },
		Teacher: func(context.Context, *config.Config, func(string, ...any)) (Teacher, io.Closer, error) {
			return s, closeNothing{}, nil
		}})
	if err != nil {
		return rep, nil, err
	}
	return rep, lines[Line](t, filepath.Join(dir, "out.jsonl")), nil
}

func removed(rep *Report) map[string]int {
	all := map[string]int{}
	for _, r := range rep.Removed {
		all[r.Reason] = r.Count
	}
	return all
}

const sums = `{"question": "What is 1+1?", "answer": "One and one: <<1+1=2>>2\n#### 2"}
{"question": "What is 2+2?", "answer": "#### 4"}
{"question": "What is 3+3?", "answer": "6"}
`

// reckon gives four answers: right, right in the same words, wrong, none.
func reckon(r Request, i int) string {
	last := regexp.MustCompile(`What is (\d)`).FindAllStringSubmatch(*r.Prompt, -1)
	n := int(last[len(last)-1][1][0] - '0')
	if n == 3 && !strings.Contains(*r.Prompt, "The right answer is") {
		return " I don't know"
	}
	return []string{fmt.Sprintf(" %d and %d. The answer is %d.\nQ: more?", n, n, 2*n), fmt.Sprintf(" %d and  %d. The answer is %d.", n, n, 2*n), " So 9.", "hm"}[i]
}

func TestCoT(t *testing.T) {
	s := &scripted{write: reckon}
	rep, all, err := play(t, t.TempDir(), s, sums, "style: cot\nsamples: 4\ncot: {rationalize: true}")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 3 || all[0].Prompt != "What is 1+1?" || all[0].Completion != " 1 and 1. The answer is 2." || len(all[0].Messages) != 2 || all[0].Messages[1].Content != "1 and 1. The answer is 2." || all[0].Rationale != "1 and 1." || all[0].Answer != "2" || all[0].Rationalized || !all[2].Rationalized {
		t.Errorf("%+v", all)
	}
	if have, want := removed(rep), map[string]int{"the same rationale again": 3, "wrong answer": 3, "no answer found": 3 + 4}; !maps.Equal(have, want) {
		t.Errorf("have %v, want %v", have, want)
	}
	if want := []Figure{{"questions with a right answer", 2.0 / 3}, {"right answers", 4.0 / 12}}; !slices.Equal(rep.Figures, want) {
		t.Errorf("have %v, want %v", rep.Figures, want)
	}
	hinted := 0
	for _, q := range s.asked {
		if !strings.HasPrefix(*q.Prompt, "Q: ") || !strings.HasSuffix(*q.Prompt, "\nA: Let's think step by step.") || len(q.Stop) == 0 {
			t.Errorf("%q", *q.Prompt)
		}
		if strings.Contains(*q.Prompt, "What is 3+3?\n(The right answer is 6.)") {
			hinted++
		}
	}
	if hinted != 1 || len(s.asked) != 4 {
		t.Errorf("have %d hints in %d requests", hinted, len(s.asked))
	}
}

func TestCoTShots(t *testing.T) {
	s := &scripted{write: reckon}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "worked.jsonl"), `{"question": "What is 1+1?", "answer": "One and one: <<1+1=2>>2\n#### 2"}
{"question": "What is 5+5?", "rationale": "Five twice.", "answer": "10"}
{"question": "What is 6+6?", "rationale": "Six twice.", "answer": "12"}`)
	if _, _, err := play(t, dir, s, sums, "style: cot\nconcurrency: 1\ncot: {shots: 2, shots_from: "+filepath.Join(dir, "worked.jsonl")+"}"); err != nil {
		t.Fatal(err)
	}
	if have := *s.asked[0].Prompt; strings.Count(have, "1+1") != 1 || strings.Count(have, "The answer is") != 2 || !strings.HasSuffix(have, "\n\nQ: What is 1+1?\nA:") {
		t.Errorf("a question is shown with its answer: %q", have)
	}
	shown := ""
	for _, q := range s.asked {
		shown += *q.Prompt
	}
	if !strings.Contains(shown, "Q: What is 5+5?\nA: Five twice. The answer is 10.\n\n") || strings.Contains(shown, "<<") {
		t.Errorf("%q", shown)
	}
}

func TestCoTChoice(t *testing.T) {
	s := &scripted{write: func(r Request, i int) string {
		return []string{"They swim. The answer is (b).", "The answer is (a) cat."}[i]
	}}
	rep, all, err := play(t, t.TempDir(), s, `{"question": "What swims?", "choices": ["cat", "fish"], "answer": "fish"}`, "style: cot\nsamples: 2\nchat: true\ncot: {answer: choice}")
	if err != nil || rep.Kept != 1 || all[0].Question != "What swims?" || all[0].Prompt != "What swims?\n(a) cat\n(b) fish" || len(all[0].Messages) != 2 || all[0].Messages[0].Content != all[0].Prompt {
		t.Errorf("%+v, %+v, %v", rep, all, err)
	}
	if !strings.Contains(s.asked[0].Messages[0].Content, "step by step") {
		t.Errorf("%+v", s.asked[0])
	}
	for want, c := range map[string][2]string{
		"holds no number":  {`{"question": "a", "answer": "b"}`, "style: cot"},
		"list of texts":    {`{"question": "a", "answer": "b", "choices": "c"}`, "style: cot"},
		"shots_from: open": {`{"question": "a", "answer": "1"}`, "style: cot\ncot: {shots: 1, shots_from: nowhere}"},
		"no field":         {`{"question": "a"}`, "style: cot"},
	} {
		if _, _, err := play(t, t.TempDir(), s, c[0], c[1]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("have %v, want %s", err, want)
		}
	}
}

func TestICL(t *testing.T) {
	var input strings.Builder
	for i := range 6 {
		fmt.Fprintf(&input, `{"input": "in%d", "output": "out%d", "task": "t%d"}`+"\n", i, i, i%2)
	}
	for form, want := range map[string]int{"multitask": 6, "meta": 9} {
		s := &scripted{write: func(r Request, _ int) string {
			inputs := regexp.MustCompile(`Input: in(\d)`).FindAllStringSubmatch(*r.Prompt, -1)
			return " out" + inputs[len(inputs)-1][1]
		}}
		dir := t.TempDir()
		values := fmt.Sprintf("style: icl\nicl: {form: %s, shots: 2, count: 9}", form)
		rep, all, err := play(t, dir, s, input.String(), values)
		if err != nil || len(all) != want || rep.Figures[0].Value != 1 {
			t.Fatalf("%s: %+v, %v", form, rep, err)
		}
		orders := map[string]bool{}
		for _, l := range all {
			shown := regexp.MustCompile(`Input: in(\d)`).FindAllStringSubmatch(l.Prompt, -1)
			seen := map[string]bool{}
			for _, m := range shown {
				if seen[m[1]] || int(m[1][0]-'0')%2 != int(l.Task[1]-'0') {
					t.Errorf("%s: %q in task %s", form, l.Prompt, l.Task)
				}
				seen[m[1]] = true
			}
			if len(shown) != 3 || !strings.HasSuffix(l.Prompt, "\nOutput:") {
				t.Errorf("%q", l.Prompt)
			}
			orders[l.Prompt] = true
		}
		other := t.TempDir()
		if _, _, err := play(t, other, s, input.String(), values+"\nseed: 2"); err != nil || read(t, filepath.Join(other, "out.jsonl")) == read(t, filepath.Join(dir, "out.jsonl")) {
			t.Errorf("another seed draws the same: %v", err)
		}
	}
	if _, _, err := play(t, t.TempDir(), &scripted{}, input.String(), "style: icl\nicl: {shots: 3}"); err == nil || !strings.Contains(err.Error(), "want fewer shots than records") {
		t.Error(err)
	}
}

// seedTasks are six, of which two are classifications.
const seedTasks = `{"instruction": "Name three fruits that are red.", "input": "", "output": "Apple, cherry, plum."}
{"instruction": "Translate the sentence to French.", "instances": [{"input": "Good day.", "output": "Bonjour."}], "is_classification": false}
{"instruction": "Is the review good or bad?", "instances": [{"input": "I loved it.", "output": "good"}], "is_classification": true}
{"instruction": "Tell which of the words is an animal.", "input": "cat, car", "output": "cat", "is_classification": true}
{"instruction": "Write a short poem about the sea.", "output": "The sea, the sea."}
{"instruction": "Explain why the sky is blue.", "output": "Light is scattered."}
`

// invent writes new instructions that hang on the prompt, some of them bad.
func invent(form string) func(r Request, i int) string {
	words := []string{"bread", "rivers", "stars", "music boxes", "trees", "horses", "bridges", "salt", "winter"}
	return func(r Request, _ int) string {
		text := r.text()
		seed := int(r.Seed)
		instruction := func(k int) string {
			text := "Describe"
			for x := seed + k*7919; len(strings.Fields(text)) < 5; x /= 9 {
				text += " " + words[x%9]
			}
			return text
		}
		switch {
		case strings.Contains(text, "Classification:"):
			return []string{" Yes", " No"}[seed%2]
		case strings.Contains(text, "each with an example"):
			if strings.HasSuffix(text, `Output:","M":null}`) {
				return " good\nInput: A fine day."
			}
			return " none\nOutput: Well done."
		case strings.HasPrefix(text, `{"P":"Instruction: `):
			return " An answer."
		}
		switch form {
		case "alpaca":
			return " " + instruction(0) + "\nInput: none\nOutput: So it is.\n\nTask 5\nInstruction: " + instruction(1) + "\nInput: some\nOutput:\n\nTask 6\nInstruction: Draw a picture of it\nInput: none\nOutput: x"
		case "topics":
			return " " + instruction(0) + "\n- " + instruction(1) + "\n- Hm\n"
		}
		return " " + instruction(0) + "\nTask 8: " + instruction(1) + "\nTask 9: Show the image of a cat\n"
	}
}

func TestNewInstructions(t *testing.T) {
	for form, reasons := range map[string][]string{
		"self_instruct": {"like another instruction", excludedWord},
		"alpaca":        {"like another instruction", excludedWord, "no output"},
		"topics":        {"instruction too short or too long", "like another instruction"},
	} {
		values := fmt.Sprintf("style: instruct\ninstruct: {form: %s, count: 12, shots: 4, topics: [home]}", form)
		whole := t.TempDir()
		s := &scripted{write: invent(form)}
		rep, all, err := play(t, whole, s, seedTasks, values)
		if err != nil || len(all) != 12 {
			t.Fatalf("%s: %+v, %v", form, rep, err)
		}
		var text bytes.Buffer
		if err := rep.Print(&text); err != nil || !strings.Contains(text.String(), "like another instruction") || strings.Contains(text.String(), "(nothing)") || form != "alpaca" && !strings.Contains(text.String(), "for Describe ") {
			t.Errorf("%s: %v, printed\n%s", form, err, text.String())
		}
		have := removed(rep)
		for _, reason := range reasons {
			if have[reason] == 0 {
				t.Errorf("%s: nothing was removed as %q: %v", form, reason, have)
			}
		}
		for i, a := range all {
			if a.Instruction == "" || a.Output == "" || a.Completion != " "+a.Output || a.FinishReason != FinishStop || len(a.Messages) != 2 {
				t.Errorf("%s: %+v", form, a)
			}
			for _, b := range all[:i] {
				if x := rouge.L(rouge.Tokens(a.Instruction), rouge.Tokens(b.Instruction)); x >= 0.7 {
					t.Errorf("%s: ROUGE-L %.2f: %q, %q", form, x, a.Instruction, b.Instruction)
				}
			}
		}
		if form == "self_instruct" && !slices.ContainsFunc(all, func(l Line) bool { return l.Output == "good" && l.Input == "A fine day." }) {
			t.Error("no classification came, output first")
		}
		for _, die := range []int{2, 9, 11} { // and goes on with other threads: the same bytes, nothing asked twice
			dir := t.TempDir()
			dying := &scripted{write: invent(form), die: die}
			if _, _, err := play(t, dir, dying, seedTasks, values); err == nil {
				t.Fatal("it lives")
			}
			stored := len(lines[record](t, filepath.Join(dir, "out.answers.jsonl"))) - 1
			again := &scripted{write: invent(form)}
			if _, _, err := play(t, dir, again, seedTasks, values+"\nconcurrency: 3"); err != nil || read(t, filepath.Join(dir, "out.jsonl")) != read(t, filepath.Join(whole, "out.jsonl")) {
				t.Errorf("%s: died at %d: %v, or other bytes", form, die, err)
			}
			if stored+len(again.asked) != len(s.asked) {
				t.Errorf("%s: died at %d: %d stored, then asked %d, want %d in all", form, die, stored, len(again.asked), len(s.asked))
			}
		}
	}
	for _, form := range []string{"self_instruct", "alpaca", "topics"} { // a finished run that is to give more goes on, as one that wanted them at once
		values := func(count int) string {
			return fmt.Sprintf("style: instruct\ninstruct: {form: %s, count: %d, shots: 4, topics: [home]}", form, count)
		}
		whole, parts := t.TempDir(), t.TempDir()
		once, first, second := &scripted{write: invent(form)}, &scripted{write: invent(form)}, &scripted{write: invent(form)}
		_, _, err := play(t, whole, once, seedTasks, values(20))
		_, _, one := play(t, parts, first, seedTasks, values(7))
		_, _, two := play(t, parts, second, seedTasks, values(20))
		if err := errors.Join(err, one, two); err != nil || read(t, filepath.Join(parts, "out.jsonl")) != read(t, filepath.Join(whole, "out.jsonl")) || len(first.asked)+len(second.asked) != len(once.asked) {
			t.Errorf("%s: %v, asked %d and %d, want %d, or other bytes", form, err, len(first.asked), len(second.asked), len(once.asked))
		}
	}
	rep, all, err := play(t, t.TempDir(), &scripted{write: func(Request, int) string { return "" }}, seedTasks, "style: instruct\ninstruct: {form: alpaca}")
	if err != nil || len(all) != 0 || rep.Requests != idleRounds*roundRequests {
		t.Errorf("a teacher without ideas: %+v, %v", rep, err)
	}
	ideas := invent("topics")
	rep, all, err = play(t, t.TempDir(), &scripted{write: func(r Request, i int) string {
		if strings.Contains(r.text(), "More of them") {
			return ideas(r, i) + "- Say why it is half a sente…"
		}
		return " An answer."
	}}, seedTasks, "style: instruct\ninstruct: {form: topics, count: 3, topics: [home]}")
	if have := removed(rep); err != nil || len(all) != 3 || have["cut by max_tokens"] != roundRequests {
		t.Errorf("cut at the end: %v, %v", have, err)
	}
	for form, why := range map[string]string{"alpaca": "20 rounds in a row brought no new instruction", "self_instruct": "the others were removed or have no answer"} {
		fruitless(t, form, why)
	}
}

// fruitless plays teachers that give nothing of what is wanted: all their answers are counted, and the run does not call itself complete.
func fruitless(t *testing.T, form, why string) {
	t.Helper()
	ideas := invent(form)
	rep, _, err := play(t, t.TempDir(), &scripted{write: func(r Request, i int) string {
		if form == "alpaca" || strings.Contains(r.text(), "each with an example") {
			return " \n"
		}
		return ideas(r, i)
	}}, seedTasks, fmt.Sprintf("style: instruct\ninstruct: {form: %s, count: 5}", form))
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := rep.Print(&text); err != nil {
		t.Fatal(err)
	}
	if want := "the teacher's answers gave only 0 of the 5 that are wanted: " + why; rep.Complete || rep.Wanted != 5 || rep.Stopped != want || !strings.Contains(text.String(), want) {
		t.Errorf("%s: have %+v, want %q, printed\n%s", form, rep, want, text.String())
	}
	have := removed(rep)
	if form == "alpaca" && (rep.Answers != idleRounds*roundRequests || have["empty answer"] != rep.Answers) || form == "self_instruct" && (have["no output"] != 5 || have["more than are wanted"] == 0) {
		t.Errorf("%s: %d answers, removed %v", form, rep.Answers, have)
	}
}

func TestParseTasks(t *testing.T) {
	for _, c := range []struct {
		form, text string
		want       []task
	}{
		{"self_instruct", " Do this.\nTask 9: Do \"that\".\n**Task 10:** And more\nas said", []task{{instruction: "Do this."}, {instruction: `Do "that".`}, {instruction: "And more"}}},
		{"topics", "- a b\n2. c d\n\n* e", []task{{instruction: "a b"}, {instruction: "c d"}}},
		{"alpaca", " Add.\nInput: 1, 2\nOutput: 3\nand\n\nTask 5\nInstruction: Say hi\nInput: <noinput>\nOutput: hi\n\nTask 6\n", []task{{"Add.", "1, 2", "3\nand", false}, {"Say hi", "", "hi", false}}},
		{"alpaca", "", nil},
	} {
		if have := parseTasks(c.text, c.form); !slices.Equal(have, c.want) {
			t.Errorf("%s: have %v, want %v", c.form, have, c.want)
		}
	}
	for want, a := range map[string]Answer{
		"empty answer":  {Text: "\n", FinishReason: FinishStop},
		"no task found": {Text: "Input: 1\nOutput: 2", FinishReason: FinishStop},
		"cut by max_tokens before a task was whole": {Text: " Say", FinishReason: FinishLength},
	} {
		if tasks, _ := wholeTasks(reply{Answer: a}, "alpaca"); len(tasks) > 0 || noTask(reply{Answer: a}) != want {
			t.Errorf("%+v: have %v, %s, want %s", a, tasks, noTask(reply{Answer: a}), want)
		}
	}
	cut := reply{Answer: Answer{Text: " a b c\nTask 9: half a sen", FinishReason: FinishLength}}
	if have, _ := wholeTasks(cut, "self_instruct"); len(have) != 1 {
		t.Errorf("have %v", have)
	}
}

func TestAnswersAndChat(t *testing.T) {
	s := &scripted{write: func(r Request, _ int) string { return fmt.Sprintf(" said %d", len(r.Messages)) }}
	_, all, err := play(t, t.TempDir(), s, seedTasks, "style: instruct\nchat: true\nsystem: Be kind.")
	if err != nil || len(all) != 6 || all[1].Prompt != "Translate the sentence to French.\n\nGood day." || all[1].Output != "said 2" || len(all[1].Messages) != 3 {
		t.Errorf("%+v, %v", all, err)
	}
	for _, chat := range []bool{true, false} {
		s := &scripted{write: func(r Request, _ int) string {
			if r.Messages == nil {
				return " words"
			}
			return fmt.Sprintf("%d", len(r.Messages))
		}}
		_, all, err := play(t, t.TempDir(), s, seedTasks, fmt.Sprintf("style: instruct\nchat: %v\nsamples: 2\ninstruct: {form: chat, turns: 3}", chat))
		if err != nil || len(all) != 12 || len(s.asked) != 12*5 {
			t.Fatalf("%d lines, %d requests, %v", len(all), len(s.asked), err)
		}
		for _, l := range all {
			for i, m := range l.Messages {
				if m.Role != []string{"user", "assistant"}[i%2] || m.Content == "" {
					t.Errorf("%+v", l.Messages)
				}
			}
			if len(l.Messages) != 6 || l.Completion != l.Messages[5].Content || chat && l.Messages[5].Content != "5" {
				t.Errorf("%+v", l)
			}
		}
	}
}

// TestConfigurations: each embedded configuration names a style, its fields and filters that there are.
func TestConfigurations(t *testing.T) {
	shown := map[string]bool{}
	for _, name := range config.Names() {
		if !strings.HasPrefix(name, "synth_") {
			continue
		}
		c, err := config.LoadSynth(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		kind, err := lookupStyle(c.Synth.Style)
		if err == nil {
			err = kind.checkFields(c.Synth.Fields)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		shown[c.Synth.Style] = true
		if _, err := newFilters(c.Synth.Filters); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if text, _, err := config.Text("synth_complete"); err != nil || !strings.Contains(string(text), "keep_truncated: true") {
		t.Errorf("synth_complete does not tell that training leaves out what max_tokens cut: %v", err)
	}
	for name := range styles {
		if !shown[name] {
			t.Errorf("style %s has no configs/synth_….yaml", name)
		}
	}
}
