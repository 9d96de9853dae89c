package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"kdistill/internal/checkpoint"
	"kdistill/internal/generate"
)

func init() { register(newGenerate) }

type generateOptions struct {
	model        string
	prompts, ids []string
	samples      int
	sampling     generate.Options
	stops        []string
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

The prompt and its continuation are printed as they come. With --json each continuation gives one line with ids, text (null without a
tokenizer) and finish_reason (stop or length). The end tokens are those of generation_config.json, else of config.json; the one that
ended a text is the last of its ids. A text that --stop ends is cut off before it; the ids go on to the end of what was found.
Several continuations, of prompts and their samples, are made at once and printed in order; they have the seeds SEED, SEED+1, ...,
and each is what it would be alone.`,
		Example: `  kdistill generate --model runs/x/model --prompt 'Once upon a time'
  kdistill generate --model runs/x/model --prompt 'The sea' --prompt 'The sky' --samples 3 --temperature 0.8 --top-p 0.95 --seed 7
  kdistill generate --model models/stories260k --ids 1,403,407 --max-tokens 20 --json`,
		Args: checked(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context(), s) },
	}
	f := c.Flags()
	f.StringVar(&o.model, "model", "", "the model: a Hugging Face `DIR`, or org/name in the cache")
	f.StringArrayVar(&o.prompts, "prompt", nil, "continue `TEXT`; may be repeated")
	f.StringArrayVar(&o.ids, "ids", nil, "continue token `IDS` such as 1,2,3, as they are; may be repeated")
	f.IntVar(&o.sampling.MaxTokens, "max-tokens", 128, "end after `N` new tokens, or where the model's positions end")
	addSampling(f, &o.sampling)
	f.StringArrayVar(&o.stops, "stop", nil, "end a continuation before `TEXT`; may be repeated")
	f.IntVar(&o.samples, "samples", 1, "`N` continuations of each prompt")
	f.Uint64Var(&o.sampling.Seed, "seed", 1, "of the samples")
	f.BoolVar(&o.ignoreEOS, "ignore-eos", false, "go on after an end token")
	f.BoolVar(&o.json, "json", false, "print one JSON object for each prompt")
	addThreads(c, &o.threads)
	return c
}

// addSampling adds the flags that say how each token is chosen.
func addSampling(f *pflag.FlagSet, o *generate.Options) {
	f.Float64Var(&o.Temperature, "temperature", 0, "0: greedy; else sample from the logits divided by `T`")
	f.IntVar(&o.TopK, "top-k", 0, "sample from the `K` likeliest tokens only; 0: all")
	f.Float64Var(&o.TopP, "top-p", 1, "sample from the fewest likeliest tokens whose probabilities reach `P`")
	f.Float64Var(&o.MinP, "min-p", 0, "sample from the tokens that are at least `P` times as likely as the likeliest")
	f.Float64Var(&o.RepetitionPenalty, "repetition-penalty", 1, "make tokens that were there less likely: positive logits are divided by `R`, negative ones multiplied")
}

func (o *generateOptions) check() error {
	if o.model == "" {
		return usagef("--model is missing: name a model's folder")
	}
	if (len(o.prompts) > 0) == (len(o.ids) > 0) {
		return usagef("want --prompt or --ids, at least one and not both")
	}
	if o.samples < 1 {
		return usagef("--samples: have %d, want at least 1", o.samples)
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
	n := len(prompts) * o.samples
	e := generate.NewEngine(m.Model, weights, m.Tokenizer, min(n, atOnce))
	defer func() { err = errors.Join(err, e.Close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &inOrder{out: s.out, waiting: make([]bytes.Buffer, n), ended: make([]bool, n)}
	errs := make([]error, n)
	var wait sync.WaitGroup
	for i := range n {
		r := generate.Request{Prompt: prompts[i/o.samples], Options: o.sampling, StopStrings: o.stops}
		r.Seed += uint64(i)
		wait.Go(func() {
			if errs[i] = o.one(ctx, s, e, m, r, out, i); errs[i] != nil {
				cancel()
			}
		})
	}
	wait.Wait()
	return worst(errs, o.samples)
}

// atOnce is how many continuations are made at the same time.
const atOnce = 32

// worst returns the first error that is not the consequence of another.
func worst(errs []error, samples int) (err error) {
	for i, e := range errs {
		if e == nil || err != nil && errors.Is(e, context.Canceled) {
			continue
		}
		if len(errs) > samples {
			e = fmt.Errorf("prompt %d: %w", i/samples+1, e)
		}
		if err == nil || errors.Is(err, context.Canceled) {
			err = e
		}
	}
	return err
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

// one writes the i-th continuation: as text while it comes, or as one line of JSON.
func (o *generateOptions) one(ctx context.Context, s streams, e *generate.Engine, m *checkpoint.Pretrained, r generate.Request, out *inOrder, i int) error {
	if !o.json {
		if i > 0 {
			out.write(i, "\n")
		}
		if m.Tokenizer != nil {
			out.write(i, m.Tokenizer.Decode(r.Prompt, true))
		} else {
			out.write(i, joined(r.Prompt))
		}
		r.Emit = func(id int32, text string) error {
			if m.Tokenizer == nil {
				text = "," + joined([]int32{id})
			}
			return out.write(i, text)
		}
	}
	result, err := e.Generate(ctx, r)
	if err != nil && o.json {
		return err
	}
	end := "\n"
	if o.json {
		line := struct {
			IDs    []int32         `json:"ids"`
			Text   *string         `json:"text"`
			Finish generate.Finish `json:"finish_reason"`
		}{result.IDs, nil, result.Finish}
		if m.Tokenizer != nil {
			line.Text = &result.Text
		}
		text, err := jsonLine(line)
		if err != nil {
			return err
		}
		end = string(text)
	}
	if result.Finish == generate.Length && len(result.IDs) < r.MaxTokens && err == nil {
		fmt.Fprintf(s.err, "note: ended after %d tokens, where the model's %d positions are full\n", len(result.IDs), m.Model.Info().Positions)
	}
	return errors.Join(err, out.write(i, end), out.end(i))
}

// joined are ids with commas between them.
func joined(ids []int32) string {
	var b strings.Builder
	for i, id := range ids {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(int(id)))
	}
	return b.String()
}

// inOrder writes what several goroutines have to say one after the other: the first one's as it comes, that of others when those before have ended.
type inOrder struct {
	mu      sync.Mutex
	out     io.Writer
	now     int
	waiting []bytes.Buffer
	ended   []bool
	err     error
}

func (w *inOrder) write(i int, text string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if i != w.now {
		w.waiting[i].WriteString(text)
		return w.err
	}
	w.to(text)
	return w.err
}

func (w *inOrder) to(text string) {
	if w.err == nil {
		_, w.err = io.WriteString(w.out, text)
	}
}

// end says that the i-th has nothing more to say.
func (w *inOrder) end(i int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended[i] = true
	for w.now < len(w.ended) && w.ended[w.now] {
		if w.now++; w.now < len(w.waiting) {
			w.to(w.waiting[w.now].String())
			w.waiting[w.now].Reset()
		}
	}
	return w.err
}
