package eval

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"kdistill/internal/suggest"
)

// Example is one question of a task with what was answered.
type Example struct {
	References []string  // right answers, each as good as the others
	Choices    []string  // what there is to choose from; nil: the answer is free
	Gold       int       // index of the right choice; -1: not known
	Prediction string    // what was written
	Likelihood []float64 // of each choice, in nats: its log-probability after the prompt
}

// TaskOptions are settings of metrics of tasks.
type TaskOptions struct {
	Stem  bool     // ROUGE compares stems of words
	Names []string // what examples without Choices choose from: see ImpliedChoices; nil: letters
}

// TaskMetrics lists the metrics of tasks.
func TaskMetrics() []string { return names(written | ranked) }

// ParseTask resolves names of metrics of tasks, each once; distinct_n stands for distinct_1 and distinct_2. It tells what they measure: texts that are
// written, choices by their likelihood, or both.
func ParseTask(names []string) (metrics []string, writes, ranks bool, err error) {
	for _, name := range names {
		several := []string{name}
		if name == "distinct_n" {
			several = []string{"distinct_1", "distinct_2"}
		}
		for _, name := range several {
			m, err := taskMetric(name)
			if err != nil {
				return nil, false, false, err
			}
			if !slices.Contains(metrics, name) {
				metrics = append(metrics, name)
			}
			writes, ranks = writes || m.kinds == written, ranks || m.kinds == ranked
		}
	}
	return metrics, writes, ranks, nil
}

func taskMetric(name string) (definition, error) {
	known := TaskMetrics()
	if !slices.Contains(known, name) {
		return definition{}, unknownTask(name, known)
	}
	return registry[slices.IndexFunc(registry, func(d definition) bool { return d.name == name })], nil
}

func unknownTask(name string, known []string) error {
	if slices.Contains(Metrics(), name) {
		return fmt.Errorf("%s is measured on documents: name them by --data, without --metric", name)
	}
	return suggest.Unknown("metric", name, append(known, "distinct_n"))
}

// CheckExample says what an example lacks for the metrics, before it is answered.
func CheckExample(names []string, e Example, o TaskOptions) error {
	for _, name := range names {
		m, err := taskMetric(name)
		if err != nil {
			return err
		}
		if m.check == nil {
			continue
		}
		if err := m.check(e, o); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// Scores are what Score measured.
type Scores struct {
	Figures map[string]Figure    // by metric
	Each    map[string][]float64 // by metric, of each example alone; NaN where there is nothing to say
}

// Score measures answered examples, of which there is at least one.
func Score(names []string, examples []Example, o TaskOptions) (*Scores, error) {
	s := &Scores{map[string]Figure{}, map[string][]float64{}}
	for _, name := range names {
		m, err := taskMetric(name)
		if err != nil {
			return nil, err
		}
		if m.all != nil {
			s.Figures[name], s.Each[name] = m.all(examples)
			continue
		}
		values, ones := make([]float64, len(examples)), slices.Repeat([]float64{1}, len(examples))
		for i, e := range examples {
			values[i] = m.each(e, o)
		}
		s.Figures[name], s.Each[name] = ratio(values, ones), values
	}
	return s, nil
}

// JSON lists every figure under its name, with its standard error under name_stderr; null where it can't be known.
func (s *Scores) JSON() map[string]any {
	out := map[string]any{}
	for name, f := range s.Figures {
		out[name], out[name+"_stderr"] = number(f.Value), number(f.Stderr)
	}
	return out
}

// Example lists the figures of one example, as JSON does.
func (s *Scores) Example(i int) map[string]any {
	out := map[string]any{}
	for name, each := range s.Each {
		out[name] = number(each[i])
	}
	return out
}

// best reference: the largest of a measure of the prediction against each.
func (e Example) best(measure func(reference string) float64) float64 {
	most := math.Inf(-1)
	for _, r := range e.References {
		most = max(most, measure(r))
	}
	return most
}

func referenced(e Example, _ TaskOptions) error {
	if len(e.References) == 0 {
		return errors.New("there is no reference to compare with")
	}
	return nil
}

func share(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
