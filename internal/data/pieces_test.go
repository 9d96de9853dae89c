package data

import (
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// prediction is what one position with a real token says.
type prediction struct{ document, position, token, label int32 }

// predictions collects the positions of batches, sorted, and checks what must hold in any batch.
func predictions(t *testing.T, batches []*Batch) []prediction {
	t.Helper()
	var all []prediction
	for _, b := range batches {
		labelled, attended := 0, 0
		for i, token := range b.Tokens {
			segment, label := b.Segments[i], b.Labels[i]
			if label != Ignore {
				labelled++
			}
			last := i%b.T == b.T-1 || b.Segments[i+1] != segment
			if last && label != Ignore {
				t.Fatalf("position %d is the last of its piece and predicts %d", i, label)
			}
			if segment < 0 {
				if segment != -1 || token != 0 || label != Ignore || b.Documents[i] != -1 || b.Positions[i] != 0 {
					t.Fatalf("padding %d: token %d, label %d, segment %d, document %d", i, token, label, segment, b.Documents[i])
				}
				if i%b.T != b.T-1 && b.Segments[i+1] >= 0 {
					t.Fatalf("position %d is padding and not at the right", i)
				}
				continue
			}
			attended++
			switch {
			case i%b.T == 0:
				if segment != 0 || b.Positions[i] != 0 {
					t.Fatalf("row begins with segment %d, position %d", segment, b.Positions[i])
				}
			case b.Segments[i-1] == segment:
				if b.Positions[i] != b.Positions[i-1]+1 || b.Documents[i] != b.Documents[i-1] {
					t.Fatalf("position %d: %d after %d within a piece", i, b.Positions[i], b.Positions[i-1])
				}
			case b.Segments[i-1] != segment-1 || b.Positions[i] != 0:
				t.Fatalf("position %d: segment %d after %d, position %d", i, segment, b.Segments[i-1], b.Positions[i])
			}
			all = append(all, prediction{b.Documents[i], b.Positions[i], token, label})
		}
		if b.Labelled() != labelled || b.Attended() != attended {
			t.Fatalf("have %d labelled, %d attended, want %d, %d", b.Labelled(), b.Attended(), labelled, attended)
		}
	}
	slices.SortFunc(all, func(a, b prediction) int {
		for _, c := range [][2]int32{{a.document, b.document}, {a.token, b.token}, {a.position, b.position}, {a.label, b.label}} {
			if c[0] != c[1] {
				return int(c[0]) - int(c[1])
			}
		}
		return 0
	})
	return all
}

// Every token that has something before it is predicted exactly once, whatever the cut, and packed rows hold exactly what padded rows hold.
func TestEveryTokenOnce(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for trial := range 300 {
		prefix := [][]int32{nil, {1}, {1, 2}}[trial%3]
		length := len(prefix) + 2 + random.IntN(40)
		raw := trial%2 == 1
		documents := randomDocuments(random, 1+random.IntN(20), 100, trial%5 == 0)
		for i := range documents { // some raw documents bring their start tokens
			if doc := &documents[i]; raw && i%2 == 0 {
				doc.ids = slices.Concat(prefix, doc.ids)
				if doc.labels != nil {
					doc.labels = slices.Concat(prefix, doc.labels)
				}
			}
		}
		d := dataset(prefix, raw, documents...)
		o := Options{SequenceLength: length, Epochs: 1, Shuffle: trial%4 == 0, Seed: uint64(trial)}
		if o.Truncate = trial%7 == 0; !o.Truncate && trial%2 == 0 {
			o.Stride = 1 + random.IntN(length-max(1, len(prefix)))
		}
		padded, err := NewSource(d, o)
		if err != nil {
			if strings.Contains(err.Error(), "no token is predicted") {
				continue
			}
			t.Fatal(err)
		}
		rows := 1 + random.IntN(9)
		batches := drain(t, padded, rows)
		have := predictions(t, batches)

		o.Packing = true
		packed := newSource(t, d, o)
		packedBatches := drain(t, packed, rows)
		if got := predictions(t, packedBatches); !reflect.DeepEqual(got, have) {
			t.Fatalf("trial %d: packed and padded rows hold different positions", trial)
		}
		for _, b := range packedBatches {
			if b.T != length {
				t.Fatalf("packed rows: have length %d, want %d", b.T, length)
			}
		}
		for _, b := range batches {
			if b.T > length || b.T != length && b.T%32 != 0 {
				t.Fatalf("padded rows: have length %d of %d", b.T, length)
			}
		}

		// The labels that must come out, from the documents alone. Ids name places, so a label tells which token is meant.
		var want, got []int32
		for _, doc := range documents {
			first := 1
			if len(prefix) > 0 && (!raw || hasPrefix(doc.ids, prefix)) {
				first = 0
			}
			body := doc.ids
			labels := doc.labels
			if labels == nil {
				labels = body
			}
			if hasPrefix(body, prefix) {
				body, labels = body[len(prefix):], labels[len(prefix):]
			}
			if keep := length - len(prefix)*(1-first); o.Truncate && len(body) > keep {
				body, labels = body[:keep], labels[:keep]
			}
			for j := first; j < len(body); j++ {
				if labels[j] != Ignore {
					want = append(want, labels[j])
				}
			}
		}
		for _, p := range have {
			if p.label != Ignore {
				got = append(got, p.label)
				if before := p.token; before != p.label-1 && before >= 10 {
					t.Fatalf("trial %d: token %d predicts %d", trial, before, p.label)
				}
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("trial %d (%+v): have labels\n%v\nwant\n%v", trial, o, got, want)
		}
		if stats := padded.Stats(); stats.Labels != len(want) || stats.Tokens != len(have) || stats.Documents != len(documents) || stats.Rows != stats.Pieces {
			t.Fatalf("stats %+v: want %d labels, %d tokens", stats, len(want), len(have))
		}
	}
}

// The windows are those of the Hugging Face guide to perplexity of models of fixed length.
func TestStrideFollowsHuggingFace(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		n, most := 2+random.IntN(200), 2+random.IntN(50)
		stride := 1 + random.IntN(most-1)
		doc := randomDocuments(random, 1, 1, false)[0]
		for len(doc.ids) < n {
			doc.ids = append(doc.ids, int32(10+len(doc.ids)))
		}
		d := dataset(nil, false, doc)
		s := newSource(t, d, Options{SequenceLength: most, Stride: stride, Epochs: 1})
		previous := 0
		for begin := 0; begin < n; begin += stride {
			end := min(begin+most, n)
			input, target := doc.ids[begin:end], slices.Clone(doc.ids[begin:end])
			for i := range len(target) - (end - previous) {
				target[i] = Ignore
			}
			previous = end
			b, err := s.Next(1)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(b.Tokens[:len(input)], input) || b.Attended() != len(input) || !slices.Equal(b.Labels[:len(input)-1], target[1:]) {
				t.Fatalf("n %d, length %d, stride %d, window at %d: have %v -> %v, want %v -> %v", n, most, stride, begin, b.Tokens, b.Labels, input, target[1:])
			}
			if end == n {
				break
			}
		}
		if _, err := s.Next(1); err != io.EOF {
			t.Fatalf("have error %v, want io.EOF", err)
		}
	}
}

func TestPrefixToken(t *testing.T) {
	tests := []struct {
		rule   string
		raw    bool
		tokens []int32
		length int // of the one long document [10 … 15] in rows of 4, or [1, 10 … 14] where raw
	}{
		{"auto", false, []int32{1, 10, 11, 12, 1, 13, 14, 15}, 4},
		{"", false, []int32{1, 10, 11, 12, 1, 13, 14, 15}, 4},
		{"none", false, []int32{10, 11, 12, 13, 13, 14, 15}, 4},
		{"7", false, []int32{7, 10, 11, 12, 7, 13, 14, 15}, 4},
		{"auto", true, []int32{1, 10, 11, 12, 1, 13, 14}, 4},
		{"none", true, []int32{1, 10, 11, 12, 12, 13, 14}, 4},
		{"7", true, []int32{7, 1, 10, 11, 7, 12, 13, 14}, 4},
		{"1", true, []int32{1, 10, 11, 12, 1, 13, 14}, 4},
	}
	for _, test := range tests {
		doc := document{ids: []int32{10, 11, 12, 13, 14, 15}}
		if test.raw {
			doc.ids = []int32{1, 10, 11, 12, 13, 14}
		}
		s := newSource(t, dataset([]int32{1}, test.raw, doc), Options{SequenceLength: test.length, PrefixToken: test.rule, Epochs: 1})
		var have []int32
		for _, b := range drain(t, s, 1) {
			have = append(have, b.Tokens[:b.Attended()]...)
		}
		if !slices.Equal(have, test.tokens) {
			t.Errorf("%q, raw %v: have %v, want %v", test.rule, test.raw, have, test.tokens)
		}
	}
	// A raw document without the start token stays as it is.
	s := newSource(t, dataset([]int32{1}, true, document{ids: []int32{10, 11, 12}}), Options{SequenceLength: 4, Epochs: 1})
	if b := drain(t, s, 1)[0]; !slices.Equal(b.Tokens, []int32{10, 11, 12, 0}) {
		t.Errorf("have %v", b.Tokens)
	}
}

func TestBytesFollowLabels(t *testing.T) {
	d := load(t, fake{prefix: []int32{1}}, LoadOptions{Bytes: true}, File{Path: write(t, "a.txt", "aé\n日</s>b"), Separator: "\n"})
	for _, packing := range []bool{false, true} {
		s := newSource(t, d, Options{SequenceLength: 8, Packing: packing, Epochs: 1})
		b, err := s.Next(2)
		if err != nil {
			t.Fatal(err)
		}
		want := []int32{1, 2, 0, 0, 0, 0, 0, 0, 3, 4, 1, 0, 0, 0, 0, 0}
		if packing {
			want = []int32{1, 2, 0, 3, 4, 1, 0, 0}
		}
		if !slices.Equal(b.Bytes, want) {
			t.Errorf("have bytes %v, want %v", b.Bytes, want)
		}
	}
	s := newSource(t, d, Options{SequenceLength: 8, PrefixToken: "none", Epochs: 1})
	b, err := s.Next(2)
	if err != nil {
		t.Fatal(err)
	}
	if want := []int32{2, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0}; !slices.Equal(b.Bytes, want) {
		t.Errorf("without start token: have bytes %v, want %v", b.Bytes, want)
	}
	if view := b.Rows(1, 2); !slices.Equal(view.Bytes, b.Bytes[8:]) {
		t.Errorf("view: have bytes %v", view.Bytes)
	}
}
