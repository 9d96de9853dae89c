package data

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"

	"kdistill/internal/testutil"
	"kdistill/internal/tokenizer"
)

var _ Encoder = (*tokenizer.Tokenizer)(nil)

// Tokens and bytes of the stories whose loss under stories260k transformers computed.
func TestGoldenStories(t *testing.T) {
	var golden struct {
		Tokens       int     `json:"predicted_tokens"`
		NLL          float64 `json:"mean_nll_per_token"`
		BitsPerByte  float64 `json:"bits_per_byte"`
		DocumentList []struct {
			Tokens int `json:"tokens_used"`
		} `json:"documents"`
		Logits struct {
			IDs []int32 `json:"input_ids"`
		} `json:"logits"`
	}
	content, err := os.ReadFile(testutil.Shared(t, "golden/stories260k.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &golden); err != nil {
		t.Fatal(err)
	}
	encoder, err := tokenizer.Load(testutil.Shared(t, "models/stories260k"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(testutil.Shared(t, "data/text/tinystories_10k.txt"))
	if err != nil {
		t.Fatal(err)
	}
	const separator = "<|endoftext|>"
	var stories []string
	for story := range strings.SplitSeq(string(text), separator) {
		if len(strings.TrimSpace(story)) > 200 {
			stories = append(stories, story)
		}
	}
	file := File{Path: write(t, "stories.txt", strings.Join(stories, separator)), Separator: separator}
	d := load(t, encoder, LoadOptions{Bytes: true, Limit: 200}, file)
	if d.Len() != 200 {
		t.Fatalf("have %d stories, want 200", d.Len())
	}
	s := newSource(t, d, Options{SequenceLength: 512, Truncate: true, Epochs: 1})
	tokens, bytes := 0, int32(0)
	for i, b := range drain(t, s, 1) {
		tokens += b.Labelled()
		for _, n := range b.Bytes {
			bytes += n
		}
		if i < len(golden.DocumentList) && b.Attended() != golden.DocumentList[i].Tokens {
			t.Errorf("story %d: have %d tokens, want %d", i, b.Attended(), golden.DocumentList[i].Tokens)
		}
		if i == 0 {
			for j, want := range golden.Logits.IDs {
				if b.Tokens[j] != want {
					t.Fatalf("story 0, token %d: have %d, want %d", j, b.Tokens[j], want)
				}
			}
		}
	}
	if tokens != golden.Tokens || s.Stats().Labels != golden.Tokens {
		t.Errorf("have %d predicted tokens, %d in the statistics, want %d", tokens, s.Stats().Labels, golden.Tokens)
	}
	want := golden.NLL * float64(golden.Tokens) / math.Ln2 / golden.BitsPerByte
	if math.Abs(float64(bytes)-want) > 0.5 {
		t.Errorf("have %d bytes, want %.2f", bytes, want)
	}
}
