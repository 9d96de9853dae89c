package synth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"kdistill/internal/checkpoint"
	"kdistill/internal/generate"
	"kdistill/internal/tokenizer"
)

// Local is a teacher in this process: a checkpoint whose rows are continued together.
type Local struct {
	model    *checkpoint.Pretrained
	engine   *generate.Engine
	template *tokenizer.ChatTemplate // nil: no chats
	stop     []int32
	id       string
}

// NewLocal opens a checkpoint that answers up to so many requests at once. chat: it must have a chat template.
func NewLocal(path string, dtype string, rows int, chat bool) (l *Local, err error) {
	m, err := checkpoint.OpenModel(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", m.Dir, err), m.Close())
		}
	}()
	l = &Local{model: m}
	if err := generate.Check(m.Model); err != nil {
		return nil, err
	}
	if m.Tokenizer == nil {
		return nil, errors.New("the folder has no tokenizer: a teacher needs one to read and write text")
	}
	if chat {
		l.template, err = m.Tokenizer.ChatTemplate("")
		if errors.Is(err, tokenizer.ErrNoTemplate) {
			err = fmt.Errorf("%w: set synth.chat: false, so that prompts are continued as they are", tokenizer.ErrNoTemplate)
		}
		if err != nil {
			return nil, err
		}
	}
	if l.stop, err = generate.StopIDs(m.Dir, m.Config); err != nil {
		return nil, err
	}
	hash, err := m.Hash()
	if err != nil {
		return nil, err
	}
	l.id = "sha256:" + hash
	weights, err := checkpoint.ReadFrozen(m, m.Model, dtype)
	if err != nil {
		return nil, err
	}
	l.engine = generate.NewEngine(m.Model, weights, m.Tokenizer, rows)
	return l, nil
}

// Identity is the hash of the folder's configuration and weights.
func (l *Local) Identity() string { return l.id }

// Close frees the model.
func (l *Local) Close() error { return errors.Join(l.engine.Close(), l.model.Close()) }

// Answers continues the prompt N times, all at once. The seed of the i-th answer is Request.Seed + i.
func (l *Local) Answers(ctx context.Context, r Request) ([]Answer, *Usage, error) {
	ids, err := l.encode(r)
	if err != nil {
		return nil, nil, err
	}
	if most := l.model.Model.Info().Positions; len(ids) > most {
		return nil, nil, &Refused{tooLong, fmt.Sprintf("%d tokens, the teacher has %d positions", len(ids), most)}
	}
	answers, written, errs := make([]Answer, r.N), make([]int, r.N), make([]error, r.N)
	var all sync.WaitGroup
	for i := range r.N {
		all.Go(func() {
			var g generate.Result
			g, errs[i] = l.engine.Generate(ctx, generate.Request{
				Prompt: ids, StopStrings: r.Stop, TopLogprobs: r.Logprobs,
				Options: generate.Options{
					MaxTokens: r.MaxTokens, RepetitionPenalty: r.RepetitionPenalty, Temperature: r.Temperature, TopK: r.TopK, TopP: r.TopP, MinP: r.MinP,
					Seed: uint64(r.Seed) + uint64(i), Stop: l.stop,
				},
			})
			answers[i], written[i] = l.answer(g, r.Logprobs > 0), len(g.IDs)
		})
	}
	all.Wait()
	u := &Usage{PromptTokens: len(ids)}
	for _, n := range written {
		u.CompletionTokens += n
	}
	return answers, u, errors.Join(errs...)
}

// encode returns the ids of a prompt, or of a chat as the template writes it.
func (l *Local) encode(r Request) ([]int32, error) {
	t := l.model.Tokenizer
	if r.Messages != nil {
		messages, err := json.Marshal(r.Messages)
		if err != nil {
			return nil, err
		}
		text, err := l.template.Prompt(tokenizer.Chat{Messages: messages, AddGenerationPrompt: true})
		if err != nil {
			return nil, err
		}
		e, err := t.Encode(text, false)
		return e.IDs, err
	}
	e, err := t.Encode(*r.Prompt, false)
	ids := slices.Concat(t.Prefix(), e.IDs)
	if bos := t.BOS(); len(ids) == 0 && bos >= 0 {
		ids = []int32{bos}
	}
	return ids, err
}

func (l *Local) answer(g generate.Result, logprobs bool) Answer {
	a := Answer{Text: g.Text, FinishReason: string(g.Finish)}
	if !logprobs {
		return a
	}
	before, _ := l.model.Tokenizer.Encode("a", false)
	name := func(id int32) string { // what it writes behind another token: alone some lose their space
		s := l.model.Tokenizer.NewStream(false)
		for _, b := range before.IDs {
			s.Add(b)
		}
		return cmp.Or(s.Add(id), l.model.Tokenizer.Decode([]int32{id}, false))
	}
	for i, id := range g.IDs {
		t := Token{Token: name(id), ID: &id, Logprob: Logprob(g.Logprobs[i])}
		for _, c := range g.Top[i] {
			t.Top = append(t.Top, Candidate{name(c.ID), &c.ID, Logprob(c.Logprob)})
		}
		a.Logprobs = append(a.Logprobs, t)
	}
	return a
}
