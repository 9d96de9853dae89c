package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"sync"
	"time"

	"kdistill/internal/checkpoint"
	"kdistill/internal/generate"
	"kdistill/internal/kernel"
)

// generation is what scripts/bench-generate asks of each side: a greedy continuation of every prompt, all at once.
type generation struct {
	Model   string    `json:"model"`
	Prompts [][]int32 `json:"prompts"`
	New     int       `json:"new"`
}

// runGenerate continues the prompts once for each line on standard input. The first answer tells also how far the best logit is from the second.
func runGenerate(text string) error {
	var g generation
	if err := json.Unmarshal([]byte(text), &g); err != nil {
		return err
	}
	p, err := checkpoint.OpenModel(g.Model)
	if err != nil {
		return err
	}
	defer p.Close()
	weights, err := checkpoint.ReadFrozen(p, p.Model, checkpoint.Auto)
	if err != nil {
		return err
	}
	e := generate.NewEngine(p.Model, weights, nil, len(g.Prompts))
	defer e.Close()
	bare := readRate(weights.Bytes())
	answers, choices := json.NewEncoder(os.Stdout), 2
	for in := bufio.NewScanner(os.Stdin); in.Scan(); choices = 0 {
		results, errs := make([]generate.Result, len(g.Prompts)), make([]error, len(g.Prompts))
		var wait sync.WaitGroup
		began := time.Now()
		for i, prompt := range g.Prompts {
			wait.Go(func() {
				results[i], errs[i] = e.Generate(context.Background(), generate.Request{Prompt: prompt, Options: generate.Options{MaxTokens: g.New}, TopLogprobs: choices})
			})
		}
		wait.Wait()
		answer := struct {
			Seconds float64     `json:"seconds"`
			IDs     [][]int32   `json:"ids"`
			Margins [][]float32 `json:"margins"`
			Weights int         `json:"weights"`   // bytes
			Bare    float64     `json:"read_rate"` // of memory of that size, in bytes per second
		}{Seconds: time.Since(began).Seconds(), Weights: weights.Bytes(), Bare: bare}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		for _, r := range results {
			var margins []float32
			for _, top := range r.Top {
				margins = append(margins, top[0].Logprob-top[1].Logprob)
			}
			answer.IDs, answer.Margins = append(answer.IDs, r.IDs), append(answer.Margins, margins)
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
	return nil
}

// readRate is how fast all threads together read memory of some bytes when they only add it up: a single text cannot get its ids faster than weights are read.
func readRate(bytes int) (best float64) {
	const part, tries = 1 << 16, 20
	x := kernel.Make[float32](bytes / 4)
	for i := range x {
		x[i] = 1 // memory that was never written would be one page of zeros
	}
	sums := make([]float32, (len(x)+part-1)/part)
	for range tries {
		began := time.Now()
		kernel.Parallel(len(sums), func(i int) { sums[i] = kernel.Sum(x[i*part : min(len(x), (i+1)*part)]) })
		best = max(best, float64(bytes)/time.Since(began).Seconds())
	}
	return best
}
