package teacher

import (
	"fmt"

	"kdistill/internal/data"
	"kdistill/internal/loss"
	"kdistill/internal/objective"
	"kdistill/internal/signal"
)

// Cached gives what a teacher said when kdistill cache ran it, and needs no model. It implements objective.Recorded.
type Cached struct {
	Reader   *signal.Reader
	Attended bool // rows are needed at every token, not only where there is a label

	rows [][]byte // of each position of the batch
}

var _ objective.Recorded = (*Cached)(nil)

// Utterance is a sequence of a batch, and where it needs rows.
type Utterance struct {
	From, To int // positions of the batch
	Key      signal.Key
	Mask     signal.Mask
}

// Utterances lists a batch's sequences. attended: rows are needed at every token, not only where there is a label.
func Utterances(b *data.Batch, attended bool) []Utterance {
	var all []Utterance
	for from, to := range b.Sequences() {
		all = append(all, Utterance{from, to, signal.KeyOf(b.Tokens[from:to], b.Types(from, to)), signal.NewMask(to-from, func(i int) bool {
			return attended || b.Labels[from+i] != data.Ignore
		})})
	}
	return all
}

// Load finds the rows of a batch by its tokens.
func (c *Cached) Load(b *data.Batch) error {
	if cap(c.rows) < len(b.Tokens) {
		c.rows = make([][]byte, len(b.Tokens))
	}
	c.rows = c.rows[:len(b.Tokens)]
	clear(c.rows)
	for _, u := range Utterances(b, c.Attended) {
		s, found, err := c.Reader.Find(u.Key, u.Mask)
		if err != nil {
			return fmt.Errorf("cache: %w", err)
		}
		if !found {
			return fmt.Errorf("cache: it has no rows of a sequence of %d tokens in document %d", u.To-u.From, b.Documents[u.From])
		}
		s.Rows(func(i int, row []byte) {
			c.rows[u.From+i] = row
		})
	}
	return nil
}

// Vocab is the teacher's number of ids.
func (c *Cached) Vocab() int { return c.Reader.Header().Vocabulary }

// Complete says whether all logits were kept.
func (c *Cached) Complete() bool { return c.Reader.Header().Kind == signal.All }

// Logits gives a row of the batch.
func (c *Cached) Logits(position int, logits []float32) { c.Reader.DecodeAll(c.rows[position], logits) }

// Kept gives what was kept of a row of the batch.
func (c *Cached) Kept(position int, kept *loss.Kept) { c.Reader.Decode(c.rows[position], kept) }
