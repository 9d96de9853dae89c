package data

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
)

// Options say how documents become rows.
type Options struct {
	SequenceLength int    // most tokens of a row
	Truncate       bool   // long documents are cut off; false: split into pieces
	Stride         int    // evaluation: pieces of long documents advance by so many tokens and see those before as context; 0: pieces do not overlap
	PrefixToken    string // in front of each piece: auto or "" (what the tokenizer puts there), none, or an id
	Packing        bool   // several pieces share a row, and rows are SequenceLength long; false: one piece a row, padded on the right. Classification: always false
	Shuffle        bool
	Seed           uint64
	Epochs         int // passes over the data; 0: without end

	MaskProbability float64 // Masked: of each token, or each word, to be predicted
}

// Stats describe one epoch.
type Stats struct {
	Documents, Pieces, Rows int
	Tokens                  int     // in all rows, start tokens and context included
	Labels                  int     // tokens that are predicted (Masked: that may be), or classes
	Dropped                 int     // tokens lost by truncation
	Fill                    float64 // Tokens / (Rows * SequenceLength)
}

// State is a position in the data: how many rows were taken in which epoch, from 0.
type State struct {
	Epoch       int    `json:"epoch"`
	Row         int    `json:"row"`
	Fingerprint string `json:"fingerprint"` // of the documents and of the options that decide the order
}

// Source deals out the rows of a Dataset in order, epoch after epoch. Rows are put together once; each epoch shuffles them anew.
// It is not safe for concurrent use.
type Source struct {
	data        *Dataset
	o           Options
	cutter      cutter
	pieces      []piece // row after row
	start       []int32 // row r is pieces[start[r]:start[r+1]]
	stats       Stats
	fingerprint string

	epoch, row int
	order      []int32 // rows of epoch `shuffled`
	shuffled   int
}

// packSeed is the stream that shuffles pieces before packing: no epoch has this number.
const packSeed = ^uint64(0)

// NewSource cuts the documents of d into pieces and puts these into rows.
func NewSource(d *Dataset, o Options) (*Source, error) {
	s := &Source{data: d, o: o, shuffled: -1}
	if o.Stride < 0 || o.Epochs < 0 {
		return nil, fmt.Errorf("data: stride %d, epochs %d: want no negative number", o.Stride, o.Epochs)
	}
	if o.Stride > 0 && o.Truncate {
		return nil, errors.New("data: a stride is for long documents that are split, not truncated: drop one of the two")
	}
	if err := s.suitTask(); err != nil {
		return nil, err
	}
	s.cutter = cutter{s.o.SequenceLength, s.o.Stride, s.o.Truncate, d.single, d.pair, false}
	if err := s.choosePrefix(); err != nil {
		return nil, err
	}
	if err := s.cutAll(); err != nil {
		return nil, err
	}
	s.arrange()
	s.fingerprint = s.sum()
	return s, nil
}

// suitTask finds options that the documents' task doesn't have.
func (s *Source) suitTask() error {
	task := s.data.task
	if task == Causal {
		return nil
	}
	if s.o.Stride > 0 {
		return errors.New("data: a stride is for models that predict the next token")
	}
	if s.o.PrefixToken != "" && s.o.PrefixToken != "auto" {
		return errors.New("data: a prefix token is for models that predict the next token: this one gets what its tokenizer puts around a text")
	}
	if task == Classification {
		s.o.Packing = false
	}
	if task != Masked {
		return nil
	}
	if s.data.mask < 0 && (s.data.given == nil || slices.Contains(s.data.given, false)) {
		return errors.New("data: the tokenizer has no mask token: name mask_token in tokenizer_config.json")
	}
	if p := s.o.MaskProbability; !(p > 0 && p <= 1) {
		return fmt.Errorf("data: mask probability: have %v, want more than 0 and at most 1", p)
	}
	return nil
}

// choosePrefix sets the start tokens.
func (s *Source) choosePrefix() error {
	c := &s.cutter
	switch s.o.PrefixToken {
	case "", "auto":
		return nil
	case "none":
		c.single.prefix = nil
		return nil
	}
	id, err := strconv.ParseInt(s.o.PrefixToken, 10, 32)
	if err != nil {
		return fmt.Errorf("prefix token: have %q, want auto, none or a token id", s.o.PrefixToken)
	}
	c.single.prefix, c.always = []int32{int32(id)}, true
	return inVocabulary("prefix token", c.single.prefix, s.data.vocab, false)
}

func (s *Source) cutAll() error {
	for i := range s.data.Len() {
		dropped, err := s.cutter.cut(s.data, i, func(p piece) {
			s.pieces = append(s.pieces, p)
			s.stats.Tokens += s.tokens(p)
			s.stats.Labels += s.predicts(p)
		})
		if err != nil {
			return err
		}
		s.stats.Dropped += dropped
	}
	s.stats.Documents, s.stats.Pieces = s.data.Len(), len(s.pieces)
	if s.stats.Labels == 0 && s.data.task != NoTask {
		return errors.New("data: no token is predicted: every label is -100, was cut off, or has no token before it")
	}
	return nil
}

// predicts is the number of labels of p: Masked, of tokens that may be hidden.
func (s *Source) predicts(p piece) int {
	switch d := s.data; d.task {
	case NoTask:
		return 0
	case Classification:
		return 1
	case Masked:
		return d.count(p.start, p.end, func(i int) bool { return d.mayHide(i, int(p.document)) })
	default:
		return d.count(p.from, p.end, func(int) bool { return true })
	}
}

// arrange puts pieces into rows.
func (s *Source) arrange() {
	if s.o.Shuffle {
		// Neighbours in a file are often alike: they should not share a row in every epoch.
		random := rand.New(rand.NewPCG(s.o.Seed, packSeed))
		random.Shuffle(len(s.pieces), func(i, j int) { s.pieces[i], s.pieces[j] = s.pieces[j], s.pieces[i] })
	}
	if s.o.Packing {
		lengths := make([]int, len(s.pieces))
		for i, p := range s.pieces {
			lengths[i] = s.tokens(p)
		}
		var order []int32
		order, s.start = pack(lengths, s.o.SequenceLength)
		pieces := make([]piece, len(order))
		for i, k := range order {
			pieces[i] = s.pieces[k]
		}
		s.pieces = pieces
	} else {
		for i := range len(s.pieces) + 1 {
			s.start = append(s.start, int32(i))
		}
	}
	s.stats.Rows = len(s.start) - 1
	s.stats.Fill = float64(s.stats.Tokens) / (float64(s.stats.Rows) * float64(s.o.SequenceLength))
}

func (s *Source) sum() string {
	o := s.o
	o.Epochs = 0 // how long a run goes on does not change the order
	if o.PrefixToken == "" {
		o.PrefixToken = "auto"
	}
	h := sha256.Sum256(fmt.Appendf(nil, "%s %+v %v", s.data.Fingerprint(), o, s.cutter.single.prefix))
	return hex.EncodeToString(h[:16])
}

// Stats describes one epoch.
func (s *Source) Stats() Stats { return s.stats }

// Len returns the number of rows of an epoch.
func (s *Source) Len() int { return s.stats.Rows }

// Steps returns how many calls of Next(rows) so many epochs take.
func (s *Source) Steps(epochs, rows int) int { return (epochs*s.Len() + rows - 1) / rows }

// Next returns the next rows, across the ends of epochs. After the last epoch's last row it returns io.EOF; the batch before that may be smaller.
// Packed batches are SequenceLength long; others as long as their longest row, rounded up to a multiple of 32 and at most SequenceLength.
func (s *Source) Next(rows int) (*Batch, error) {
	if rows < 1 {
		return nil, fmt.Errorf("data: have %d rows in a batch, want at least 1", rows)
	}
	var taken [][]piece
	var epochs []int
	for len(taken) < rows && (s.o.Epochs == 0 || s.epoch < s.o.Epochs) {
		r := s.rowAt(s.row)
		taken, epochs = append(taken, s.pieces[s.start[r]:s.start[r+1]]), append(epochs, s.epoch)
		if s.row++; s.row == s.Len() {
			s.epoch, s.row = s.epoch+1, 0
		}
	}
	if len(taken) == 0 {
		return nil, io.EOF
	}
	b := s.data.newBatch(len(taken), s.length(taken))
	for i, row := range taken {
		at := i * b.T
		for segment, p := range row {
			s.fill(b, at, int32(segment), p, epochs[i])
			at += s.tokens(p)
		}
	}
	s.data.balance(b)
	return b, nil
}

// rowAt returns the i-th row of the current epoch.
func (s *Source) rowAt(i int) int32 {
	if s.shuffled != s.epoch {
		s.shuffled = s.epoch
		s.order = make([]int32, s.Len())
		for r := range s.order {
			s.order[r] = int32(r)
		}
		if s.o.Shuffle {
			random := rand.New(rand.NewPCG(s.o.Seed, uint64(s.epoch)))
			random.Shuffle(len(s.order), func(i, j int) { s.order[i], s.order[j] = s.order[j], s.order[i] })
		}
	}
	return s.order[i]
}

func (s *Source) length(rows [][]piece) int {
	if s.o.Packing {
		return s.o.SequenceLength
	}
	longest := 0
	for _, row := range rows {
		longest = max(longest, s.tokens(row[0]))
	}
	return min((longest+31)/32*32, s.o.SequenceLength)
}

// State returns the position of the next row.
func (s *Source) State() State { return State{s.epoch, s.row, s.fingerprint} }

// Seek moves to a position that State returned, in this or another process.
func (s *Source) Seek(state State) error {
	if state.Fingerprint != s.fingerprint {
		return errors.New("data: the documents, or the options that order them (sequence length, long documents, packing, shuffle, seed), are not those of the saved position: restore them or start anew")
	}
	if state.Epoch < 0 || state.Row < 0 || state.Row >= s.Len() {
		return fmt.Errorf("data: saved position: have epoch %d, row %d, want a row below %d", state.Epoch, state.Row, s.Len())
	}
	s.epoch, s.row = state.Epoch, state.Row
	return nil
}
