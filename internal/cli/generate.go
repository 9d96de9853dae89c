package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"kdistill/internal/checkpoint"
	"kdistill/internal/generate"
	"kdistill/internal/tokenizer"
)

func init() { register(newGenerate) }

type generateOptions struct {
	model        string
	prompts, ids []string
	sampling     generate.Options
	ignoreEOS    bool
	json         bool
	threads      int
}

func newGenerate(s streams) *cobra.Command {
	var o generateOptions
	c := &cobra.Command{
		Use:   "generate --model DIR --prompt TEXT",
		Short: "Continue a text with a model",
		Long: `Continue a text with a model, greedily or, with --temperature, by sampling.

The prompt and its continuation are printed as they come. With --json each prompt gives one line with ids, text (null without a
tokenizer) and finish_reason (stop or length), all of the continuation alone. The end tokens are those of generation_config.json,
else of config.json; the one that ended a text is the last of its ids.
Several prompts are sampled with the seeds SEED, SEED+1, ...`,
		Example: `  kdistill generate --model runs/x/model --prompt 'Once upon a time'
  kdistill generate --model runs/x/model --prompt 'The sea' --prompt 'The sky' --temperature 0.8 --top-p 0.95 --seed 7
  kdistill generate --model models/stories260k --ids 1,403,407 --max-tokens 20 --json`,
		Args: checked(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), s) },
	}
	f := c.Flags()
	f.StringVar(&o.model, "model", "", "the model: a Hugging Face `DIR`, or org/name in the cache")
	f.StringArrayVar(&o.prompts, "prompt", nil, "continue `TEXT`; may be repeated")
	f.StringArrayVar(&o.ids, "ids", nil, "continue token `IDS` such as 1,2,3, as they are; may be repeated")
	f.IntVar(&o.sampling.MaxTokens, "max-tokens", 128, "end after `N` new tokens, or where the model's positions end")
	f.Float64Var(&o.sampling.Temperature, "temperature", 0, "0: greedy; else sample from the logits divided by `T`")
	f.IntVar(&o.sampling.TopK, "top-k", 0, "sample from the `K` likeliest tokens only; 0: all")
	f.Float64Var(&o.sampling.TopP, "top-p", 1, "sample from the fewest likeliest tokens whose probabilities reach `P`")
	f.Uint64Var(&o.sampling.Seed, "seed", 1, "of the samples")
	f.BoolVar(&o.ignoreEOS, "ignore-eos", false, "go on after an end token")
	f.BoolVar(&o.json, "json", false, "print one JSON object for each prompt")
	addThreads(c, &o.threads)
	return c
}

func (o *generateOptions) check() error {
	if o.model == "" {
		return usagef("--model is missing: name a model's folder")
	}
	if (len(o.prompts) > 0) == (len(o.ids) > 0) {
		return usagef("want --prompt or --ids, at least one and not both")
	}
	if err := o.sampling.Check(); err != nil {
		return usageError{err}
	}
	return setThreads(o.threads)
}

func (o *generateOptions) run(ctx context.Context, s streams) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	m, err := checkpoint.OpenModel(o.model)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := generate.Check(m.Model); err != nil {
		return fmt.Errorf("%s: %w", m.Dir, err)
	}
	prompts, err := o.encode(m)
	if err != nil {
		return err
	}
	if !o.ignoreEOS {
		if o.sampling.Stop, err = generate.StopIDs(m.Dir, m.Config); err != nil {
			return fmt.Errorf("%s: %w", m.Dir, err)
		}
	}
	weights, err := checkpoint.ReadFrozen(m, m.Model, checkpoint.Auto)
	if err != nil {
		return fmt.Errorf("%s: %w", m.Dir, err)
	}
	g := generate.New(m.Model, weights)
	defer func() { err = errors.Join(err, g.Close()) }()
	for i, prompt := range prompts {
		if i > 0 && !o.json {
			fmt.Fprintln(s.out)
		}
		r, err := o.one(ctx, s, g, m.Tokenizer, prompt)
		if err != nil {
			if len(prompts) > 1 {
				err = fmt.Errorf("prompt %d: %w", i+1, err)
			}
			return err
		}
		if r.Finish == generate.Length && len(r.IDs) < o.sampling.MaxTokens {
			fmt.Fprintf(s.err, "note: ended after %d tokens, where the model's %d positions are full\n", len(r.IDs), m.Model.Info().Positions)
		}
		o.sampling.Seed++
	}
	return nil
}

// encode returns the token ids of every prompt.
func (o *generateOptions) encode(m *checkpoint.Pretrained) (prompts [][]int32, err error) {
	for _, list := range o.ids {
		ids, err := parseIDs(list)
		if err != nil {
			return nil, err
		}
		prompts = append(prompts, ids)
	}
	for _, text := range o.prompts {
		if m.Tokenizer == nil {
			return nil, usagef("%s has no tokenizer for --prompt: give token ids by --ids", m.Dir)
		}
		e, err := m.Tokenizer.Encode(text, true)
		if err != nil {
			return nil, fmt.Errorf("--prompt: %w", err)
		}
		if bos := m.Tokenizer.BOS(); len(e.IDs) == 0 && bos >= 0 {
			e.IDs = []int32{bos}
		}
		prompts = append(prompts, e.IDs)
	}
	return prompts, nil
}

func parseIDs(list string) (ids []int32, err error) {
	for _, field := range strings.Split(list, ",") {
		id, err := strconv.ParseInt(strings.TrimSpace(field), 10, 32)
		if err != nil {
			return nil, usagef("--ids: have %q, want whole numbers with commas between them, such as 1,2,3", list)
		}
		ids = append(ids, int32(id))
	}
	return ids, nil
}

// one continues one prompt: as text while it comes, or as one line of JSON.
func (o *generateOptions) one(ctx context.Context, s streams, g *generate.Generator, t *tokenizer.Tokenizer, prompt []int32) (generate.Result, error) {
	w := newWriter(t)
	before := w.add(prompt...)
	if o.json {
		r, err := g.Generate(ctx, prompt, o.sampling, nil)
		if err != nil {
			return r, err
		}
		line := struct {
			IDs    []int32         `json:"ids"`
			Text   *string         `json:"text"`
			Finish generate.Finish `json:"finish_reason"`
		}{r.IDs, nil, r.Finish}
		if t != nil {
			text := w.add(r.IDs...) + w.flush()
			line.Text = &text
		}
		return r, writeJSON(s, line)
	}
	if _, err := fmt.Fprint(s.out, before); err != nil {
		return generate.Result{}, err
	}
	r, err := g.Generate(ctx, prompt, o.sampling, func(id int32) error {
		_, err := fmt.Fprint(s.out, w.add(id))
		return err
	})
	_, written := fmt.Fprintln(s.out, w.flush())
	return r, errors.Join(err, written)
}

// writer turns ids to text as they come: whole characters, or numbers where there is no tokenizer.
type writer struct {
	stream *tokenizer.Stream
	begun  bool
}

func newWriter(t *tokenizer.Tokenizer) *writer {
	if t == nil {
		return &writer{}
	}
	return &writer{stream: t.NewStream(true)}
}

func (w *writer) add(ids ...int32) string {
	var b strings.Builder
	for _, id := range ids {
		if w.stream != nil {
			b.WriteString(w.stream.Add(id))
			continue
		}
		if w.begun {
			b.WriteByte(',')
		}
		w.begun = true
		b.WriteString(strconv.Itoa(int(id)))
	}
	return b.String()
}

func (w *writer) flush() string {
	if w.stream == nil {
		return ""
	}
	return w.stream.Flush()
}

// writeJSON writes one line.
func writeJSON(s streams, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := s.out.Write(b.Bytes())
	return err
}
