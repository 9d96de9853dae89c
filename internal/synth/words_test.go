package synth

import (
	"slices"
	"strings"
	"testing"

	"kdistill/internal/rouge"
)

func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"Write, please: 2 café-tables!":  "write please 2 café tables",
		"写一首关于春天的诗。":                     "写 一 首 关 于 春 天 的 诗",
		"Übersetze „Haus“ ins Polnische": "übersetze haus ins polnische",
		"GPT把句子翻译成English":               "gpt 把 句 子 翻 译 成 english",
		"दो शब्द":                        "दो शब्द",
		" .\n":                           "",
	} {
		if have := strings.Join(words(text), " "); have != want {
			t.Errorf("%q: have %q, want %q", text, have, want)
		}
	}
}

func FuzzWords(f *testing.F) {
	f.Add("Isn't it 3.5%? a_b\x00\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, c := range text {
			if c > 127 {
				return
			}
		}
		if have, want := words(text), rouge.Tokens(text); !slices.Equal(have, want) {
			t.Errorf("%q: have %q, ROUGE has %q", text, have, want)
		}
	})
}

// TestNovelty: an instruction in any script is compared by what it says.
func TestNovelty(t *testing.T) {
	p := &pool{limit: 0.7, excluded: [][]string{words("画"), words("image")}}
	for _, c := range []struct{ text, flaw string }{
		{"写一首关于春天的诗", ""},
		{"写一首关于春天的诗吧", "like another instruction"},
		{"把下面的句子翻译成英文", ""},
		{"Составь план поездки на море", ""},
		{"Составь план поездки на озеро", "like another instruction"},
		{"Назови пять причин любить зиму", ""},
		{"画一只在睡觉的猫", excludedWord},
		{"Describe the image below in words", excludedWord},
		{"Describe imagery in poems", ""},
		{"诗歌", "instruction too short or too long"},
		{"“写一首关于秋天的歌", "begins with no letter"},
		{"!!!", "begins with no letter"},
	} {
		if have := p.add(task{instruction: c.text}); have != c.flaw {
			t.Errorf("%s: have %q, want %q", c.text, have, c.flaw)
		}
	}
}
