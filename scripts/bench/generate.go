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
		}{Seconds: time.Since(began).Seconds()}
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
