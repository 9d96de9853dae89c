package loss

import (
	"encoding/json"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"kdistill/internal/testutil"
)

func readJSON(t *testing.T, name string, into any) {
	t.Helper()
	data, err := os.ReadFile(testutil.Testdata(t, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func flatten(x [][][]float64) (rows [][]float64) {
	for _, batch := range x {
		rows = append(rows, batch...)
	}
	return rows
}

// near fails where have and want differ by more than tolerance·(1 + |want|).
func near(t *testing.T, what string, have, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(have-want) <= tolerance*(1+math.Abs(want))) {
		t.Errorf("%s: have %v, want %v", what, have, want)
	}
}

// losses.json: means over the counted positions, and their gradients, by an independent float64 reference.
func TestGolden(t *testing.T) {
	var file struct {
		Student [][][]float64 `json:"student_logits"`
		Teacher [][][]float64 `json:"teacher_logits"`
		All     [][]int       `json:"labels_all"`
		Ignore  [][]int       `json:"labels_with_ignore"`
		Cases   []struct {
			Loss     string
			T, Value float64
			Labels   string
			Gradient [][]float64 `json:"grad_wrt_student_logits"`
		}
	}
	readJSON(t, "golden/losses.json", &file)
	student, teacher := flatten(file.Student), flatten(file.Teacher)
	seen := map[string]bool{"cross_entropy": true, "mse": true} // they have their golden values in losses_torch.json
	for _, c := range file.Cases {
		name, value, _ := strings.Cut(strings.TrimSuffix(c.Loss, ")"), "(")
		if strings.HasPrefix(name, "top2_forward_kl/") || name == "uld" {
			continue // a signal of the teacher's top-k, and a loss across vocabularies: not rows of this package
		}
		d, ok := Lookup(name)
		if !ok {
			t.Errorf("%s is not registered", name)
			continue
		}
		seen[name] = true
		if !d.Temperature && c.T != 1 {
			continue // refused by New
		}
		p := Params{Temperature: c.T, Values: map[string]float64{}}
		if value != "" {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			p.Values[d.Params[0].Name] = v
		}
		l, err := New(name, p)
		if err != nil {
			t.Fatal(err)
		}
		var labels []int
		for _, row := range map[string][][]int{"all": file.All, "ignore": file.Ignore}[c.Labels] {
			labels = append(labels, row...)
		}
		counted := 0
		for _, label := range labels {
			if label != -100 {
				counted++
			}
		}
		mean := 0.0
		for i, label := range labels {
			gradient := make([]float64, len(student[i]))
			if label != -100 {
				mean += l.Row64(gradient, 1/float64(counted), student[i], teacher[i], label) / float64(counted)
			}
			for j, want := range c.Gradient[i] {
				near(t, c.Loss+" gradient", gradient[j], want, 1e-12)
			}
		}
		near(t, c.Loss, mean, c.Value, 1e-12)
	}
	for _, name := range Names() {
		if d, _ := Lookup(name); !seen[name] && d.Rows == Logits {
			t.Errorf("%s has no golden values", name)
		}
	}
}

// losses_torch.json: PyTorch's values and autograd gradients; label smoothing, temperatures and the factor T² on both.
func TestGoldenTorch(t *testing.T) {
	var file struct {
		Student, Teacher [][]float64
		Labels           []int
		Cases            []struct {
			Loss        string
			Values      map[string]float64
			Choices     map[string]string
			Temperature float64
			T2Scaling   bool `json:"t2_scaling"`
			Value       []float64
			Gradient    [][]float64
		}
	}
	readJSON(t, "golden/losses_torch.json", &file)
	seen := map[string]bool{}
	for _, c := range file.Cases {
		l, err := New(c.Loss, Params{Temperature: c.Temperature, T2Scaling: c.T2Scaling, Values: c.Values, Choices: c.Choices})
		if err != nil {
			t.Fatal(err)
		}
		seen[c.Loss] = true
		what := l.Name + " " + strconv.FormatFloat(c.Temperature, 'g', -1, 64)
		for i, student := range file.Student {
			gradient, gradient32 := make([]float64, len(student)), make([]float32, len(student))
			near(t, what, l.Row64(gradient, 1, student, file.Teacher[i], file.Labels[i]), c.Value[i], 1e-12)
			near(t, what+" float32", float64(l.Row32(gradient32, 1, narrow(student), narrow(file.Teacher[i]), file.Labels[i])), c.Value[i], 2e-6)
			for j, want := range c.Gradient[i] {
				near(t, what+" gradient", gradient[j], want, 1e-12)
				near(t, what+" gradient float32", float64(gradient32[j]), want, 5e-6)
			}
		}
	}
	for _, name := range Names() {
		if !seen[name] {
			t.Errorf("%s has no golden values", name)
		}
	}
}
