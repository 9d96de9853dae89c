// Command bench is kdistill's side of scripts/bench-torch and scripts/bench-generate: it makes a configuration's training steps, evaluates a loss, or continues
// prompts, when it is told to.
// A line on standard input asks for a step; each is answered by a JSON line. At the end of the input come the parts of the mean step and the memory.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"io"
	"log"
	"os"

	"kdistill/internal/config"
	"kdistill/internal/distill"
)

func main() {
	log.SetFlags(0)
	path := flag.String("config", "", "a YAML `FILE`")
	warmUp := flag.Int("warm-up", 2, "steps that the parts leave out")
	kernel := flag.String("kernel", "", "a loss instead, as `JSON`")
	generation := flag.String("generate", "", "greedy text instead, as `JSON`")
	flag.Parse()
	run := func() error { return runSteps(*path, *warmUp) }
	if *kernel != "" {
		run = func() error { return runKernel(*kernel) }
	}
	if *generation != "" {
		run = func() error { return runGenerate(*generation) }
	}
	if err := run(); err != nil {
		log.Fatal("bench: ", err)
	}
}

func runSteps(path string, warmUp int) error {
	ctx, answers, started := context.Background(), json.NewEncoder(os.Stdout), distill.PeakMemory()
	c, err := config.Load(path, nil)
	if err != nil {
		return err
	}
	b, err := distill.NewBench(ctx, c, distill.Options{Log: io.Discard})
	if err != nil {
		return err
	}
	defer b.Close()
	best := 0.0
	for in := bufio.NewScanner(os.Stdin); in.Scan(); warmUp-- {
		if warmUp == 0 {
			b.Forget()
		}
		step, err := b.Step(ctx)
		if err != nil {
			return err
		}
		best = max(best, b.Peak())
		if err := answers.Encode(step); err != nil {
			return err
		}
	}
	_, expected, err := b.Memory()
	if err != nil {
		return err
	}
	return answers.Encode(struct {
		Parts      []distill.BenchPart `json:"parts"`
		Best       float64             `json:"best"`
		Expected   int64               `json:"expected_memory"` // by kdistill train --dry-run
		PeakMemory int64               `json:"peak_memory"`
		Imports    int64               `json:"imports"`
	}{b.Parts(), best, expected, distill.PeakMemory(), started})
}
