// Package generate continues token ids with a model: greedy or sampled decoding of many texts at once, with a cache of keys and values.
// Templates and what the texts are for are its callers' business.
package generate

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"kdistill/internal/model"
	"kdistill/internal/tokenizer"
)

// Options say how a prompt is continued. The zero value of every field but MaxTokens is usable: greedy, no end token.
// Logits pass through them in transformers' order: RepetitionPenalty, Temperature, TopK, TopP, MinP.
type Options struct {
	MaxTokens         int     // at most so many new ids, fewer where the model's positions end; at least 1
	RepetitionPenalty float64 // divides positive logits of ids that were there, prompt included, and multiplies negative ones (Keskar et al. 2019, CTRL); 0, 1: none
	Temperature       float64 // divides the logits before sampling; 0: greedy, the likeliest id, the lowest of equals
	TopK              int     // sample from the K likeliest ids and those that equal the last; 0: from all
	TopP              float64 // sample from the fewest likeliest ids whose probabilities reach P (Holtzman et al. 2020); 0, 1: from all
	MinP              float64 // sample from ids that are at least P times as likely as the likeliest (Nguyen et al. 2024); 0: from all
	Seed              uint64  // of the samples
	Stop              []int32 // ids that end the text
}

// Check says what is wrong with the options.
func (o Options) Check() error {
	switch {
	case o.MaxTokens < 1:
		return fmt.Errorf("max tokens: have %d, want at least 1", o.MaxTokens)
	case !(o.RepetitionPenalty >= 0) || math.IsInf(o.RepetitionPenalty, 0):
		return fmt.Errorf("repetition penalty: have %v, want 1 (none) or more, or between 0 and 1 to make repetition likelier", o.RepetitionPenalty)
	case !(o.Temperature >= 0) || math.IsInf(o.Temperature, 0):
		return fmt.Errorf("temperature: have %v, want 0 (greedy) or more", o.Temperature)
	case o.TopK < 0:
		return fmt.Errorf("top k: have %d, want 0 (all) or more", o.TopK)
	case !(o.TopP >= 0 && o.TopP <= 1):
		return fmt.Errorf("top p: have %v, want 0 (all) to 1", o.TopP)
	case !(o.MinP >= 0 && o.MinP <= 1):
		return fmt.Errorf("min p: have %v, want 0 (all) to 1", o.MinP)
	}
	return nil
}

// Request is a prompt and how it is to be continued.
type Request struct {
	Prompt []int32
	Options
	StopStrings []string // texts that end the continuation and are cut off from Result.Text, wherever tokens begin and end
	TopLogprobs int      // for how many of the likeliest ids Result.Top tells log-probabilities
	// Emit, which may be nil, is given each id and the text that it makes certain, on the goroutine that called Generate. Its error ends the work.
	Emit func(id int32, text string) error
}

// Finish says why a continuation ended.
type Finish string

// The reasons.
const (
	Stop   Finish = "stop"   // an id of Options.Stop came, or one that completed a stop string; it is the last of IDs
	Length Finish = "length" // Options.MaxTokens, or the model's positions, are used up
)

// Result is a continuation, without its prompt. After an error it holds what there was before.
type Result struct {
	IDs    []int32
	Text   string // what comes after the prompt's text, without special tokens; "" without a tokenizer
	Finish Finish
	// Logprobs are natural logarithms of the ids' probabilities under the model: at temperature 1, before anything of Options.
	Logprobs []float32
	Top      [][]Choice // Request.TopLogprobs at each id, likeliest first, the lowest of equals
}

// Choice is an id that could come next.
type Choice struct {
	ID      int32
	Logprob float32
}

// Check refuses models that do not continue a text.
func Check(m model.Model) error {
	if info := m.Info(); info.Task != model.Causal {
		return fmt.Errorf("%s predicts no next tokens: only decoders continue a text", info.Class)
	}
	return nil
}

func (r *Request) check(m model.Model, t *tokenizer.Tokenizer) error {
	info := m.Info()
	if err := errors.Join(Check(m), r.Options.Check()); err != nil {
		return err
	}
	switch {
	case len(r.Prompt) == 0:
		return errors.New("prompt: have no tokens, want at least one to continue")
	case len(r.Prompt) > info.Positions:
		return fmt.Errorf("prompt: have %d tokens, want at most the model's %d positions", len(r.Prompt), info.Positions)
	case r.TopLogprobs < 0 || r.TopLogprobs > info.Vocab:
		return fmt.Errorf("top log-probabilities: have %d, want 0 to %d, the model's vocabulary", r.TopLogprobs, info.Vocab)
	case len(r.StopStrings) > 0 && t == nil:
		return errors.New("stop strings: the model has no tokenizer to make text with: stop at ids")
	case slices.Contains(r.StopStrings, ""):
		return errors.New("stop strings: have an empty one")
	}
	for i, id := range r.Prompt {
		if id < 0 || int(id) >= info.Vocab {
			return fmt.Errorf("prompt: id %d at index %d: want 0 to %d, the model's vocabulary", id, i, info.Vocab-1)
		}
	}
	return nil
}
