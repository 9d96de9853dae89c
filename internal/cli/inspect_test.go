package cli

import (
	"path/filepath"
	"testing"

	"kdistill/internal/checkpoint"
	"kdistill/internal/graph"
	"kdistill/internal/loss"
	"kdistill/internal/nn"
	"kdistill/internal/objective"
	"kdistill/internal/testutil"
)

// TestMemory compares what inspect tells without weights with what the same graphs take with them.
func TestMemory(t *testing.T) {
	ce, err := loss.New("cross_entropy", loss.Params{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"qwen2", "gpt2", "opt", "llama-bf16", "llama-sharded"} {
		dir := filepath.Join(testutil.Testdata(t, "golden/models"), name)
		d, err := describe(dir)
		if err != nil {
			t.Fatal(err)
		}
		m, err := checkpoint.OpenModel(dir)
		if err != nil {
			t.Fatal(err)
		}
		frozen, err := checkpoint.ReadFrozen(m, m.Model, checkpoint.Auto)
		if err != nil {
			t.Fatal(err)
		}
		flat, _, err := checkpoint.ReadStudent(m, m.Model, 0)
		if err != nil {
			t.Fatal(err)
		}
		intermediate := func(weights nn.Weights) int64 {
			o := objective.Objective{Model: m.Model, Weights: weights, Terms: []*graph.Term{{Loss: ce}}, Arena: &graph.Arena{}}
			n, err := o.Bytes(1, d.Memory.Tokens)
			if err != nil {
				t.Fatal(err)
			}
			return int64(n)
		}
		if have, want := d.Parameters, flat.Count(); have != want {
			t.Errorf("%s: have %d parameters, want %d", name, have, want)
		}
		if have, want := d.Memory.Weights, int64(frozen.Bytes()); have != want {
			t.Errorf("%s: have %d bytes of weights, want %d", name, have, want)
		}
		if have, want := d.Memory.Evaluate, int64(frozen.Bytes())+intermediate(frozen); have != want {
			t.Errorf("%s: have %d bytes to evaluate, want %d", name, have, want)
		}
		if have, want := d.Memory.Train, 16*int64(flat.Count())+intermediate(flat); have != want {
			t.Errorf("%s: have %d bytes to train, want %d", name, have, want)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
