package graph

import (
	"fmt"
	"math"
	"testing"

	"kdistill/internal/loss"
)

// scoreCases are the ways to make scores, and to pair heads.
var scoreCases = map[string]ScorePair{
	"heads of their own": {Student: ScoresOf(Heads{H: 2, KV: 2, D: 3}), Teacher: ScoresOf(Heads{H: 2, KV: 2, D: 4})},
	"grouped":            {Student: ScoresOf(Heads{H: 4, KV: 2, D: 2, Scale: 0.3}), Teacher: ScoresOf(Heads{H: 4, KV: 1, D: 3})},
	"window":             {Student: ScoresOf(Heads{H: 2, KV: 1, D: 2, Window: 2}), Teacher: ScoresOf(Heads{H: 2, KV: 2, D: 2, Window: 2})},
	"softcap":            {Student: ScoresOf(Heads{H: 2, KV: 2, D: 3, Softcap: 1.5}), Teacher: ScoresOf(Heads{H: 2, KV: 2, D: 3, Softcap: 2})},
	"mapped":             {Student: ScoresOf(Heads{H: 2, KV: 2, D: 3}), Teacher: ScoresOf(Heads{H: 4, KV: 2, D: 2}), Heads: []int{3, 1}},
	"averaged":           {Student: ScoresOf(Heads{H: 2, KV: 1, D: 3}), Teacher: ScoresOf(Heads{H: 3, KV: 3, D: 2}), Average: true},
	"averaged, softcap":  {Student: ScoresOf(Heads{H: 2, KV: 1, D: 3, Softcap: 1}), Teacher: ScoresOf(Heads{H: 3, KV: 3, D: 2, Softcap: 3}), Average: true},
	// columns 4 to 9 with themselves: values with values
	"one projection": {Student: Scores{X: 4, Y: 4, Heads: 2, Groups: 2, D: 3, Scale: 0.5}, Teacher: Scores{X: 2, Y: 2, Heads: 2, Groups: 2, D: 4, Scale: 0.7}},
}

// widthOf is enough columns for scores and some that they don't read.
func widthOf(s Scores) int { return max(s.X+s.Heads*s.D, s.Y+s.Groups*s.D) + 1 }

func newScoreCase(t testing.TB, length int, pair ScorePair, l *loss.Loss) *featureCase {
	c := newFeatureCase(2, length, &Term{Loss: l, Attended: true, Scale: 0.3})
	c.std = 0.7
	c.features = func(g *Graph, view func(*Param) *Param) []*Feature {
		return []*Feature{{Student: c.matrix(g, view, "student", widthOf(pair.Student)), Teacher: c.teacher(g, "teacher", widthOf(pair.Teacher)), Scores: pair}}
	}
	return c
}

// TestScoreLoss compares values with the row function over scores that are computed one by one, and gradients with central differences.
func TestScoreLoss(t *testing.T) {
	eachFeatureLoss(t, []loss.Rows{loss.Scores, loss.Relations}, func(t *testing.T, l *loss.Loss) {
		for name, pair := range scoreCases {
			for _, length := range []int{6, blockQueries + 9} {
				if length > blockQueries && name != "grouped" && name != "window" && name != "averaged" {
					continue
				}
				t.Run(fmt.Sprint(name, length), func(t *testing.T) {
					c := newScoreCase(t, length, pair, l)
					if length < blockQueries {
						c.checkGradients(t, c.build)
					} else {
						c.checkDirection(t)
					}
					p, _ := c.compile(t, c.build, true)
					c.run(t, p)
					for i, have := range c.losses.Values[0] {
						if want := c.naive(pair, l, i); math.Abs(have-want) > 1e-12 {
							t.Fatalf("position %d: have %v, want %v", i, have, want)
						}
					}
				})
			}
		}
	})
}

// checkDirection compares the gradient with a central difference along a random direction.
func (c *featureCase) checkDirection(t *testing.T) {
	t.Helper()
	p, cost := c.compile(t, c.build, true)
	c.clearGradients()
	c.run(t, p)
	x, want, along := c.param("student").Value.Float64s(), 0.0, []float64(nil)
	for _, g := range c.param("student").Grad.Float64s() {
		along = append(along, c.random.NormFloat64())
		want += g * along[len(along)-1]
	}
	const h = 1e-6
	difference := 0.0
	for _, sign := range []float64{1, -2} { // up, down
		for i := range x {
			x[i] += sign * h * along[i]
		}
		c.run(t, p)
		difference += math.Copysign(scalarOf(p.g, cost), sign)
	}
	for i := range x {
		x[i] += h * along[i]
	}
	if have := difference / (2 * h); !(math.Abs(have-want) <= 1e-7*max(1, math.Abs(want))) || want == 0 {
		t.Errorf("derivative along a direction: have %.10g, want %.10g", want, have)
	}
}

// naive is a position's value.
func (c *featureCase) naive(pair ScorePair, l *loss.Loss, at int) float64 {
	lo, hi := int(c.feed.First[at]), int(c.feed.Last[at])
	if pair.Student.Window > 0 {
		lo = max(lo, hi-pair.Student.Window)
	}
	if lo >= hi {
		return 0
	}
	scores := func(x []float64, s Scores) (heads [][]float64) {
		stride := widthOf(s)
		for h := range s.Heads {
			var row []float64
			for j := lo; j < hi; j++ {
				sum := 0.0
				for d := range s.D {
					sum += x[at*stride+s.X+h*s.D+d] * x[(at/c.t*c.t+j)*stride+s.Y+h/(s.Heads/s.Groups)*s.D+d]
				}
				sum *= s.Scale
				if s.Softcap != 0 {
					sum = s.Softcap * math.Tanh(sum/s.Softcap)
				}
				row = append(row, sum)
			}
			heads = append(heads, row)
		}
		return heads
	}
	student, teacher := scores(c.param("student").Value.Float64s(), pair.Student), scores(c.teachers["teacher"].Value.Float64s(), pair.Teacher)
	if pair.Average {
		mean := func(heads [][]float64) []float64 {
			out := make([]float64, hi-lo)
			for _, row := range heads {
				sum := 0.0
				for _, s := range row {
					sum += math.Exp(s)
				}
				for j, s := range row {
					if l.Params.Choices["compare"] != "scores" {
						s = math.Exp(s) / sum
					}
					out[j] += s / float64(len(heads))
				}
			}
			if l.Params.Choices["compare"] != "scores" {
				for j := range out {
					out[j] = math.Log(out[j])
				}
			}
			return out
		}
		return l.Row64(nil, 0, mean(student), mean(teacher), 0)
	}
	value := 0.0
	for h, row := range student {
		other := h
		if pair.Heads != nil {
			other = pair.Heads[h]
		}
		value += l.Row64(nil, 0, row, teacher[other], 0) / float64(len(student))
	}
	return value
}

// TestScoresRefused wants a sentence that says what would be possible.
func TestScoresRefused(t *testing.T) {
	two, four := ScoresOf(Heads{H: 2, KV: 2, D: 2}), ScoresOf(Heads{H: 4, KV: 4, D: 2})
	windowed := two
	windowed.Window = 3
	for want, pair := range map[string]ScorePair{
		"the student has 2 heads, the teacher 4: say which of the teacher's to compare with (heads: [0, 2, ...]), or heads: average": {Student: two, Teacher: four},
		"heads: have 1 of the teacher's, want one for each of the student's 2":                                                       {Student: two, Teacher: four, Heads: []int{1}},
		"heads: have 4, the teacher has heads 0 to 3":                                                                                {Student: two, Teacher: four, Heads: []int{1, 4}},
		"a window of 3 keys on the student's layer and of 0 on the teacher's (0: none): compare layers of the same window":           {Student: windowed, Teacher: two},
	} {
		c := newScoreCase(t, 4, pair, newLoss(t, "attention_kl"))
		g := New(c.dtype, c.b, c.t)
		if c.build(g, trained); fmt.Sprint(g.Err()) != "loss attention_kl: "+want {
			t.Errorf("have %v, want %s", g.Err(), want)
		}
	}
}
