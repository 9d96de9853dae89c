package graph

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"kdistill/internal/loss"
)

// another adds a teacher to a case, of another width than the first.
func (c *headCase) another(vocab int, share float64) *headCase {
	name := fmt.Sprintf("teacher %d", len(c.more)+2)
	c.more = append(c.more, fellow{
		hidden: c.frozen(name+"'s hidden states", c.b*c.t, teacherWidth+2), share: share,
		head: Head{Weight: c.frozen(name+"'s head", vocab, teacherWidth+2), Bias: c.frozen(name+"'s bias", vocab), Softcap: c.softcap},
	})
	return c
}

// severalTerms hear teachers one by one, averages at two temperatures, and nobody.
func severalTerms(t testing.TB) []*Term {
	warm := func(name string) *loss.Loss {
		l, err := loss.New(name, loss.Params{Temperature: 2, T2Scaling: true})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	return []*Term{
		{Loss: newLoss(t, "cross_entropy"), Scale: 0.25},
		{Loss: warm("forward_kl"), Scale: 0.5, Attended: true},
		{Loss: newLoss(t, "skew_kl"), Scale: 0.125},
		{Loss: newLoss(t, "logit_mse"), Scale: 0.3, Teacher: 2},
		{Loss: newLoss(t, "forward_kl"), Scale: 0.7, Teacher: 3},
		{Loss: warm("generalized_jsd"), Scale: 0.2},
		{Loss: newLoss(t, "reverse_kl"), Scale: 0.4, Attended: true, Teacher: 1},
	}
}

// TestSeveralTeachers compares values and gradients with row functions over averages that are made one by one, for vocabularies below and above the student's.
func TestSeveralTeachers(t *testing.T) {
	for _, vocabularies := range [][3]int{{7, 7, 7}, {7, 9, 5}, {9, 8, 9}} {
		for _, softcap := range []float64{0, 1.5} {
			c := newHeadCase(2, 5, false, 7, vocabularies[0], severalTerms(t)...).shaped(true, softcap)
			c.share = 2
			c.another(vocabularies[1], 1).another(vocabularies[2], 3).check(t)
			c.checkGradients(t, c.build)
		}
	}
}

// TestSilentTeacher: one without a share of the average is heard by name only, and costs nothing where nobody does.
func TestSilentTeacher(t *testing.T) {
	kl := func(of int) *Term { return &Term{Loss: newLoss(t, "forward_kl"), Scale: 0.5, Teacher: of} }
	c := newHeadCase(2, 5, false, 7, 7, kl(0)).another(7, 0)
	c.share = 1
	alone := newHeadCase(2, 5, false, 7, 7, kl(1)).another(7, 0) // the same random numbers
	alone.more = nil
	var results []map[string][]float64
	for _, c := range []*headCase{c, alone} {
		p, _ := c.compile(t, c.build, true)
		c.run(t, p)
		results = append(results, c.gradients())
	}
	sameBits(t, "an average of one", results[0], results[1])
	c.terms[0].Teacher = 2
	c.clearGradients()
	c.check(t)
}

// TestSeveralTeachersChunks: neither chunks, nor blocks of the vocabulary, nor a budget change a position's value.
func TestSeveralTeachersChunks(t *testing.T) {
	const vocab = 2500
	all := severalTerms(t)
	sums := []*Term{all[0], all[1], all[4], all[6], {Loss: newLoss(t, "reverse_kl"), Scale: 0.3}, {Loss: newLoss(t, "symmetric_kl"), Scale: 0.2, Attended: true, Teacher: 2}}
	for _, x := range []struct {
		terms  []*Term
		blocks bool
	}{{all, false}, {sums, true}, {all[1:2], true}} {
		for _, softcap := range []float64{0, 1.5} {
			c := newHeadCase(5, 9, false, vocab, vocab, x.terms...).shaped(true, softcap).another(vocab+100, 1).another(vocab-1000, 0.5)
			c.share = 1
			var want [][]float64
			var gradients map[string][]float64
			for _, budget := range []int{0, 1} {
				c.budget = budget
				p, cost := c.compile(t, c.build, true)
				if size := p.g.byNode[cost].scratch; budget == 1 && (c.losses.chunk != 32 || size < 32*3*vocab != x.blocks) {
					t.Errorf("least memory: have %d positions, %d elements", c.losses.chunk, size)
				}
				for _, chunk := range []int{c.losses.chunk, 7} {
					c.losses.chunk = chunk
					c.clearGradients()
					p.poison()
					c.run(t, p)
					if want == nil {
						for _, v := range c.losses.Values {
							want = append(want, slices.Clone(v))
						}
						gradients = c.gradients()
					}
					for i, v := range c.losses.Values {
						if !slices.Equal(v, want[i]) {
							t.Errorf("budget %d, chunks of %d: term %d has other values", budget, chunk, i)
						}
					}
					for name, have := range c.gradients() {
						near(t, "gradient of "+name, have, gradients[name])
					}
				}
			}
		}
	}
}

func TestSeveralTeachersRefused(t *testing.T) {
	for want, change := range map[string]func(c *headCase){
		"loss logit_mse compares logits, and an average of several teachers is one of probabilities: name one of them": func(c *headCase) { c.terms = []*Term{{Loss: newLoss(t, "logit_mse")}} },
		"loss forward_kl: there is no teacher 3: it hears none":                                                        func(c *headCase) { c.terms[0].Teacher = 3 },
	} {
		c := newHeadCase(1, 4, false, 7, 7, &Term{Loss: newLoss(t, "forward_kl")}).another(7, 1)
		c.share = 1
		change(c)
		g := New(c.dtype, 1, 4)
		c.build(g, trained)
		if g.Err() == nil || g.Err().Error() != want {
			t.Errorf("have %v, want %s", g.Err(), want)
		}
	}
}

// TestSeveralTeachersAllocateNothing once scratch is there.
func TestSeveralTeachersAllocateNothing(t *testing.T) {
	c := newHeadCaseOf(tensor.Float32, 1, 100, false, 2500, 2600, severalTerms(t)...).another(2500, 1).another(2400, 1)
	c.share = 1
	p, cost := c.compile(t, c.build, true)
	head := p.g.byNode[cost]
	run := head.run
	head.run = func(out gorgonia.Value, in []gorgonia.Value) {
		run(out, in)
		least := math.Inf(1)
		for range 5 { // scratch of a worker that had no turn before, or that a collection took
			objects, _ := allocated(5, func() { run(out, in) })
			least = min(least, float64(objects))
		}
		if least > 0 {
			t.Errorf("allocates %v objects", least)
		}
	}
	c.run(t, p)
}
