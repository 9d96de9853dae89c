// Package eval measures a model on documents, alone or against a teacher: what it predicts are tokens, classes or a number. It scores the answers to tasks,
// but does not ask for them.
//
// Every figure has a standard error: that of a mean over predicted tokens is clustered by document.
package eval

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"kdistill/internal/data"
	"kdistill/internal/graph"
	"kdistill/internal/model"
	"kdistill/internal/nn"
	"kdistill/internal/objective"
)

// Figure is a value and its standard error.
type Figure struct{ Value, Stderr float64 }

// Document is what was measured on one document.
type Document struct {
	Index  int     // in the data set
	NLL    float64 // nats per token, or of the class; NaN of a number
	Tokens int     // predicted tokens; 1 where the document has a class or a number

	Label, Prediction float64 // the class, or the number; 0 of a language model
}

// Result is what Evaluate measured.
type Result struct {
	Generates       bool                  // the tokens are a language model's: they have a perplexity
	Figures         map[string]Figure     // by metric
	Percentiles     map[string][4]float64 // 50th, 90th, 99th percentile and maximum, of the divergences
	BitsPerByte     *Figure               // nil: the source bytes are not known
	Tokens          int                   // predicted
	Bytes           int                   // of the source that the predicted tokens cover
	Documents       []Document            // in the data set's order
	TokensPerSecond float64               // predicted tokens, or documents, by wall time
}

// Perplexity is e to the mean nll; its error by the delta method.
func (r *Result) Perplexity() Figure {
	f := r.Figures["nll"]
	p := math.Exp(f.Value)
	return Figure{p, p * f.Stderr}
}

// JSON lists every figure under its public name, with its standard error under name_stderr; null where it can't be known.
func (r *Result) JSON() map[string]any {
	out := map[string]any{"documents": len(r.Documents), "tokens": r.Tokens, "tokens_per_second": r.TokensPerSecond}
	put := func(name string, f Figure) {
		out[name], out[name+"_stderr"] = number(f.Value), number(f.Stderr)
	}
	for name, f := range r.Figures {
		put(name, f)
	}
	if r.Generates {
		put("perplexity", r.Perplexity())
		out["bytes"], out["bits_per_byte"], out["bits_per_byte_stderr"] = nil, nil, nil
	}
	if r.BitsPerByte != nil {
		out["bytes"] = r.Bytes
		put("bits_per_byte", *r.BitsPerByte)
	}
	for name, p := range r.Percentiles {
		out[name+"_percentiles"] = map[string]any{"50": number(p[0]), "90": number(p[1]), "99": number(p[2]), "100": number(p[3])}
	}
	return out
}

// number is null in JSON where x is not finite: the error of a single document, an infinite divergence.
func number(x float64) any {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return x
}

// Evaluator measures one model, against a teacher where there is one. Its programs are kept from one evaluation to the next.
type Evaluator struct {
	objective objective.Objective
	metrics   []definition
	kind      kinds
}

// New makes an evaluator over a model's weights. Of several teachers it is their average; nil: none.
func New(m model.Model, weights nn.Weights, teachers []objective.Weighted, arena *graph.Arena) (*Evaluator, error) {
	info := m.Info()
	e := &Evaluator{
		objective: objective.Objective{Model: m, Weights: weights, Teachers: teachers, Arena: arena},
		kind:      kindOf(info),
	}
	for _, metric := range registry {
		if !metric.fits(info, teachers != nil) {
			continue
		}
		row, err := predictions()
		if metric.row != nil {
			row, err = metric.row()
		}
		if err != nil {
			return nil, err
		}
		e.metrics = append(e.metrics, metric)
		e.objective.Terms = append(e.objective.Terms, &graph.Term{Loss: row})
	}
	if len(e.metrics) == 0 {
		return nil, fmt.Errorf("%s has no head: nothing that it predicts could be measured", info.Class)
	}
	return e, nil
}

// LimitHead bounds the bytes that logits take at a time, as graph.Graph.HeadBudget does. It is called before the first Run.
func (e *Evaluator) LimitHead(bytes int) { e.objective.HeadBudget = bytes }

// Close frees the compiled programs.
func (e *Evaluator) Close() error { return e.objective.Close() }

// Progress is told the rows done after each batch.
type Progress func(rows int)

// Run measures every row of the source, which must end (Epochs > 0), rows at a time. progress may be nil.
func (e *Evaluator) Run(ctx context.Context, source *data.Source, rows int, progress Progress) (*Result, error) {
	start := time.Now()
	sums := newSums(len(e.metrics))
	for done := 0; ; {
		batch, err := source.Next(rows)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		losses, err := e.objective.Run(ctx, batch)
		if err != nil {
			return nil, err
		}
		if err := sums.add(e.metrics, losses.Values, batch); err != nil {
			return nil, err
		}
		done += batch.B
		if progress != nil {
			progress(done)
		}
	}
	r := sums.result(e.metrics)
	r.Generates = e.kind&tokens != 0
	r.TokensPerSecond = float64(r.Tokens) / time.Since(start).Seconds()
	return r, nil
}

// sums collects values by document.
type sums struct {
	documents map[int32]*totals
	kept      [][]float64 // each token's value, where percentiles are wanted
	bytes     bool
}

// totals of one document.
type totals struct {
	values        []float64
	label         float64 // of its last token
	tokens, bytes int
}

func newSums(metrics int) *sums {
	return &sums{documents: map[int32]*totals{}, kept: make([][]float64, metrics), bytes: true}
}

func (s *sums) add(metrics []definition, values [][]float64, b *data.Batch) error {
	s.bytes = s.bytes && b.Bytes != nil
	for i, label := range b.Labels {
		if label == data.Ignore {
			continue
		}
		d := s.documents[b.Documents[i]]
		if d == nil {
			d = &totals{values: make([]float64, len(metrics))}
			s.documents[b.Documents[i]] = d
		}
		d.tokens++
		if d.label = float64(label); b.Targets != nil {
			d.label = float64(b.Targets[i])
		}
		if b.Bytes != nil {
			d.bytes += int(b.Bytes[i])
		}
		for j, m := range metrics {
			v := values[j][i]
			if math.IsNaN(v) {
				return fmt.Errorf("%s is not a number at document %d, position %d: the weights hold NaN or infinities", m.name, b.Documents[i], b.Positions[i])
			}
			d.values[j] += v
			if m.percentiles {
				s.kept[j] = append(s.kept[j], v)
			}
		}
	}
	return nil
}

func (s *sums) result(metrics []definition) *Result {
	r := &Result{Figures: map[string]Figure{}, Percentiles: map[string][4]float64{}}
	var order []int32
	for i := range s.documents {
		order = append(order, i)
	}
	slices.Sort(order)
	tokens, bytes, labels := make([]float64, len(order)), make([]float64, len(order)), make([]float64, len(order))
	for i, index := range order {
		d := s.documents[index]
		tokens[i], bytes[i], labels[i] = float64(d.tokens), float64(d.bytes), d.label
		r.Tokens += d.tokens
		r.Bytes += d.bytes
		r.Documents = append(r.Documents, Document{Index: int(index), NLL: math.NaN(), Tokens: d.tokens})
	}
	for j, m := range metrics {
		values := make([]float64, len(order))
		for i, index := range order {
			values[i] = s.documents[index].values[j]
		}
		if m.score != nil {
			r.Figures[m.name] = m.score(values, labels)
			for i := range r.Documents {
				r.Documents[i].Label, r.Documents[i].Prediction = labels[i], values[i]
			}
			continue
		}
		r.Figures[m.name] = ratio(values, tokens)
		if m.name == "nll" {
			for i := range order {
				r.Documents[i].NLL = values[i] / tokens[i]
			}
			if s.bytes && r.Bytes > 0 {
				f := ratio(values, bytes)
				r.BitsPerByte = &Figure{f.Value / math.Ln2, f.Stderr / math.Ln2}
			}
		}
		if m.percentiles && len(s.kept[j]) > 0 {
			slices.Sort(s.kept[j])
			r.Percentiles[m.name] = [4]float64{quantile(s.kept[j], 0.5), quantile(s.kept[j], 0.9), quantile(s.kept[j], 0.99), s.kept[j][len(s.kept[j])-1]}
		}
	}
	return r
}

// ratio is Σ value / Σ size over clusters, with the linearised standard error of a ratio of cluster totals:
// sqrt(G/(G−1) · Σ (value − ratio·size)²) / Σ size (Cochran 1977, Sampling Techniques, 6.4).
func ratio(values, sizes []float64) Figure {
	value, size := 0.0, 0.0
	for i := range values {
		value += values[i]
		size += sizes[i]
	}
	f := Figure{Value: value / size, Stderr: math.NaN()}
	if g := float64(len(values)); g > 1 {
		squares := 0.0
		for i := range values {
			d := values[i] - f.Value*sizes[i]
			squares += d * d
		}
		f.Stderr = math.Sqrt(g/(g-1)*squares) / size
	}
	return f
}

// quantile interpolates between the two nearest of sorted values.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	rest := at - float64(i)
	if rest == 0 { // where the next one, which may be infinite, has no share
		return sorted[i]
	}
	return sorted[i] + rest*(sorted[i+1]-sorted[i])
}
