package eval

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gorgonia.org/tensor"
	"kdistill/internal/data"
	"kdistill/internal/graph"
	"kdistill/internal/model"
	"kdistill/internal/nn"
	"kdistill/internal/objective"
	"kdistill/internal/teacher"
	"kdistill/internal/tokenizer"
)

// characters is a tokenizer of one id per byte, from 'a' = 1; the start token is 0.
type characters struct{}

func (characters) Encode(text string, _ bool) (e tokenizer.Encoding, err error) {
	for i := range len(text) {
		e.IDs, e.Spans = append(e.IDs, int32(text[i]-'a'+1)), append(e.Spans, tokenizer.Span{Start: i, End: i + 1})
	}
	return e, nil
}
func (characters) Prefix() []int32 { return []int32{0} }
func (characters) Suffix() []int32 { return nil }
func (characters) EOS() int32      { return -1 }
func (characters) VocabSize() int  { return 20 }
func (characters) ChatTemplate(name string) (*tokenizer.ChatTemplate, error) {
	return nil, tokenizer.ErrNoTemplate
}
func (characters) MASK() int32                   { return -1 }
func (characters) Special(id int32) bool         { return id == 0 }
func (characters) Pair() (tokenizer.Pair, error) { return tokenizer.Pair{}, errors.New("no template") }

var documents = []string{"abcde", "hhhh", "sanfomop" /* is split */, "q", "dddgab"}

// source deals out the documents once, in rows of at most 6 tokens.
func source(t *testing.T, packing bool) *data.Source {
	t.Helper()
	var text strings.Builder
	for _, d := range documents {
		fmt.Fprintf(&text, "{\"text\": %q}\n", d)
	}
	path := filepath.Join(t.TempDir(), "documents.jsonl")
	if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := data.Load(context.Background(), []data.File{{Path: path, Format: "jsonl"}}, characters{}, data.LoadOptions{Bytes: true})
	if err != nil {
		t.Fatal(err)
	}
	s, err := data.NewSource(d, data.Options{SequenceLength: 6, Packing: packing, Epochs: 1})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t *testing.T, seed uint64, vocab int) (model.Model, *model.Flat[float32]) {
	t.Helper()
	m, err := model.New(fmt.Appendf(nil, `{"model_type": "llama", "num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24,
		"vocab_size": %d, "max_position_embeddings": 16, "initializer_range": 0.5}`, vocab))
	if err != nil {
		t.Fatal(err)
	}
	specs, err := model.Parameters(m)
	if err != nil {
		t.Fatal(err)
	}
	flat := model.NewFlat[float32](specs)
	flat.Initialise(seed)
	return m, flat
}

// probabilities returns the distribution after each token of a piece, over the first n ids (0: all), in float64.
func probabilities(t *testing.T, m model.Model, w nn.Weights, ids []int32, n int) (rows [][]float64) {
	t.Helper()
	b := &nn.Builder{Graph: graph.New(tensor.Float32, 1, len(ids)), Weights: w}
	out := m.Forward(b)
	y := b.Logits(out.Final(), out.Head)
	p, err := b.Compile(&graph.Arena{}, nil, y)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	f := graph.Feed{Tokens: ids}
	for i := range ids {
		f.Positions, f.First, f.Last = append(f.Positions, int32(i)), append(f.First, 0), append(f.Last, int32(i+1))
	}
	if err := p.Run(context.Background(), f); err != nil {
		t.Fatal(err)
	}
	all, v := p.Value(y).Float32s(), m.Info().Vocab
	if n == 0 {
		n = v
	}
	for i := range ids {
		row, sum := make([]float64, n), 0.0
		for k, z := range all[i*v : i*v+n] {
			row[k] = math.Exp(float64(z))
			sum += row[k]
		}
		for k := range row {
			row[k] /= sum
		}
		rows = append(rows, row)
	}
	return rows
}

// TestFigures computes every figure by hand from the models' probabilities, token by token.
func TestFigures(t *testing.T) {
	const vocab, teacherVocab, common = 20, 22, 20
	m, w := open(t, 1, vocab)
	tm, tw := open(t, 2, teacherVocab)

	per := map[string][][]float64{} // metric, document, token
	bytes := 0.0
	for _, text := range documents {
		values := map[string][]float64{}
		e, _ := characters{}.Encode(text, false)
		for from := 0; from < len(e.IDs); from += 5 { // pieces of 6 with the start token
			piece := append([]int32{0}, e.IDs[from:min(from+5, len(e.IDs))]...)
			q, p := probabilities(t, m, w.Frozen(), piece, 0), probabilities(t, tm, tw.Frozen(), piece, 0)
			qc, pc := probabilities(t, m, w.Frozen(), piece, common), probabilities(t, tm, tw.Frozen(), piece, common)
			for i, next := range piece[1:] {
				add := func(name string, v float64) { values[name] = append(values[name], v) }
				add("nll", -math.Log(q[i][next]))
				add("teacher_nll", -math.Log(p[i][next]))
				kl, reverse, accepted, agree := 0.0, 0.0, 0.0, 0.0
				for k := range common {
					kl += pc[i][k] * math.Log(pc[i][k]/qc[i][k])
					reverse += qc[i][k] * math.Log(qc[i][k]/pc[i][k])
					accepted += min(pc[i][k], qc[i][k])
				}
				if slices.Index(qc[i], slices.Max(qc[i])) == slices.Index(pc[i], slices.Max(pc[i])) {
					agree = 1
				}
				add("kl", kl)
				add("reverse_kl", reverse)
				add("acceptance", accepted)
				add("top1_agreement", agree)
				bytes++
			}
		}
		for name, v := range values {
			per[name] = append(per[name], v)
		}
	}
	want := map[string]Figure{}
	for name, docs := range per {
		want[name] = clustered(docs)
	}

	for _, packing := range []bool{false, true} {
		for _, rows := range []int{1, 2, 100} {
			what := fmt.Sprintf("packing %v, %d rows", packing, rows)
			arena := &graph.Arena{}
			live := &teacher.Live{Model: tm, Weights: tw.Frozen(), Arena: arena}
			e, err := New(m, w.Frozen(), objective.Alone(live), arena)
			if err != nil {
				t.Fatal(err)
			}
			s := source(t, packing)
			done := 0
			r, err := e.Run(context.Background(), s, rows, func(n int) { done = n })
			if err != nil {
				t.Fatal(err)
			}
			if done != s.Len() {
				t.Errorf("%s: have progress up to %d rows, want %d", what, done, s.Len())
			}
			if len(r.Figures) != len(want) || !slices.Equal(slices.Sorted(slices.Values(Available(m.Info(), true))), sortedKeys(want)) {
				t.Errorf("%s: have figures %v, want %v", what, sortedKeys(r.Figures), sortedKeys(want))
			}
			for name, f := range want {
				closeTo(t, what+", "+name, r.Figures[name].Value, f.Value)
				closeTo(t, what+", "+name+"_stderr", r.Figures[name].Stderr, f.Stderr)
			}
			closeTo(t, what+", bits_per_byte", r.BitsPerByte.Value, want["nll"].Value*float64(r.Tokens)/bytes/math.Ln2)
			closeTo(t, what+", perplexity", r.Perplexity().Value, math.Exp(want["nll"].Value))
			closeTo(t, what+", perplexity_stderr", r.Perplexity().Stderr, math.Exp(want["nll"].Value)*want["nll"].Stderr)
			if r.Tokens != int(bytes) || r.Bytes != int(bytes) || r.TokensPerSecond <= 0 {
				t.Errorf("%s: have %d tokens, %d bytes, want %v each; %v tokens/s", what, r.Tokens, r.Bytes, bytes, r.TokensPerSecond)
			}
			for i, d := range r.Documents {
				sum := 0.0
				for _, v := range per["nll"][i] {
					sum += v
				}
				if d.Index != i || d.Tokens != len(documents[i]) {
					t.Errorf("%s: have %+v for document %d of %d tokens", what, d, i, len(documents[i]))
				}
				closeTo(t, what+", a document's nll", d.NLL, sum/float64(d.Tokens))
			}
			for _, name := range []string{"kl", "reverse_kl"} {
				all := slices.Sorted(slices.Values(slices.Concat(per[name]...)))
				// 24 tokens: the 90th percentile lies at place 20.7
				closeTo(t, what+", median of "+name, r.Percentiles[name][0], (all[11]+all[12])/2)
				closeTo(t, what+", 90th percentile of "+name, r.Percentiles[name][1], all[20]+0.7*(all[21]-all[20]))
				closeTo(t, what+", maximum of "+name, r.Percentiles[name][3], all[23])
			}
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			if err := live.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func sortedKeys(m map[string]Figure) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func closeTo(t *testing.T, what string, have, want float64) {
	t.Helper()
	if !(math.Abs(have-want) <= 2e-5*max(1, math.Abs(want))) {
		t.Errorf("%s: have %.8f, want %.8f", what, have, want)
	}
}

// clustered is the mean over tokens with the sandwich estimator for an intercept alone: residuals summed within each document, squared,
// with the small-sample factor G/(G−1). Liang and Zeger 1986.
func clustered(docs [][]float64) Figure {
	n, sum := 0.0, 0.0
	for _, d := range docs {
		for _, v := range d {
			n, sum = n+1, sum+v
		}
	}
	mean, squares, g := sum/n, 0.0, float64(len(docs))
	for _, d := range docs {
		residual := 0.0
		for _, v := range d {
			residual += v - mean
		}
		squares += residual * residual
	}
	return Figure{mean, math.Sqrt(g / (g - 1) * squares / (n * n))}
}

// TestRatioAgainstSpread: the standard error is the spread of the mean over many samples of documents whose tokens hang together.
func TestRatioAgainstSpread(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	const samples, docs = 4000, 60
	var means, errs []float64
	for range samples {
		values, sizes := make([]float64, docs), make([]float64, docs)
		for d := range docs {
			level := r.NormFloat64() // common to the document's tokens
			for range 3 + r.IntN(30) {
				sizes[d]++
				values[d] += 2 + level + 0.5*r.NormFloat64()
			}
		}
		f := ratio(values, sizes)
		means, errs = append(means, f.Value), append(errs, f.Stderr)
	}
	mean, spread, typical := 0.0, 0.0, 0.0
	for i := range means {
		mean += means[i] / samples
		typical += errs[i] / samples
	}
	for _, m := range means {
		spread += (m - mean) * (m - mean) / (samples - 1)
	}
	spread = math.Sqrt(spread)
	if math.Abs(mean-2) > 5*spread/math.Sqrt(samples) {
		t.Errorf("have mean %.4f, want 2", mean)
	}
	if math.Abs(typical/spread-1) > 0.05 {
		t.Errorf("have a typical standard error of %.4f, want the spread %.4f", typical, spread)
	}
	if independent := spread / math.Sqrt(1.25/(docs*17.5)); independent < 3 {
		t.Errorf("the documents' tokens do not hang together (%.2f): nothing is checked", independent)
	}
}

func TestRatio(t *testing.T) {
	if f := ratio([]float64{6}, []float64{3}); f.Value != 2 || !math.IsNaN(f.Stderr) {
		t.Errorf("one document: have %v, want 2 without a known error", f)
	}
	// 1, 2, 3 in the first, 4 in the second: mean 2.5, residuals -1.5 and 1.5
	if f := ratio([]float64{6, 4}, []float64{3, 1}); f.Value != 2.5 || math.Abs(f.Stderr-math.Sqrt(2*4.5)/4) > 1e-15 {
		t.Errorf("have %v, want 2.5 and %v", f, math.Sqrt(9)/4)
	}
}

func TestQuantile(t *testing.T) {
	inf := math.Inf(1)
	for _, test := range []struct {
		sorted []float64
		q      float64
		want   float64
	}{
		{[]float64{5}, 0.9, 5},
		{[]float64{1, 2}, 0.5, 1.5},
		{[]float64{1, 2, 3, 4, 5}, 0.5, 3},
		{[]float64{1, 2, 3, 4, 5}, 0.9, 4.6},
		{[]float64{0, 10}, 0.99, 9.9},
		{[]float64{1, 2, inf}, 0.5, 2}, // the infinite one has no share
		{[]float64{1, 2, inf}, 0.9, inf},
	} {
		if have := quantile(test.sorted, test.q); math.Abs(have-test.want) > 1e-12 {
			t.Errorf("%v at %v: have %v, want %v", test.sorted, test.q, have, test.want)
		} else if math.IsNaN(have) {
			t.Errorf("%v at %v: have NaN, want %v", test.sorted, test.q, test.want)
		}
	}
}

// TestWithoutTeacher: what compares with a teacher is not there.
func TestWithoutTeacher(t *testing.T) {
	m, w := open(t, 1, 20)
	e, err := New(m, w.Frozen(), nil, &graph.Arena{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	r, err := e.Run(context.Background(), source(t, true), 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Figures) != 1 || len(r.Percentiles) != 0 || r.Figures["nll"].Value <= 0 {
		t.Errorf("have %v, %v, want nll alone", r.Figures, r.Percentiles)
	}
}

// TestNotANumber: weights with a NaN give an error that says where, not a figure.
func TestNotANumber(t *testing.T) {
	m, w := open(t, 1, 20)
	w.View(0)[8*16] = float32(math.NaN()) // the row of 'h', which the second document alone has
	e, err := New(m, w.Frozen(), nil, &graph.Arena{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	_, err = e.Run(context.Background(), source(t, false), 2, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "nll is not a number at document 1, position ") || !strings.HasSuffix(err.Error(), ": the weights hold NaN or infinities") {
		t.Errorf("have error %v", err)
	}
}

func TestErrorsOfTheObjective(t *testing.T) {
	m, w := open(t, 1, 8) // smaller than the data's vocabulary
	e, err := New(m, w.Frozen(), nil, &graph.Arena{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err = e.Run(context.Background(), source(t, false), 2, nil); err == nil || !strings.HasPrefix(err.Error(), "student: embedding") {
		t.Errorf("have error %v, want one of the student's embedding", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err = e.Run(ctx, source(t, false), 2, nil); err == nil {
		t.Error("a cancelled context did not end the evaluation")
	}
}

// TestJSON: the public names, and null for what cannot be known.
func TestJSON(t *testing.T) {
	r := &Result{
		Generates:   true,
		Figures:     map[string]Figure{"nll": {1, math.NaN()}, "kl": {math.Inf(1), 0.5}},
		Percentiles: map[string][4]float64{"kl": {1, 2, math.Inf(1), math.Inf(1)}},
		Tokens:      7, Documents: make([]Document, 1), TokensPerSecond: 12,
	}
	text, err := json.Marshal(r.JSON())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"bits_per_byte":null,"bits_per_byte_stderr":null,"bytes":null,"documents":1,"kl":null,"kl_percentiles":{"100":null,"50":1,"90":2,"99":null},"kl_stderr":0.5,` +
		`"nll":1,"nll_stderr":null,"perplexity":2.718281828459045,"perplexity_stderr":null,"tokens":7,"tokens_per_second":12}`
	if string(text) != want {
		t.Errorf("have %s\nwant %s", text, want)
	}
	r.Bytes, r.BitsPerByte = 9, &Figure{0.5, 0.25}
	if j := r.JSON(); j["bytes"] != 9 || j["bits_per_byte"] != 0.5 || j["bits_per_byte_stderr"] != 0.25 {
		t.Errorf("have %v", j)
	}
}

func TestBetter(t *testing.T) {
	for _, name := range Metrics() {
		if grows := !slices.Contains([]string{"nll", "teacher_nll", "mse", "kl", "reverse_kl"}, name); Better(name, 2, 1) != grows || Better(name, 1, 2) == grows || Better(name, 1, 1) {
			t.Errorf("%s: the larger is better: %v", name, grows)
		}
	}
}

var _ objective.Teacher = (*teacher.Live)(nil)
