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

// record runs the teacher over every sequence that the cache has not.
func (r *run) record(ctx context.Context, w *signal.Writer) (err error) {
	source, err := r.once()
	if err != nil {
		return err
	}
	progress := report.NewCounter(r.log, "sequences", source.Len())
	defer progress.Done()
	c := &course{speaker: teacher.Speaker{Teacher: r.single().live}, w: w, length: r.config.Data.SequenceLength}
	defer func() { err = errors.Join(err, c.speaker.Close()) }()
	for done := 1; ; done++ {
		row, err := source.Next(1)
		if err == io.EOF {
			return c.speak(ctx)
		}
		if err != nil {
			return err
		}
		for _, u := range teacher.Utterances(row, r.attended()) {
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
	parts   []teacher.Utterance
}

// add takes in a sequence of a batch, if the cache hasn't got it. A full course is spoken to first.
func (c *course) add(ctx context.Context, from *data.Batch, u teacher.Utterance) error {
	known := func(v teacher.Utterance) bool { return v.Key == u.Key && slices.Equal(v.Mask, u.Mask) }
	if c.w.Has(u.Key, u.Mask) || slices.ContainsFunc(c.parts, known) {
		return nil
	}
	if used := len(c.batch.Tokens) % c.length; used+u.To-u.From > c.length {
		c.pad(c.length - used)
	}
	if len(c.batch.Tokens) >= max(courseTokens, c.length) {
		if err := c.speak(ctx); err != nil {
			return err
		}
	}
	b, at := &c.batch, len(c.batch.Tokens)
	b.Tokens = append(b.Tokens, from.Tokens[u.From:u.To]...)
	b.Positions = append(b.Positions, from.Positions[u.From:u.To]...)
	b.Segments = append(b.Segments, slices.Repeat([]int32{int32(len(c.parts))}, u.To-u.From)...)
	b.TokenTypes = append(b.TokenTypes, from.Types(u.From, u.To)...)
	b.TokenTypes = append(b.TokenTypes, make([]int32, len(b.Tokens)-len(b.TokenTypes))...)
	u.From, u.To = at, len(b.Tokens)
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
		return u.Mask.Has(i - u.From)
	}, func(i int, logits []float32) {
		u := c.parts[b.Segments[i]]
		var err error
		if rows[i], err = c.w.Encode(logits, u.Key, i-u.From); err != nil {
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
		for i := u.From; i < u.To; i++ {
			if u.Mask.Has(i - u.From) {
				kept = append(kept, rows[i])
			}
		}
		if err := c.w.Add(u.Key, u.To-u.From, u.Mask, kept); err != nil {
			return err
		}
	}
	c.parts, c.batch = c.parts[:0], data.Batch{Tokens: b.Tokens[:0], Positions: b.Positions[:0], Segments: b.Segments[:0], TokenTypes: b.TokenTypes[:0]}
	return nil
}
