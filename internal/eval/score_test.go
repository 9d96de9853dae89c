package eval

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"kdistill/internal/testutil"
)

// scored computes a metric of classes or numbers as an evaluation does: one prediction a document.
func scored(t *testing.T, name string, predicted, labels []float64) Figure {
	t.Helper()
	i := slices.IndexFunc(registry, func(d definition) bool { return d.name == name })
	if i < 0 {
		t.Fatalf("no metric %s", name)
	}
	if score := registry[i].score; score != nil {
		return score(predicted, labels)
	}
	values, ones := make([]float64, len(labels)), slices.Repeat([]float64{1}, len(labels))
	for j, p := range predicted {
		switch name {
		case "accuracy":
			logits := make([]float64, 8)
			logits[int(p)] = 1
			values[j] = correct(nil, 0, logits, nil, int(labels[j]))
		case "mse":
			row, err := squaredError.row()
			if err != nil {
				t.Fatal(err)
			}
			values[j] = row.Row64(nil, 0, []float64{p}, []float64{labels[j]}, 0)
		default:
			t.Fatalf("%s is no mean that is known here", name)
		}
	}
	return ratio(values, ones)
}

// TestScores compares every figure of classes and numbers with scikit-learn's or scipy's, and its error with the jackknife's (which differs from the
// delta method and from Fisher's z in higher orders of 1/n).
func TestScores(t *testing.T) {
	data, err := os.ReadFile(testutil.Testdata(t, "golden/metrics.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Cases []struct {
			Name              string
			Predicted, Labels []float64
			Figures           map[string]struct{ Value, Jackknife *float64 }
		}
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, c := range golden.Cases {
		for name, want := range c.Figures {
			have := scored(t, name, c.Predicted, c.Labels)
			if want.Value == nil {
				if !math.IsNaN(have.Value) {
					t.Errorf("%s of %s: have %v, want none", name, c.Name, have.Value)
				}
				continue
			}
			if !(math.Abs(have.Value-*want.Value) <= 1e-12*(1+math.Abs(*want.Value))) {
				t.Errorf("%s of %s: have %v, want %v", name, c.Name, have.Value, *want.Value)
			}
			if len(c.Labels) < 100 {
				continue // too few for errors that agree to first order
			}
			seen[name] = true
			tolerance := 0.02
			if name == "spearman" {
				tolerance = 0.2 // Fisher's z knows only r
			}
			if !(math.Abs(have.Stderr / *want.Jackknife - 1) <= tolerance) {
				t.Errorf("%s of %s: have error %v, the jackknife's is %v", name, c.Name, have.Stderr, *want.Jackknife)
			}
		}
	}
	for _, d := range registry {
		if !d.teacher && d.kinds&tokens == 0 && d.kinds&(binary|several|numeric) != 0 && !seen[d.name] {
			t.Errorf("%s has no golden values", d.name)
		}
	}
}

// TestScoreErrors: over many samples the standard errors are the spread of the figures.
func TestScoreErrors(t *testing.T) {
	const samples, n = 1500, 150
	random := rand.New(rand.NewPCG(4, 4))
	figures := map[string][]Figure{}
	for range samples {
		p, y, u, v := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
		for i := range n {
			y[i] = float64(random.IntN(2))
			p[i] = y[i]
			if random.Float64() < 0.3 {
				p[i] = float64(random.IntN(2))
			}
			u[i] = random.NormFloat64()
			v[i] = 0.6*u[i] + 0.8*random.NormFloat64()
		}
		for _, name := range []string{"accuracy", "f1", "macro_f1", "matthews"} {
			figures[name] = append(figures[name], scored(t, name, p, y))
		}
		for _, name := range []string{"mse", "pearson", "spearman"} {
			figures[name] = append(figures[name], scored(t, name, u, v))
		}
	}
	for name, all := range figures {
		mean, spread, typical := 0.0, 0.0, 0.0
		for _, f := range all {
			mean += f.Value / samples
			typical += f.Stderr / samples
		}
		for _, f := range all {
			spread += (f.Value - mean) * (f.Value - mean) / (samples - 1)
		}
		if have := typical / math.Sqrt(spread); math.Abs(have-1) > 0.07 {
			t.Errorf("%s: the typical standard error is %.3f times the spread", name, have)
		}
	}
}
