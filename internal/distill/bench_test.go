package distill

import (
	"context"
	"io"
	"math"
	"testing"
)

// TestBench: the parts make up the mean step, losses and their bounds are measured, data that end begin anew, and forgotten steps are left out.
func TestBench(t *testing.T) {
	c := textConfig(t)
	c.Train.Steps, c.Train.Epochs = 0, 1
	b, err := NewBench(context.Background(), c, Options{Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var seconds float64
	const steps = 12
	for i := range 2 * steps {
		if i == steps {
			b.Forget()
			seconds = 0
		}
		s, err := b.Step(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if s.Tokens <= 0 || s.Loss <= 0 {
			t.Fatalf("step %d: have %d tokens, loss %v", i, s.Tokens, s.Loss)
		}
		seconds += s.Seconds / steps
	}
	var sum float64
	for _, p := range b.Parts() {
		if p.Seconds <= 0 {
			t.Errorf("%s: takes %v s", p.Name, p.Seconds)
		}
		if products := p.Name == "matrix products" || p.Name == "attention" || p.Name == "head"; products != (p.Operations > 0) {
			t.Errorf("%s: have %v operations", p.Name, p.Operations)
		}
		sum += p.Seconds
	}
	if math.Abs(sum-seconds) > 1e-9 {
		t.Errorf("the parts take %v s, the step %v s", sum, seconds)
	}
	if l := b.LossRows(); l.Rows < 1 || l.Vocab != 64 || l.Seconds <= 0 || l.Memory <= 0 || l.Exponentials <= 0 {
		t.Errorf("have losses %+v", l)
	}
	if table, total, err := b.Memory(); err != nil || total < programMemory || len(table) < 5 {
		t.Errorf("have memory %v, %d bytes, %v", table, total, err)
	}
}
