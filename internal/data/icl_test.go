package data

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// TestDemonstrated puts other records of the same task in front of each one: seeded, never itself, as many as are asked for and fit.
func TestDemonstrated(t *testing.T) {
	var lines strings.Builder
	for i := range 12 {
		fmt.Fprintf(&lines, `{"prompt":"%c?","completion":"%c","task":%d}`+"\n", 'a'+i, 'A'+i, i%2)
	}
	path := write(t, "t.jsonl", lines.String())
	file := File{Path: path, Format: "icl", Shots: 3}
	d := load(t, fake{}, LoadOptions{Seed: 7}, file)
	orders := map[string]bool{}
	for i := range d.Len() {
		text := strings.TrimSuffix(whole(d, i), "$")
		parts := strings.Split(text, "\n\n")
		if own := fmt.Sprintf("%c?%c", 'a'+i, 'A'+i); len(parts) != 4 || parts[3] != own || learned(d, i, plain) != own[2:]+"$" {
			t.Fatalf("document %d: have %q, of which %q is learned", i, text, learned(d, i, plain))
		}
		seen := map[byte]bool{}
		for _, p := range parts {
			if int(p[0]-'a')%2 != i%2 || seen[p[0]] || p[0]-'a' != p[2]-'A' {
				t.Errorf("document %d: have %q", i, text)
			}
			seen[p[0]] = true
		}
		orders[strings.Join(parts[:3], "")] = true
	}
	if len(orders) < 8 {
		t.Errorf("only %d contexts differ", len(orders))
	}
	if again := load(t, fake{}, LoadOptions{Seed: 7}, file); again.Fingerprint() != d.Fingerprint() {
		t.Error("the same seed gives other documents")
	}
	if other := load(t, fake{}, LoadOptions{Seed: 8}, file); other.Fingerprint() == d.Fingerprint() {
		t.Error("another seed gives the same documents")
	}
	several := file
	several.Draws = 3
	passes := load(t, fake{}, LoadOptions{Seed: 7}, several)
	same := 0
	for i := range 36 {
		if i < 12 && whole(passes, i) != whole(d, i) || i >= 12 && !strings.HasSuffix(whole(passes, i), whole(d, i%12)[len(whole(d, i%12))-6:]) {
			t.Errorf("pass %d: have %q", i/12, whole(passes, i))
		}
		if i >= 12 && whole(passes, i) == whole(passes, i-12) {
			same++
		}
	}
	if passes.Len() != 36 || same > 4 {
		t.Errorf("have %d documents, %d of them as in the pass before", passes.Len(), same)
	}
	short := load(t, fake{}, LoadOptions{Seed: 7, Length: 15}, file) // two demonstrations of 5 tokens, 3 of its own and the end
	if have := whole(short, 0); !strings.HasSuffix(whole(d, 0), have) || strings.Count(have, "\n\n") != 2 {
		t.Errorf("have %q of %q", have, whole(d, 0))
	}
	many := file
	many.Shots = 99
	if have := whole(load(t, fake{}, LoadOptions{}, many), 0); strings.Count(have, "\n\n") != 5 {
		t.Errorf("all others of the task: have %q", have)
	}
}

// TestDemonstrationWeight learns the demonstrations too, with their weight.
func TestDemonstrationWeight(t *testing.T) {
	path := write(t, "t.jsonl", `{"question":"a","choices":["x","y"],"answer":"x"}`+"\n"+`{"question":"b","choices":["x","y"],"answer":"y"}`)
	d := load(t, fake{}, LoadOptions{}, File{Path: path, Format: "icl", Shots: 1, DemonstrationWeight: 0.25})
	shown, query := "Q: b\nAnswer Choices:\n(a) x\n(b) y\nA: y\n\n", "Q: a\nAnswer Choices:\n(a) x\n(b) y\nA:"
	if whole(d, 0) != shown+query+" x$" || learned(d, 0, plain) != shown+"| x$" {
		t.Errorf("have %q, of which %q is learned", whole(d, 0), learned(d, 0, plain))
	}
	s, err := NewSource(d, Options{SequenceLength: 200, Epochs: 1})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Next(1)
	if err != nil {
		t.Fatal(err)
	}
	for i, label := range b.Labels {
		want := float32(1)
		if i < len(shown)-1 { // the first token has nothing before it
			want = 0.25
		}
		if b.Weights[i] != want || (label != Ignore) != (i < len(shown)-1 || i >= len(shown+query)-1 && i < len(shown+query)+2) {
			t.Errorf("position %d: have label %d, weight %v", i, label, b.Weights[i])
		}
	}
}

func TestDemonstratedRefuses(t *testing.T) {
	for line, want := range map[string]string{
		`{"prompt":"a","completion":"b"}`:                           "there is no other record of its task to show",
		`{"prompt":"a"}` + "\n" + `{"prompt":"a","completion":"b"}`: `no field "completion"`,
		`{"text":"a"}` + "\n" + `{"text":"b"}`:                      `no field "question"`,
		`{"prompt":"a","completion":["b"]}` + "\n{}":                `field "completion": want a string, have a list`,
	} {
		_, err := Load(context.Background(), []File{{Path: write(t, "t.jsonl", line), Format: "icl", Shots: 1}}, fake{}, LoadOptions{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: have error %v, want %q", line, err, want)
		}
	}
	if _, err := Load(context.Background(), []File{{Path: write(t, "t.jsonl", `{}`), Format: "icl"}}, fake{}, LoadOptions{}); err == nil || !strings.Contains(err.Error(), "shots: have 0") {
		t.Errorf("have error %v", err)
	}
}
