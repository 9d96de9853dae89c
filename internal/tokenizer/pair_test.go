package tokenizer

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/testutil"
)

// pairsFile is testdata/tokenizer/pairs.json, made by scripts/golden/tokenizer-pairs.py.
type pairsFile struct {
	Pairs      [][2]string
	Processors []struct {
		pairsOf
		Processor json.RawMessage `json:"post_processor"`
	}
	Folders []struct {
		pairsOf
		Files map[string]string
		Mask  int32
	}
}

type pairsOf struct{ IDs, Types [][]int32 }

// pair is what Pair says of two texts.
func pair(t *testing.T, tok *Tokenizer, a, b string) (ids, types []int32) {
	t.Helper()
	p, err := tok.Pair()
	if err != nil {
		t.Fatal(err)
	}
	texts := [2][]int32{}
	for i, text := range []string{a, b} {
		e, err := tok.Encode(text, false)
		if err != nil {
			t.Fatal(err)
		}
		texts[i] = e.IDs
	}
	for i, part := range [][]int32{p.Prefix, texts[0], p.Middle, texts[1], p.Suffix} {
		ids = append(ids, part...)
		types = append(types, slices.Repeat([]int32{p.Types[i]}, len(part))...)
	}
	return ids, types
}

func TestPairs(t *testing.T) {
	data, err := os.ReadFile(testutil.Testdata(t, "tokenizer/pairs.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden pairsFile
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	compare := func(tok *Tokenizer, want pairsOf) {
		t.Helper()
		for i, texts := range golden.Pairs {
			ids, types := pair(t, tok, texts[0], texts[1])
			if !slices.Equal(ids, want.IDs[i]) || !slices.Equal(types, want.Types[i]) {
				t.Errorf("%q: have %v %v\nwant %v %v", texts, ids, types, want.IDs[i], want.Types[i])
			}
		}
	}
	bert, err := os.ReadFile(testutil.Testdata(t, "tokenizer/clean/own-bert.tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	var sections map[string]json.RawMessage
	if err := json.Unmarshal(bert, &sections); err != nil {
		t.Fatal(err)
	}
	for _, p := range golden.Processors {
		sections["post_processor"] = p.Processor
		text, err := json.Marshal(sections)
		if err != nil {
			t.Fatal(err)
		}
		tok, err := parse(string(text))
		if err != nil {
			t.Fatal(err)
		}
		compare(tok, p.pairsOf)
	}
	for _, f := range golden.Folders {
		dir := t.TempDir()
		for name, content := range f.Files {
			writeFile(t, dir, name, []byte(content))
		}
		tok, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		compare(tok, f.pairsOf)
		if tok.MASK() != f.Mask || !tok.Special(f.Mask) || !tok.Special(f.IDs[0][0]) || tok.Special(f.IDs[0][1]) {
			t.Errorf("have mask %d, want %d, and it and the start token alone special", tok.MASK(), f.Mask)
		}
	}
}

// TestNoPair: what cannot be put together is said when it is asked for, since most texts come alone.
func TestNoPair(t *testing.T) {
	item := func(kind, id string) string { return `{"` + kind + `":{"id":"` + id + `","type_id":0}}` }
	a, b, x := item("Sequence", "A"), item("Sequence", "B"), item("SpecialToken", "x")
	template := func(pair ...string) string {
		return `{"type":"TemplateProcessing","single":[` + a + `],"pair":[` + strings.Join(pair, ",") + `],"special_tokens":{"x":{"id":"x","ids":[0],"tokens":["x"]}}}`
	}
	for post, want := range map[string]string{
		`null`:                               "no template for a pair",
		`{"type":"ByteLevel"}`:               "no template for a pair",
		template():                           "no template for a pair",
		template(b, a):                       `have sequence "B"`,
		template(a, x):                       "want the texts A and B",
		template(a, b, a):                    `have sequence "A"`,
		template(a, item("Special", "y"), b): "neither Sequence nor SpecialToken",
		template(a, item("SpecialToken", "y"), b):                                                         `lacks "y"`,
		template(a, x, `{"SpecialToken":{"id":"x","type_id":1}}`, b):                                      "different types",
		`{"type":"Sequence","processors":[` + template(a, x, b) + `,` + template(a, x, b) + `]}`:          "several post-processors",
		`{"type":"Sequence","processors":[` + template(b, a) + `,{"type":"ByteLevel"}]}`:                  `have sequence "B"`,
		`{"type":"Sequence","processors":[` + template(a, x) + `,` + template(a, x, b) + `]}`:             "want the texts A and B",
		`{"type":"Sequence","processors":[` + template(a, b) + `,` + template(item("Special", "")) + `]}`: "neither",
	} {
		tok, err := parse(`{"post_processor":` + post + `,"model":{"type":"WordLevel","unk_token":"x","vocab":{"x":0}}}`)
		if err != nil {
			t.Errorf("%s: %v", post, err)
			continue
		}
		if p, err := tok.Pair(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: have %v, error %v, want %q", post, p, err, want)
		}
	}
}
