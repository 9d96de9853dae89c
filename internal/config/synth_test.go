package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// minimalSynth is the least that kdistill synth must be told.
const minimalSynth = "teacher: {path: t}\nsynth: {style: s, input: a, output: o}\n"

func TestSynth(t *testing.T) {
	c, err := LoadSynth(write(t, `
teacher: {url: http://x/v1, model: m, key_env: K}
synth: {style: complete, input: [a, b], fields: {prompt: text}, output: o, samples: 2, stop: [x, "\n"], extra: {a: [1, b]}, price: [1, 2.5],
  complete: {words: 3, best_of: 4}, filters: [{name: length, min: 2}, {name: refusal, phrases: [no]}]}
`), []string{"synth.seed=7"})
	if err != nil {
		t.Fatal(err)
	}
	want := Default().Synth
	want.Style, want.Input, want.Fields, want.Output, want.Samples, want.Stop = "complete", Paths{"a", "b"}, map[string]string{"prompt": "text"}, "o", 2, []string{"x", "\n"}
	want.Extra, want.Price, want.Complete, want.Seed = map[string]any{"a": []any{1, "b"}}, [2]float64{1, 2.5}, Complete{3, 4}, 7
	want.Filters = []Filter{{Name: "length", Values: map[string]float64{"min": 2}}, {Name: "refusal", Phrases: []string{"no"}}}
	if diff := cmp.Diff(want, c.Synth); diff != "" {
		t.Error(diff)
	}
	if want := (Teacher{URL: "http://x/v1", Model: "m", KeyEnv: "K", DType: "auto"}); !cmp.Equal(want, c.Teacher) {
		t.Error(cmp.Diff(want, c.Teacher))
	}
	if c, err := LoadSynth(write(t, minimalSynth), nil); err != nil || !cmp.Equal(c.Synth.Input, Paths{"a"}) {
		t.Error(c, err)
	}
}

func TestSynthProblems(t *testing.T) {
	for want, text := range map[string]string{
		"teacher.path: is missing":                    "synth: {style: s, output: o}",
		"teacher.url: teacher.path":                   strings.Replace(minimalSynth, "{path", "{url: u, path", 1),
		"teacher.model: belongs":                      strings.Replace(minimalSynth, "{path", "{model: u, path", 1),
		"teacher.key_env: belongs":                    strings.Replace(minimalSynth, "{path", "{key_env: u, path", 1),
		"synth.style: is missing":                     strings.Replace(minimalSynth, "style: s, ", "", 1),
		"synth.output: is missing":                    strings.Replace(minimalSynth, ", output: o", "", 1),
		"synth.system: belongs":                       strings.Replace(minimalSynth, "style", "system: x, style", 1),
		"of which they are":                           strings.Replace(minimalSynth, "style", "samples: 3, complete: {best_of: 2}, style", 1),
		"greedy ones are all":                         strings.Replace(minimalSynth, "style", "samples: 3, temperature: 0, style", 1),
		"synth.extra: belongs":                        strings.Replace(minimalSynth, "style", "extra: {a: 1}, style", 1),
		"filters[0]: name":                            strings.Replace(minimalSynth, "style", "filters: [{min: 1}], style", 1),
		"have 2, want more than 0 and at most 1":      strings.Replace(minimalSynth, "style", "top_p: 2, style", 1),
		"unknown key: did you mean synth.max_tokens?": strings.Replace(minimalSynth, "style", "max_token: 2, style", 1),
	} {
		if _, err := LoadSynth(write(t, text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("have %v, want %s", err, want)
		}
	}
	if _, err := Load(write(t, strings.Replace(minimal, "{path: t}", "{url: u}", 1)), nil); err == nil || !strings.Contains(err.Error(), "teacher.url: belongs to kdistill synth") {
		t.Error(err)
	}
}
