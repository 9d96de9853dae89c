package optim

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/testutil"
)

// tensors are the two parameters of optim.json, w 3x4 and b 4.
type tensors struct {
	W [][]float32
	B []float32
}

func (t tensors) flat() []float32 { return slices.Concat(slices.Concat(t.W...), t.B) }

type golden struct {
	Start      tensors
	Gradients  []tensors
	Optimizers map[string]struct {
		Options json.RawMessage
		Steps   []tensors `json:"after_each_step_float64"`
	}
	Schedules struct {
		Cases map[string]struct {
			Warmup int       `json:"num_warmup_steps"`
			Steps  int       `json:"num_training_steps"`
			LR     []float64 `json:"lr"`
		}
	}
}

func readGolden(t *testing.T) (g golden) {
	t.Helper()
	data, err := os.ReadFile(testutil.Testdata(t, "golden/optim.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestGolden(t *testing.T) {
	g := readGolden(t)
	ours := map[string]string{
		"adamw": "adamw", "adamw_default_betas": "adamw", "adam": "adam", "adam_l2": "adam",
		"sgd": "sgd", "sgd_momentum": "sgd", "sgd_momentum_dampening": "sgd", "sgd_nesterov": "sgd",
	}
	seen := map[string]bool{}
	for name, optimizer := range ours {
		c, ok := g.Optimizers[name]
		if !ok {
			t.Fatalf("no case %s", name)
		}
		seen[optimizer] = true
		var options struct {
			LR, Eps, Momentum, Dampening float64
			Betas                        [2]float64
			WeightDecay                  float64 `json:"weight_decay"`
			Nesterov                     bool
		}
		decoder := json.NewDecoder(bytes.NewReader(c.Options))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&options); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		params := g.Start.flat()
		o, err := New(Options{
			Name: optimizer, Betas: options.Betas, Eps: options.Eps, WeightDecay: options.WeightDecay,
			Momentum: options.Momentum, Dampening: options.Dampening, Nesterov: options.Nesterov,
		}, len(params))
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range c.Steps {
			// clipping is fused: a multiple of the gradients at that part of the scale is the same
			gradients, multiple := g.Gradients[i].flat(), float32(int(1)<<(i%3))
			for j := range gradients {
				gradients[j] *= multiple
			}
			o.Step(params, gradients, Update{Step: i + 1, LR: options.LR, Scale: 1 / float64(multiple), Decay: []Range{{0, 5}, {5, len(params)}}})
			for j, w := range want.flat() {
				if math.Abs(float64(params[j]-w)) > 1e-6 {
					t.Fatalf("%s, step %d, parameter %d: have %v, want %v", name, i+1, j, params[j], w)
				}
			}
		}
	}
	for _, name := range Names() {
		if !seen[name] {
			t.Errorf("%s has no golden values", name)
		}
	}
}

// options sets everything that an optimizer has.
func options(name string, decay float64) Options {
	o := Options{Name: name, Betas: [2]float64{0.9, 0.95}, Eps: 1e-8, WeightDecay: decay}
	if name == "sgd" {
		o.Momentum = 0.9
	}
	return o
}

func run(t *testing.T, o Optimizer, params []float32, from, to int, decay []Range) {
	t.Helper()
	for step := from; step <= to; step++ {
		r := rand.New(rand.NewPCG(uint64(step), 1))
		gradients := make([]float32, len(params))
		for i := range gradients {
			gradients[i] = float32(r.NormFloat64())
		}
		o.Step(params, gradients, Update{Step: step, LR: 0.01, Scale: 0.7, Decay: decay})
	}
}

// Parameters in the ranges end as with decay on all, the others as without any. The slice is long enough for several workers.
func TestDecayRanges(t *testing.T) {
	const n = 100_000
	ranges := []Range{{10, 20_000}, {20_000, 50_000}, {99_990, 99_999}}
	for _, name := range Names() {
		results := map[string][]float32{}
		for what, decay := range map[string][]Range{"some": ranges, "all": {{0, n}}, "none": nil} {
			o, err := New(options(name, 0.5), n)
			if err != nil {
				t.Fatal(err)
			}
			params := make([]float32, n)
			for i := range params {
				params[i] = 1 + float32(i%7)
			}
			run(t, o, params, 1, 3, decay)
			results[what] = params
		}
		for i, have := range results["some"] {
			want := results["none"][i]
			if 10 <= i && i < 50_000 || 99_990 <= i && i < 99_999 {
				want = results["all"][i]
			}
			if have != want {
				t.Fatalf("%s, parameter %d: have %v, want %v", name, i, have, want)
			}
		}
		if slices.Equal(results["all"], results["none"]) {
			t.Errorf("%s does not decay", name)
		}
	}
}

// State copied into a new optimizer goes on with the same bits.
func TestResume(t *testing.T) {
	const n = 1000
	for _, name := range Names() {
		decay := []Range{{0, 500}}
		first, err := New(options(name, 0.1), n)
		if err != nil {
			t.Fatal(err)
		}
		params := make([]float32, n)
		run(t, first, params, 1, 4, decay)
		resumed, err := New(options(name, 0.1), n)
		if err != nil {
			t.Fatal(err)
		}
		if len(first.State()) == 0 {
			t.Fatalf("%s has no state", name)
		}
		for i, s := range first.State() {
			if copied := copy(resumed.State()[i].Values, s.Values); copied != n || s.Name != resumed.State()[i].Name {
				t.Fatalf("%s: state %s has %d values, want %d", name, s.Name, copied, n)
			}
		}
		again := slices.Clone(params)
		run(t, first, params, 5, 8, decay)
		run(t, resumed, again, 5, 8, decay)
		if !slices.Equal(params, again) {
			t.Errorf("%s: resumed run differs", name)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Name = "adamv" }, `optimizer: have "adamv", did you mean "adam"? known: adam, adamw, sgd`},
		{func(o *Options) { o.Betas[1] = 1 }, "adamw: betas: have [0.9 1], want two numbers in [0, 1)"},
		{func(o *Options) { o.Eps = 0 }, "adamw: eps: have 0, want a number above 0"},
		{func(o *Options) { o.WeightDecay = math.NaN() }, "adamw: weight_decay: have NaN, want 0 or more"},
		{func(o *Options) { o.Momentum = 0.9 }, "adamw: momentum, dampening and nesterov belong to sgd"},
		{func(o *Options) { o.Name, o.Momentum = "sgd", 1 }, "sgd: momentum: have 1, want a number in [0, 1)"},
		{func(o *Options) { o.Name, o.Dampening = "sgd", -1 }, "sgd: dampening: have -1, want a number in [0, 1]"},
		{func(o *Options) { o.Name, o.Nesterov = "sgd", true }, "sgd: nesterov: have momentum 0 and dampening 0, want momentum above 0"},
	} {
		o := options("adamw", 0)
		c.change(&o)
		if _, err := New(o, 1); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("New(%+v): %v\nwant %s", o, err, c.want)
		}
	}
}

func TestClipFactor(t *testing.T) {
	for _, c := range []struct{ norm, limit, want float64 }{
		{10, 1, 1 / 10.000001},
		{1, 1, 1 / 1.000001},
		{0.5, 1, 1},
		{0, 1, 1},
		{1e9, 0, 1},
	} {
		if have := ClipFactor(c.norm, c.limit); math.Abs(have-c.want) > 1e-15 {
			t.Errorf("ClipFactor(%v, %v) = %v, want %v", c.norm, c.limit, have, c.want)
		}
	}
}
