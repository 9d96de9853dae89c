package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"kdistill/internal/checkpoint"
	"kdistill/internal/data"
	"kdistill/internal/distill"
	"kdistill/internal/eval"
	"kdistill/internal/graph"
	"kdistill/internal/objective"
	"kdistill/internal/report"
	"kdistill/internal/teacher"
)

func init() { register(newEval) }

type evalOptions struct {
	model         string
	teachers      []string
	file          data.File
	length        int
	long          string
	stride, limit int
	prefix        string
	labels        []string
	masks         float64
	words         bool
	seed          uint64
	json          bool
	perExample    string
	threads       int
	task          taskOptions

	forDocuments, forScores, forQuestions []string // flags that only --data, --task or --predictions, and --task have
}

func newEval(s streams) *cobra.Command {
	o := evalOptions{}
	c := &cobra.Command{
		Use:   "eval --model DIR --data FILE | eval --model DIR --task FILE --metric NAME... | eval --predictions FILE --metric NAME...",
		Short: "Measure a model on documents, alone or against its teacher, or by its answers to questions",
		Long: `Measure a model on documents: nats per predicted token, perplexity, bits per byte; with --teacher also the Kullback-Leibler divergences,
agreement of the likeliest token, and acceptance (what share of the model's tokens the teacher would accept in speculative decoding).
A masked language model is measured at the tokens that are masked, with its accuracy. Of a classifier there are accuracy, F1 and Matthews' correlation,
of a regression its squared error and Pearson's and Spearman's correlations.
Every figure has a standard error, that of a mean over tokens clustered by document.
An evaluation of questions with --per-example FILE that was stopped goes on with the same command: FILE.part has the answers so far.

` + taskHelp,
		Example: `  kdistill eval --model runs/x/model --data test.txt --separator '<|endoftext|>'
  kdistill eval --model runs/x/model --teacher models/big --data test.jsonl --json
  kdistill eval --model runs/classifier/model --data dev.tsv --field sentence --label-field label
  kdistill eval --model runs/x/model --task gsm8k.jsonl --metric number --shots 4 --shots-from gsm8k-train.jsonl
  kdistill eval --model runs/x/model --task arc.jsonl --metric acc --metric acc_norm --per-example each.jsonl
  kdistill eval --predictions answers.jsonl --metric rougeL --metric exact_match --json`,
		Args: checked(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, s) },
	}
	f := c.Flags()
	f.StringVar(&o.model, "model", "", "the model: a Hugging Face `DIR`, or org/name in the cache")
	f.StringArrayVar(&o.teachers, "teacher", nil, "compare with the model in `DIR`; given more than once, with the average of their probabilities")
	f.StringVar(&o.file.Path, "data", "", "documents: a `FILE` of text, JSON lines, parquet, tab-separated values or token ids")
	f.StringVar(&o.file.Format, "format", "", "text, jsonl, parquet, tsv or tokens; default by the file's extension")
	f.StringVar(&o.file.Separator, "separator", "", "what stands between documents of a text file; default: it is one document")
	f.StringVar(&o.file.Field, "field", "", "the field that holds the text (jsonl, parquet, tsv)")
	f.StringSliceVar(&o.file.Columns, "columns", nil, "names of the columns of a tsv file that has no line of them, such as text,label")
	f.StringVar(&o.file.PairField, "pair-field", "", "classifiers: the field of a second text")
	f.StringVar(&o.file.LabelField, "label-field", "", "classifiers: the field of the class, or of the number to predict; default: label")
	f.StringSliceVar(&o.labels, "labels", nil, "classifiers: names of the classes in their order; default: the model's")
	f.Float64Var(&o.masks, "mask-probability", 0.15, "masked language models: the share of tokens that are to be predicted")
	f.BoolVar(&o.words, "whole-words", false, "masked language models: mask all tokens of a word together")
	f.StringVar(&o.file.PromptField, "prompt-field", "", "the field of the prompt, with --completion-field")
	f.StringVar(&o.file.CompletionField, "completion-field", "", "the field of the completion")
	f.BoolVar(&o.file.MaskPrompt, "mask-prompt", false, "measure completions only")
	f.StringVar(&o.file.AppendEOS, "append-eos", "auto", "auto, true or false: put the end token behind documents")
	f.IntVar(&o.length, "sequence-length", 0, "longest row in tokens; default: the model's positions")
	f.StringVar(&o.long, "long-documents", "split", "split or truncate what is longer")
	f.IntVar(&o.stride, "stride", 0, "pieces of long documents advance by so many tokens and see those before; 0: they don't overlap")
	f.StringVar(&o.prefix, "prefix-token", "auto", "what each piece begins with: auto (what the tokenizer puts there), none, or an id")
	o.forDocuments = flagNames(f, "model")
	o.task.addScoring(f)
	o.forScores = flagNames(f, append(o.forDocuments, "model")...)
	o.task.addAsking(f)
	o.forQuestions = flagNames(f, slices.Concat(o.forDocuments, o.forScores, []string{"model"})...)
	f.Uint64Var(&o.seed, "seed", 1, "draws masks, demonstrations and sampled answers")
	f.IntVar(&o.limit, "limit", 0, "measure the first `N` documents or questions only")
	f.BoolVar(&o.json, "json", false, "print one JSON object")
	f.StringVar(&o.perExample, "per-example", "", "write one JSON line for each document or answer to `FILE`")
	addThreads(c, &o.threads)
	return c
}

// flagNames lists all flags but some.
func flagNames(f *pflag.FlagSet, but ...string) (names []string) {
	f.VisitAll(func(flag *pflag.Flag) {
		if !slices.Contains(but, flag.Name) {
			names = append(names, flag.Name)
		}
	})
	return names
}

// refuse says which of the flags were given, but have no meaning without what they are for.
func refuse(f *pflag.FlagSet, names []string, what string) error {
	for _, name := range names {
		if f.Changed(name) {
			return usagef("--%s is for %s", name, what)
		}
	}
	return nil
}

func (o *evalOptions) run(cmd *cobra.Command, s streams) error {
	if o.task.file == "" {
		if err := refuse(cmd.Flags(), o.forQuestions, "--task"); err != nil {
			return err
		}
	}
	if o.task.file != "" || o.task.predictions != "" {
		if err := refuse(cmd.Flags(), o.forDocuments, "--data"); err != nil {
			return err
		}
		return o.runTask(cmd.Context(), s)
	}
	if err := refuse(cmd.Flags(), o.forScores, "--task or --predictions"); err != nil {
		return err
	}
	if err := o.checkDocuments(); err != nil {
		return err
	}
	return o.runDocuments(cmd.Context(), s)
}

// checkDocuments says what is wrong with the flags of an evaluation on documents.
func (o *evalOptions) checkDocuments() error {
	switch {
	case o.model == "":
		return usagef("--model is missing")
	case o.file.Path == "":
		return usagef("--data is missing: name a file of documents, or of questions by --task")
	case o.long != "split" && o.long != "truncate":
		return usagef("--long-documents: have %q, want split or truncate", o.long)
	case o.length < 0 || o.length == 1 || o.stride < 0 || o.limit < 0:
		return usagef("--sequence-length, --stride and --limit want positive numbers (at least 2 for the length)")
	case o.stride > 0 && o.long == "truncate":
		return usagef("--stride is for long documents that are split: leave out --long-documents truncate")
	}
	if _, err := strconv.ParseInt(o.prefix, 10, 32); err != nil && o.prefix != "auto" && o.prefix != "none" {
		return usagef("--prefix-token: have %q, want auto, none or a token id", o.prefix)
	}
	if err := o.file.Check(); err != nil {
		return usageError{err}
	}
	return o.prepare()
}

// runDocuments measures the model on documents.
func (o *evalOptions) runDocuments(ctx context.Context, s streams) (err error) {
	var arena graph.Arena
	model, err := checkpoint.OpenModel(o.model)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, model.Close()) }()
	weights, err := checkpoint.ReadFrozen(model, model.Model, checkpoint.Auto)
	if err != nil {
		return fmt.Errorf("%s: %w", model.Dir, err)
	}
	info := model.Model.Info()
	load := data.LoadOptions{Vocab: info.Vocab, Bytes: true, Limit: o.limit, WholeWords: o.words}
	if err := distill.SetTask(&load, info); err != nil {
		return fmt.Errorf("%s: %w", model.Dir, err)
	}
	if len(o.labels) > 0 {
		if len(o.labels) != load.Classes.Count {
			return usagef("--labels: have %d, the model has %d classes", len(o.labels), load.Classes.Count)
		}
		load.Classes.Names = o.labels
	}
	positions := info.Positions
	var compared []objective.Weighted
	for _, path := range o.teachers {
		t, live, wrong := openTeacher(s, path, model, &arena)
		if wrong != nil {
			return wrong
		}
		defer func() { err = errors.Join(err, live.Close(), t.Close()) }()
		load.Vocab, positions = min(load.Vocab, t.Model.Info().Vocab), min(positions, t.Model.Info().Positions)
		compared = append(compared, objective.Weighted{Teacher: live, Share: 1})
	}
	if o.length == 0 {
		o.length = positions
	}
	if o.length > positions {
		return usagef("--sequence-length: have %d, the models have %d positions", o.length, positions)
	}
	documents, source, err := o.load(ctx, s, model, load)
	if err != nil {
		return err
	}
	e, err := eval.New(model.Model, weights, compared, &arena)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	progress := report.NewCounter(s.err, "rows", source.Len())
	result, err := e.Run(ctx, source, max(1, evalTokens/min(o.length, longest(documents))), progress.Set)
	progress.Done()
	if err != nil {
		return err
	}
	if o.perExample != "" {
		if err := writeDocuments(o.perExample, result, load.Classes); err != nil {
			return err
		}
	}
	if o.json {
		return writeObject(s, result.JSON())
	}
	return printResult(s, result)
}

// openTeacher opens a teacher that a model can be compared with.
func openTeacher(s streams, path string, model *checkpoint.Pretrained, arena *graph.Arena) (_ *checkpoint.Pretrained, _ *teacher.Live, err error) {
	t, err := checkpoint.OpenModel(path)
	if err != nil {
		return nil, nil, fmt.Errorf("teacher: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Close())
		}
	}()
	weights, err := checkpoint.ReadFrozen(t, t.Model, checkpoint.Auto)
	if err != nil {
		return nil, nil, fmt.Errorf("teacher %s: %w", t.Dir, err)
	}
	info, own := t.Model.Info(), model.Model.Info()
	if err := distill.SameOutputs(info, own); err != nil {
		return nil, nil, fmt.Errorf("--teacher %s: %w", path, err)
	}
	warning, err := distill.SameTokens(distill.Tokens{Vocab: info.Vocab, Tokenizer: t.Tokenizer}, distill.Tokens{Vocab: own.Vocab, Tokenizer: model.Tokenizer})
	if err != nil {
		return nil, nil, fmt.Errorf("--teacher %s: %w", path, err)
	}
	if warning != "" {
		fmt.Fprintln(s.err, "warning:", warning)
	}
	return t, &teacher.Live{Model: t.Model, Weights: weights, Arena: arena}, nil
}

// load reads the documents, and tells of those that are left out.
func (o *evalOptions) load(ctx context.Context, s streams, model *checkpoint.Pretrained, load data.LoadOptions) (*data.Dataset, *data.Source, error) {
	var encoder data.Encoder // a nil *Tokenizer in it would not be nil
	if model.Tokenizer != nil {
		encoder = model.Tokenizer
	}
	documents, err := data.Load(ctx, []data.File{o.file}, encoder, load)
	if err != nil {
		return nil, nil, err
	}
	for _, note := range documents.Notes() {
		fmt.Fprintln(s.err, "note:", note)
	}
	source, err := data.NewSource(documents, data.Options{
		SequenceLength: o.length, Truncate: o.long == "truncate", Stride: o.stride, PrefixToken: o.prefix, Epochs: 1,
		MaskProbability: o.masks, Seed: o.seed,
	})
	return documents, source, err
}

// prepare does what every evaluation begins with.
func (o *evalOptions) prepare() error {
	if err := setThreads(o.threads); err != nil {
		return err
	}
	if info, err := os.Stat(filepath.Dir(o.perExample)); err != nil || !info.IsDir() {
		return usagef("--per-example: no folder %s to write to", filepath.Dir(o.perExample))
	}
	return nil
}

// evalTokens is the number of positions of a batch.
const evalTokens = 4096

// longest is the number of tokens of the longest document, and so about that of the longest row.
func longest(d *data.Dataset) int {
	most := 1
	for i := range d.Len() {
		ids, _ := d.Document(i)
		most = max(most, len(ids))
	}
	return most
}

// writeObject writes an object on lines of its own.
func writeObject(s streams, v any) error {
	enc := json.NewEncoder(s.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// writeDocuments writes what was measured on each document; of a class its name, of a regression the number.
func writeDocuments(path string, r *eval.Result, classes data.Classes) error {
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	for _, d := range r.Documents {
		line := map[string]any{"index": d.Index}
		switch classes.Count {
		case 0:
			line["nll"], line["tokens"] = d.NLL, d.Tokens
		case 1:
			line["label"], line["prediction"] = d.Label, d.Prediction
		default:
			line["nll"], line["label"], line["prediction"] = d.NLL, classes.Names[int(d.Label)], classes.Names[int(d.Prediction)]
		}
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	return checkpoint.WriteFile(path, lines.Bytes())
}

var figureHeader = []string{"figure", "value", "standard error"}

func figureRow(name string, f eval.Figure) []string {
	return []string{name, fmt.Sprintf("%.6f", f.Value), fmt.Sprintf("%.6f", f.Stderr)}
}

func printResult(s streams, r *eval.Result) error {
	rows := [][]string{figureHeader}
	add := func(name string, f eval.Figure) { rows = append(rows, figureRow(name, f)) }
	for _, name := range eval.Metrics() {
		if f, ok := r.Figures[name]; ok {
			add(name, f)
		}
		if name == "nll" && r.Generates {
			add("perplexity", r.Perplexity())
			if r.BitsPerByte != nil {
				add("bits_per_byte", *r.BitsPerByte)
			}
		}
	}
	if err := report.Table(s.out, rows); err != nil {
		return err
	}
	speed := report.Count(int64(r.TokensPerSecond))
	if !r.Generates {
		_, err := fmt.Fprintf(s.out, "%d documents, %s documents/s\n", len(r.Documents), speed)
		return err
	}
	_, err := fmt.Fprintf(s.out, "%d tokens in %d documents, %s tokens/s\n", r.Tokens, len(r.Documents), speed)
	return err
}
