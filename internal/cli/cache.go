package cli

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"
	"kdistill/internal/distill"
	"kdistill/internal/report"
	"kdistill/internal/signal"
)

func init() { register(newCache) }

type cacheOptions struct {
	configured
	json, answers bool
}

func newCache(s streams) *cobra.Command {
	var o cacheOptions
	c := &cobra.Command{
		Use:   "cache --config FILE|NAME",
		Short: "Run the teacher once and keep what it says on disk",
		Long: `Run the teacher of a configuration once over data.train and keep what it says in cache.dir; training with teacher.cache then learns from that,
with the teacher nowhere in memory. Kept are the likeliest ids (cache.top_k), draws (cache.samples) or all logits (cache.top_k=all), at the
positions that the configuration's losses count. What that loses is measured and printed.

Rows are found again by the tokens that the teacher saw: any order, packing, subset or number of epochs may be trained from one cache. Where
documents are longer than data.sequence_length the teacher saw pieces, and training must cut them alike. A run that was stopped goes on,
and new documents are added, with the same command.

With --answers no teacher runs: the log-probabilities that a server returned with each answer (kdistill synth keeps them) become rows, where its tokens are those
of the student's tokenizer. The records that have rows are written to answers.jsonl beside them, to learn from.`,
		Example: `  kdistill cache --config run.yaml --set cache.dir=caches/run
  kdistill train --config run.yaml --set teacher.cache=caches/run
  kdistill cache --config run.yaml --set cache.dir=caches/draws --set cache.samples=64
  kdistill cache --config run.yaml --answers --set cache.dir=caches/told --set 'data.train[0].path=synth.jsonl'
  kdistill inspect caches/run`,
		Args: checked(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, s) },
	}
	o.addFlags(c)
	f := c.Flags()
	f.BoolVar(&o.json, "json", false, "print one JSON object")
	f.BoolVar(&o.answers, "answers", false, "run no teacher: keep the log-probabilities that came with the answers in data.train")
	return c
}

func (o *cacheOptions) run(cmd *cobra.Command, s streams) error {
	if err := o.check(); err != nil {
		return err
	}
	c, err := o.load()
	if err != nil {
		return err
	}
	run := distill.Cache
	if o.answers {
		run = distill.CacheAnswers
	}
	r, err := run(cmd.Context(), c, distill.Options{Log: s.err})
	if err != nil {
		return err
	}
	if o.json {
		return json.NewEncoder(s.out).Encode(struct {
			cacheDescription
			New     int     `json:"new_rows"`
			Seconds float64 `json:"seconds"`
		}{describeCache(r.Dir, r.Header, r.Totals), r.Rows, r.Duration.Seconds()})
	}
	return r.Print(s.out)
}

// cacheDescription is what a cache says of itself, in JSON. Divergence, rounding and tail are means over the rows.
type cacheDescription struct {
	Path string `json:"path"`
	signal.Header
	Sequences   int                `json:"sequences"`
	Tokens      int                `json:"tokens"`
	Rows        int                `json:"rows"`
	Bytes       int64              `json:"bytes"`
	BytesPerRow float64            `json:"bytes_per_row"`
	Divergence  float64            `json:"divergence"`
	Rounding    float64            `json:"rounding"`
	Tail        float64            `json:"tail"`
	Percentiles map[string]float64 `json:"tail_percentiles"`
}

func describeCache(dir string, h signal.Header, t signal.Totals) cacheDescription {
	return cacheDescription{
		Path: dir, Header: h, Sequences: t.Sequences, Tokens: t.Tokens, Rows: t.Rows, Bytes: t.Bytes, BytesPerRow: t.PerRow(float64(t.Bytes)),
		Divergence: t.PerRow(t.Divergence), Rounding: t.PerRow(t.Rounding), Tail: t.PerRow(t.Tail),
		Percentiles: map[string]float64{"50": t.TailQuantile(0.5), "90": t.TailQuantile(0.9), "99": t.TailQuantile(0.99), "100": t.TailQuantile(1)},
	}
}

// cache describes a folder that kdistill cache has written.
func (o *inspectOptions) cache(ctx context.Context, s streams, dir string) (err error) {
	if o.teacher != "" {
		return usagef("--teacher: %s is a cache, not a student", dir)
	}
	r, err := signal.Open(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if o.json {
		enc := json.NewEncoder(s.out)
		enc.SetIndent("", "  ")
		return enc.Encode(describeCache(dir, r.Header(), r.Totals()))
	}
	return report.Table(s.out, distill.CacheTable(dir, r.Header(), r.Totals()))
}
