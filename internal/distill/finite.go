package distill

import (
	"fmt"
	"math"
	"strings"

	"kdistill/internal/data"
	"kdistill/internal/kernel"
	"kdistill/internal/model"
)

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// finite stops a run before an update that would spoil the weights, and names the culprits.
func (r *run) finite(step int, norm float64, v stepValues, batch *data.Batch) error {
	problem, documents := "", batch.Documents
	for i, sum := range v.sums {
		if !finite(sum) {
			problem, documents = fmt.Sprintf("loss %s is %v", r.stageOf(step).Loss[i].Label(), sum), v.bad
			break
		}
	}
	if problem == "" && finite(norm) {
		return nil
	}
	flat := r.student.flat
	for _, suspect := range []struct {
		what string
		find func() (string, float32)
	}{
		{"the student's %s holds %v", func() (string, float32) { return notFinite(flat, flat.Values) }},
		{"the %s holds %v", r.brokenTeacher},
		{"the gradient of %s is %v", func() (string, float32) { return notFinite(flat, flat.Gradients) }},
	} {
		if name, x := suspect.find(); name != "" {
			problem += ", " + fmt.Sprintf(suspect.what, name, x)
			break
		}
	}
	return fmt.Errorf("step %d: %s, in %s: no update was made; lower train.optimizer.lr or look at these documents", step, strings.TrimPrefix(problem, ", "), r.documents(documents))
}

// sound refuses to save weights that the last update has spoilt.
func (r *run) sound(step int) error {
	if name, x := notFinite(r.student.flat, r.student.flat.Values); name != "" {
		return fmt.Errorf("step %d: the student's %s holds %v after the update: nothing was saved; lower train.optimizer.lr", step, name, x)
	}
	return nil
}

// notFinite finds the first parameter in which values, its weights or gradients, are NaN or infinite.
func notFinite(flat *model.Flat[float32], values []float32) (name string, x float32) {
	for i, spec := range flat.Specs {
		from, to := flat.Range(i)
		for _, x := range values[from:to] {
			if !finite(float64(x)) {
				return spec.Name, x
			}
		}
	}
	return "", 0
}

// brokenTeacher finds the first weight of a teacher's that is NaN or infinite.
func (r *run) brokenTeacher() (name string, x float32) {
	for _, t := range r.teachers {
		if name, x := broken(t.weights); name != "" {
			return t.who + "'s " + name, x
		}
	}
	return "", 0
}

func broken(weights *model.Store) (name string, x float32) {
	for _, spec := range weights.Specs {
		switch values := weights.Get(spec.Name).Value.Data().(type) {
		case []float32:
			for _, x := range values {
				if !finite(float64(x)) {
					return spec.Name, x
				}
			}
		case []uint16:
			for _, bits := range values {
				if x := kernel.FromBF16(bits); !finite(float64(x)) {
					return spec.Name, x
				}
			}
		}
	}
	return "", 0
}

// documents names a few of the documents.
func (r *run) documents(indices []int32) string {
	const few = 3
	seen := map[int32]bool{}
	text := ""
	for _, d := range indices {
		if d < 0 || seen[d] {
			continue
		}
		seen[d] = true
		switch {
		case len(seen) == 1:
			text = r.dataset.Name(int(d))
		case len(seen) <= few:
			text += "; " + r.dataset.Name(int(d))
		}
	}
	if more := len(seen) - few; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
