// Command logits prints a model's logits [T][V] for token ids as JSON: what scripts/compare-transformers.py compares.
//
//	go run ./scripts/logits -model DIR -ids 1,2,3
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"

	"gorgonia.org/tensor"
	"kdistill/internal/checkpoint"
	"kdistill/internal/graph"
	"kdistill/internal/nn"
)

func main() {
	log.SetFlags(0)
	model := flag.String("model", "", "folder of the model")
	ids := flag.String("ids", "", "token ids, separated by commas")
	flag.Parse()
	if err := run(*model, *ids); err != nil {
		log.Fatal("logits: ", err)
	}
}

func run(dir, ids string) error {
	p, err := checkpoint.OpenModel(dir)
	if err != nil {
		return err
	}
	defer p.Close()
	weights, err := checkpoint.ReadFrozen(p, p.Model, checkpoint.Float32)
	if err != nil {
		return err
	}
	var f graph.Feed
	for i, s := range strings.Split(ids, ",") {
		id, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil || id < 0 || id >= p.Model.Info().Vocab {
			return fmt.Errorf("ids: have %q, want numbers below %d", s, p.Model.Info().Vocab)
		}
		f.Tokens = append(f.Tokens, int32(id))
		f.Positions, f.First, f.Last = append(f.Positions, int32(i)), append(f.First, 0), append(f.Last, int32(i+1))
	}
	b := &nn.Builder{Graph: graph.New(tensor.Float32, 1, len(f.Tokens)), Weights: weights}
	out := p.Model.Forward(b)
	if b.Err() != nil {
		return b.Err()
	}
	logits := b.Logits(out.Final(), out.Head)
	program, err := b.Compile(&graph.Arena{}, nil, logits)
	if err != nil {
		return err
	}
	defer program.Close()
	if err := program.Run(context.Background(), f); err != nil {
		return err
	}
	flat, v := program.Value(logits).Float32s(), p.Model.Info().Vocab
	var rows [][]float32
	for i := range f.Tokens {
		rows = append(rows, flat[i*v:(i+1)*v])
	}
	return json.NewEncoder(os.Stdout).Encode(rows)
}
