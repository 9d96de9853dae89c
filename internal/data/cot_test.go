package data

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/testutil"
)

const cqa = `{"question":"Where?","choices":["park","bank"],"answer":"bank"}
{"question":"Who?","choices":["him","her"],"answer":"him"}
{"question":"Why?","choices":["so","no"],"answer":"so"}
{"question":"When?","choices":["now","then"],"answer":"now"}
`

const palm = `["Money lies there. So the answer is (b) bank.\n\nQ: What?\nA: So the answer is (a) x.", "She said so. So the answer is (b) her.", "It goes on and on", "Now is best. The answer is now."]`

// TestCot makes documents of every style of questions with raw rationales.
func TestCot(t *testing.T) {
	path, raw := write(t, "q.jsonl", cqa), write(t, "r.json", palm)
	question := "Q: Where?\nAnswer Choices:\n(a) park\n(b) bank\nA:"
	texts := func(d *Dataset) (all []string) {
		for i := range d.Len() {
			all = append(all, strings.TrimSuffix(whole(d, i), "$")+"#"+strings.TrimSuffix(learned(d, i, plain), "$"))
		}
		return all
	}
	d := load(t, fake{}, LoadOptions{}, File{Path: path, Format: "cot", Style: LabelOnly})
	if have := texts(d); len(have) != 4 || have[0] != question+" bank# bank" {
		t.Errorf("label_only: have %q", have)
	}
	d = load(t, fake{}, LoadOptions{}, File{Path: path, Format: "cot", Style: RationaleThenAnswer, Rationales: raw})
	reasoned := " Money lies there. So the answer is bank"
	if have := texts(d); len(have) != 2 || have[0] != question+reasoned+"#"+reasoned {
		t.Errorf("rationale_then_answer: have %q", have)
	}
	wantNotes := []string{": left out: 1 rationales with another answer than the record's", ": left out: 1 rationales without an answer at their end"}
	if notes := d.Notes(); len(notes) != 2 || !strings.HasSuffix(notes[0], wantNotes[0]) || !strings.HasSuffix(notes[1], wantNotes[1]) {
		t.Errorf("have notes %q", notes)
	}
	d = load(t, fake{}, LoadOptions{}, File{Path: path, Format: "cot", Style: Multitask, Rationales: raw})
	want := []string{"[label] " + question + " bank# bank", "[rationale] " + question + " Money lies there.# Money lies there."}
	if have := texts(d); len(have) != 6 || !slices.Equal(have[:2], want) || !strings.HasSuffix(have[2], "# him") || !strings.HasSuffix(have[5], "# Now is best.") {
		t.Errorf("multitask: have %q", have)
	}
}

// TestMultitaskWeights: the weighted mean over all tokens is the mean over the answers' plus λ times that over the rationales', but for a factor, and other
// files keep theirs.
func TestMultitaskWeights(t *testing.T) {
	path, raw, other := write(t, "q.jsonl", cqa), write(t, "r.json", palm), write(t, "o.jsonl", `{"text":"other"}`)
	for _, lambda := range []float64{1, 0.25, 3} {
		d := load(t, fake{}, LoadOptions{}, File{Path: other}, File{Path: path, Format: "cot", Style: Multitask, Rationales: raw, RationaleWeight: lambda}, File{Path: other})
		s, err := NewSource(d, Options{SequenceLength: 100, Epochs: 1, Packing: true, Shuffle: true})
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Next(100)
		if err != nil {
			t.Fatal(err)
		}
		sums := map[bool]float64{}
		for i, label := range b.Labels {
			doc := int(b.Documents[i])
			switch {
			case label == Ignore && b.Weights[i] != 1:
				t.Errorf("weight %v without a label", b.Weights[i])
			case label == Ignore:
			case doc == 0 || doc == d.Len()-1:
				if b.Weights[i] != 1 {
					t.Errorf("another file has weight %v", b.Weights[i])
				}
			default:
				sums[strings.HasPrefix(whole(d, doc), "[rationale]")] += float64(b.Weights[i])
			}
		}
		if answers := sums[false]; answers != 16+4 || math.Abs(sums[true]-lambda*answers) > 1e-5 { // " bank", " him", " so", " now" and end tokens
			t.Errorf("λ = %v: answers have %v, rationales %v", lambda, answers, sums[true])
		}
		if view := b.Rows(1, 2); len(view.Weights) != 100 {
			t.Errorf("rows have %d weights", len(view.Weights))
		}
	}
	one := load(t, fake{}, LoadOptions{}, File{Path: path, Format: "cot", Style: Multitask, Rationales: raw})
	two := load(t, fake{}, LoadOptions{}, File{Path: path, Format: "cot", Style: Multitask, Rationales: raw, RationaleWeight: 2})
	if one.Fingerprint() == two.Fingerprint() {
		t.Error("the fingerprint does not change with a weight")
	}
}

func TestSplitRationale(t *testing.T) {
	for raw, want := range map[string][2]string{
		"A is b. So the answer is (d) math problem.\n\nQ: x\nA: So the answer is (a) y": {"A is b.", "(d) math problem."},
		"we divide: 84 / 2 = 42 The answer is ( 84.0 / 2.0 ). Q: Luke":                  {"we divide: 84 / 2 = 42", "( 84.0 / 2.0 )."},
		"The answer is not 5. So, the answer is: 6":                                     {"The answer is not 5. So, ", "6"},
		"Therefore the answer is yes":                                                   {"", "yes"},
		"no end":                                                                        {"", ""},
		"the answer is":                                                                 {"", ""},
	} {
		rationale, given, ok := SplitRationale(raw)
		if rationale != strings.TrimSpace(strings.TrimSuffix(want[0], "So, ")) || given != want[1] || ok != (want[1] != "") {
			t.Errorf("%q: have %q, %q, %v", raw, rationale, given, ok)
		}
	}
	for _, c := range []struct {
		p     problem
		given string
		want  bool
	}{
		{problem{answer: "( 84.0 / 2.0 )"}, "( 84.0 / 2.0 ).", true}, {problem{answer: "( 84.0 / 2.0 )"}, "( 84.0 * 2.0 ).", false}, {problem{answer: "72"}, "$72.00", true},
		{problem{answer: "two apples"}, "Two apples.", true}, {problem{answer: "2 apples"}, "2 pears", false},
		{problem{answer: "bank", choices: []string{"park", "bank"}}, "(b)", true}, {problem{answer: "bank", choices: []string{"park", "bank"}}, "(a) park", false},
	} {
		if have := c.p.right(c.given); have != c.want {
			t.Errorf("%+v, %q: have %v", c.p, c.given, have)
		}
	}
}

func TestCotRefuses(t *testing.T) {
	path := write(t, "q.jsonl", cqa)
	for _, c := range []struct {
		file File
		want string
	}{
		{File{Path: path}, `style: have "", want one of label_only`},
		{File{Path: path, Style: Multitask, Rationales: write(t, "r.json", `["a"]`)}, "have 4 records, and 1 rationales"},
		{File{Path: path, Style: Multitask, Rationales: write(t, "r.json", `["a","b","c","d","e"]`)}, "have 4 records, and 5 rationales"},
		{File{Path: path, Style: Multitask, Rationales: write(t, "r.json", `{"a":1}`)}, "want a JSON list of texts"},
		{File{Path: path, Style: Multitask, Rationales: t.TempDir()}, "no .json files"},
		{File{Path: path, Style: Multitask, Rationales: path + "x"}, "rationales: "},
		{File{Path: path, Style: LabelOnly, Rationales: path}, "has no use for them"},
		{File{Path: path, Style: LabelOnly, RationaleWeight: 1}, "rationale_weight is for style multitask"},
		{File{Path: path, Style: LabelOnly, Fields: map[string]string{"question": "q"}}, `no field "q", have answer, choices, question: fields: {question: NAME}`},
		{File{Path: path, Style: RationaleThenAnswer}, "left out are 4 records without a rationale"},
		{File{Path: write(t, "q.jsonl", `{"question":"a","answer":"b","choices":"c"}`), Style: LabelOnly}, `field "choices": want a list of strings, have a string`},
	} {
		c.file.Format = "cot"
		if _, err := Load(context.Background(), []File{c.file}, fake{}, LoadOptions{}); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: have error %v, want %q", c.file, err, c.want)
		}
	}
}

// TestPublishedRationales reads those of PaLM 540B that were published with Distilling step-by-step.
func TestPublishedRationales(t *testing.T) {
	for name, c := range map[string]struct {
		fields        map[string]string
		records, kept int // 7388 of cqa end with the letter of the right choice, some others with its words
	}{
		"cqa":   {nil, 9741, 7448},
		"svamp": {map[string]string{"question": "input", "answer": "label"}, 800, 800},
	} {
		dir := testutil.Shared(t, "data/cot/dss/"+name)
		d := load(t, fake{words: true}, LoadOptions{}, File{Path: dir + "/" + name + "_train.json", Format: "cot", Style: Multitask, Rationales: dir + "/llm", Fields: c.fields})
		if kept := d.Len() - c.records; kept != c.kept {
			t.Errorf("%s: have %d rationales of %d, want %d: %q", name, kept, c.records, c.kept, d.Notes())
		}
	}
}

// TestMultitaskBatches: in every batch that has both, the rationales weigh together λ times what the answers do.
func TestMultitaskBatches(t *testing.T) {
	var lines strings.Builder
	for i := range 40 {
		fmt.Fprintf(&lines, `{"question":"%c","answer":"%s","rationale":"%s"}`+"\n", 'a'+i%26, strings.Repeat("x", 1+i%3), strings.Repeat("y ", 1+i%11))
	}
	const lambda = 0.5
	d := load(t, fake{}, LoadOptions{}, File{Path: write(t, "q.jsonl", lines.String()), Format: "cot", Style: Multitask, RationaleWeight: lambda})
	s, err := NewSource(d, Options{SequenceLength: 100, Epochs: 1, Shuffle: true})
	if err != nil {
		t.Fatal(err)
	}
	both, shares := 0, map[float64]bool{}
	for {
		b, err := s.Next(3)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var answers, rationales float64
		for i, label := range b.Labels {
			switch {
			case label == Ignore:
			case strings.HasPrefix(whole(d, int(b.Documents[i])), "[rationale]"):
				rationales += float64(b.Weights[i])
				shares[float64(b.Weights[i])] = true
			default:
				answers += float64(b.Weights[i])
			}
		}
		if answers == 0 || rationales == 0 {
			continue
		}
		if both++; math.Abs(rationales-lambda*answers) > 1e-5 {
			t.Errorf("answers have %v, rationales %v", answers, rationales)
		}
	}
	if both < 10 || len(shares) < 5 {
		t.Errorf("%d batches have both, with %d different weights", both, len(shares))
	}
}

// TestCutAnswers: what a limit of tokens ended is not learnt to end there.
func TestCutAnswers(t *testing.T) {
	path := write(t, "a.jsonl", `{"prompt":"a","completion":" b","finish_reason":"length"}`+"\n"+`{"prompt":"a","completion":" c","finish_reason":"stop"}`)
	for eos, want := range map[string]string{"auto": "a b", "true": "a b$", "false": "a b"} {
		d := load(t, fake{}, LoadOptions{}, File{Path: path, KeepTruncated: true, AppendEOS: eos})
		if have := whole(d, 0); have != want {
			t.Errorf("append_eos %s: have %q, want %q", eos, have, want)
		}
		if have := whole(d, 1); (have == "a c$") != (eos != "false") {
			t.Errorf("append_eos %s: have %q", eos, have)
		}
	}
}
