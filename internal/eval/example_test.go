package eval

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

func examples(pairs ...[2]string) (all []Example) {
	for _, p := range pairs {
		all = append(all, Example{Prediction: p[0], References: strings.Split(p[1], "|"), Gold: -1})
	}
	return all
}

// TestAnswers compares figures with what their definitions give by hand; rouge itself and answers are compared with other implementations in their packages.
func TestAnswers(t *testing.T) {
	numbers := examples([2]string{"It is 4 + 4 = 8. #### 8", "#### 8"}, [2]string{"seven", "7"}, [2]string{"$1,000.", "5|1000"}, [2]string{"3", "4"})
	for _, c := range []struct {
		metric        string
		examples      []Example
		value, stderr float64
	}{
		{"number", numbers, 0.5, math.Sqrt(1. / 12)}, // sample variance 1/3, of 4
		{"exact_match", examples([2]string{"The Cat!", "a cat"}, [2]string{"dog", "cat|Dog"}, [2]string{"x", "y"}), 2. / 3, 1. / 3},
		{"choice", examples([2]string{"the answer is (b)", "B"}, [2]string{"C", "B"}), 0.5, 0.5},
		{"rouge1", examples([2]string{"a b", "c|a b"}, [2]string{"a x", "a b"}), 0.75, 0.25},
		{"rougeL", examples([2]string{"a b", "a b"}), 1, math.NaN()},
		{"length", examples([2]string{"one two  three", "x"}, [2]string{"", "x"}), 1.5, 1.5},
		{"distinct_1", examples([2]string{"a a b", "x"}, [2]string{"b c", "x"}), 0.6, math.Sqrt(0.5 * 2 * math.Pow((2./3-1)/2, 2))}, // without one: 2/2, 2/3
		{"distinct_2", examples([2]string{"a b a b", "x"}, [2]string{"c", "x"}), 2. / 3, math.NaN()},
		{"distinct_1", examples([2]string{"", "x"}), math.NaN(), math.NaN()},
		{"acc", []Example{{Choices: []string{"x", "yyyy"}, Likelihood: []float64{-2, -3}, Gold: 0}, {Choices: []string{"x", "y"}, Likelihood: []float64{-2, -2}, Gold: 1}}, 0.5, 0.5},
		{"acc_norm", []Example{{Choices: []string{"x", "yyyy"}, Likelihood: []float64{-2, -3}, Gold: 1}, {Choices: []string{"é", "abc"}, Likelihood: []float64{-4, -7}, Gold: 0}}, 1, 0},
	} {
		s, err := Score([]string{c.metric}, c.examples, TaskOptions{})
		if err != nil {
			t.Fatal(err)
		}
		have := s.Figures[c.metric]
		if !near(have.Value, c.value) || !near(have.Stderr, c.stderr) {
			t.Errorf("%s: have %v, want %v, %v", c.metric, have, c.value, c.stderr)
		}
		if _, err := json.Marshal(s.JSON()); err != nil {
			t.Error(err)
		}
		for i := range c.examples {
			if _, err := json.Marshal(s.Example(i)); err != nil {
				t.Error(err)
			}
		}
	}
	stems := examples([2]string{"running dogs", "run dog"})
	for stem, want := range map[bool]float64{false: 0, true: 1} {
		s, err := Score([]string{"rouge1"}, stems, TaskOptions{Stem: stem})
		if err != nil || s.Figures["rouge1"].Value != want {
			t.Errorf("stems %v: have %v, %v", stem, s.Figures, err)
		}
	}
}

func near(a, b float64) bool { return math.Abs(a-b) < 1e-12 || math.IsNaN(a) && math.IsNaN(b) }

func TestCheckExample(t *testing.T) {
	two := []string{"x", "y"}
	for _, c := range []struct {
		metric string
		e      Example
		want   string
	}{
		{"number", Example{References: []string{"none"}}, `number: the reference "none" holds no number`},
		{"number", Example{}, "number: there is no reference"},
		{"rougeL", Example{}, "rougeL: there is no reference"},
		{"exact_match", Example{}, "there is no reference"},
		{"choice", Example{References: []string{"maybe"}}, `the reference "maybe" is no choice`},
		{"choice", Example{References: []string{"C"}, Choices: two}, `the reference "C" is no choice`},
		{"acc", Example{Gold: 0}, "want at least two choices"},
		{"acc_norm", Example{Choices: two, Gold: -1}, "nothing tells which choice is right"},
		{"acc_norm", Example{Choices: []string{"x", ""}}, "choice 1 is empty"},
		{"acc", Example{Choices: two, Gold: 1}, ""},
		{"length", Example{}, ""},
		{"distinct_2", Example{}, ""},
		{"choice", Example{References: []string{"y"}, Choices: two}, ""},
		{"nll", Example{}, "nll is measured on documents"},
	} {
		err := CheckExample([]string{c.metric}, c.e, TaskOptions{})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s of %+v: have %v, want %q", c.metric, c.e, err, c.want)
		}
	}
	metrics, writes, ranks, err := ParseTask([]string{"distinct_n", "acc", "distinct_1"})
	if err != nil || strings.Join(metrics, ",") != "distinct_1,distinct_2,acc" || !writes || !ranks {
		t.Errorf("have %v, %v, %v, %v", metrics, writes, ranks, err)
	}
	if _, _, _, err := ParseTask([]string{"rouge"}); err == nil || !strings.Contains(err.Error(), "did you mean") {
		t.Errorf("have %v", err)
	}
}

// TestImpliedChoices: references such as true and false are what there is to choose from.
func TestImpliedChoices(t *testing.T) {
	e := examples([2]string{"the correct answer is true", "true"}, [2]string{"True.", "true"}, [2]string{"It is not false", "true"}, [2]string{"A", "false"}, [2]string{"true or false?", "false"})
	names := ImpliedChoices(e)
	if !slices.Equal(names, []string{"true", "false"}) {
		t.Fatalf("have %q", names)
	}
	s, err := Score([]string{"choice"}, e, TaskOptions{Names: names})
	if err != nil || !slices.Equal(s.Each["choice"], []float64{1, 1, 0, 0, 0}) {
		t.Errorf("have %v, %v", s, err)
	}
	if have := ImpliedChoices(append(e, examples([2]string{"", "B"})...)); have != nil {
		t.Errorf("have %q beside a letter", have)
	}
	if have := ImpliedChoices(append(e, Example{References: []string{"true"}, Choices: []string{"true", "false"}})); have != nil {
		t.Errorf("have %q beside choices", have)
	}
	many := e
	for i := range 25 {
		many = append(many, examples([2]string{"", fmt.Sprint("text ", i)})...)
	}
	if have := ImpliedChoices(many); have != nil {
		t.Errorf("have %d names", len(have))
	}
}
