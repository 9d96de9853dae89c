package distill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"kdistill/internal/checkpoint"
	"kdistill/internal/data"
	"kdistill/internal/graph"
	"kdistill/internal/model"
	"kdistill/internal/report"
	"kdistill/internal/signal"
	"kdistill/internal/teacher"
)

// openCache checks teacher.cache and fits the losses to what it keeps. It returns the teacher's folder where teacher.path names one: it must be the teacher
// that the cache was written with, and is there for the student to be made from.
func (r *run) openCache(ctx context.Context) (base *checkpoint.Pretrained, err error) {
	begun, dir := time.Now(), r.config.Teacher.Cache
	reader, err := signal.Open(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("teacher.cache: %w", err)
	}
	r.cached = &teacher.Cached{Reader: reader, Attended: r.attended()}
	h := reader.Header()
	if took := time.Since(begun); took > time.Second {
		r.say("teacher.cache: %s read and found sound in %s", report.Bytes(reader.Totals().Bytes), report.Duration(took))
	}
	fitting, err := r.sparse(h)
	if err != nil {
		return nil, err
	}
	for c, t := range r.terms() {
		l := fitting[t]
		if l == nil {
			continue
		}
		t.Loss = l
		if l.Approximate() {
			r.say("warning: loss %s has temperature %g, the cache %g: the ids that are not kept are taken to be equally likely (cache.temperature: %g would make it exact)",
				c.Label(), l.Params.Temperature, h.Temperature, l.Params.Temperature)
		}
	}
	if r.config.Teacher.Path == "" {
		return nil, nil
	}
	if base, err = checkpoint.OpenModel(r.config.Teacher.Path); err != nil {
		return nil, fmt.Errorf("teacher: %w", err)
	}
	if err := sameTeacher(h, base, dir); err != nil {
		return nil, errors.Join(err, base.Close())
	}
	return base, nil
}

// sameTeacher refuses another teacher than the cache's.
func sameTeacher(h signal.Header, p *checkpoint.Pretrained, dir string) error {
	hash, err := p.Hash()
	if err != nil {
		return err
	}
	if hash != h.Teacher.Hash && h.Teacher.Type != told { // which has no files: path is there for the student to be made from
		return fmt.Errorf("teacher.cache %s was written with another teacher: its files have SHA-256 %.16s…, those of %s %.16s…: write the cache anew, or set teacher.path to %s",
			dir, h.Teacher.Hash, p.Dir, hash, h.Teacher.Path)
	}
	if p.Tokenizer != nil && h.Tokenizer != "" && p.Tokenizer.Fingerprint() != h.Tokenizer {
		return fmt.Errorf("teacher.cache %s was written with another tokenizer (%.16s…) than the one in %s (%.16s…): write the cache anew",
			dir, h.Tokenizer, p.Dir, p.Tokenizer.Fingerprint())
	}
	return nil
}

// spoken is what losses must know of the teacher's outputs, live or cached.
func (r *run) spoken(term *graph.Term) (all []model.Info) {
	if r.cached != nil {
		t := r.cached.Reader.Header().Teacher
		return []model.Info{{Type: t.Type, Class: "in the cache", Task: model.Task(t.Task), Labels: t.Labels}}
	}
	for _, t := range r.heard(term) {
		all = append(all, t.Model.Info())
	}
	return all
}

// sameTokens refuses a student whose ids mean something else than those of the cache.
func (r *run) sameTokens() error {
	h, s := r.cached.Reader.Header(), r.student
	vocab := s.model.Info().Logits()
	switch {
	case s.tokenizer != nil && h.Tokenizer != "" && s.tokenizer.Fingerprint() != h.Tokenizer:
		return fmt.Errorf("teacher.cache %s was written with another tokenizer (%.16s…) than the student's (%.16s…): losses on logits need the same one",
			r.config.Teacher.Cache, h.Tokenizer, s.tokenizer.Fingerprint())
	case s.model.Info().Task == model.Classification: // its logits are classes, which checkTasks compares
	case (s.tokenizer == nil || h.Tokenizer == "") && vocab != h.Vocabulary:
		return fmt.Errorf("vocabularies differ: the teacher of the cache has %d ids, the student %d, and without tokenizers on both sides nothing tells that their ids mean the same",
			h.Vocabulary, vocab)
	case vocab != h.Vocabulary:
		r.say("warning: the teacher's vocabulary has %d rows, the student's %d: what compares with the teacher uses the first %d ids",
			h.Vocabulary, vocab, min(vocab, h.Vocabulary))
	}
	return nil
}

// findRows makes sure that the cache has every sequence of the documents.
func (r *run) findRows() error {
	if r.cached == nil || !r.needsTeacher() {
		return nil
	}
	source, err := r.once()
	if err != nil {
		return err
	}
	missing, first, elsewhere := 0, "", false
	for {
		row, err := source.Next(1)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		for _, u := range teacher.Utterances(row, r.cached.Attended) {
			found, partly := r.cached.Reader.Has(u.Key, u.Mask)
			if found {
				continue
			}
			if missing++; missing == 1 {
				elsewhere = partly
				first = fmt.Sprintf("%s, %d tokens of it", r.dataset.Name(int(row.Documents[u.From])), u.To-u.From)
			}
		}
	}
	if missing == 0 {
		return nil
	}
	why := "the teacher has not seen it, or saw it cut otherwise (data.sequence_length, long_documents, the student's start tokens)"
	if elsewhere {
		why = "it is there, but not every position that the losses count (positions, mask_prompt)"
	}
	return fmt.Errorf("teacher.cache %s lacks %d of %d sequences, the first in %s: %s; kdistill cache with this configuration adds what is missing",
		r.config.Teacher.Cache, missing, source.Len(), first, why)
}

// attended says whether some loss compares with the teacher where there is no label too.
func (r *run) attended() bool {
	for _, t := range r.terms() {
		if t.Loss.Teacher && t.Attended {
			return true
		}
	}
	return false
}

// once is a source of every sequence of the documents, each in a row of its own.
func (r *run) once() (*data.Source, error) {
	order := r.order
	order.Packing, order.Shuffle, order.Epochs = false, false, 1
	return data.NewSource(r.dataset, order)
}
