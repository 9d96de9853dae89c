package graph

import (
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// TestHeadAllocatesNothing: neither with whole rows nor with blocks of the vocabulary, whatever the losses.
func TestHeadAllocatesNothing(t *testing.T) {
	for _, losses := range [][]string{{"forward_kl"}, {"cross_entropy", "forward_kl"}, {"generalized_jsd", "cross_entropy"}, {"skew_kl", "reverse_kl", "total_variation"}} {
		for _, softcap := range []float64{0, 1.5} {
			for _, budget := range []int{0, 1} {
				var terms []*Term
				for _, name := range losses {
					terms = append(terms, &Term{Loss: newLoss(t, name), Scale: 0.5, Attended: name != "cross_entropy"})
				}
				c := newHeadCaseOf(tensor.Float32, 1, 100, false, 2500, 2600, terms...).shaped(softcap != 0, softcap)
				c.budget = budget
				p, cost := c.compile(t, c.build, true)
				head := p.g.byNode[cost]
				run := head.run
				head.run = func(out gorgonia.Value, in []gorgonia.Value) {
					run(out, in)
					objects, bytes := allocated(5, func() { run(out, in) })
					for try := 0; try < 5 && objects > 0; try++ { // scratch of a worker that had no turn before, or that a collection took
						objects, bytes = allocated(5, func() { run(out, in) })
					}
					if objects > 0 {
						t.Errorf("%v, softcap %v, budget %d: allocates %d bytes in %d objects", losses, softcap, budget, bytes, objects)
					}
				}
				c.run(t, p)
			}
		}
	}
}
