package loss

import (
	"math/rand/v2"
	"testing"
)

func TestTop1Agreement(t *testing.T) {
	m, err := NewMetric("top1_agreement")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		student, teacher []float32
		want             float32
	}{
		{[]float32{1, 3, 2}, []float32{-5, 9, 0}, 1},
		{[]float32{1, 3, 2}, []float32{-5, 0, 9}, 0},
		{[]float32{3, 3, 2}, []float32{9, 0, 9}, 1}, // ties: the lowest id
		{[]float32{2, 3, 3}, []float32{0, 9, -1e4}, 1},
	} {
		if have := m.Row32(nil, 0, c.student, c.teacher, -100); have != c.want {
			t.Errorf("%v against %v: have %v, want %v", c.student, c.teacher, have, c.want)
		}
	}
}

// Acceptance and total variation are two ways to say one thing.
func TestAcceptance(t *testing.T) {
	m, err := NewMetric("acceptance")
	if err != nil {
		t.Fatal(err)
	}
	tv, err := New("total_variation", Params{})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(2, 2))
	for range 20 {
		student, teacher := normal(r, 1500, 3), normal(r, 1500, 3)
		near(t, "acceptance", m.Row64(nil, 0, student, teacher, -100), 1-tv.Row64(nil, 0, student, teacher, -100), 1e-14)
		near(t, "acceptance float32", float64(m.Row32(nil, 0, narrow(student), narrow(teacher), -100)), m.Row64(nil, 0, student, teacher, -100), 1e-6)
	}
	near(t, "acceptance of itself", m.Row64(nil, 0, []float64{1, 2, -1e4}, []float64{1, 2, -1e4}, 0), 1, 1e-15)
}
