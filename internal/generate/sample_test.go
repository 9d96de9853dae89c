package generate

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"kdistill/internal/testutil"
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
		least := p[order[min(o.TopK, len(order))-1]]
		for i := range p {
			if p[i] < least {
				p[i] = 0
			}
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
	if best := slices.Max(p); o.MinP > 0 {
		for i := range p {
			if p[i] < o.MinP*best {
				p[i] = 0
			}
		}
		normalise()
	}
	return p
}

// TestProcessors compares the probabilities that are drawn from with those that transformers' processors leave.
func TestProcessors(t *testing.T) {
	for i, c := range goldens(t).Cases {
		logits := make([]float32, len(c.Logits))
		for i, z := range c.Logits {
			logits[i] = float32(math.Inf(-1))
			if z != nil {
				logits[i] = *z
			}
		}
		o := Options{Temperature: 1, TopK: c.Options.TopK, TopP: c.Options.TopP, MinP: c.Options.MinP, RepetitionPenalty: c.Options.RepetitionPenalty}
		if c.Options.Temperature != 0 {
			o.Temperature = c.Options.Temperature
		}
		s := newSampler(o, c.Seen)
		s.penalise(logits)
		ids, sum := s.distribution(logits, slices.Max(logits))
		have := make([]float64, len(logits))
		for id := range have {
			if ids == nil || slices.Contains(ids, int32(id)) {
				have[id] = float64(s.weights[id]) / sum
			}
		}
		for id, p := range c.P {
			if math.Abs(have[id]-p) > 2e-6 || (have[id] == 0) != (p == 0) {
				t.Errorf("case %d, %+v: id %d has probability %v, want %v", i, o, id, have[id], p)
			}
		}
	}
}

// TestPenalty compares greedy text under a repetition penalty with transformers'.
func TestPenalty(t *testing.T) {
	for _, c := range goldens(t).Greedy {
		e, _ := open(t, testutil.Testdata(t, "golden/models/"+c.Model), 1)
		if have := ids(t, e, c.Prompt, Options{MaxTokens: len(c.IDs), RepetitionPenalty: c.Penalty}); !slices.Equal(have, c.IDs) {
			t.Errorf("%s, prompt %v, penalty %v: have %v, want %v", c.Model, c.Prompt, c.Penalty, have, c.IDs)
		}
	}
}

// golden is what scripts/golden/generate.py wrote.
type golden struct {
	Cases []struct {
		Logits  []*float32
		Seen    []int32
		Options struct {
			Temperature       float64
			TopK              int     `json:"top_k"`
			TopP              float64 `json:"top_p"`
			MinP              float64 `json:"min_p"`
			RepetitionPenalty float64 `json:"repetition_penalty"`
		}
		P []float64
	}
	Greedy []struct {
		Model   string
		Prompt  []int32
		Penalty float64
		IDs     []int32
	}
}

func goldens(t *testing.T) (g golden) {
	t.Helper()
	text, err := os.ReadFile(testutil.Testdata(t, "golden/generate.json"))
	if err == nil {
		err = json.Unmarshal(text, &g)
	}
	if err != nil || len(g.Cases) == 0 || len(g.Greedy) == 0 {
		t.Fatal(err)
	}
	return g
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
		{Temperature: 1, TopP: 1e-9}, {Temperature: 1, TopK: 99, TopP: 1}, {Temperature: 1, TopK: 99, TopP: 0.6}, {Temperature: 1e-300},
		{Temperature: 1, MinP: 0.3}, {Temperature: 1, MinP: 1}, {Temperature: 2, TopK: 8, TopP: 0.9, MinP: 0.4},
	}
	for k := range logits { // one of these cuts between equal logits
		options = append(options, Options{Temperature: 1, TopK: k + 1})
	}
	for _, o := range options {
		want := reference(logits, o)
		if o.Temperature < 1e-100 {
			want = make([]float64, len(logits)) // the limit: the best alone
			want[slices.Index(logits, slices.Max(logits))] = 1
		}
		o.Seed = 3
		s := newSampler(o, nil)
		count := make([]float64, len(logits))
		for range draws {
			id, err := s.choose(logits)
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
	if id, err := newSampler(Options{}, nil).choose([]float32{1, 3, 3, 2}); id != 1 || err != nil {
		t.Errorf("have %d, %v, want 1", id, err)
	}
	logits := make([]float32, 3000)
	logits[2500], logits[2600] = 1, 1
	if id, err := newSampler(Options{}, nil).choose(logits); id != 2500 || err != nil {
		t.Errorf("have %d, %v, want 2500", id, err)
	}
}

func TestNotFinite(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, logits := range [][]float32{{nan, 1}, {1, nan}, {1, inf}, {-inf, -inf}} {
		for _, o := range []Options{{}, {Temperature: 1}} {
			if id, err := newSampler(o, nil).choose(logits); err == nil {
				t.Errorf("%v: have id %d, want an error", logits, id)
			}
			s := &sequence{sampler: newSampler(o, nil), Request: Request{TopLogprobs: 2}}
			if _, err := s.take(logits); err == nil {
				t.Errorf("%v: have id %v, want an error", logits, s.ids)
			}
		}
	}
}
