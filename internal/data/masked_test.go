package data

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"kdistill/internal/testutil"
	"kdistill/internal/tokenizer"
)

// ownBERT loads the project's own BERT tokenizer, its special tokens named.
func ownBERT(t testing.TB) *tokenizer.Tokenizer {
	t.Helper()
	return named(t, "own-bert", `{"cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]", "pad_token": "[PAD]", "mask_token": "[MASK]"}`)
}

func named(t testing.TB, name, config string) *tokenizer.Tokenizer {
	t.Helper()
	dir := t.TempDir()
	for file, content := range map[string][]byte{"tokenizer.json": read(t, "tokenizer/clean/"+name+".tokenizer.json"), "tokenizer_config.json": []byte(config)} {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tok, err := tokenizer.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(testutil.Testdata(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// shares counts what became of the tokens that could be hidden.
type shares struct{ tokens, chosen, masked, random float64 }

// add checks one masked sequence against what it was.
func (s *shares) add(t *testing.T, was, is, labels []int32, mask int32, special func(int32) bool) {
	t.Helper()
	for i, id := range was {
		if !special(id) {
			s.tokens++
		}
		switch {
		case labels[i] == Ignore:
			if is[i] != id {
				t.Fatalf("token %d is no label and was changed from %d to %d", i, id, is[i])
			}
			continue
		case labels[i] != id:
			t.Fatalf("token %d: have label %d, want what it was, %d", i, labels[i], id)
		case special(id):
			t.Fatalf("special token %d is predicted", id)
		}
		s.chosen++
		switch is[i] {
		case mask:
			s.masked++
		case id:
		default:
			s.random++
		}
	}
}

// near checks the shares, within 4.5 standard errors of a share of that many.
func (s *shares) near(t *testing.T, what string, chosen, masked, random float64) {
	t.Helper()
	for _, c := range []struct {
		what                string
		count, of, expected float64
	}{{"chosen", s.chosen, s.tokens, chosen}, {"masked", s.masked, s.chosen, masked}, {"random", s.random, s.chosen, random}} {
		if have, limit := c.count/c.of, 4.5*math.Sqrt(c.expected*(1-c.expected)/c.of); math.Abs(have-c.expected) > limit {
			t.Errorf("%s: have a share of %.4f %s, want %.4f ± %.4f", what, have, c.what, c.expected, limit)
		}
	}
}

// TestMaskingLikeTransformers holds kdistill's masking and that of transformers' collator to the same account.
func TestMaskingLikeTransformers(t *testing.T) {
	type row struct{ Inputs, Labels []int32 }
	var golden struct {
		Texts       []string
		IDs         [][]int32
		Vocab, Mask int32
		Runs        []row
	}
	if err := json.Unmarshal(read(t, "golden/masked.json"), &golden); err != nil {
		t.Fatal(err)
	}
	tok := ownBERT(t)
	if tok.MASK() != golden.Mask {
		t.Fatalf("have mask %d, want %d", tok.MASK(), golden.Mask)
	}
	var theirs, ours shares
	for i, r := range golden.Runs {
		theirs.add(t, golden.IDs[i*len(golden.IDs)/len(golden.Runs)], r.Inputs, r.Labels, golden.Mask, tok.Special)
	}
	theirs.near(t, "transformers", 0.15, 0.8, 0.1*(1-1/float64(golden.Vocab)))

	path := write(t, "a.txt", strings.Join(golden.Texts, "\n"))
	d := load(t, tok, LoadOptions{Task: Masked}, File{Path: path, Separator: "\n"})
	random := map[int32]bool{}
	for _, b := range drain(t, newSource(t, d, Options{SequenceLength: 64, MaskProbability: 0.15, Epochs: 3000}), 4) {
		for r := range b.B {
			ids := golden.IDs[b.Documents[r*b.T]]
			at := r * b.T
			ours.add(t, ids, b.Tokens[at:], b.Labels[at:], golden.Mask, tok.Special)
			for i, id := range ids {
				if is := b.Tokens[at+i]; is != id && is != golden.Mask {
					random[is] = true
				}
			}
			for i := at + len(ids); i < at+b.T; i++ {
				if b.Labels[i] != Ignore || b.Segments[i] != -1 {
					t.Fatal("padding is predicted")
				}
			}
		}
	}
	ours.near(t, "kdistill", 0.15, 0.8, 0.1*(1-1/float64(golden.Vocab)))
	if n := float64(golden.Vocab); float64(len(random)) < 0.8*n {
		t.Errorf("have %d different random tokens, want nearly all %v", len(random), n)
	}
}

// masks lists tokens and labels by document and position.
func masks(batches []*Batch) map[[2]int32][2]int32 {
	out := map[[2]int32][2]int32{}
	for _, b := range batches {
		for i := range b.Tokens {
			if b.Segments[i] >= 0 {
				out[[2]int32{b.Documents[i], b.Positions[i]}] = [2]int32{b.Tokens[i], b.Labels[i]}
			}
		}
	}
	return out
}

// TestMaskingIsPure: what is hidden depends on seed, epoch and place alone.
func TestMaskingIsPure(t *testing.T) {
	var text strings.Builder
	for i := range 60 {
		text.WriteString(strings.Repeat("abcdefgh ", 1+i%7) + "\n")
	}
	path := write(t, "a.txt", text.String())
	d := load(t, fake{prefix: []int32{1}, suffix: []int32{2}}, LoadOptions{Task: Masked}, File{Path: path, Separator: "\n"})
	o := Options{SequenceLength: 70, MaskProbability: 0.3, Epochs: 1, Seed: 7}
	first := masks(drain(t, newSource(t, d, o), 1))
	packed, shuffled := o, o
	packed.Packing, shuffled.Shuffle = true, true
	for what, have := range map[string]map[[2]int32][2]int32{
		"batches of 7": masks(drain(t, newSource(t, d, o), 7)), "packed": masks(drain(t, newSource(t, d, packed), 3)),
	} {
		if !reflect.DeepEqual(have, first) {
			t.Errorf("%s: other tokens were hidden", what)
		}
	}
	sets := map[string]bool{fmt.Sprint(first): true}
	seed := o
	seed.Seed = 8
	sets[fmt.Sprint(masks(drain(t, newSource(t, d, seed), 1)))] = true
	two := o
	two.Epochs = 2
	s := newSource(t, d, two)
	var states []State
	var epoch [2][]*Batch
	for i := range 2 * s.Len() {
		states = append(states, s.State())
		b, err := s.Next(1)
		if err != nil {
			t.Fatal(err)
		}
		epoch[i/s.Len()] = append(epoch[i/s.Len()], b)
	}
	if !reflect.DeepEqual(masks(epoch[0]), first) {
		t.Error("the first of two epochs hides other tokens than the first of one")
	}
	sets[fmt.Sprint(masks(epoch[1]))] = true
	if len(sets) != 3 {
		t.Errorf("have %d different maskings, want 3: of the seed, another seed, and the second epoch", len(sets))
	}
	again := newSource(t, d, two)
	for _, at := range []int{s.Len() + 5, 2, s.Len() - 1} {
		if err := again.Seek(states[at]); err != nil {
			t.Fatal(err)
		}
		if b, err := again.Next(1); err != nil || !reflect.DeepEqual(b, epoch[at/s.Len()][at%s.Len()]) {
			t.Errorf("row %d after Seek differs: %v", at, err)
		}
	}
	if b, err := newSource(t, d, shuffled).Next(60); err != nil || b.Labelled() == 0 {
		t.Errorf("shuffled: have %d labels, error %v", b.Labelled(), err)
	}
}

// TestMaskedFrames: every piece has the tokenizer's tokens around it, and they are never hidden.
func TestMaskedFrames(t *testing.T) {
	path := write(t, "a.txt", "abcdefghij")
	d := load(t, fake{prefix: []int32{1}, suffix: []int32{2}}, LoadOptions{Task: Masked, Bytes: true}, File{Path: path})
	s := newSource(t, d, Options{SequenceLength: 6, MaskProbability: 1, Epochs: 1})
	var labels [][]int32
	for _, b := range drain(t, s, 1) {
		labels = append(labels, b.Labels[:6])
		end := 5
		if b.Documents[4] < 0 {
			end = 3
		}
		if b.Tokens[0] != 1 || b.Tokens[end] != 2 || b.Bytes != nil {
			t.Errorf("have %v, want 1 … 2", b.Tokens)
		}
	}
	x := ids("abcdefghij")
	want := [][]int32{{Ignore, x[0], x[1], x[2], x[3], Ignore}, {Ignore, x[4], x[5], x[6], x[7], Ignore}, {Ignore, x[8], x[9], Ignore, Ignore, Ignore}}
	if !reflect.DeepEqual(labels, want) {
		t.Errorf("have labels %v, want %v", labels, want)
	}
	if st := s.Stats(); st.Labels != 10 || st.Tokens != 16 || st.Pieces != 3 {
		t.Errorf("have %+v, want 10 labels and 16 tokens in 3 pieces", st)
	}

	// A prompt is context.
	d = load(t, fake{}, LoadOptions{Task: Masked}, File{Path: write(t, "a.jsonl", `{"p": "abc", "c": "de"}`), PromptField: "p", CompletionField: "c", MaskPrompt: true})
	b, err := newSource(t, d, Options{SequenceLength: 6, MaskProbability: 1}).Next(1)
	if want := []int32{Ignore, Ignore, Ignore, x[3], x[4], Ignore}; err != nil || !reflect.DeepEqual(b.Labels, want) {
		t.Errorf("have labels %v, want %v, error %v", b.Labels, want, err)
	}
}

// TestMaskedGiven: tokens that come with labels are hidden already.
func TestMaskedGiven(t *testing.T) {
	lines := `{"input_ids": [5, 6, 9, 8], "labels": [-100, 16, 7, -100], "token_type_ids": [0, 0, 1, 1]}
{"input_ids": [5, 6, 7, 8]}`
	f := File{Path: write(t, "a.jsonl", lines), Format: "tokens"}
	d := load(t, fake{}, LoadOptions{Task: Masked}, f)
	b, err := newSource(t, d, Options{SequenceLength: 4, MaskProbability: 1}).Next(2)
	if err != nil {
		t.Fatal(err)
	}
	if have, want := b.Labels, []int32{Ignore, 16, 7, Ignore, 5, 6, 7, 8}; !reflect.DeepEqual(have, want) {
		t.Errorf("have labels %v, want %v", have, want)
	}
	if have, want := b.Tokens[:4], []int32{5, 6, 9, 8}; !reflect.DeepEqual(have, want) {
		t.Errorf("have tokens %v, want %v", have, want)
	}
	if have, want := b.TokenTypes, []int32{0, 0, 1, 1, 0, 0, 0, 0}; !reflect.DeepEqual(have, want) {
		t.Errorf("have types %v, want %v", have, want)
	}
	if have := b.Rows(0, 1).TokenTypes; !reflect.DeepEqual(have, []int32{0, 0, 1, 1}) {
		t.Errorf("have types %v of the first row", have)
	}
	// Without a tokenizer nothing can be hidden, but need not be either.
	f.Path = write(t, "b.jsonl", strings.Split(lines, "\n")[0])
	d = load(t, nil, LoadOptions{Task: Masked, Vocab: 20}, f)
	if b, err = newSource(t, d, Options{SequenceLength: 4, MaskProbability: 1}).Next(1); err != nil || b.Labelled() != 2 {
		t.Errorf("have %v, error %v", b, err)
	}
}

func TestMaskedRefusals(t *testing.T) {
	path := write(t, "a.txt", "abc")
	fails(t, fake{}, LoadOptions{Task: Masked}, "append_eos is for models that predict the next token", File{Path: path, AppendEOS: "true"})
	fails(t, fake{}, LoadOptions{Task: Masked}, "label_field are for models that classify", File{Path: write(t, "a.tsv", "text\nx"), LabelField: "x"})
	for _, test := range []struct {
		f    fake
		o    Options
		want string
	}{
		{fake{noMask: true}, Options{SequenceLength: 4, MaskProbability: 0.1}, "the tokenizer has no mask token"},
		{fake{}, Options{SequenceLength: 4}, "mask probability: have 0"},
		{fake{}, Options{SequenceLength: 4, MaskProbability: 1.1}, "mask probability: have 1.1"},
		{fake{}, Options{SequenceLength: 4, MaskProbability: 0.1, Stride: 2}, "a stride is for models that predict the next token"},
		{fake{}, Options{SequenceLength: 4, MaskProbability: 0.1, PrefixToken: "3"}, "a prefix token is for models that predict the next token"},
		{fake{prefix: []int32{1}, suffix: []int32{2}}, Options{SequenceLength: 2, MaskProbability: 0.1}, "sequence_length: have 2, want at least 3"},
	} {
		d := load(t, test.f, LoadOptions{Task: Masked}, File{Path: path})
		if _, err := NewSource(d, test.o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("have error %v, want %q", err, test.want)
		}
	}
	d := load(t, fake{}, LoadOptions{Task: Masked}, File{Path: write(t, "b.txt", "<s></s>")})
	if _, err := NewSource(d, Options{SequenceLength: 4, MaskProbability: 0.1}); err == nil || !strings.Contains(err.Error(), "no token is predicted") {
		t.Errorf("have error %v", err)
	}
}

// TestWordsOfWordPiece: on every text of the corpus a word goes on where BERT's own whole-word masking says so, at tokens with ##.
func TestWordsOfWordPiece(t *testing.T) {
	var corpus []struct{ Text string }
	if err := json.Unmarshal(read(t, "tokenizer/clean/corpus.json"), &corpus); err != nil {
		t.Fatal(err)
	}
	tok := ownBERT(t)
	tokens, continued := 0, 0
	unassigned := func(r rune) bool { return unicode.Is(unicode.Cn, r) }
	for _, c := range corpus {
		if strings.ContainsFunc(c.Text, unassigned) { // BERT takes some of them for Chinese characters to come
			continue
		}
		e, err := tok.Encode(c.Text, false)
		if err != nil {
			t.Fatal(err)
		}
		for i, begins := range wordBegins(c.Text, e.Spans) {
			token, _ := tok.Token(e.IDs[i])
			tokens++
			if !begins {
				continued++
			}
			if begins == strings.HasPrefix(token, "##") {
				t.Errorf("%q: token %d, %q: begins a word: %v", c.Text, i, token, begins)
			}
		}
	}
	if continued < tokens/10 {
		t.Errorf("only %d of %d tokens go on with a word: nothing is tested", continued, tokens)
	}
}

// TestWordsOfOthers: byte-level tokenizers, whose spans may hold the space before a word or not, and Metaspace.
func TestWordsOfOthers(t *testing.T) {
	for _, name := range []string{"own-gpt2", "own-llama3", "own-llama2", "own-t5", "own-qwen3"} {
		tok := named(t, name, "{}")
		for _, text := range []string{"unbelievable adventures", "  two  spaces", "isn't it?", "漢字かな", "caf\u00e9s \u00e9t\u00e9"} {
			if name == "own-t5" && strings.ContainsAny(text, "'漢") {
				continue // it has tokens across what separates words
			}
			e, err := tok.Encode(text, false)
			if err != nil {
				t.Fatal(err)
			}
			at, words := 0, []string{}
			for i, begins := range wordBegins(text, e.Spans) {
				if begins || len(words) == 0 {
					words = append(words, "")
					at = max(at, e.Spans[i].Start)
				}
				words[len(words)-1] += text[min(at, e.Spans[i].End):e.Spans[i].End]
				at = e.Spans[i].End
			}
			var have []string
			for _, w := range words {
				if w = strings.TrimSpace(w); w != "" {
					have = append(have, w)
				}
			}
			want := map[string][]string{
				"unbelievable adventures": {"unbelievable", "adventures"}, "  two  spaces": {"two", "spaces"}, "isn't it?": {"isn", "'", "t", "it", "?"},
				"漢字かな": {"漢", "字", "かな"}, "caf\u00e9s \u00e9t\u00e9": {"caf\u00e9s", "\u00e9t\u00e9"},
			}[text]
			if !reflect.DeepEqual(have, want) {
				t.Errorf("%s: %q: have words %q, want %q", name, text, have, want)
			}
		}
	}
}

// TestWholeWords: a word is predicted as a whole or not at all, and as often as a token is without.
func TestWholeWords(t *testing.T) {
	tok := ownBERT(t)
	text := "unbelievable adventures happened yesterday in the mountains, they say."
	d := load(t, tok, LoadOptions{Task: Masked, WholeWords: true}, File{Path: write(t, "a.txt", text)})
	e, err := tok.Encode(text, false)
	if err != nil {
		t.Fatal(err)
	}
	begins := wordBegins(text, e.Spans)
	var s shares
	words, chosen := 0, 0
	for _, b := range drain(t, newSource(t, d, Options{SequenceLength: 64, MaskProbability: 0.15, Epochs: 4000}), 50) {
		for r := range b.B {
			at := r*b.T + 1
			s.add(t, e.IDs, b.Tokens[at:], b.Labels[at:], tok.MASK(), tok.Special)
			for i := range e.IDs {
				is := b.Labels[at+i] != Ignore
				if begins[i] {
					words++
					if is {
						chosen++
					}
				} else if is != (b.Labels[at+i-1] != Ignore) {
					t.Fatalf("word torn at token %d: labels %v", i, b.Labels[at:at+len(e.IDs)])
				}
			}
		}
	}
	if share := float64(chosen) / float64(words); math.Abs(share-0.15) > 0.01 {
		t.Errorf("have %.4f of the words chosen, want 0.15", share)
	}
	if share := s.masked / s.chosen; math.Abs(share-0.8) > 0.01 {
		t.Errorf("have %.4f of the tokens masked, want 0.8", share)
	}
}

// TestNoTask: a bare encoder gets whole, framed rows that predict nothing.
func TestNoTask(t *testing.T) {
	d := load(t, fake{prefix: []int32{1}, suffix: []int32{2}, noMask: true}, LoadOptions{Task: NoTask}, File{Path: write(t, "a.txt", "abcde")})
	s := newSource(t, d, Options{SequenceLength: 5, Packing: true})
	b, err := s.Next(2)
	x := ids("abcde")
	if want := []int32{1, x[0], x[1], x[2], 2, 1, x[3], x[4], 2, 0}; err != nil || !reflect.DeepEqual(b.Tokens, want) || b.Labelled() != 0 || b.Attended() != 9 {
		t.Errorf("have %v, error %v, want %v without labels", b, err, want)
	}
}
