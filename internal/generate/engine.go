package generate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"kdistill/internal/graph"
	"kdistill/internal/kernel"
	"kdistill/internal/model"
	"kdistill/internal/nn"
	"kdistill/internal/tokenizer"
)

// Engine continues the prompts of any number of goroutines with one model, many in one step: a prompt joins as soon as a place is free, and leaves its
// place when it ends. What a request is answered depends, to the bit, on the request alone. Weights are read at each step.
type Engine struct {
	// CacheBytes is what keys and values may take, to be set before the first request. A request waits until there is room for the longest
	// continuation that it allows; one that would not even fit alone is refused.
	CacheBytes int

	model     model.Model
	weights   nn.Weights
	tokenizer *tokenizer.Tokenizer
	block     int // at most so many ids of prompts go through the model in a step: bounds memory, changes no bit
	ctx       context.Context
	stop      context.CancelFunc
	ended     chan struct{} // closed when the engine's goroutine has returned

	mu      sync.Mutex
	work    sync.Cond   // there is a request, or the end
	waiting []*sequence // in the order in which they came
	closed  bool

	// What follows is the engine's goroutine's.
	rows     []*sequence // by row of the cache; nil: the place is free
	running  int         // of rows
	arena    graph.Arena
	cache    *graph.Cache
	programs graph.ByShape[*program]
	batch    []*sequence
	feed     graph.Feed
	closing  error
}

// NewEngine returns an engine that works on up to so many requests at once. Without a tokenizer results have no text.
func NewEngine(m model.Model, weights nn.Weights, t *tokenizer.Tokenizer, rows int) *Engine {
	rows = max(1, rows)
	e := &Engine{
		CacheBytes: 4 << 30, model: m, weights: weights, tokenizer: t, block: 256,
		rows: make([]*sequence, rows), cache: graph.NewCache(rows), ended: make(chan struct{}),
	}
	e.work.L = &e.mu
	e.ctx, e.stop = context.WithCancel(context.Background())
	go e.loop()
	return e
}

var errClosed = errors.New("the engine that generates text was closed")

// Generate continues a prompt. It may be called from many goroutines. Where an error comes in the middle, the result holds what there was before it.
func (e *Engine) Generate(ctx context.Context, r Request) (Result, error) {
	if err := r.check(e.model, e.tokenizer); err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &sequence{
		Request: r, ctx: ctx, ids: slices.Clone(r.Prompt), length: min(r.MaxTokens, e.model.Info().Positions-len(r.Prompt)+1),
		sampler: newSampler(r.Options, r.Prompt), text: newText(e.tokenizer, r.Prompt, r.StopStrings),
		result: Result{Finish: Length}, done: make(chan struct{}), fresh: make(chan struct{}, 1),
	}
	if err := e.submit(s); err != nil {
		return Result{}, err
	}
	var failed error // of Emit
	for {
		select {
		case <-s.fresh:
			if failed == nil {
				failed = s.deliver()
			}
			if failed != nil {
				cancel()
			}
		case <-ctx.Done():
			if e.withdraw(s) {
				return s.result, context.Cause(ctx)
			}
			<-s.done // it is noticed at the next step
			return s.result, firstError(failed, s.err)
		case <-s.done:
			if failed == nil {
				failed = s.deliver()
			}
			return s.result, firstError(failed, s.err)
		}
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) submit(s *sequence) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return errClosed
	}
	e.waiting = append(e.waiting, s)
	e.work.Signal()
	return nil
}

// withdraw takes back a request that has no place yet.
func (e *Engine) withdraw(s *sequence) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.Index(e.waiting, s)
	if i < 0 {
		return false
	}
	e.waiting = slices.Delete(e.waiting, i, i+1)
	return true
}

// Close ends the engine; requests under way get an error.
func (e *Engine) Close() error {
	e.mu.Lock()
	e.closed = true
	e.work.Signal()
	e.mu.Unlock()
	e.stop()
	<-e.ended
	return e.closing
}

func (e *Engine) loop() {
	defer close(e.ended)
	for e.admit() {
		e.prompts()
		e.step()
	}
	e.closing = e.programs.Close()
}

// admit gives free places to waiting requests. It waits where there is nothing to do, and returns false at the end.
func (e *Engine) admit() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.waiting) == 0 && e.running == 0 && !e.closed {
		e.work.Wait()
	}
	if e.closed {
		for _, s := range append(e.waiting, e.rows...) {
			if s != nil {
				s.finish(errClosed)
			}
		}
		e.waiting = nil
		return false
	}
	for len(e.waiting) > 0 && e.running < len(e.rows) {
		s := e.waiting[0]
		fits, err := e.place(s)
		if err == nil && !fits {
			break // until others have ended
		}
		e.waiting = e.waiting[1:]
		if err != nil {
			s.finish(err)
			continue
		}
		e.rows[s.row] = s
		e.running++
	}
	return true
}

// place finds a row of the cache with room for s, if memory for that can be had.
func (e *Engine) place(s *sequence) (bool, error) {
	if e.cache.SlotBytes() == 0 { // no program was built so far
		if _, err := e.program(1, true); err != nil {
			return false, err
		}
	}
	const grain = 64 // rows are so many slots longer than they must be, to serve others
	slots, most := s.slots(), e.CacheBytes/e.cache.SlotBytes()
	if slots > most {
		return false, fmt.Errorf("keys and values of %d positions (a prompt of %d and up to %d new tokens) take %d MB, more than the %d that are allowed: ask for fewer tokens",
			slots, len(s.Prompt), s.length, (slots*e.cache.SlotBytes()+999_999)/1_000_000, e.CacheBytes/1_000_000)
	}
	taken, free := 0, -1
	for row, other := range e.rows {
		n := e.cache.Slots(row)
		taken += n
		if other == nil && (free < 0 || n >= slots && (e.cache.Slots(free) < slots || n < e.cache.Slots(free))) {
			free = row // the one that fits best
		}
	}
	if e.cache.Slots(free) < slots {
		slots = min((slots+grain-1)/grain*grain, most)
		for row, other := range e.rows {
			if other == nil && (row == free || taken+slots > most) {
				taken -= e.cache.Slots(row)
				e.cache.Reserve(row, 0)
			}
		}
		if taken+slots > most {
			return false, nil
		}
		e.cache.Reserve(free, slots)
	}
	s.row = free
	return true, nil
}

// leave frees the place of a request that has ended.
func (e *Engine) leave(s *sequence, err error) {
	e.rows[s.row] = nil
	e.running--
	s.finish(err)
}

// prompts puts ids of prompts, but the last of each, through the model and into the cache.
func (e *Engine) prompts() {
	e.gather(func(s *sequence) int { return len(s.ids) - 1 - s.run })
	if n := len(e.feed.Tokens); n > 0 {
		e.run(roundUp(max(n, 16), e.block), false)
	}
}

// step puts the last id of every text that has no others left through the model, and chooses the next ones.
func (e *Engine) step() {
	e.gather(func(s *sequence) int {
		if s.prompting() {
			return 0
		}
		return 1
	})
	if len(e.batch) == 0 {
		return
	}
	p := e.run(roundUp(len(e.batch), len(e.rows)), true)
	if p == nil {
		return
	}
	logits := p.Value(p.logits).Float32s()
	vocab := len(logits) / p.positions
	type outcome struct {
		ended bool
		err   error
	}
	outcomes := make([]outcome, len(e.batch))
	kernel.Parallel(len(e.batch), func(i int) {
		o := &outcomes[i]
		o.ended, o.err = e.batch[i].take(logits[i*vocab : (i+1)*vocab])
	})
	for i, o := range outcomes {
		if o.ended {
			e.leave(e.batch[i], o.err)
		}
	}
}

// gather fills batch and feed with the ids that each running sequence wants to put through the model, up to e.block in all.
// It lets go of those whose context has ended.
func (e *Engine) gather(wants func(s *sequence) int) {
	f := &e.feed
	e.batch = e.batch[:0]
	f.Tokens, f.Positions, f.First, f.Last, f.CacheRows = f.Tokens[:0], f.Positions[:0], f.First[:0], f.Last[:0], f.CacheRows[:0]
	for row, s := range e.rows {
		if s == nil {
			continue
		}
		if s.ctx.Err() != nil {
			e.leave(s, context.Cause(s.ctx))
			continue
		}
		n := min(wants(s), max(e.block, len(e.rows))-len(f.Tokens))
		if n <= 0 {
			continue
		}
		e.batch = append(e.batch, s)
		for i := s.run; i < s.run+n; i++ {
			e.add(s.ids[i], int32(i), int32(i+1), int32(row))
		}
		s.run += n
	}
}

func (e *Engine) add(id, position, last, row int32) {
	f := &e.feed
	f.Tokens, f.Positions, f.First = append(f.Tokens, id), append(f.Positions, position), append(f.First, 0)
	f.Last, f.CacheRows = append(f.Last, last), append(f.CacheRows, row)
}

// run puts the feed, filled up to n positions, through the model. After an error, which the batch gets, the program is nil.
func (e *Engine) run(n int, logits bool) *program {
	for row := e.feed.CacheRows[0]; len(e.feed.Tokens) < n; {
		e.add(0, 0, 0, row)
	}
	ctx := e.ctx
	if len(e.batch) == 1 {
		ctx = e.batch[0].ctx // which ends a long step at once
	}
	p, err := e.program(n, logits)
	if err == nil {
		err = p.Run(ctx, e.feed)
	}
	if err == nil {
		return p
	}
	if e.ctx.Err() != nil {
		err = errClosed
	}
	for _, s := range e.batch {
		e.leave(s, err)
	}
	return nil
}

// roundUp returns the least of 1, 2, 4, 8, 12, 16, 24, 32, 48, … that is n or more, up to most: few shapes are compiled, and few positions wasted.
func roundUp(n, most int) int {
	size := 1
	for size < n {
		size *= 2
	}
	if half := size / 4 * 3; half >= n && half > 8 {
		size = half
	}
	return max(n, min(size, most))
}

// program runs positions of any texts; only those for the next ids have logits.
type program struct {
	*graph.Program
	positions int
	logits    *graph.Node
}

func (e *Engine) program(n int, logits bool) (*program, error) {
	shape := graph.Shape{B: 1, T: n}
	if logits {
		shape = graph.Shape{B: n, T: 1}
	}
	return e.programs.At(shape, func() (*program, error) {
		b := &nn.Builder{Graph: graph.NewCached(e.cache, n), Weights: e.weights}
		out := e.model.Forward(b)
		if b.Err() != nil {
			return nil, b.Err()
		}
		p, keep := &program{positions: n}, out.Final()
		if logits {
			p.logits = b.Logits(out.Final(), out.Head)
			keep = p.logits
		}
		var err error
		p.Program, err = b.Compile(&e.arena, nil, keep)
		return p, err
	})
}
