// Package data turns files of text or token ids into batches of token rows with what they predict, in a seeded order that can be resumed.
// It keeps a whole data set's ids in memory, and knows no model, no loss and no configuration file.
package data

import (
	"slices"

	"kdistill/internal/tokenizer"
)

// Ignore is the label of a position that predicts nothing.
const Ignore int32 = -100

// Task is what a model predicts, and so what documents are turned into.
type Task string

// The zero Task is Causal.
const (
	Causal         Task = "causal"         // at each token the next one
	Masked         Task = "masked"         // tokens that were hidden, where they stood
	Classification Task = "classification" // at its first token the class of a document, or a number
	NoTask         Task = "none"           // nothing: the tokens are there for losses on features
)

// Encoder is what loading needs of a *tokenizer.Tokenizer. Encode must be safe for concurrent use and give slices that the caller may change.
type Encoder interface {
	Encode(text string, special bool) (tokenizer.Encoding, error)
	Prefix() []int32 // put in front of every text
	Suffix() []int32 // put behind every text
	EOS() int32      // -1: none
	VocabSize() int  // largest id + 1

	MASK() int32           // stands for hidden tokens; -1: none
	Special(id int32) bool // tokens that are never hidden
	// ChatTemplate returns the template of a name; "" is the tokenizer's own, if it has one.
	ChatTemplate(name string) (*tokenizer.ChatTemplate, error)
	Pair() (tokenizer.Pair, error) // what is put around two texts
}

// Batch is a block of B rows of T positions; every slice is [B*T], row after row.
type Batch struct {
	B, T       int
	Tokens     []int32   // 0 at padding
	Labels     []int32   // what position i predicts (Causal: the next token), Ignore where it predicts nothing; never reaches into another document
	Segments   []int32   // number of the document piece within its row, from 0; -1: padding
	Positions  []int32   // from 0 in each piece
	Documents  []int32   // index of the document in the Dataset; -1: padding
	Bytes      []int32   // source bytes that the predicted token covers, 0 where nothing is predicted; nil where the Dataset keeps no bytes
	TokenTypes []int32   // 0 in the first sentence of a pair, 1 in the second; nil: all 0
	Weights    []float32 // of what position i predicts in the mean of a loss, 1 where it predicts nothing; nil: all 1
	Targets    []float32 // the number that position i predicts, where it has a label; nil: labels are ids or classes
}

func (d *Dataset) newBatch(rows, length int) *Batch {
	n := rows * length
	b := &Batch{
		B: rows, T: length,
		Tokens: make([]int32, n), Labels: make([]int32, n), Segments: make([]int32, n),
		Positions: make([]int32, n), Documents: make([]int32, n),
	}
	for i := range n {
		b.Labels[i], b.Segments[i], b.Documents[i] = Ignore, -1, -1
	}
	if d.bytes != nil {
		b.Bytes = make([]int32, n)
	}
	if d.typed {
		b.TokenTypes = make([]int32, n)
	}
	if d.targets != nil {
		b.Targets = make([]float32, n)
	}
	if d.weights != nil {
		b.Weights = slices.Repeat([]float32{1}, n)
	}
	return b
}

// Rows returns rows i to j-1 as a batch that shares b's memory: a micro-batch of an optimizer step.
func (b *Batch) Rows(i, j int) *Batch {
	lo, hi := i*b.T, j*b.T
	view := &Batch{
		B: j - i, T: b.T,
		Tokens: b.Tokens[lo:hi], Labels: b.Labels[lo:hi], Segments: b.Segments[lo:hi],
		Positions: b.Positions[lo:hi], Documents: b.Documents[lo:hi],
	}
	if b.Bytes != nil {
		view.Bytes = b.Bytes[lo:hi]
	}
	if b.TokenTypes != nil {
		view.TokenTypes = b.TokenTypes[lo:hi]
	}
	if b.Targets != nil {
		view.Targets = b.Targets[lo:hi]
	}
	if b.Weights != nil {
		view.Weights = b.Weights[lo:hi]
	}
	return view
}

// Labelled returns the number of positions that predict a label.
func (b *Batch) Labelled() int {
	n := 0
	for _, label := range b.Labels {
		if label != Ignore {
			n++
		}
	}
	return n
}

// Attended returns the number of positions that hold a real token.
func (b *Batch) Attended() int {
	n := 0
	for _, segment := range b.Segments {
		if segment >= 0 {
			n++
		}
	}
	return n
}

// Firsts returns the number of documents' first positions, of which a piece of a split document has one too.
func (b *Batch) Firsts() int {
	n := 0
	for i, segment := range b.Segments {
		if segment >= 0 && b.Positions[i] == 0 {
			n++
		}
	}
	return n
}
