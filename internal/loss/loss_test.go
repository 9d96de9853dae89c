package loss

import (
	"strings"
	"testing"
)

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		params Params
		want   string
	}{
		{"forward_lk", Params{}, `loss: have "forward_lk", did you mean "forward_kl"? known: adaptive_kl, attention_kl,`},
		{"layers", Params{}, `loss: have "layers", known: adaptive_kl,`},
		{"acceptance", Params{}, `loss: have "acceptance", known: adaptive_kl,`},
		{"skew_kl", Params{Values: map[string]float64{"alfa": 0.1}}, `loss skew_kl: parameter: have "alfa", did you mean "alpha"? known: alpha`},
		{"forward_kl", Params{Values: map[string]float64{"beta": 0.1}}, `loss forward_kl: parameter: have "beta", want none`},
		{"generalized_jsd", Params{Values: map[string]float64{"beta": 1.5}}, `loss generalized_jsd: beta: have 1.5, want a number in [0, 1]`},
		{"skew_kl", Params{Values: map[string]float64{"alpha": 1}}, `loss skew_kl: alpha: have 1, want a number in [0, 1)`},
		{"adaptive_kl", Params{Values: map[string]float64{"mu": nan}}, `loss adaptive_kl: mu: have NaN, want a number in [0, 1]`},
		{"attention_mse", Params{Choices: map[string]string{"compare": "score"}}, `loss attention_mse: compare: have "score", did you mean "scores"? known: probabilities, scores`},
		{"attention_kl", Params{Choices: map[string]string{"compare": "scores"}}, `loss attention_kl: parameter: have "compare", want none`},
		{"hidden_mse", Params{Temperature: 2}, `loss hidden_mse: temperature: have 2, want none`},
		{"forward_kl", Params{Temperature: -1}, `loss forward_kl: temperature: have -1, want a number above 0`},
		{"forward_kl", Params{Temperature: nan}, `loss forward_kl: temperature: have NaN, want a number above 0`},
		{"cross_entropy", Params{Temperature: 2}, `loss cross_entropy: temperature: have 2, want none`},
		{"logit_mse", Params{Temperature: 2}, `loss logit_mse: temperature: have 2, want none`},
		{"cross_entropy", Params{T2Scaling: true}, `loss cross_entropy: t2_scaling: have true, want none`},
	} {
		l, err := New(c.name, c.params)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("New(%s, %v) = %v, %v\nwant %s", c.name, c.params, l, err, c.want)
		}
	}
	if _, err := NewMetric("forward_kl"); err == nil {
		t.Error("NewMetric takes a loss")
	}
}

func TestNewFillsDefaults(t *testing.T) {
	l, err := New("skew_kl", Params{})
	if err != nil {
		t.Fatal(err)
	}
	if l.Params.Temperature != 1 || l.Params.Values["alpha"] != 0.1 {
		t.Errorf("have %+v, want temperature 1 and alpha 0.1", l.Params)
	}
}

// Everything registered must say what it is: the text is shown to people.
func TestDefinitions(t *testing.T) {
	for _, name := range append(Names(), MetricNames()...) {
		d, ok := Lookup(name)
		if !ok || d.Name != name || d.Doc == "" {
			t.Errorf("%s: incomplete definition %+v", name, d)
		}
		if d.Metric && len(d.Params) > 0 {
			t.Errorf("%s: NewMetric cannot set the parameters of a metric", name)
		}
		for _, p := range d.Params {
			if p.Doc == "" || p.check(p.Default) != nil || p.check(p.Min) != nil || !(p.Min < p.Max) {
				t.Errorf("%s: incomplete parameter %+v", name, p)
			}
		}
		for _, c := range d.Choices {
			if c.Doc == "" || len(c.Values) < 2 {
				t.Errorf("%s: incomplete choice %+v", name, c)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Check() {
		seen[r.Name] = true
		if !r.Pass {
			t.Errorf("%+v", r)
		}
	}
	for _, name := range append(Names(), MetricNames()...) {
		if !seen[name] {
			t.Errorf("%s is not checked", name)
		}
	}
}

// A check that cannot fail is worth nothing.
func TestCheckFinds(t *testing.T) {
	right := registry["reverse_kl"]
	for what, row := range map[string]Row[float64]{
		"value": func(grad []float64, scale float64, student, teacher []float64, label int) float64 {
			return 1e-9 + right.row64(Params{Temperature: 1})(grad, scale, student, teacher, label)
		},
		"gradient": func(grad []float64, scale float64, student, teacher []float64, label int) float64 {
			return right.row64(Params{Temperature: 1})(grad, scale*(1+1e-6), student, teacher, label)
		},
		"NaN": func(grad []float64, _ float64, _, _ []float64, _ int) float64 {
			grad[0] = nan
			return 0
		},
	} {
		wrong := right
		wrong.row64 = func(Params) Row[float64] { return row }
		if r := wrong.check("", Params{}); r.Pass {
			t.Errorf("wrong %s passes: %+v", what, r)
		}
	}
	wrong := right
	wrong.row32 = registry["forward_kl"].row32
	if r := wrong.check("", Params{}); r.Pass {
		t.Errorf("wrong float32 row passes: %+v", r)
	}
}
