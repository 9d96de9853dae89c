package journal

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// numbers is a run whose lines are numbers.
func numbers(header string, into *[]int) Run {
	return Run{
		Header: header, Sync: true,
		Same: func(have json.RawMessage) error {
			if strings.TrimSpace(string(have)) != `"`+header+`"` {
				return errors.New("another run")
			}
			return nil
		},
		Note: func(line json.RawMessage) error {
			var n int
			err := json.Unmarshal(line, &n)
			*into = append(*into, n)
			return err
		},
	}
}

func TestGoesOn(t *testing.T) {
	for text, want := range map[string]struct {
		numbers []int
		cut     int64
		err     string
	}{
		"":                        {},
		"\"a":                     {cut: 2},
		"\"a\"\n":                 {},
		"\"a\"\n1\n2\n":           {numbers: []int{1, 2}},
		"\"a\"\n1\n2":             {numbers: []int{1}, cut: 1},
		"\"a\"\n1\n\x00\x00\n":    {numbers: []int{1}, cut: 3},
		"\"a\"\n1\n\x00\x00\n2\n": {err: ":3: not a line of answers: not valid JSON"},
		"\"b\"\n1\n":              {err: "another run"},
		"b\n":                     {err: ":1: not a line of answers"},
	} {
		path := filepath.Join(t.TempDir(), "j")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var have []int
		f, cut, err := Open(path, numbers("a", &have))
		if want.err != "" {
			if err == nil || !strings.Contains(err.Error(), want.err) {
				t.Errorf("%q: have %v", text, err)
			}
			if now, _ := os.ReadFile(path); string(now) != text {
				t.Errorf("%q: the file has changed to %q", text, now)
			}
			continue
		}
		if err != nil || cut != want.cut || !slices.Equal(have, want.numbers) {
			t.Errorf("%q: have %v, %d bytes cut, %v", text, have, cut, err)
			continue
		}
		if err := errors.Join(f.Add(7), f.Close()); err != nil {
			t.Fatal(err)
		}
		have = nil
		if _, cut, err := Open(path, numbers("a", &have)); err != nil || cut != 0 || !slices.Equal(have, append(slices.Clone(want.numbers), 7)) {
			t.Errorf("%q: going on: have %v, %d bytes cut, %v", text, have, cut, err)
		}
	}
}

// fullDisk has room for so many bytes.
type fullDisk struct {
	*os.File
	room int
}

func (f *fullDisk) Write(b []byte) (int, error) {
	if len(b) <= f.room {
		f.room -= len(b)
		return f.File.Write(b)
	}
	n, err := f.File.Write(b[:f.room])
	f.room = 0
	return n, errors.Join(err, syscall.ENOSPC)
}

func TestFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j")
	var have []int
	f, _, err := Open(path, numbers("a", &have))
	if err != nil {
		t.Fatal(err)
	}
	f.file = &fullDisk{f.file.(*os.File), 6}
	if err := f.Add(100); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second try must not write behind a hole
		if err := f.Add(200); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free some space and run the same command again") {
			t.Errorf("have %v", err)
		}
	}
	if text, _ := os.ReadFile(path); string(text) != "\"a\"\n100\n" {
		t.Errorf("have %q", text)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, cut, err := Open(path, numbers("a", &have)); err != nil || cut != 0 || !slices.Equal(have, []int{100}) {
		t.Errorf("going on: %v, %d bytes cut, %v", err, cut, have)
	}
}
