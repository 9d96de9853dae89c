package signal

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"kdistill/internal/loss"
)

// said is one sequence with the logits that a teacher gave.
type said struct {
	tokens []int32
	mask   Mask
	logits [][]float32 // of the rows
}

const vocab = 17

func speech(seed uint64, n int) []said {
	random := rand.New(rand.NewPCG(seed, 9))
	var all []said
	for range n {
		s := said{}
		for range 5 + random.IntN(12) {
			s.tokens = append(s.tokens, random.Int32N(vocab))
		}
		s.mask = NewMask(len(s.tokens), func(int) bool { return random.IntN(3) > 0 })
		for range s.mask.Rows() {
			s.logits = append(s.logits, randomLogits(random, vocab, 2))
		}
		all = append(all, s)
	}
	return all
}

func add(t testing.TB, w *Writer, s said) error {
	t.Helper()
	key, rows := KeyOf(s.tokens, nil), []Row(nil)
	for i := range s.tokens {
		if s.mask.Has(i) {
			row, err := w.Encode(s.logits[len(rows)], key, i)
			if err != nil {
				t.Fatal(err)
			}
			rows = append(rows, row)
		}
	}
	return w.Add(key, len(s.tokens), s.mask, rows)
}

// unsynced files make the tests fast.
type unsynced struct{ file }

func (unsynced) Sync() error { return nil }

func hasty(path string, at int64) (file, error) {
	f, err := openAt(path, at)
	return unsynced{f}, err
}

// writeAll makes a cache.
func writeAll(t testing.TB, dir string, h Header, all []said) {
	t.Helper()
	w, err := create(context.Background(), dir, h, hasty)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if w.Has(KeyOf(s.tokens, nil), s.mask) {
			continue
		}
		if err := add(t, w, s); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, dir string) *Reader {
	t.Helper()
	r, err := Open(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// wantAll wants every row of every sequence as it was encoded.
func wantAll(t testing.TB, r *Reader, all []said) {
	t.Helper()
	for _, s := range all {
		key := KeyOf(s.tokens, nil)
		have, found, err := r.Find(key, s.mask)
		if err != nil || !found {
			t.Fatalf("%v: found %v, %v", s.tokens, found, err)
		}
		w := Writer{codec: r.codec}
		n := 0
		have.Rows(func(position int, row []byte) {
			if !have.Mask.Has(position) {
				t.Errorf("a row at position %d", position)
			}
			if !s.mask.Has(position) {
				return // another sequence of the same tokens has it
			}
			want, err := w.Encode(s.logits[n], key, position)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(row, want.Bytes) {
				t.Errorf("%v, position %d: the row has changed", s.tokens, position)
			}
			n++
		})
		if n != len(s.logits) {
			t.Errorf("have %d rows, want %d", n, len(s.logits))
		}
	}
}

var headers = map[string]Header{
	"top_k": header(TopK, 3, 16, vocab, 1), "samples": header(Samples, 9, 0, vocab, 1), "all": header(All, vocab, 32, vocab, 1),
}

func TestRoundTrip(t *testing.T) {
	for name, h := range headers {
		dir, all := filepath.Join(t.TempDir(), "cache"), speech(1, 60)
		writeAll(t, dir, h, all[:40])
		writeAll(t, dir, h, all) // goes on
		r := open(t, dir)
		wantAll(t, r, all)
		if !reflect.DeepEqual(r.Header(), h) || !Is(dir) {
			t.Errorf("%s: have header %+v", name, r.Header())
		}
		w, err := Create(context.Background(), dir, h)
		if err != nil {
			t.Fatal(err)
		}
		have, again := r.Totals(), w.Totals()
		if again.tails = nil; have.TailQuantile(0.5) < 0 || have.Rows != again.Rows || have.Tail != again.Tail {
			t.Errorf("%s: have %+v and %+v", name, have, again)
		}
		rows := 0
		for _, s := range all {
			rows += len(s.logits)
		}
		if have.Rows != rows || have.Sequences != len(all) || len(w.Notes) > 0 {
			t.Errorf("%s: have %d rows in %d sequences, %v, want %d in %d", name, have.Rows, have.Sequences, w.Notes, rows, len(all))
		}
		if found, partly := r.Has(KeyOf([]int32{1, 2, 3, 99}, nil), NewMask(4, func(int) bool { return false })); found || partly {
			t.Errorf("%s: found what is not there", name)
		}
	}
}

// TestMasks keeps the same tokens under two masks: either is found, and what neither covers is not.
func TestMasks(t *testing.T) {
	dir, all := t.TempDir(), speech(2, 1)
	s := all[0]
	s.tokens = []int32{1, 2, 3}
	mask := func(bits ...bool) Mask { return NewMask(3, func(i int) bool { return bits[i] }) }
	random := rand.New(rand.NewPCG(1, 1))
	for _, m := range []Mask{mask(true, false, false), mask(false, true, true), mask(false, true, false)} {
		s.mask, s.logits = m, nil
		for range m.Rows() {
			s.logits = append(s.logits, randomLogits(random, vocab, 2))
		}
		writeAll(t, dir, headers["all"], []said{s})
	}
	r := open(t, dir)
	if n := r.Totals().Sequences; n != 2 {
		t.Errorf("have %d sequences, want 2: the third mask was covered", n)
	}
	for _, c := range []struct {
		mask          Mask
		found, partly bool
	}{
		{mask(true, false, false), true, false}, {mask(false, true, false), true, false}, {mask(false, true, true), true, false},
		{mask(false, false, false), true, false}, {mask(true, true, false), false, true},
	} {
		if found, partly := r.Has(KeyOf(s.tokens, nil), c.mask); found != c.found || partly != c.partly {
			t.Errorf("%v: have %v, %v", c.mask, found, partly)
		}
		if _, found, err := r.Find(KeyOf(s.tokens, nil), c.mask); found != c.found || err != nil {
			t.Errorf("%v: have %v, %v", c.mask, found, err)
		}
	}
}

func TestKey(t *testing.T) {
	key := KeyOf([]int32{5, 6}, nil)
	if same := KeyOf([]int32{5, 6}, []int32{0, 0}); same != key {
		t.Error("types of 0 make a difference")
	}
	seen := map[Key]bool{key: true}
	for _, other := range [][2][]int32{{{5}, nil}, {{6, 5}, nil}, {{5, 6, 0}, nil}, {{5, 6}, {0, 1}}, {{5, 6}, {1, 0}}} {
		k := KeyOf(other[0], other[1])
		if seen[k] {
			t.Errorf("%v has the key of another sequence", other)
		}
		seen[k] = true
	}
}

func TestCreateRefuses(t *testing.T) {
	dir, h := t.TempDir(), headers["top_k"]
	writeAll(t, dir, h, speech(1, 3))
	for want, change := range map[string]func(*Header){
		"teacher's files": func(h *Header) { h.Teacher.Hash = "ffff" }, "tokenizer": func(h *Header) { h.Tokenizer = "" },
		"temperature: 1 and 2": func(h *Header) { h.Temperature = 2 }, "ids kept: 3 and 4": func(h *Header) { h.Count = 4 },
		"bits: 16 and 8": func(h *Header) { h.Bits = 8 }, "kind": func(h *Header) { h.Kind, h.Count, h.Bits = Samples, 3, 0 },
		"type of the teacher's weights": func(h *Header) { h.Teacher.DType = "bfloat16" }, "precision": func(h *Header) { h.Teacher.Precision = "bfloat16" },
		"bits: have 7": func(h *Header) { h.Bits = 7 }, "top_k: have 18 ids": func(h *Header) { h.Count = 18 },
	} {
		other := h
		change(&other)
		_, err := Create(context.Background(), dir, other)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("have %v, want %q", err, want)
		}
	}
	moved := h
	moved.Teacher.Path = "elsewhere"
	if _, err := Create(context.Background(), dir, moved); err != nil {
		t.Errorf("the same teacher in another place: %v", err)
	}
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "thesis.tex"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(context.Background(), full, h); err == nil || !strings.Contains(err.Error(), "thesis.tex") {
		t.Errorf("have %v", err)
	}
}

// TestOneWriter lets nobody else write to a cache, nor leaves a trace in a folder that is none.
func TestOneWriter(t *testing.T) {
	h, dir := Header{Kind: TopK, Count: 2, Vocabulary: 9, Bits: 16, Temperature: 1}, t.TempDir()
	first, err := Create(context.Background(), dir, h)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(context.Background(), dir, h); err == nil || !strings.Contains(err.Error(), "another process is writing to "+dir) {
		t.Errorf("the second: have error %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Create(context.Background(), dir, h)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	write(t, filepath.Join(other, "letter.txt"), nil)
	if _, err := Create(context.Background(), other, h); err == nil {
		t.Error("a folder of something else was taken")
	}
	if entries, err := os.ReadDir(other); err != nil || len(entries) != 1 {
		t.Errorf("have %v, %v, want the letter alone", entries, err)
	}
}

// TestTorn cuts a file anywhere. A reader refuses it; a writer cuts off what is unfinished, goes on, and ends with the same bytes.
func TestTorn(t *testing.T) {
	dir, all, h := t.TempDir(), speech(3, 4), headers["samples"]
	writeAll(t, dir, h, all)
	path := filepath.Join(dir, shardName(0))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) {
		write(t, path, whole[:n])
		r, err := Open(context.Background(), dir)
		if err == nil { // cut between two sequences, where nothing tells that there were more: the missing ones are not found
			lost := 0
			for _, s := range all {
				if found, _ := r.Has(KeyOf(s.tokens, nil), s.mask); !found {
					lost++
				}
			}
			if lost == 0 {
				t.Errorf("cut to %d bytes, nothing is lost", n)
			}
			r.Close()
		}
		writeAll(t, dir, h, all)
		if have, err := os.ReadFile(path); err != nil || !bytes.Equal(have, whole) {
			t.Fatalf("cut to %d bytes: have %d bytes after the repair, %v, want the same %d", n, len(have), err, len(whole))
		}
	}
}

// TestFlippedBit wants every single flipped bit of a cache to be found.
func TestFlippedBit(t *testing.T) {
	dir := t.TempDir()
	writeAll(t, dir, headers["top_k"], speech(4, 2))
	for _, name := range []string{headerFile, shardName(0)} {
		path := filepath.Join(dir, name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range whole {
			for bit := range 8 {
				changed := slices.Clone(whole)
				changed[i] ^= 1 << bit
				write(t, path, changed)
				if r, err := Open(context.Background(), dir); err == nil {
					r.Close()
					t.Fatalf("%s: bit %d of byte %d is flipped, and nobody sees it", name, bit, i)
				}
			}
		}
		write(t, path, whole)
	}
	wantAll(t, open(t, dir), speech(4, 2))
}

// TestChangedUnderneath flips a bit while the file is mapped.
func TestChangedUnderneath(t *testing.T) {
	dir, all := t.TempDir(), speech(4, 1)
	writeAll(t, dir, headers["top_k"], all)
	r := open(t, dir)
	f, err := os.OpenFile(filepath.Join(dir, shardName(0)), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, int64(preambleBytes+frameBytes+20)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, _, err := r.Find(KeyOf(all[0].tokens, nil), all[0].mask); err == nil || !strings.Contains(err.Error(), "CRC-32C") {
		t.Errorf("have %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	check := func(want string, dir string) {
		t.Helper()
		r, err := Open(context.Background(), dir)
		if err == nil {
			r.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("have %v, want %q", err, want)
		}
	}
	dir := t.TempDir()
	check("want a folder that kdistill cache has written", dir)
	writeAll(t, dir, headers["top_k"], nil)
	check("the cache is empty", dir)
	writeAll(t, dir, headers["top_k"], speech(1, 3))
	other := t.TempDir()
	writeAll(t, other, headers["all"], speech(1, 3))
	rows, err := os.ReadFile(filepath.Join(other, shardName(0)))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, shardName(1)), rows)
	check("belong to another cache", dir)
	if err := os.Remove(filepath.Join(dir, shardName(0))); err != nil {
		t.Fatal(err)
	}
	check("a file of rows is missing", dir)
	future := headers["top_k"]
	future.Version = 2
	if err := future.write(dir); err != nil {
		t.Fatal(err)
	}
	check("another version of kdistill", dir)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Open(ctx, other); !errors.Is(err, context.Canceled) {
		t.Errorf("have %v", err)
	}
}

// fullDisk lets so many bytes through, of the last write a part.
type fullDisk struct {
	file
	left *int
}

func (f fullDisk) Write(b []byte) (int, error) {
	if len(b) > *f.left {
		n, _ := f.file.Write(b[:*f.left])
		*f.left = 0
		return n, syscall.ENOSPC
	}
	*f.left -= len(b)
	return f.file.Write(b)
}

// TestFullDisk fills the disk at any byte: what was written before stays readable, and the writer goes on when there is room again.
func TestFullDisk(t *testing.T) {
	all, h := speech(5, 6), headers["top_k"]
	for room := 0; ; room += 37 {
		dir, left := t.TempDir(), room
		w, err := create(context.Background(), dir, h, func(path string, at int64) (file, error) {
			f, err := hasty(path, at)
			return fullDisk{f, &left}, err
		})
		if err != nil {
			t.Fatal(err)
		}
		written := 0
		for _, s := range all {
			if err = add(t, w, s); err != nil {
				break
			}
			written++
		}
		w.Close()
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "go on with the same command") {
			t.Fatalf("have %v", err)
		}
		if again := add(t, w, all[0]); again == nil {
			t.Error("it writes on after an error")
		}
		if written > 0 {
			r := open(t, dir)
			wantAll(t, r, all[:written])
			if r.Totals().Sequences != written {
				t.Errorf("have %d sequences, want %d", r.Totals().Sequences, written)
			}
		}
		writeAll(t, dir, h, all)
		wantAll(t, open(t, dir), all)
	}
}

// TestTooLarge wants a sequence that no reader would take refused, and the writer to go on with others.
func TestTooLarge(t *testing.T) {
	dir, all := t.TempDir(), speech(4, 1)
	w, err := create(context.Background(), dir, headers["all"], hasty)
	if err != nil {
		t.Fatal(err)
	}
	row := Row{Bytes: make([]byte, maxBody/16)} // never touched, and so no memory
	rows := slices.Repeat([]Row{row}, 16)
	if err := w.Add(Key{1}, len(rows), NewMask(len(rows), func(int) bool { return true }), rows); err == nil || !strings.Contains(err.Error(), "shorten data.sequence_length") {
		t.Errorf("have %v", err)
	}
	if err := errors.Join(add(t, w, all[0]), w.Close()); err != nil {
		t.Fatal(err)
	}
	wantAll(t, open(t, dir), all)
}

// TestShards begins new files at the limit.
func TestShards(t *testing.T) {
	dir, all := t.TempDir(), speech(6, 40)
	for i := range all { // two writers, each of which begins in the middle of a file
		w, err := create(context.Background(), dir, headers["all"], hasty)
		if err != nil {
			t.Fatal(err)
		}
		w.limit = 3000
		if err := errors.Join(add(t, w, all[i]), w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	paths, err := shards(dir)
	if err != nil || len(paths) < 4 {
		t.Fatalf("have %d files, %v", len(paths), err)
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err != nil || info.Size() > 3000 {
			t.Errorf("%s: have %d bytes, %v", path, info.Size(), err)
		}
	}
	wantAll(t, open(t, dir), all)
}

// FuzzScan wants no file to do harm: whatever the bytes, records come out whole or not at all.
func FuzzScan(f *testing.F) {
	for name, h := range headers {
		dir := f.TempDir()
		writeAll(f, dir, h, speech(1, 3))
		rows, err := os.ReadFile(filepath.Join(dir, shardName(0)))
		if err != nil {
			f.Fatal(name, err)
		}
		f.Add(rows[preambleBytes+frameBytes:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, h := range headers {
			c := newCodec(h)
			// as the body of a record with the right sum, and as what follows the preamble
			framed := (&record{}).append(nil)[:frameBytes]
			framed = append(framed, body...)
			seal(framed)
			for _, rest := range [][]byte{framed, body} {
				b := append(h.preamble(), rest...)
				_ = c.scan(bytes.NewReader(b), int64(len(b)), func(_ int64, r record) error {
					var total Totals
					total.add(c, r)
					Sequence{r.mask, r.payload, c}.Rows(func(_ int, row []byte) {
						if h.Kind == All {
							c.decodeAll(row, make([]float32, h.Vocabulary))
						} else {
							c.decode(row, &loss.Kept{})
						}
					})
					return nil
				})
			}
		}
	})
}

// FuzzHeader wants no header to do harm.
func FuzzHeader(f *testing.F) {
	for _, h := range headers {
		dir := f.TempDir()
		if err := h.write(dir); err != nil {
			f.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, headerFile))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if h, err := parseHeader(text); err == nil && h.check() != nil {
			t.Errorf("takes %+v", h)
		}
	})
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
}
