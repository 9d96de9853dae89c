package answer

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"kdistill/internal/testutil"
)

func TestFindNumber(t *testing.T) {
	for text, want := range map[string]string{
		"Natalia sold 48/2 = <<48/2=24>>24 clips.\n#### 72": "72",
		"#### 1,234,567":                                      "1234567",
		"#### $-5.50":                                         "-11/2",
		"#### -3":                                             "-3",
		"#### about 12 apples":                                "12",
		"####":                                                "",
		"#### none\nThe answer is 4":                          "4",
		"#### 5\nQ: what?\n#### 6":                            "5",
		"The answer is 42.":                                   "42",
		"the answer is $1,000.00.":                            "1000",
		"The answer is 5 + 3 = 8. That is 2 more":             "8",
		"The answer is ( 84.0 / 2.0 ). Q: Luke has 3":         "42",
		"The answer is ( ( 17.0 + 15.0 ) - 2.0 ).":            "30",
		"( ( 4.0 * 17.0 ) * 16.0 )":                           "1088",
		"The answer is (about 5)":                             "5",
		"Therefore, the answer (arabic numerals) is 8 of 10.": "8",
		"Answer:\n72 and 5":                                   "72",
		"The answer is not 5. The answer is 6":                "6",
		"The answer is 3/4.":                                  "3/4",
		"The answer is 1 1/2 cups":                            "3/2",
		"It is 50% of 80 = 40%":                               "40",
		"A: 72\nas 48 + 24":                                   "72",
		"A: She played with 16 kids. 16 - 12 = 4 kids.":       "4",
		"A: 5 apples and 3 pears make 8":                      "8",
		"A: 72, as 48 + 24":                                   "72",
		"A: 8 (5 + 3)":                                        "8",
		"A: 8 apples.\n3 of them are red":                     "8",
		"10^2":                                                "100",
		"It is 10^{-2} m":                                     "1/100",
		"so 2^10 = 1024":                                      "1024",
		"the answer is 2^10 = 1024":                           "1024",
		"the answer is 3 * 10^4":                              "30000",
		"some 3 × 10^5 stars":                                 "300000",
		`$1.5 \times 10^{3}$`:                                 "1500",
		"-3^2 = x^2 + 5":                                      "5",
		"2^123456":                                            "123456",
		"0^0":                                                 "0",
		`\frac{1}{2}`:                                         "1/2",
		`so $-\dfrac{3}{4}$.`:                                 "-3/4",
		`The answer is $2\frac{1}{2}$ cups`:                   "5/2",
		`\frac{x}{2}`:                                         "2",
		"½":                                                   "1/2",
		"about ¾ of it":                                       "3/4",
		"1½ cups":                                             "3/2",
		"it takes 2 ⅓ hours":                                  "7/3",
		"-½":                                                  "-1/2",
		"so 5-3":                                              "3",
		"20-30":                                               "30",
		"the answer is 5+3=8":                                 "8",
		"the answer is 2*(1+3) = $8. 1 = 1":                   "8",
		"Answer: 1,5=x":                                       "1",
		"x = −7":                                              "-7",
		"it is –7 °C":                                         "-7",
		"pages 20–30":                                         "30",
		"1e6":                                                 "1000000",
		"about 2.5E-3 m":                                      "1/400",
		"9e99999":                                             "99",
		"1\u00a0000\u202f000 people":                          "1000000",
		"CHF 12'500.50":                                       "25001/2",
		`\boxed{-1{,}234}`:                                    "-1234",
		"答えは１，２３４。５":                                          "5",
		"－７":                                                  "-7",
		"₹500":                                                "500",
		"it fell by -$1,250.75 .":                             "-5003/4",
		"**72**":                                              "72",
		"1,2":                                                 "2",
		"half a cup: 1/2":                                     "1/2",
		"divide 4/0":                                          "4",
		".5":                                                  "1/2",
		"4.0":                                                 "4",
		"4.":                                                  "4",
		"no number here":                                      "",
		"":                                                    "",
		"3 children":                                          "3",
		"$ 5":                                                 "5",
		"version 1.2.3":                                       "3",
	} {
		have, ok := Number.Find(text, nil)
		if ok != (want != "") || have != want {
			t.Errorf("%q: have %q, want %q", text, have, want)
		}
	}
	if x, ok := FindNumber(strings.Repeat("(", 1<<16) + "5"); !ok || x.RatString() != "5" {
		t.Errorf("many parentheses: have %v", x)
	}
}

// TestGSM8K: the marked number of every solution is its answer, and the last number of a solution without its mark is mostly so.
func TestGSM8K(t *testing.T) {
	raw, err := os.ReadFile(testutil.Shared(t, "data/cot/gsm8k/train.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines, last := 0, 0
	for line := range bytes.Lines(raw) {
		var o struct{ Answer string }
		if err := json.Unmarshal(line, &o); err != nil {
			t.Fatal(err)
		}
		solution, gold, _ := strings.Cut(o.Answer, "#### ")
		if !Number.Equal(o.Answer, gold, nil) {
			have, _ := Number.Find(o.Answer, nil)
			t.Errorf("have %s, want %s", have, gold)
		}
		lines++
		if Number.Equal(solution, gold, nil) {
			last++
		}
	}
	if lines != 7473 || last < 7000 {
		t.Errorf("the last number is the answer of %d of %d", last, lines)
	}
}

func TestFindChoice(t *testing.T) {
	five := []string{"park", "coloring book", "garden center", "math problem", "gravity"}
	twice := []string{"bus depot", "beach", "train station", "bridge", "Bridge"}
	inner := []string{"horse", "horse food", "the"}
	for _, c := range []struct {
		text    string
		choices []string
		want    string
	}{
		{"So the answer is (d) math problem.\n\nQ: The man?\n(a) horse\nA: So the answer is (a)", five, "D"},
		{"the answer is (D)", nil, "D"},
		{"The answer is B.", nil, "B"},
		{"Answer: C", nil, "C"},
		{"answer is: **B**", nil, "B"},
		{"B", nil, "B"}, {"b", nil, "B"}, {"(b)", nil, "B"}, {"B.", nil, "B"}, {" B) garden", nil, "B"}, {"B. because", nil, "B"}, {"B is right", nil, "B"}, {"C: gravity", nil, "C"},
		{"I think that it is option C, not D", nil, "C"},
		{"Of (a) and (b) it is (b) that fits", nil, "B"},
		{"The answer is gravity", five, "E"},
		{"garden center", five, "C"},
		{"A: it must be a math problem", five, "D"},
		{"The answer is B, not C", nil, "B"}, {"The answer is not A. It is B.", nil, "B"}, {"B - since A is wrong", nil, "B"}, {"A: B", nil, "B"}, {"A, because", nil, "A"},
		{`The answer is \boxed{B}.`, nil, "B"}, {`So $\boxed{C}$`, nil, "C"}, {"[B]", nil, "B"}, {"$B$", nil, "B"}, {"My choice: D", nil, "D"}, {"The right option is B, a park", five, "B"},
		{"I choose B", nil, "B"}, {"It's D.", nil, "D"}, {"So B is correct", nil, "B"}, {"Perhaps A or I think", nil, ""}, {"the answer would be C", nil, "C"}, {"It's B's fault", nil, ""},
		{"vitamin C, gravity", five, "E"},
		{"the answer is (z)", nil, ""},
		{"the answer is (g)", five, ""},
		{"A park and gravity", five, ""},
		{"I like parks", nil, ""},
		{"a dog", nil, ""},
		{"", five, ""}, {"", nil, ""},
		{"the answer is (e) bridge", twice, "D"},
		{"the answer is horse food", inner, "B"},
		{"the answer is a horse", inner, "A"},
	} {
		have, ok := Choice.Find(c.text, c.choices)
		if ok != (c.want != "") || ok && have != c.want {
			t.Errorf("%q of %q: have %q, want %q", c.text, c.choices, have, c.want)
		}
	}
}

// TestRationales: what PaLM 540B concluded is found in its raw continuations, and agrees with the gold answer about as often as the paper's filter says (Distilling step-by-step).
func TestRationales(t *testing.T) {
	var questions []struct {
		Choices []string
		Answer  string
	}
	read(t, "data/cot/dss/cqa/cqa_train.json", &questions)
	var written []string
	read(t, "data/cot/dss/cqa/llm/train_CoT_0.json", &written)
	found, right := 0, 0
	for i, text := range written {
		if _, ok := Choice.Find(text, questions[i].Choices); ok {
			found++
		}
		if Choice.Equal(text, questions[i].Answer, questions[i].Choices) {
			right++
		}
	}
	t.Logf("choices: %d answers, %d found, %d right", len(written), found, right)
	if found < len(written)*95/100 || right < len(written)*60/100 {
		t.Errorf("%d answers, %d found, %d right", len(written), found, right)
	}
	var problems []struct{ Label string }
	read(t, "data/cot/dss/svamp/svamp_train.json", &problems)
	read(t, "data/cot/dss/svamp/llm/train_CoT_0.json", &written)
	right = 0
	for i, text := range written {
		if Number.Equal(text, problems[i].Label, nil) {
			right++
		}
	}
	t.Logf("numbers: %d of %d right", right, len(written))
	if right < len(written)*60/100 {
		t.Errorf("numbers: %d of %d right", right, len(written))
	}
}

// read fills v from a file of JSON lines, one array or one value a line.
func read[T any](t *testing.T, name string, v *[]T) {
	t.Helper()
	raw, err := os.ReadFile(testutil.Shared(t, name))
	if err != nil {
		t.Fatal(err)
	}
	*v = nil
	if raw[0] == '[' {
		if err := json.Unmarshal(raw, v); err != nil {
			t.Fatal(err)
		}
		return
	}
	for line := range bytes.Lines(raw) {
		var x T
		if err := json.Unmarshal(line, &x); err != nil {
			t.Fatal(err)
		}
		*v = append(*v, x)
	}
}

func TestNormalize(t *testing.T) {
	raw, err := os.ReadFile(testutil.Testdata(t, "golden/squad.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden struct{ Texts [][2]string }
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	for _, pair := range golden.Texts {
		if have := Normalize(pair[0]); have != pair[1] {
			t.Errorf("%q: have %q, want %q", pair[0], have, pair[1])
		}
	}
}

func TestFindText(t *testing.T) {
	for text, want := range map[string]string{
		"Well, the answer is The Beatles!\nYes.": "beatles",
		"Paris":                                  "paris", "A: ": "", "the": "", "answer: blue Q: next": "blue",
	} {
		if have, ok := FindText(text); have != want || ok != (want != "") {
			t.Errorf("%q: have %q, %v, want %q", text, have, ok, want)
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add("The answer is ( 84.0 / 2.0 ). 1 1/2 -$3,000.5 #### 5", "a")
	f.Add("(b) A: x answer: (", "b c")
	f.Fuzz(func(t *testing.T, text, choice string) {
		for _, k := range []Kind{Number, Choice, Text} {
			have, ok := k.Find(text, []string{choice, "other"})
			if ok && k == Number && !k.Equal(have, have, nil) {
				t.Errorf("%q: %q is not itself", text, have)
			}
		}
	})
}
