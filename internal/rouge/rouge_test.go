package rouge

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"kdistill/internal/testutil"
)

type scores [3]float64 // rouge1, rouge2, rougeL

type pair struct {
	A, B           string
	Plain, Stemmed scores
}

type golden struct {
	Pairs, Files, Vicuna []pair
	Stems                string
}

func read(t *testing.T) (g golden) {
	t.Helper()
	text, err := os.ReadFile(testutil.Testdata(t, "golden/rouge.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// compare wants the reference's very bits.
func compare(t *testing.T, p pair) {
	t.Helper()
	a, b := Tokens(p.A), Tokens(p.B)
	if have := (scores{N(1, a, b), N(2, a, b), L(a, b)}); have != p.Plain {
		t.Errorf("%.60q, %.60q: have %v, want %v", p.A, p.B, have, p.Plain)
	}
	a, b = Stems(a), Stems(b)
	if have := (scores{N(1, a, b), N(2, a, b), L(a, b)}); have != p.Stemmed {
		t.Errorf("stems of %.60q, %.60q: have %v, want %v", p.A, p.B, have, p.Stemmed)
	}
}

func TestPairs(t *testing.T) {
	for _, p := range read(t).Pairs {
		compare(t, p)
	}
}

func TestStems(t *testing.T) {
	words := strings.Fields(read(t).Stems)
	for i := 0; i < len(words); i += 2 {
		if have := Stem(words[i]); have != words[i+1] {
			t.Errorf("%s: have %s, want %s", words[i], have, words[i+1])
		}
	}
}

// TestPublishedPair: the texts of which google-research publishes what ROUGE-1.5.5 says.
func TestPublishedPair(t *testing.T) {
	p := read(t).Files[0]
	for text, name := range map[*string]string{&p.A: "target.txt", &p.B: "prediction.txt"} {
		raw, err := os.ReadFile(testutil.Shared(t, "data/metric/rouge/"+name))
		if err != nil {
			t.Fatal(err)
		}
		*text = string(raw)
	}
	compare(t, p)
}

func TestRealAnswers(t *testing.T) {
	want := read(t).Vicuna
	var texts [2][]string
	for i, name := range []string{"answer_gpt35.jsonl", "answer_llama-13b.jsonl"} {
		raw, err := os.ReadFile(testutil.Shared(t, "data/instruct/vicuna/"+name))
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(raw) {
			var o struct{ Text string }
			if err := json.Unmarshal(line, &o); err != nil {
				t.Fatal(err)
			}
			texts[i] = append(texts[i], o.Text)
		}
	}
	for i, p := range want {
		p.A, p.B = texts[0][i], texts[1][i]
		compare(t, p)
	}
}

func FuzzStem(f *testing.F) {
	f.Add("relational")
	f.Add("y")
	f.Fuzz(func(_ *testing.T, text string) {
		for _, w := range Tokens(text) {
			Stem(w)
		}
	})
}
