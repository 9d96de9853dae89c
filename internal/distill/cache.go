package distill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"kdistill/internal/config"
	"kdistill/internal/graph"
	"kdistill/internal/loss"
	"kdistill/internal/model"
	"kdistill/internal/report"
	"kdistill/internal/signal"
)

// CacheResult is what Cache has written.
type CacheResult struct {
	Dir      string
	Header   signal.Header
	Totals   signal.Totals // of the whole cache
	Rows     int           // written now
	Duration time.Duration // of that
}

// Cache runs a configuration's teacher once over the documents to learn from and keeps what it says. What the folder has already is left out, so that a
// run that was stopped goes on, and new documents are added.
func Cache(ctx context.Context, c *config.Config, o Options) (_ *CacheResult, err error) {
	dir := cmp.Or(c.Cache.Dir, c.Teacher.Cache)
	if dir == "" {
		return nil, &config.Error{Problems: []string{"cache.dir is missing: give the folder to write to, here or as teacher.cache"}}
	}
	live := *c
	live.Teacher.Cache = "" // which is about to be written
	if live.Teacher.List != nil {
		return nil, &config.Error{Problems: []string{"teacher is a list, and a cache keeps the words of one: name that one alone, as teacher: {path: DIR}"}}
	}
	if live.Teacher.Path == "" {
		return nil, &config.Error{Problems: []string{"teacher.path is missing: which teacher shall speak?"}}
	}
	r := &run{config: &live, log: o.Log}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.makeStages(); err != nil {
		return nil, err
	}
	if err := r.openModels(ctx); err != nil {
		return nil, err
	}
	if r.single().Model.Info().Task == model.Masked {
		return nil, errors.New("the teacher fills in masked tokens, and these are drawn anew in each epoch: there is no end of what it could be asked")
	}
	if err := r.loadData(ctx); err != nil {
		return nil, err
	}
	if err := r.single().pack(true); err != nil {
		return nil, err
	}
	h, err := r.header()
	if err != nil {
		return nil, err
	}
	if _, err := r.sparse(h); err != nil { // before the teacher has run for hours
		return nil, err
	}
	w, err := signal.Create(ctx, dir, h)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for _, note := range w.Notes {
		r.say("note: %s", note)
	}
	before, begun := w.Totals().Rows, time.Now()
	if err := r.record(ctx, w); err != nil {
		if ctx.Err() != nil {
			r.say("stopped: %s rows are written; the same command goes on", report.Count(int64(w.Totals().Rows)))
		}
		return nil, err
	}
	return &CacheResult{Dir: dir, Header: h, Totals: w.Totals(), Rows: w.Totals().Rows - before, Duration: time.Since(begun)}, w.Sync()
}

// header describes the cache that the configuration asks for.
func (r *run) header() (signal.Header, error) {
	c, info := r.config, r.single().Model.Info()
	h := signal.Header{
		Version: signal.Version, Kind: signal.TopK, Count: int(c.Cache.TopK), Bits: c.Cache.Bits, Temperature: c.Cache.Temperature,
		Teacher: signal.Teacher{
			Path: c.Teacher.Path, Type: info.Type, DType: c.Teacher.DType, Precision: c.Train.Precision, Task: string(info.Task), Labels: info.Labels,
		},
	}
	outputs, err := r.single().live.Shapes()
	if err != nil {
		return h, fmt.Errorf("teacher: %w", err)
	}
	if outputs.Head.Weight == nil {
		return h, fmt.Errorf("the teacher, %s, has no head, and so no logits to keep", info.Class)
	}
	h.Vocabulary = outputs.Head.Weight.Shape[0]
	switch {
	case c.Cache.Samples > 0:
		h.Kind, h.Count, h.Seed = signal.Samples, c.Cache.Samples, uint64(c.Train.Seed)
	case c.Cache.TopK == config.AllIDs:
		h.Kind, h.Count = signal.All, h.Vocabulary
	}
	h.Count = min(h.Count, max(h.Vocabulary, c.Cache.Samples))
	if err := r.cacheTemperature(&h); err != nil {
		return h, err
	}
	if r.single().Tokenizer != nil {
		h.Tokenizer = r.single().Tokenizer.Fingerprint()
	}
	h.Teacher.Hash, err = r.single().Hash()
	return h, err
}

// cacheTemperature takes the losses' where none is given: logits alone fit any.
func (r *run) cacheTemperature(h *signal.Header) error {
	if h.Kind == signal.All {
		if h.Temperature != 0 && h.Temperature != 1 {
			return &config.Error{Problems: []string{"cache.temperature: all logits are kept, which fit any temperature: leave it out"}}
		}
		h.Temperature = 1
		return nil
	}
	if h.Temperature != 0 {
		return nil
	}
	for c, t := range r.terms() {
		if !t.Loss.Teacher || !t.Loss.Temperature {
			continue
		}
		if own := t.Loss.Params.Temperature; h.Temperature == 0 {
			h.Temperature = own
		} else if h.Temperature != own {
			return &config.Error{Problems: []string{fmt.Sprintf("cache.temperature is missing: the losses have several, of which %s has %g; with one of them the others are approximations, with top_k: all none is",
				c.Label(), own)}}
		}
	}
	h.Temperature = cmp.Or(h.Temperature, 1)
	return nil
}

// sparse makes the losses that compare with the teacher fit rows that are kept in part; of a term whose rows are whole there is none.
func (r *run) sparse(h signal.Header) (map[*graph.Term]*loss.Loss, error) {
	all := map[*graph.Term]*loss.Loss{}
	var problems []string
	for c, t := range r.terms() {
		switch {
		case !t.Loss.Teacher:
		case t.Loss.Rows != loss.Logits:
			problems = append(problems, fmt.Sprintf("loss %s compares what is inside of the models, and the cache keeps logits only: set teacher.path alone", t.Loss.Name))
		case h.Kind == signal.All && c.Tail != "":
			problems = append(problems, fmt.Sprintf("loss %s: tail: the cache keeps all ids: there is no tail", c.Label()))
		case h.Kind != signal.All:
			var err error
			all[t], err = t.Loss.Sparse(loss.SparseParams{
				Tail: c.Tail, Temperature: h.Temperature, Vocabulary: h.Vocabulary, Sampled: h.Kind == signal.Samples,
			})
			if err != nil {
				problems = append(problems, err.Error())
			}
		}
	}
	if problems != nil {
		return nil, &config.Error{Problems: problems}
	}
	return all, nil
}

// Print writes what is in the cache, and what it lost.
func (c *CacheResult) Print(w io.Writer) error {
	if err := report.Table(w, CacheTable(c.Dir, c.Header, c.Totals)); err != nil {
		return err
	}
	if c.Rows == 0 {
		_, err := fmt.Fprintln(w, "\nnothing was missing: no row is new")
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s rows are new, in %s: %s rows/s\n", report.Count(int64(c.Rows)), report.Duration(c.Duration), report.Count(int64(float64(c.Rows)/c.Duration.Seconds())))
	return err
}

// CacheTable describes a cache for people.
func CacheTable(dir string, h signal.Header, t signal.Totals) [][]string {
	rows := [][]string{
		{"cache", dir},
		{"teacher", fmt.Sprintf("%s (%s), weights %s, products %s, sha256 %.16s", h.Teacher.Path, h.Teacher.Type, h.Teacher.DType, h.Teacher.Precision, h.Teacher.Hash)},
		{"tokenizer", cmp.Or(fmt.Sprintf("%.16s", h.Tokenizer), "none")},
		{"kept", h.Describe()},
		{"rows", fmt.Sprintf("%d, in %d sequences of %d tokens", t.Rows, t.Sequences, t.Tokens)},
		{"size", fmt.Sprintf("%s, %.1f bytes a row", report.Bytes(t.Bytes), float64(t.Bytes)/float64(max(1, t.Rows)))},
	}
	divergence := "KL(teacher||kept)"
	if h.Kind == signal.Samples {
		divergence = "KL(draws||teacher)"
	}
	lost := fmt.Sprintf("%.3g nats a row, %.3g of it by rounding", t.PerRow(t.Divergence), t.PerRow(t.Rounding))
	if h.Teacher.Type == told {
		lost = fmt.Sprintf("unknown: the teacher told no more; %.3g nats a row by rounding", t.PerRow(t.Rounding))
	}
	rows = append(rows, []string{divergence, lost})
	if h.Kind != signal.All {
		rows = append(rows, []string{"mass of ids not kept", fmt.Sprintf("%.4g on average; percentiles 50: %.3g, 90: %.3g, 99: %.3g, 100: %.3g", t.PerRow(t.Tail),
			t.TailQuantile(0.5), t.TailQuantile(0.9), t.TailQuantile(0.99), t.TailQuantile(1))})
	}
	return rows
}
