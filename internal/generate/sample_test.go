package generate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// reference computes the distribution plainly: sort, cut, normalise.
func reference(logits []float32, o Options) []float64 {
	p := make([]float64, len(logits))
	order := make([]int, len(logits))
	for i, z := range logits {
		p[i], order[i] = math.Exp(float64(z)/o.Temperature), i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case p[a] > p[b]:
			return -1
		case p[a] < p[b]:
			return 1
		}
		return 0
	})
	normalise := func() {
		sum := 0.0
		for _, x := range p {
			sum += x
		}
		for i := range p {
			p[i] /= sum
		}
	}
	if o.TopK > 0 {
		for _, i := range order[min(o.TopK, len(order)):] {
			p[i] = 0
		}
	}
	normalise()
	if o.TopP > 0 {
		sum := 0.0
		for _, i := range order {
			if sum >= o.TopP {
				p[i] = 0
			}
			sum += p[i]
		}
		normalise()
	}
	return p
}

// TestDistribution counts samples of a toy and compares them with the distribution by a chi-squared test at about 5 sigma.
func TestDistribution(t *testing.T) {
	const draws = 20000
	random := rand.New(rand.NewPCG(1, 1))
	logits := make([]float32, 12)
	for i := range logits {
		logits[i] = float32(random.NormFloat64())
	}
	logits[3], logits[7] = logits[5], float32(math.Inf(-1))
	options := []Options{
		{Temperature: 1}, {Temperature: 0.5}, {Temperature: 3}, {Temperature: 1, TopP: 0.6}, {Temperature: 2, TopK: 6, TopP: 0.7},
		{Temperature: 1, TopP: 1e-9}, {Temperature: 1, TopK: 99, TopP: 1}, {Temperature: 1e-300},
	}
	for k := range logits { // one of these cuts between equal logits
		options = append(options, Options{Temperature: 1, TopK: k + 1})
	}
	for _, o := range options {
		want := reference(logits, o)
		if o.Temperature < 1e-100 {
			want = make([]float64, len(logits)) // the limit: the best alone
			best, _ := greedy(logits)
			want[best] = 1
		}
		o.Seed = 3
		choose := newChooser(o)
		count := make([]float64, len(logits))
		for range draws {
			id, err := choose(logits)
			if err != nil {
				t.Fatal(err)
			}
			count[id]++
		}
		chi, free := 0.0, -1.0
		for i, p := range want {
			if p == 0 {
				if count[i] > 0 {
					t.Errorf("%+v: id %d has probability 0 and came %v times", o, i, count[i])
				}
				continue
			}
			chi += (count[i] - draws*p) * (count[i] - draws*p) / (draws * p)
			free++
		}
		if limit := free + 5*math.Sqrt(2*free) + 10; chi > limit {
			t.Errorf("%+v: chi squared %.1f, want at most %.1f: have %v, want %v", o, chi, limit, count, want)
		}
	}
}

func TestGreedyTakesTheLowestOfEquals(t *testing.T) {
	if id, err := greedy([]float32{1, 3, 3, 2}); id != 1 || err != nil {
		t.Errorf("have %d, %v, want 1", id, err)
	}
}

func TestNotFinite(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, logits := range [][]float32{{nan, 1}, {1, nan}, {1, inf}, {-inf, -inf}} {
		for _, o := range []Options{{}, {Temperature: 1}} {
			if id, err := newChooser(o)(logits); err == nil {
				t.Errorf("%v: have id %d, want an error", logits, id)
			}
		}
	}
}
