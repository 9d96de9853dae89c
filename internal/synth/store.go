package synth

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"kdistill/internal/checkpoint"
)

// store is the file of all answers: JSON lines, a header first, then one for each response, appended and synced as it comes. A run that goes on
// reads it and asks for nothing that is in it.
type store struct {
	path string

	mu       sync.Mutex
	file     appendFile
	end      int64 // of what is whole
	broken   error // nothing can be written any more
	records  map[string][]record
	usage    Usage
	requests int
	answers  int
}

// appendFile is the file that a store writes to; tests let it fail.
type appendFile interface {
	io.WriteCloser
	Sync() error
	Truncate(size int64) error
}

// header says what the answers of a file were given to.
type header struct {
	Format   string            `json:"format"`
	Teacher  string            `json:"teacher"`
	Input    string            `json:"input_sha256"`
	Settings map[string]string `json:"settings"` // config.Settings
}

const storeFormat = "kdistill answers 1"

// record is one response, or the reason why there is none and never will be.
type record struct {
	Key     string    `json:"key"`   // of what was asked
	First   int       `json:"first"` // the first of its answers that are here
	Request Request   `json:"request"`
	Answers []Answer  `json:"answers,omitempty"`
	Usage   *Usage    `json:"usage,omitempty"` // nil: the server does not say
	Refused string    `json:"refused,omitempty"`
	Detail  string    `json:"detail,omitempty"` // of Refused
	Time    time.Time `json:"time"`
}

// openStore opens or begins a file of answers. One that belongs to another run is an error, and left as it is. cut tells how many bytes of a torn
// last line were taken away.
func openStore(path string, h header) (s *store, cut int64, err error) {
	s = &store{path: path, records: map[string][]record{}}
	size, err := s.read(h)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, 0, err
	}
	fresh := s.end == 0
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666) // O_APPEND would forbid Truncate on Windows
	if err != nil {
		return nil, 0, err
	}
	s.file = f
	if size > s.end {
		cut = size - s.end
		err = f.Truncate(s.end)
	}
	if err == nil {
		_, err = f.Seek(s.end, io.SeekStart)
	}
	if err == nil && fresh {
		h.Format = storeFormat
		if err = s.put(h); err == nil {
			err = checkpoint.SyncDir(filepath.Dir(path))
		}
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return s, cut, nil
}

// read fills s from the file and returns the file's size; s.end is where its last whole line ends.
func (s *store) read(want header) (size int64, err error) {
	f, err := os.Open(s.path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	r := bufio.NewReaderSize(f, 1<<16)
	for number := 1; ; number++ {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			return info.Size(), nil // what is in line was torn by the end of the process
		}
		if err != nil {
			return 0, err
		}
		var wrong error
		if number == 1 {
			var have header
			if wrong = json.Unmarshal(line, &have); wrong == nil {
				if err := have.differs(want); err != nil {
					return 0, fmt.Errorf("%s: %w: give synth.output another name, or go back to what it was", s.path, err)
				}
			}
		} else {
			var rec record
			if wrong = json.Unmarshal(line, &rec); wrong == nil {
				s.note(rec)
			}
		}
		if wrong != nil {
			if _, err := r.Peek(1); err == io.EOF && number > 1 {
				return info.Size(), nil // the last line, torn in another way
			}
			return 0, fmt.Errorf("%s:%d: not a line of answers: %w: mend or move the file to go on", s.path, number, wrong)
		}
		s.end += int64(len(line))
	}
}

// differs says in which way a file was written for another run.
func (h header) differs(want header) error {
	if h.Format != storeFormat {
		return fmt.Errorf("have format %q, want %q", h.Format, storeFormat)
	}
	var changes []string
	if h.Teacher != want.Teacher {
		changes = append(changes, fmt.Sprintf("the teacher was %s, is %s", h.Teacher, want.Teacher))
	}
	if h.Input != want.Input {
		changes = append(changes, "the input had another content")
	}
	all := maps.Clone(h.Settings)
	maps.Copy(all, want.Settings)
	for _, key := range sortedKeys(all) {
		if was, is := h.Settings[key], want.Settings[key]; was != is {
			changes = append(changes, fmt.Sprintf("%s was %q, is %q", key, was, is))
		}
	}
	if changes == nil {
		return nil
	}
	return fmt.Errorf("holds answers of another run: %s", strings.Join(changes, "; "))
}

// note remembers a record that is in the file.
func (s *store) note(r record) {
	s.records[r.Key] = append(s.records[r.Key], r)
	s.requests++
	s.answers += len(r.Answers)
	if r.Usage != nil {
		s.usage.PromptTokens += r.Usage.PromptTokens
		s.usage.CompletionTokens += r.Usage.CompletionTokens
	}
}

// add appends a record and syncs it.
func (s *store) add(r record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		if err := s.put(r); err != nil {
			s.broken = fmt.Errorf("%s: an answer cannot be stored: %w (those before it are: free some space and run the same command again to go on)", s.path, err)
		}
	}
	if s.broken != nil {
		return s.broken
	}
	s.note(r)
	return nil
}

// put appends one line, or as far as possible nothing.
func (s *store) put(v any) error {
	line, err := encodeLine(v)
	if err != nil {
		return err
	}
	if _, err = s.file.Write(line); err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		return errors.Join(err, s.file.Truncate(s.end))
	}
	s.end += int64(len(line))
	return nil
}

// get returns what is stored of a key, and spent what all of it cost.
func (s *store) get(key string) []record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.records[key])
}

func (s *store) spent() (requests int, u Usage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests, s.usage
}

func (s *store) close() error { return s.file.Close() }

// encodeLine is a line of JSON, with < and > as they are.
func encodeLine(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
