package task

import (
	"context"
	"math/rand/v2"
	"sync"

	"kdistill/internal/generate"
)

// Writing says how answers are written.
type Writing struct {
	generate.Options
	Stops  []string // texts that end an answer and are cut off
	Seed   uint64   // with the number of a question it seeds the answer
	AtOnce int      // requests under way

	Known map[int]generate.Result              // answers from before, by the number of the question
	Keep  func(i int, a generate.Result) error // takes each new one, one at a time; nil: nobody does
}

// Seed is what the answer to question i is drawn with.
func Seed(seed uint64, i int) uint64 { return rand.New(rand.NewPCG(seed, uint64(i))).Uint64() }

// Write has every prompt answered, by generate.Engine's Generate, and returns the answers in the prompts' order. progress is told how many are done.
func Write(ctx context.Context, prompts []Prompt, ask func(context.Context, generate.Request) (generate.Result, error), w Writing, progress func(done int)) ([]generate.Result, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	answers := make([]generate.Result, len(prompts))
	next := make(chan int)
	var group sync.WaitGroup
	var mutex sync.Mutex
	done := len(w.Known)
	for i, a := range w.Known {
		answers[i] = a
	}
	for range min(w.AtOnce, len(prompts)) {
		group.Go(func() {
			for i := range next {
				r := generate.Request{Prompt: prompts[i].IDs, Options: w.Options, StopStrings: w.Stops}
				r.Options.Seed = Seed(w.Seed, i)
				a, err := ask(ctx, r)
				if err != nil {
					stop(err)
					return
				}
				mutex.Lock()
				answers[i] = a
				done++
				progress(done)
				if w.Keep != nil {
					err = w.Keep(i, a)
				}
				mutex.Unlock()
				if err != nil {
					stop(err)
					return
				}
			}
		})
	}
	for i := range prompts {
		if _, ok := w.Known[i]; ok {
			continue
		}
		select {
		case next <- i:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(next)
	group.Wait()
	return answers, context.Cause(ctx)
}
