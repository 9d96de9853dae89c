package data

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"kdistill/internal/tokenizer"
)

// fake encodes a character, or with words a word with the space before it, as one token. "<s>" is 1 and "</s>" is 2; '~' gives no token.
type fake struct {
	prefix, suffix []int32
	noEOS, words   bool
	noMask, noPair bool
}

const fakeVocab = 200

func (f fake) Encode(text string, _ bool) (tokenizer.Encoding, error) {
	var e tokenizer.Encoding
	add := func(id int32, start, end int) {
		e.IDs, e.Spans = append(e.IDs, id), append(e.Spans, tokenizer.Span{Start: start, End: end})
	}
	for i := 0; i < len(text); {
		start := i
		switch {
		case strings.HasPrefix(text[i:], "<s>"):
			i += 3
			add(1, start, i)
		case strings.HasPrefix(text[i:], "</s>"):
			i += 4
			add(2, start, i)
		case text[i] == '~':
			i++
		case text[i] == '!':
			return e, errors.New("the encoder fails")
		case f.words:
			for i++; i < len(text) && text[i] != ' '; i++ {
			}
			add(int32(10+i-start), start, i)
		default:
			r, size := utf8.DecodeRuneInString(text[i:])
			i += size
			add(id(r), start, i)
		}
	}
	return e, nil
}

func id(r rune) int32 { return 3 + r%(fakeVocab-3) }

func (f fake) Prefix() []int32 { return f.prefix }
func (f fake) Suffix() []int32 { return f.suffix }
func (f fake) VocabSize() int  { return fakeVocab }
func (f fake) MASK() int32 {
	if f.noMask {
		return -1
	}
	return 9
}
func (f fake) ChatTemplate(name string) (*tokenizer.ChatTemplate, error) {
	t, err := tokenizer.Load("../../testdata/tokenizer/clean/own-gpt2.tokenizer.json")
	if err != nil {
		return nil, err
	}
	return t.ChatTemplate(name)
}
func (f fake) Special(id int32) bool { return id < 3 || id == 9 }
func (f fake) Pair() (tokenizer.Pair, error) {
	if f.noPair {
		return tokenizer.Pair{}, errors.New("no template")
	}
	return tokenizer.Pair{Prefix: []int32{1}, Middle: []int32{2}, Suffix: []int32{2}, Types: [5]int32{3: 1, 4: 1}}, nil
}
func (f fake) EOS() int32 {
	if f.noEOS {
		return -1
	}
	return 2
}

// ids is what fake encodes plain text to.
func ids(text string) []int32 {
	var out []int32
	for _, r := range text {
		out = append(out, id(r))
	}
	return out
}

func write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t testing.TB, encoder Encoder, o LoadOptions, files ...File) *Dataset {
	t.Helper()
	d, err := Load(context.Background(), files, encoder, o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// dataset makes a Dataset of token documents.
func dataset(prefix []int32, raw bool, documents ...document) *Dataset {
	d := &Dataset{start: []int{0}, task: Causal, single: frame{prefix: prefix}, vocab: 1 << 20, files: []origin{{path: "test", raw: raw}}}
	for _, doc := range documents {
		d.add(doc)
	}
	d.fingerprint = d.sum()
	return d
}

// randomDocuments have lengths from 1 to longest and ids from 10 on that never repeat, so that a token names its place; a tenth of the labels is Ignore.
func randomDocuments(random *rand.Rand, n, longest int, masks bool) []document {
	documents := make([]document, n)
	next := int32(10)
	for i := range documents {
		doc := &documents[i]
		for range 1 + random.IntN(longest) {
			doc.ids = append(doc.ids, next)
			next++
		}
		if masks {
			doc.labels = append(doc.labels, doc.ids...)
			for j := range doc.labels {
				if random.IntN(10) == 0 {
					doc.labels[j] = Ignore
				}
			}
		}
	}
	return documents
}

func newSource(t testing.TB, d *Dataset, o Options) *Source {
	t.Helper()
	s, err := NewSource(d, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// drain returns all batches up to io.EOF.
func drain(t testing.TB, s *Source, rows int) []*Batch {
	t.Helper()
	var batches []*Batch
	for {
		b, err := s.Next(rows)
		if err == io.EOF {
			return batches
		}
		if err != nil {
			t.Fatal(err)
		}
		batches = append(batches, b)
	}
}
