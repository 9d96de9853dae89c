// Package signal keeps on disk what a teacher said about sequences of tokens, and finds it again by the tokens themselves.
//
// It knows no models, batches or losses: rows of logits go in, what is kept of them comes out. A folder is written by one process at a time.
package signal

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kdistill/internal/checkpoint"
)

// Version is that of the format. A reader takes no other.
const Version = 1

// Kinds of a signal: what is kept of the teacher's distribution at a position.
const (
	TopK    = "top_k"   // the likeliest ids with their log-probabilities, and the mass of all others
	Samples = "samples" // how often each id was drawn; an unbiased estimate of the distribution (Sparse Logit Sampling, Anshumann et al. 2025)
	All     = "all"     // the logits of every id
)

// Header says what a cache holds and whose words they are. Rows of caches with different headers don't mix.
type Header struct {
	Version     int     `json:"version"`
	Kind        string  `json:"kind"`
	Count       int     `json:"count"`       // top_k: ids kept of a row; samples: draws; all: the vocabulary
	Bits        int     `json:"bits"`        // of a number: 32, 16 or 8; draws are counted, not rounded, and have 0
	Temperature float64 `json:"temperature"` // divides the logits before they are turned into probabilities; all: 1
	Vocabulary  int     `json:"vocabulary"`  // ids of the teacher
	Seed        uint64  `json:"seed"`        // of the draws
	Teacher     Teacher `json:"teacher"`
	Tokenizer   string  `json:"tokenizer"` // its fingerprint, "" where the teacher's folder has none
}

// Teacher is the model that spoke.
type Teacher struct {
	Path  string `json:"path"`       // as it was written in the configuration: for people
	Type  string `json:"model_type"` // for people
	Hash  string `json:"sha256"`     // of its config.json and weights
	DType string `json:"dtype"`      // of its weights in memory, as the configuration said

	Precision string `json:"precision"` // of its matrix products, as the configuration said

	Task   string   `json:"task"`             // what its logits predict, as package model calls it
	Labels []string `json:"labels,omitempty"` // of a classifier, in the order of its logits
}

const (
	headerFile = "cache.json"
	maxVocab   = 1 << 24
	maxDraws   = math.MaxUint16
)

// stored is cache.json. The sum is over the header as written.
type stored struct {
	Sum    string          `json:"sha256"`
	Header json.RawMessage `json:"header"`
}

// Is says whether a folder looks like a cache.
func Is(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, headerFile))
	return err == nil
}

func (h Header) check() error {
	switch {
	case h.Version != Version:
		return fmt.Errorf("have format version %d, want %d: it is of another version of kdistill", h.Version, Version)
	case h.Kind != TopK && h.Kind != Samples && h.Kind != All:
		return fmt.Errorf("kind: have %q, want %s, %s or %s", h.Kind, TopK, Samples, All)
	case h.Vocabulary < 1 || h.Vocabulary > maxVocab:
		return fmt.Errorf("vocabulary: have %d ids, want 1 to %d", h.Vocabulary, maxVocab)
	case h.Kind == Samples && (h.Count < 1 || h.Count > maxDraws):
		return fmt.Errorf("samples: have %d, want 1 to %d", h.Count, maxDraws)
	case h.Kind != Samples && (h.Count < 1 || h.Count > h.Vocabulary):
		return fmt.Errorf("%s: have %d ids, want 1 to %d, the vocabulary", h.Kind, h.Count, h.Vocabulary)
	case h.Kind == All && (h.Count != h.Vocabulary || h.Temperature != 1):
		return errors.New("all ids are kept as logits: want as many as the vocabulary, at temperature 1")
	case h.Kind != Samples && h.Bits != 32 && h.Bits != 16 && h.Bits != 8:
		return fmt.Errorf("bits: have %d, want 32, 16 or 8", h.Bits)
	case !(h.Temperature > 0) || math.IsInf(h.Temperature, 0):
		return fmt.Errorf("temperature: have %v, want a number above 0", h.Temperature)
	}
	return nil
}

// write stores the header in a folder.
func (h Header) write(dir string) error {
	raw, err := json.Marshal(h)
	if err != nil {
		return err
	}
	text, err := stored{sum(raw), raw}.text()
	if err != nil {
		return err
	}
	return checkpoint.WriteFile(filepath.Join(dir, headerFile), text)
}

func (s stored) text() ([]byte, error) {
	text, err := json.Marshal(s)
	return append(text, '\n'), err
}

// ReadHeader reads and checks the header of the cache in a folder, and nothing else.
func ReadHeader(dir string) (Header, error) {
	text, err := os.ReadFile(filepath.Join(dir, headerFile))
	if errors.Is(err, os.ErrNotExist) {
		return Header{}, fmt.Errorf("%s: have no %s, want a folder that kdistill cache has written", dir, headerFile)
	}
	if err != nil {
		return Header{}, err
	}
	h, err := parseHeader(text)
	if err != nil {
		return h, fmt.Errorf("%s: %w", filepath.Join(dir, headerFile), err)
	}
	return h, nil
}

func parseHeader(text []byte) (Header, error) {
	var s stored
	var h Header
	if err := json.Unmarshal(text, &s); err != nil {
		return h, fmt.Errorf("not the header of a cache: %w", err)
	}
	if again, err := s.text(); err != nil || sum(s.Header) != s.Sum || !bytes.Equal(text, again) {
		return h, errors.New("the header is damaged, or was changed by hand")
	}
	if err := json.Unmarshal(s.Header, &h); err != nil {
		return h, fmt.Errorf("not the header of a cache: %w", err)
	}
	return h, h.check()
}

func sum(raw []byte) string {
	s := sha256.Sum256(raw)
	return hex.EncodeToString(s[:])
}

// ID tells caches apart whose rows don't mix, in hex.
func (h Header) ID() string {
	id := h.id()
	return hex.EncodeToString(id[:])
}

// id is what every file of rows repeats of its header.
func (h Header) id() [16]byte {
	h.Teacher.Path = "" // the same teacher may lie elsewhere
	raw, _ := json.Marshal(h)
	s := sha256.Sum256(raw)
	return [16]byte(s[:16])
}

// Difference tells the first thing in which two headers differ, "" where their rows may lie in one cache.
func (h Header) Difference(other Header) string {
	for _, d := range []struct {
		what       string
		mine, this any
	}{
		{"kind", h.Kind, other.Kind}, {"ids kept", h.Count, other.Count}, {"bits", h.Bits, other.Bits},
		{"temperature", h.Temperature, other.Temperature}, {"teacher's vocabulary", h.Vocabulary, other.Vocabulary},
		{"teacher's files", short(h.Teacher.Hash), short(other.Teacher.Hash)}, {"type of the teacher's weights", h.Teacher.DType, other.Teacher.DType},
		{"precision", h.Teacher.Precision, other.Teacher.Precision},
		{"tokenizer", short(h.Tokenizer), short(other.Tokenizer)}, {"seed", h.Seed, other.Seed},
	} {
		if d.mine != d.this {
			return fmt.Sprintf("%s: %v and %v", d.what, d.mine, d.this)
		}
	}
	return ""
}

func short(hash string) string { return hash[:min(len(hash), 16)] }

// Describe says in a few words what is kept of a row.
func (h Header) Describe() string {
	text := fmt.Sprintf("the %d likeliest of %d ids, %d bits", h.Count, h.Vocabulary, h.Bits)
	switch h.Kind {
	case Samples:
		text = fmt.Sprintf("%d draws of %d ids", h.Count, h.Vocabulary)
	case All:
		return fmt.Sprintf("all of %d ids, %d bits", h.Vocabulary, h.Bits)
	}
	return fmt.Sprintf("%s, temperature %g", text, h.Temperature)
}

// Key names a sequence: the first half of the SHA-256 of its token ids (4 bytes each, little-endian), and of its token types after -1 where one is not 0.
// A sequence is what the teacher saw at once: a document, or the piece of one that data.sequence_length leaves, with the tokens put around it.
// The teacher's words at a position hang on this alone: not on the row of a batch that the sequence lay in, its neighbours there, its labels, or the
// rest of its document.
type Key [16]byte

// KeyOf returns the key of a sequence. types may be nil: all 0.
func KeyOf(tokens, types []int32) Key {
	hash := sha256.New()
	write := func(ids []int32) {
		buffer := make([]byte, 0, 4096)
		for chunk := range slices.Chunk(ids, cap(buffer)/4) {
			buffer = buffer[:0]
			for _, id := range chunk {
				buffer = binary.LittleEndian.AppendUint32(buffer, uint32(id))
			}
			hash.Write(buffer)
		}
	}
	write(tokens)
	if slices.ContainsFunc(types, func(t int32) bool { return t != 0 }) {
		write([]int32{-1})
		write(types)
	}
	return Key(hash.Sum(nil)[:16])
}

// Mask says at which positions of a sequence there are rows, a bit each, the lowest first.
type Mask []byte

// NewMask returns the mask of n positions where has is true.
func NewMask(n int, has func(i int) bool) Mask {
	m := make(Mask, (n+7)/8)
	for i := range n {
		if has(i) {
			m[i/8] |= 1 << (i % 8)
		}
	}
	return m
}

// Has says whether there is a row at position i.
func (m Mask) Has(i int) bool { return m[i/8]>>(i%8)&1 != 0 }

// Rows returns how many there are.
func (m Mask) Rows() int {
	n := 0
	for _, b := range m {
		n += bits.OnesCount8(b)
	}
	return n
}

// covers says whether m has a row wherever other, of as many positions, has one.
func (m Mask) covers(other Mask) bool {
	for i, b := range other {
		if b&^m[i] != 0 {
			return false
		}
	}
	return true
}

const (
	shardPrefix, shardSuffix = "rows-", ".bin"
	shardBytes               = 256 << 20 // a file begins anew where it would grow beyond
)

func shardName(i int) string { return fmt.Sprintf("%s%05d%s", shardPrefix, i, shardSuffix) }

// shards lists the files of rows in a folder, in order, none missing.
func shards(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries { // sorted by name
		if !strings.HasPrefix(e.Name(), shardPrefix) || !strings.HasSuffix(e.Name(), shardSuffix) {
			continue
		}
		if want := shardName(len(paths)); e.Name() != want {
			return nil, fmt.Errorf("%s: have %s, want %s before it: a file of rows is missing", dir, e.Name(), want)
		}
		paths = append(paths, filepath.Join(dir, e.Name()))
	}
	return paths, nil
}
