package data

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestRows(t *testing.T) {
	d := dataset(nil, false, randomDocuments(rand.New(rand.NewPCG(5, 6)), 9, 60, true)...)
	b, err := newSource(t, d, Options{SequenceLength: 50}).Next(8)
	if err != nil {
		t.Fatal(err)
	}
	b.TokenTypes = slices.Clone(b.Tokens)
	labelled, attended := 0, 0
	for i := 0; i < 8; i += 2 {
		view := b.Rows(i, i+2)
		labelled, attended = labelled+view.Labelled(), attended+view.Attended()
		lo, hi := i*b.T, (i+2)*b.T
		want := &Batch{B: 2, T: b.T, Tokens: b.Tokens[lo:hi], Labels: b.Labels[lo:hi], Segments: b.Segments[lo:hi], Positions: b.Positions[lo:hi], Documents: b.Documents[lo:hi],
			TokenTypes: b.TokenTypes[lo:hi]}
		if !reflect.DeepEqual(view, want) {
			t.Errorf("rows %d to %d: have %+v, want %+v", i, i+2, view, want)
		}
	}
	if labelled != b.Labelled() || attended != b.Attended() {
		t.Errorf("views count %d, %d, the batch %d, %d", labelled, attended, b.Labelled(), b.Attended())
	}
}

func TestCounts(t *testing.T) {
	b := &Batch{B: 2, T: 4, Labels: []int32{5, 6, Ignore, Ignore, Ignore, 7, Ignore, Ignore}, Segments: []int32{0, 0, 0, 1, 0, 0, -1, -1}, Positions: []int32{0, 1, 2, 0, 0, 1, 0, 0}}
	if b.Labelled() != 3 || b.Attended() != 6 || b.Firsts() != 3 {
		t.Errorf("have %d labels, %d tokens, %d first ones, want 3, 6, 3", b.Labelled(), b.Attended(), b.Firsts())
	}
}

func TestEpochs(t *testing.T) {
	d := dataset(nil, false, randomDocuments(rand.New(rand.NewPCG(9, 10)), 10, 30, false)...)
	s := newSource(t, d, Options{SequenceLength: 32, Epochs: 3, Shuffle: true})
	if s.Len() != 10 || s.Steps(3, 4) != 8 {
		t.Errorf("have %d rows, %d steps, want 10, 8", s.Len(), s.Steps(3, 4))
	}
	var sizes []int
	for _, b := range drain(t, s, 4) {
		sizes = append(sizes, b.B)
	}
	if want := []int{4, 4, 4, 4, 4, 4, 4, 2}; !slices.Equal(sizes, want) {
		t.Errorf("have batches of %v rows, want %v", sizes, want)
	}
	if _, err := s.Next(4); err != io.EOF {
		t.Errorf("after the end: have error %v, want io.EOF", err)
	}

	endless := newSource(t, d, Options{SequenceLength: 32})
	b, err := endless.Next(35)
	if err != nil || b.B != 35 {
		t.Fatalf("have %v, want 35 rows", err)
	}
	if endless.State().Epoch != 3 || endless.State().Row != 5 {
		t.Errorf("have state %+v, want epoch 3, row 5", endless.State())
	}
	if !slices.Equal(b.Rows(0, 10).Tokens, b.Rows(20, 30).Tokens) {
		t.Error("without shuffling epochs differ")
	}
	if _, err := endless.Next(0); err == nil {
		t.Error("no rows: want an error")
	}
}

// documentsOf lists the documents in the order in which they are dealt out.
func documentsOf(t *testing.T, d *Dataset, o Options, rows int) []int32 {
	t.Helper()
	b, err := newSource(t, d, o).Next(rows)
	if err != nil {
		t.Fatal(err)
	}
	var order []int32
	for i := range rows {
		order = append(order, b.Documents[i*b.T])
	}
	return order
}

func TestShuffle(t *testing.T) {
	d := dataset(nil, false, randomDocuments(rand.New(rand.NewPCG(11, 12)), 8, 30, false)...)
	o := Options{SequenceLength: 30, Shuffle: true, Seed: 5}
	two := documentsOf(t, d, o, 16)
	// Saved positions of older runs rely on this order.
	if want := []int32{7, 2, 0, 1, 3, 6, 4, 5, 6, 3, 2, 1, 7, 0, 4, 5}; !slices.Equal(two, want) {
		t.Errorf("seed 5: have order %v, want %v", two, want)
	}
	if slices.Equal(two[:8], two[8:]) {
		t.Error("two epochs have the same order")
	}
	for _, epoch := range [][]int32{slices.Clone(two[:8]), slices.Clone(two[8:])} {
		if slices.Sort(epoch); !slices.Equal(epoch, []int32{0, 1, 2, 3, 4, 5, 6, 7}) {
			t.Errorf("an epoch holds documents %v", epoch)
		}
	}
	o.Seed = 6
	if slices.Equal(two, documentsOf(t, d, o, 16)) {
		t.Error("two seeds give the same order")
	}
	o.Shuffle = false
	if have := documentsOf(t, d, o, 8); !slices.Equal(have, []int32{0, 1, 2, 3, 4, 5, 6, 7}) {
		t.Errorf("without shuffling: have order %v", have)
	}
}

func TestResume(t *testing.T) {
	d := dataset([]int32{1}, false, randomDocuments(rand.New(rand.NewPCG(13, 14)), 40, 90, true)...)
	for _, o := range []Options{
		{SequenceLength: 40, Shuffle: true, Packing: true, Seed: 3, Epochs: 3},
		{SequenceLength: 40, Shuffle: true, Epochs: 2, Truncate: true},
		{SequenceLength: 40, Epochs: 2},
	} {
		all := drain(t, newSource(t, d, o), 7)
		for stop := 0; stop <= len(all); stop++ {
			s := newSource(t, d, o)
			for range stop {
				if _, err := s.Next(7); err != nil {
					t.Fatal(err)
				}
			}
			text, err := json.Marshal(s.State())
			if err != nil {
				t.Fatal(err)
			}
			var state State
			if err := json.Unmarshal(text, &state); err != nil {
				t.Fatal(err)
			}
			resumed := newSource(t, d, o)
			if _, err := resumed.Next(3); err != nil { // Seek undoes it
				t.Fatal(err)
			}
			if err := resumed.Seek(state); err != nil {
				t.Fatal(err)
			}
			if rest := drain(t, resumed, 7); !reflect.DeepEqual(append(slices.Clone(all[:stop]), rest...), all) {
				t.Fatalf("%+v: resumed after batch %d differs", o, stop)
			}
		}
	}
}

func TestSeekRefuses(t *testing.T) {
	documents := randomDocuments(rand.New(rand.NewPCG(15, 16)), 40, 90, false)
	o := Options{SequenceLength: 40, Packing: true, Shuffle: true, Seed: 3, Epochs: 3}
	state := newSource(t, dataset(nil, false, documents...), o).State()
	for name, change := range map[string]func(o *Options){
		"length":   func(o *Options) { o.SequenceLength = 41 },
		"truncate": func(o *Options) { o.Truncate = true },
		"packing":  func(o *Options) { o.Packing = false },
		"shuffle":  func(o *Options) { o.Shuffle = false },
		"seed":     func(o *Options) { o.Seed = 4 },
	} {
		changed := o
		change(&changed)
		if err := newSource(t, dataset(nil, false, documents...), changed).Seek(state); err == nil {
			t.Errorf("another %s: want an error", name)
		}
	}
	more := o
	more.Epochs, more.PrefixToken = 5, "auto"
	if err := newSource(t, dataset(nil, false, documents...), more).Seek(state); err != nil {
		t.Errorf("more epochs: %v", err)
	}
	documents[3].ids = slices.Clone(documents[3].ids)
	documents[3].ids[0]++
	s := newSource(t, dataset(nil, false, documents...), o)
	if err := s.Seek(state); err == nil || !strings.Contains(err.Error(), "not those of the saved position") {
		t.Errorf("another token: have error %v", err)
	}
	state = s.State()
	for _, wrong := range []State{{-1, 0, state.Fingerprint}, {0, -1, state.Fingerprint}, {0, s.Len(), state.Fingerprint}} {
		if err := s.Seek(wrong); err == nil {
			t.Errorf("%+v: want an error", wrong)
		}
	}
}

func TestWrongOptions(t *testing.T) {
	documents := []document{{ids: []int32{10, 11, 12}}}
	masked := []document{{ids: []int32{10, 11}, labels: []int32{10, Ignore}}}
	for _, test := range []struct {
		d    *Dataset
		o    Options
		want string
	}{
		{dataset(nil, false, documents...), Options{}, "sequence_length: have 0, want at least 2"},
		{dataset(nil, false, documents...), Options{SequenceLength: 1}, "sequence_length: have 1, want at least 2"},
		{dataset([]int32{1, 2}, false, documents...), Options{SequenceLength: 2}, "sequence_length: have 2, want at least 3"},
		{dataset(nil, false, documents...), Options{SequenceLength: 8, Stride: 8}, "stride: have 8, want at most 7"},
		{dataset([]int32{1, 2}, false, documents...), Options{SequenceLength: 8, Stride: 7}, "stride: have 7, want at most 6"},
		{dataset(nil, false, documents...), Options{SequenceLength: 8, Stride: 2, Truncate: true}, "drop one of the two"},
		{dataset(nil, false, documents...), Options{SequenceLength: 8, Stride: -1}, "want no negative number"},
		{dataset(nil, false, documents...), Options{SequenceLength: 8, Epochs: -1}, "want no negative number"},
		{dataset(nil, false, documents...), Options{SequenceLength: 8, PrefixToken: "<s>"}, "want auto, none or a token id"},
		{dataset(nil, false, documents...), Options{SequenceLength: 8, PrefixToken: fmt.Sprint(1 << 20)}, "outside the vocabulary"},
		{dataset(nil, false, masked...), Options{SequenceLength: 8}, "no token is predicted"},
		{dataset(nil, false, document{ids: []int32{10}}), Options{SequenceLength: 8}, "no token is predicted"},
	} {
		if _, err := NewSource(test.d, test.o); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: have error %v, want %q", test.o, err, test.want)
		}
	}
}
