package distill

import (
	"context"
	"fmt"

	"kdistill/internal/config"
	"kdistill/internal/data"
	"kdistill/internal/model"
)

// loadData reads training and evaluation documents.
func (r *run) loadData(ctx context.Context) error {
	c := r.config
	load := data.LoadOptions{
		Vocab: r.student.model.Info().Vocab, Bytes: true, WholeWords: c.Data.WholeWords, Length: c.Data.SequenceLength, Seed: uint64(c.Train.Seed),
	}
	for _, t := range r.teachers {
		load.Vocab = min(load.Vocab, t.Model.Info().Vocab)
	}
	if r.cached != nil && r.student.model.Info().Task != model.Classification {
		load.Vocab = min(load.Vocab, r.cached.Vocab())
	}
	if err := SetTask(&load, r.student.model.Info()); err != nil {
		return err
	}
	var encoder data.Encoder // a nil *Tokenizer in it would not be nil
	if r.student.tokenizer != nil {
		encoder = r.student.tokenizer
	}
	r.order = data.Options{
		SequenceLength: c.Data.SequenceLength, Truncate: c.Data.LongDocuments == "truncate",
		Packing: c.Data.Packing, Shuffle: c.Data.Shuffle, Seed: uint64(c.Train.Seed), Epochs: c.Train.Epochs,
		MaskProbability: c.Data.MaskProbability,
	}
	var err error
	if r.dataset, err = data.Load(ctx, files(c.Data.Train), encoder, load); err != nil {
		return fmt.Errorf("data.train: %w", err)
	}
	for _, note := range r.dataset.Notes() {
		r.say("note: data.train: %s", note)
	}
	if r.source, err = data.NewSource(r.dataset, r.order); err != nil {
		return fmt.Errorf("data.train: %w", err)
	}
	measured := r.dataset
	if len(c.Data.Eval) > 0 {
		if measured, err = data.Load(ctx, files(c.Data.Eval), encoder, load); err != nil {
			return fmt.Errorf("data.eval: %w", err)
		}
		r.measuring = "data.eval"
	}
	options := r.order
	options.Shuffle, options.Epochs = false, 1
	if r.measured, err = data.NewSource(measured, options); err != nil {
		return fmt.Errorf("data.eval: %w", err)
	}
	r.measuredStart = r.measured.State()
	if len(c.Data.Eval) == 0 {
		rows := min(r.measured.Len(), max(1, measuredTokens/c.Data.SequenceLength))
		r.measuredStart.Row = r.measured.Len() - rows
		r.measuring = fmt.Sprintf("the last %d rows of data.train, which are learned too (there is no data.eval)", rows)
	}
	return nil
}

// measuredTokens bounds what is measured of data.train where there is no data.eval, so that an evaluation takes no longer than a few steps.
const measuredTokens = 1 << 15

// SetTask makes documents what a model predicts.
func SetTask(o *data.LoadOptions, info model.Info) error {
	o.Task = data.Task(info.Task)
	o.WholeWords = o.WholeWords && info.Task == model.Masked
	if info.Task != model.Classification {
		return nil
	}
	o.Classes = data.Classes{Count: info.Logits(), Names: info.Labels}
	switch regression := info.Problem == "regression"; {
	case info.Problem == "multi_label_classification":
		return fmt.Errorf("problem_type %s: documents with several classes are not supported", info.Problem)
	case regression != (info.Logits() == 1):
		return fmt.Errorf("problem_type %s with %d labels is not supported: a regression has one output", info.Problem, info.Logits())
	}
	return nil
}

func files(sources []config.Source) []data.File {
	var out []data.File
	for _, s := range sources {
		out = append(out, data.File{
			Path: s.Path, Format: s.Format, Separator: s.Separator, Field: s.Field, PromptField: s.PromptField,
			CompletionField: s.CompletionField, MaskPrompt: s.MaskPrompt, AppendEOS: s.AppendEOS,
			Columns: s.Columns, PairField: s.PairField, LabelField: s.LabelField,
			KeepTruncated: s.KeepTruncated, Fields: s.Fields, ChatTemplate: s.ChatTemplate, Style: s.Style, Rationales: s.Rationales,
			RationaleWeight: s.RationaleWeight, Shots: s.Shots, Draws: s.Draws, DemonstrationWeight: s.DemonstrationWeight,
		})
	}
	return out
}
