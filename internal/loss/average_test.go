package loss

import (
	"math"
	"math/rand/v2"
	"testing"

	"kdistill/internal/kernel"
)

// averageRows are logits of several teachers at more than one block of ids.
func averageRows[F kernel.Float](teachers, ids int, spread float64) [][]F {
	r := rand.New(rand.NewPCG(3, uint64(teachers)))
	rows := make([][]F, teachers)
	for k := range rows {
		rows[k] = make([]F, ids)
		for i := range rows[k] {
			rows[k][i] = F(spread * r.NormFloat64())
		}
	}
	return rows
}

// average takes whole rows at once.
func average[F kernel.Float](dst []F, temperature float64, rows [][]F, shares []float64) {
	a := NewAverage[F](temperature, shares)
	a.Begin()
	for k, row := range rows {
		a.Scan(k, row)
	}
	a.Row(dst, rows)
}

// TestAverage compares with probabilities that are added up one by one.
func TestAverage(t *testing.T) {
	for _, shares := range [][]float64{{0.5, 0.5}, {0.9, 0.1}, {0.2, 0.5, 0.3}, {1}} {
		for _, temperature := range []float64{1, 2, 0.5} {
			for _, ids := range []int{1, 7, 2500} {
				rows := averageRows[float64](len(shares), ids, 3)
				want := make([]float64, ids)
				for k, row := range rows {
					for i, p := range probabilities(row, temperature) {
						want[i] += shares[k] * p
					}
				}
				have, narrow, rows32 := make([]float64, ids), make([]float32, ids), make([][]float32, len(rows))
				for k, row := range rows {
					for _, y := range row {
						rows32[k] = append(rows32[k], float32(y))
					}
				}
				average(have, temperature, rows, shares)
				average(narrow, temperature, rows32, shares)
				p := probabilities(have, temperature)
				for i := range want {
					if l := temperature * math.Log(want[i]); math.Abs(have[i]-l) > 1e-12*max(1, math.Abs(l)) || math.Abs(p[i]-want[i]) > 1e-13 {
						t.Fatalf("%v, temperature %v: id %d of %d: have %v, want %v", shares, temperature, i, ids, have[i], l)
					}
					if math.Abs(float64(narrow[i])-have[i]) > 4e-6*max(1, math.Abs(have[i])) {
						t.Fatalf("%v, temperature %v: id %d of %d: have %v in float32, %v in float64", shares, temperature, i, ids, narrow[i], have[i])
					}
				}
			}
		}
	}
}

// TestAverageOfExtremes: teachers that are certain of different ids, an id that all of them all but exclude, masked ids.
func TestAverageOfExtremes(t *testing.T) {
	none := float32(math.Inf(-1))
	have := make([]float32, 5)
	average(have, 1, [][]float32{{1e4, 0, -1e4, none, none}, {0, 1e4, -1e4, none, 0}}, []float64{0.25, 0.75})
	for i, want := range []float64{math.Log(0.25), math.Log(0.75), -2e4, math.Inf(-1), -1e4} {
		if x := float64(have[i]); x != want && !(math.Abs(x-want) < 1e-4*math.Abs(want)) {
			t.Errorf("id %d: have %v, want %v", i, x, want)
		}
	}
	average(have, 1, [][]float32{{5, 4, 3, 2, 1}, {5, 4, 3, 2, 1}}, []float64{0.5, 0.5})
	want := make([]float32, 5)
	average(want, 1, [][]float32{{5, 4, 3, 2, 1}}, []float64{1})
	for i := range want {
		if math.Abs(float64(have[i]-want[i])) > 1e-6 {
			t.Errorf("two that agree: have %v, want %v", have, want)
		}
	}
}

// TestRaw: an average stands for the teacher's logits in every loss but those that are not the same when a constant is added to them.
func TestRaw(t *testing.T) {
	for name, e := range registry {
		if e.Rows != Logits || !e.Teacher || e.Metric {
			continue
		}
		l, err := New(name, Params{})
		if err != nil {
			t.Fatal(err)
		}
		rows := averageRows[float64](2, 9, 1)
		value := Value(l, nil, 0, rows[0], rows[1], 1)
		for i := range rows[1] {
			rows[1][i] += 3
		}
		if moved := Value(l, nil, 0, rows[0], rows[1], 1); (math.Abs(moved-value) > 1e-9) != l.Raw {
			t.Errorf("%s: %v and %v with other logits of the same distribution, but Raw is %v", name, value, moved, l.Raw)
		}
	}
}

func BenchmarkAverage(b *testing.B) {
	rows := averageRows[float32](2, 32000, 3)
	dst := make([]float32, 32000)
	for b.Loop() {
		average(dst, 2, rows, []float64{0.5, 0.5})
	}
}
