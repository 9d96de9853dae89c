// Package generate continues token ids with a model: greedy or sampled decoding, one prompt at a time, with a KV cache.
// It knows ids only: text, prompts and templates are its callers' business.
package generate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"kdistill/internal/graph"
	"kdistill/internal/model"
	"kdistill/internal/nn"
)

// Options say how a prompt is continued. The zero value of every field but MaxTokens is usable: greedy, no end token.
type Options struct {
	MaxTokens   int     // at most so many new ids, fewer where the model's positions end; at least 1
	Temperature float64 // divides the logits before sampling; 0: greedy, the likeliest id, the lowest of equals
	TopK        int     // sample from the K likeliest ids; 0: from all
	TopP        float64 // sample from the fewest likeliest ids whose probabilities reach P, after TopK (Holtzman et al. 2020); 0, 1: from all
	Seed        uint64  // of the samples
	Stop        []int32 // ids that end the text
}

// Check says what is wrong with the options.
func (o Options) Check() error {
	switch {
	case o.MaxTokens < 1:
		return fmt.Errorf("max tokens: have %d, want at least 1", o.MaxTokens)
	case !(o.Temperature >= 0) || math.IsInf(o.Temperature, 0):
		return fmt.Errorf("temperature: have %v, want 0 (greedy) or more", o.Temperature)
	case o.TopK < 0:
		return fmt.Errorf("top k: have %d, want 0 (all) or more", o.TopK)
	case !(o.TopP >= 0 && o.TopP <= 1):
		return fmt.Errorf("top p: have %v, want 0 (all) to 1", o.TopP)
	}
	return nil
}

// Finish says why a continuation ended.
type Finish string

// The reasons.
const (
	Stop   Finish = "stop"   // an id of Options.Stop came, which is the last of IDs
	Length Finish = "length" // Options.MaxTokens, or the model's positions, are used up
)

// Result is a continuation, without its prompt.
type Result struct {
	IDs    []int32
	Finish Finish
}

// Generator continues prompts with one model. It runs on one goroutine at a time and keeps what it compiled for the next prompt.
type Generator struct {
	model    model.Model
	weights  nn.Weights
	block    int // a prompt goes through the model in blocks of at most so many ids: bounds memory, changes no bit
	arena    graph.Arena
	cache    *graph.Cache
	programs graph.ByShape[*program]
}

// New returns a generator. The weights are read at each run, so that a model in training is continued as it is then.
func New(m model.Model, weights nn.Weights) *Generator {
	return &Generator{model: m, weights: weights, block: 256}
}

// cacheBlock is by how many slots the cache grows, so that prompts of similar length share it.
const cacheBlock = 256

// Generate continues a prompt. emit may be nil; it gets each id as soon as it is chosen, and its error ends the work.
// Where an error comes in the middle, the result holds the ids before it.
func (g *Generator) Generate(ctx context.Context, prompt []int32, o Options, emit func(id int32) error) (Result, error) {
	r := Result{Finish: Length}
	if err := errors.Join(o.Check(), g.check(prompt)); err != nil {
		return r, err
	}
	last := len(prompt) - 1
	length := min(o.MaxTokens, g.model.Info().Positions-last) // the last id needs no position: nothing follows it
	if err := g.reserve(last + length); err != nil {
		return r, err
	}
	for at := 0; at < last; at += g.block {
		if _, err := g.run(ctx, prompt[at:min(at+g.block, last)], at); err != nil {
			return r, err
		}
	}
	choose := newChooser(o)
	for id := prompt[last]; len(r.IDs) < length; {
		p, err := g.run(ctx, []int32{id}, last+len(r.IDs))
		if err != nil {
			return r, err
		}
		if id, err = choose(p.Value(p.logits).Float32s()); err != nil {
			return r, err
		}
		r.IDs = append(r.IDs, id)
		if emit != nil {
			if err := emit(id); err != nil {
				return r, err
			}
		}
		if slices.Contains(o.Stop, id) {
			r.Finish = Stop
			break
		}
	}
	return r, nil
}

// Check refuses models that do not continue a text.
func Check(m model.Model) error {
	if info := m.Info(); info.Task != model.Causal {
		return fmt.Errorf("%s predicts no next tokens: only decoders continue a text", info.Class)
	}
	return nil
}

func (g *Generator) check(prompt []int32) error {
	info := g.model.Info()
	if err := Check(g.model); err != nil {
		return err
	}
	if len(prompt) == 0 {
		return errors.New("prompt: have no tokens, want at least one to continue")
	}
	if len(prompt) > info.Positions {
		return fmt.Errorf("prompt: have %d tokens, want at most the model's %d positions", len(prompt), info.Positions)
	}
	for i, id := range prompt {
		if id < 0 || int(id) >= info.Vocab {
			return fmt.Errorf("prompt: id %d at index %d: want 0 to %d, the model's vocabulary", id, i, info.Vocab-1)
		}
	}
	return nil
}

// reserve makes the cache hold so many slots.
func (g *Generator) reserve(slots int) error {
	if g.cache != nil && g.cache.S >= slots {
		return nil
	}
	slots = min((slots+cacheBlock-1)/cacheBlock*cacheBlock, g.model.Info().Positions)
	g.cache = graph.NewCache(1, slots)
	return g.programs.Close() // they hold the old one
}

// program runs some ids of one text; only that for a single id has logits.
type program struct {
	*graph.Program
	logits *graph.Node
}

// run puts ids at positions from on through the model and into the cache.
func (g *Generator) run(ctx context.Context, ids []int32, from int) (*program, error) {
	t := len(ids)
	p, err := g.programs.At(graph.Shape{B: 1, T: t}, func() (*program, error) { return g.compile(t) })
	if err != nil {
		return nil, err
	}
	f := graph.Feed{Tokens: ids, Positions: make([]int32, t), First: make([]int32, t), Last: make([]int32, t)}
	for i := range ids {
		f.Positions[i], f.Last[i] = int32(from+i), int32(from+i+1)
	}
	return p, p.Run(ctx, f)
}

func (g *Generator) compile(t int) (*program, error) {
	b := &nn.Builder{Graph: graph.NewCached(g.cache, t), Weights: g.weights}
	out := g.model.Forward(b)
	if b.Err() != nil {
		return nil, b.Err()
	}
	p, keep := &program{}, out.Final()
	if t == 1 {
		p.logits = b.Logits(out.Final(), out.Head)
		keep = p.logits
	}
	var err error
	p.Program, err = b.Compile(&g.arena, nil, keep)
	return p, err
}

// Close frees the programs.
func (g *Generator) Close() error { return g.programs.Close() }
