package synth

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"kdistill/internal/config"
)

// filterCases are, for each filter, texts that stay and texts that go, in this order.
var filterCases = map[string]struct {
	filter     config.Filter
	stay, goes []string
}{
	"length":     {config.Filter{Values: map[string]float64{"min": 2, "max": 4}}, []string{"a b", "a b c d"}, []string{"a", "a b c d e", "\n"}},
	"repetition": {config.Filter{}, []string{"a", "the cat sat on the mat and the dog sat on the rug", ""}, []string{"no no no no no no no no", strings.Repeat("I see a big dog. ", 4)}},
	"refusal": {config.Filter{}, []string{"Sure. Eggs.", "He said: " + strings.Repeat("x", 200) + " as an AI"},
		[]string{"As an AI language model, I", "I’m sorry, but no.", "Well, I can't help with that"}},
	"near_duplicate": {config.Filter{}, []string{"a cat sat on the mat all day long and slept", "a dog ran over the hill to the sea", "", "ein Hund lief übers Feld", "日本語 の 文 です", "日本語 の 別 の 文"},
		[]string{"A cat sat on the mat all day long, and slept!", "a dog ran over the hill to the lake", "", "日本語 の 文 です"}},
	"contamination": {config.Filter{}, []string{"how many eggs does she sell at the market on", "something else", ""},
		[]string{"He asked: how many EGGS does she sell, at the market on each day of the week? Ten."}},
}

func TestFilters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "eval.json")
	write(t, path, `[{"q": {"text": ["How many eggs does she sell at the market on each day of the week?"]}, "a": "short"}]`)
	for name, f := range filters {
		c, ok := filterCases[name]
		if !ok {
			t.Errorf("no case for filter %s", name)
			continue
		}
		c.filter.Name = name
		if f.path {
			c.filter.Path = path
		}
		list, err := newFilters([]config.Filter{c.filter})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, text := range c.stay {
			if list[0].removes(Line{Completion: text}) {
				t.Errorf("%s removes %q", name, text)
			}
		}
		for _, text := range c.goes {
			if !list[0].removes(Line{Completion: text}) {
				t.Errorf("%s lets %q stay", name, text)
			}
		}
	}
}

func TestFilterSettings(t *testing.T) {
	for want, f := range map[string]config.Filter{
		"known: ":               {Name: "beauty"},
		"takes another key":     {Name: "length", Values: map[string]float64{"least": 1}},
		"takes no path":         {Name: "length", Path: "x"},
		"path is missing":       {Name: "contamination"},
		"takes no phrases":      {Name: "length", Phrases: []string{"x"}},
		"min is 3, max 2":       {Name: "length", Values: map[string]float64{"min": 3, "max": 2}},
		"threshold above 0":     {Name: "near_duplicate", Values: map[string]float64{"threshold": 0}},
		"want at least 1":       {Name: "repetition", Values: map[string]float64{"n": 0}},
		"no text of 13 words":   {Name: "contamination", Path: filepath.Join(t.TempDir(), "x.jsonl")},
		"no such file":          {Name: "contamination", Path: filepath.Join(t.TempDir(), "y.jsonl")},
		"each line must be one": {Name: "contamination", Path: filepath.Join(t.TempDir(), "z.jsonl")},
	} {
		switch filepath.Base(f.Path) {
		case "x.jsonl":
			write(t, f.Path, `{"a": "b"}`)
		case "z.jsonl":
			write(t, f.Path, "b")
		}
		if _, err := newFilters([]config.Filter{f}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("have %v, want %s", err, want)
		}
	}
}

// TestFiltersAskNothing: they work on stored answers, in the order of the input.
func TestFiltersAskNothing(t *testing.T) {
	s := newServer(t)
	dir := t.TempDir()
	for _, c := range []struct {
		filters string
		kept    int
	}{{"[]", 20}, {"[{name: length, min: 1000}, {name: repetition}]", 0}, {"[{name: length, max: 3}]", -1}} {
		rep, err := attempt(t.Context(), configured(t, dir, s.URL, prompts(20), "style: complete\nfilters: "+c.filters), nil, newClock())
		if err != nil || c.kept >= 0 && rep.Kept != c.kept {
			t.Fatalf("%s: %+v, %v", c.filters, rep, err)
		}
		removed := 0
		for _, r := range rep.Removed {
			removed += r.Count
			if r.Reason != "length" || len(r.Samples) != min(r.Count, samplesOfReason) || r.Samples[0].Completion == "" {
				t.Errorf("%+v", r)
			}
		}
		if removed+rep.Kept != 20 || len(lines[Line](t, filepath.Join(dir, "out.jsonl"))) != rep.Kept {
			t.Errorf("%+v", rep)
		}
	}
	if s.count() != 20 {
		t.Errorf("have %d requests", s.count())
	}
}

// TestMinHash: candidates of a similarity of 0.7 and more are found.
func TestMinHash(t *testing.T) {
	missed := 0
	const pairs = 300
	for i := range pairs {
		d := &duplicates{n: 1, threshold: 0.7, bands: map[[2]uint64][]int{}}
		var a, b []string
		for j := range 100 {
			a = append(a, fmt.Sprintf("w%dx%d", i, j))
			if j < 85 {
				b = append(b, a[j]) // with 15 others: Jaccard 85/115
			} else {
				b = append(b, fmt.Sprintf("v%dx%d", i, j))
			}
		}
		d.near(strings.Join(a, " "))
		if !d.near(strings.Join(b, " ")) {
			missed++
		}
	}
	if missed > 2 {
		t.Errorf("%d of %d near duplicates were missed", missed, pairs)
	}
}
