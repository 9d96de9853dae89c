package objective_test

import (
	"math"
	"testing"

	"kdistill/internal/graph"
	"kdistill/internal/loss"
	"kdistill/internal/objective"
	"kdistill/internal/teacher"
)

// panel is two teachers of different width.
func panel(t *testing.T, arena *graph.Arena, shares ...float64) (all []objective.Weighted) {
	t.Helper()
	for i, share := range shares {
		m, w := open(t, uint64(i+2), 16+8*i, 20)
		live := &teacher.Live{Model: m, Weights: w.Frozen(), Arena: arena}
		closing(t, live)
		all = append(all, objective.Weighted{Teacher: live, Share: share})
	}
	return all
}

// TestSeveralTeachers: in one objective each term hears the teacher that it would hear in one of its own, in one arena; the cross-entropy with the average of
// two is the average of the cross-entropies with each.
func TestSeveralTeachers(t *testing.T) {
	arena := &graph.Arena{}
	b := batch([][]int32{{5, 6, 7}, {8, 9, 3, 4}})
	teachers := panel(t, arena, 3, 1)
	f, _ := features(t)
	var alone [2]*graph.Losses
	var gradients [2][]float32
	evaluate := func(teachers []objective.Weighted, terms []*graph.Term, features ...objective.Feature) (*graph.Losses, []float32) {
		m, w := open(t, 1, 16, 20)
		o := &objective.Objective{Model: m, Weights: w, Teachers: teachers, Terms: terms, Features: features, Arena: arena}
		closing(t, o)
		return run(t, o, b), w.Gradients
	}
	term := func(name string, teacher int, scale float64) *graph.Term {
		l, err := loss.New(name, loss.Params{})
		if err != nil {
			t.Fatal(err)
		}
		return &graph.Term{Loss: l, Teacher: teacher, Scale: scale, Attended: true}
	}
	attention := f[0]
	attention.Term, attention.Pairs = 1, []objective.Pair{{Student: 2, Teacher: 2}}
	for i := range alone {
		alone[i], gradients[i] = evaluate(teachers[i:i+1], []*graph.Term{term("soft_cross_entropy", 0, 1), term("attention_kl", 0, 1)}, attention)
	}
	second := attention
	second.Term = 2
	have, sum := evaluate(teachers, []*graph.Term{term("soft_cross_entropy", 0, 1), term("attention_kl", 1, 0.75), term("attention_kl", 2, 0.25)}, attention, second)
	if want := 0.75*alone[0].Sum(0) + 0.25*alone[1].Sum(0); math.Abs(have.Sum(0)-want) > 1e-5*want {
		t.Errorf("cross-entropy with the average: have %v, want %v", have.Sum(0), want)
	}
	for i := range alone {
		if have.Sum(1+i) != alone[i].Sum(1) || have.Sum(1+i) == 0 {
			t.Errorf("attention of teacher %d: have %v, want %v", i+1, have.Sum(1+i), alone[i].Sum(1))
		}
	}
	want := make([]float32, len(sum))
	for i := range want {
		want[i] = 0.75*gradients[0][i] + 0.25*gradients[1][i]
	}
	near(t, sum, want)
}
