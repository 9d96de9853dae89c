package synth

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"kdistill/internal/journal"
)

// store is the journal of all answers: a header, then one line for each response, synced as it comes. A run that goes on reads it and asks for nothing that is in it.
type store struct {
	path string
	file *journal.File

	mu       sync.Mutex
	records  map[string][]record
	usage    Usage
	requests int
	answers  int
}

// header says what the answers of a file were given to.
type header struct {
	Format   string            `json:"format"`
	Teacher  string            `json:"teacher"`
	Input    string            `json:"input_sha256"`
	Settings map[string]string `json:"settings"` // by scalar
	keys     []string          // of this run's: those that decide what is asked
}

// newHeader is that of a run.
func newHeader(teacher, input string, settings map[string]map[string]string) header {
	h := header{Teacher: teacher, Input: input, Settings: map[string]string{}, keys: sortedKeys(settings)}
	for _, scalars := range settings {
		maps.Copy(h.Settings, scalars)
	}
	return h
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
	h.Format = storeFormat
	s = &store{path: path, records: map[string][]record{}}
	s.file, cut, err = journal.Open(path, journal.Run{
		Header: h, Sync: true,
		Same: func(line json.RawMessage) error {
			var have header
			err := json.Unmarshal(line, &have)
			if err == nil {
				err = have.differs(h)
			}
			if err != nil {
				err = fmt.Errorf("%w: give synth.output another name, or go back to what it was", err)
			}
			return err
		},
		Note: func(line json.RawMessage) error {
			var rec record
			err := json.Unmarshal(line, &rec)
			if err == nil {
				s.note(rec)
			}
			return err
		},
	})
	return s, cut, err
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
	for _, key := range want.keys {
		if was, is := h.of(key), want.of(key); !slices.Equal(was, is) {
			changes = append(changes, fmt.Sprintf("%s was %s, is %s", key, said(was), said(is)))
		}
	}
	if changes == nil {
		return nil
	}
	return fmt.Errorf("holds answers of another run: %s", strings.Join(changes, "; "))
}

// of lists the scalars of a setting: of a list or mapping each behind what is left of its key.
func (h header) of(key string) (all []string) {
	var inner []string
	for at := range h.Settings {
		if rest, ok := strings.CutPrefix(at, key); ok && (rest == "" || rest[0] == '[' || rest[0] == '.') {
			inner = append(inner, rest)
		}
	}
	slices.SortFunc(inner, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) }) // [2] before [10]
	for _, rest := range inner {
		value := fmt.Sprintf("%q", h.Settings[key+rest])
		if rest != "" && rest[0] == '.' {
			value = rest[1:] + ": " + value
		}
		all = append(all, value)
	}
	return all
}

// said is a setting in a sentence.
func said(scalars []string) string {
	const most = 4
	switch n := len(scalars); {
	case n == 0:
		return "empty"
	case n > most:
		return fmt.Sprintf("%s, … (%d)", strings.Join(scalars[:most-1], ", "), n)
	}
	return strings.Join(scalars, ", ")
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
	if err := s.file.Add(r); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(r)
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

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
