package distill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"kdistill/internal/data"
	"kdistill/internal/report"
	"kdistill/internal/signal"
	"kdistill/internal/teacher"
)

// utterance is a sequence of a batch, and where it needs the teacher's rows.
type utterance struct {
	from, to int // positions of the batch
	key      signal.Key
	mask     signal.Mask
}

// utterances lists a batch's sequences.
func utterances(b *data.Batch, attended bool) []utterance {
	var all []utterance
	for from, to := range b.Sequences() {
		all = append(all, utterance{from, to, signal.KeyOf(b.Tokens[from:to], b.Types(from, to)), signal.NewMask(to-from, func(i int) bool {
			return attended || b.Labels[from+i] != data.Ignore
		})})
	}
	return all
}

// attended says whether some loss compares with the teacher where there is no label too.
func (r *run) attended() bool {
	for _, t := range r.terms {
		if t.Loss.Teacher && t.Attended {
			return true
		}
	}
	return false
}

// once is a source of every sequence of the documents, each in a row of its own.
func (r *run) once() (*data.Source, error) {
	order := r.order
	order.Packing, order.Shuffle, order.Epochs = false, false, 1
	return data.NewSource(r.dataset, order)
}

// record runs the teacher over every sequence that the cache has not.
func (r *run) record(ctx context.Context, w *signal.Writer) (err error) {
	source, err := r.once()
	if err != nil {
		return err
	}
	progress := report.NewCounter(r.log, "sequences", source.Len())
	defer progress.Done()
	c := &course{speaker: teacher.Speaker{Teacher: r.live}, w: w, length: r.config.Data.SequenceLength}
	defer func() { err = errors.Join(err, c.speaker.Close()) }()
	for done := 1; ; done++ {
		row, err := source.Next(1)
		if err == io.EOF {
			return c.speak(ctx)
		}
		if err != nil {
			return err
		}
		for _, u := range utterances(row, r.attended()) {
			if err := c.add(ctx, row, u); err != nil {
				return err
			}
		}
		progress.Set(done)
	}
}

// courseTokens is how many tokens the teacher gets at a time: enough for products to be fast.
const courseTokens = 1 << 12

// course is a batch that grows: sequences of any length follow each other in its rows.
type course struct {
	speaker teacher.Speaker
	w       *signal.Writer
	length  int // of a row
	batch   data.Batch
	parts   []utterance
}

// add takes in a sequence of a batch, if the cache hasn't got it. A full course is spoken to first.
func (c *course) add(ctx context.Context, from *data.Batch, u utterance) error {
	known := func(v utterance) bool { return v.key == u.key && slices.Equal(v.mask, u.mask) }
	if c.w.Has(u.key, u.mask) || slices.ContainsFunc(c.parts, known) {
		return nil
	}
	if used := len(c.batch.Tokens) % c.length; used+u.to-u.from > c.length {
		c.pad(c.length - used)
	}
	if len(c.batch.Tokens) >= max(courseTokens, c.length) {
		if err := c.speak(ctx); err != nil {
			return err
		}
	}
	b, at := &c.batch, len(c.batch.Tokens)
	b.Tokens = append(b.Tokens, from.Tokens[u.from:u.to]...)
	b.Positions = append(b.Positions, from.Positions[u.from:u.to]...)
	b.Segments = append(b.Segments, slices.Repeat([]int32{int32(len(c.parts))}, u.to-u.from)...)
	b.TokenTypes = append(b.TokenTypes, from.Types(u.from, u.to)...)
	b.TokenTypes = append(b.TokenTypes, make([]int32, len(b.Tokens)-len(b.TokenTypes))...)
	u.from, u.to = at, len(b.Tokens)
	c.parts = append(c.parts, u)
	return nil
}

func (c *course) pad(n int) {
	b := &c.batch
	b.Tokens = append(b.Tokens, make([]int32, n)...)
	b.Positions = append(b.Positions, make([]int32, n)...)
	b.Segments = append(b.Segments, slices.Repeat([]int32{-1}, n)...)
	b.TokenTypes = append(b.TokenTypes, make([]int32, n)...)
}

// speak runs the teacher and adds its rows to the cache.
func (c *course) speak(ctx context.Context) error {
	if len(c.parts) == 0 {
		return nil
	}
	b := &c.batch
	if used := len(b.Tokens) % c.length; used > 0 {
		c.pad(c.length - used)
	}
	b.B, b.T = len(b.Tokens)/c.length, c.length
	rows := make([]signal.Row, len(b.Tokens))
	var failed error
	var once sync.Once
	err := c.speaker.Speak(ctx, b, func(i int) bool {
		u := c.parts[b.Segments[i]]
		return u.mask.Has(i - u.from)
	}, func(i int, logits []float32) {
		u := c.parts[b.Segments[i]]
		var err error
		if rows[i], err = c.w.Encode(logits, u.key, i-u.from); err != nil {
			once.Do(func() { failed = err })
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return fmt.Errorf("teacher: %w", err)
	}
	for _, u := range c.parts {
		var kept []signal.Row
		for i := u.from; i < u.to; i++ {
			if u.mask.Has(i - u.from) {
				kept = append(kept, rows[i])
			}
		}
		if err := c.w.Add(u.key, u.to-u.from, u.mask, kept); err != nil {
			return err
		}
	}
	c.parts, c.batch = c.parts[:0], data.Batch{Tokens: b.Tokens[:0], Positions: b.Positions[:0], Segments: b.Segments[:0], TokenTypes: b.TokenTypes[:0]}
	return nil
}
