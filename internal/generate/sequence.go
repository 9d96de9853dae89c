package generate

import (
	"context"
	"math"
	"slices"
	"sync"

	"kdistill/internal/kernel"
)

// sequence is a request while it is worked on. The engine's goroutine owns it until it is done.
type sequence struct {
	Request
	ctx     context.Context
	ids     []int32 // prompt and continuation
	run     int     // how many of ids went through the model
	length  int     // of the longest continuation
	row     int     // of the cache
	sampler *sampler
	text    *text
	result  Result
	err     error
	done    chan struct{} // closed when result and err are there

	mu     sync.Mutex
	pieces []piece // for Emit, not yet given
	fresh  chan struct{}
}

// piece is what Emit is given.
type piece struct {
	id   int32
	text string
}

// slots is how many positions of the cache a sequence may come to fill. Its last id needs none: nothing follows it.
func (s *sequence) slots() int { return len(s.Prompt) + s.length - 1 }

// prompting says whether ids before the last have yet to go through the model.
func (s *sequence) prompting() bool { return s.run < len(s.ids)-1 }

// take chooses the next id by its logits, which it changes. It returns whether the text has ended.
func (s *sequence) take(logits []float32) (ended bool, err error) {
	best, sum := kernel.MaxExpSum(logits, 1)
	if !(sum > 0) {
		return true, errNotFinite
	}
	logSum := math.Log(float64(sum))
	logprob := func(z float32) float32 { return float32(float64(z-best) - logSum) }
	var top []Choice
	if s.TopLogprobs > 0 {
		for _, id := range s.sampler.top(logits, s.TopLogprobs) {
			top = append(top, Choice{id, logprob(logits[id])})
		}
	}
	original := logits
	if s.sampler.seen != nil {
		original = slices.Clone(logits)
	}
	id, err := s.sampler.choose(logits)
	if err != nil {
		return true, err
	}
	s.ids = append(s.ids, id)
	r := &s.result
	r.IDs, r.Logprobs = s.ids[len(s.Prompt):], append(r.Logprobs, logprob(original[id]))
	if top != nil {
		r.Top = append(r.Top, top)
	}
	fresh, stopped := s.text.add(id)
	if stopped || slices.Contains(s.Options.Stop, id) {
		r.Finish = Stop
	}
	ended = r.Finish == Stop || len(r.IDs) == s.length
	if ended && !stopped {
		rest, stopped := s.text.end()
		if fresh += rest; stopped {
			r.Finish = Stop
		}
	}
	s.emit(piece{id, fresh})
	return ended, nil
}

func (s *sequence) emit(p piece) {
	if s.Emit == nil {
		return
	}
	s.mu.Lock()
	s.pieces = append(s.pieces, p)
	s.mu.Unlock()
	select {
	case s.fresh <- struct{}{}:
	default: // it is called already
	}
}

// deliver gives Emit what has come.
func (s *sequence) deliver() error {
	s.mu.Lock()
	pieces := s.pieces
	s.pieces = nil
	s.mu.Unlock()
	for _, p := range pieces {
		if err := s.Emit(p.id, p.text); err != nil {
			return err
		}
	}
	return nil
}

// finish hands the result over.
func (s *sequence) finish(err error) {
	s.err = err
	s.result.Text = s.text.all
	close(s.done)
}
