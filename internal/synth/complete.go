package synth

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

func init() { registerStyle("complete", style{fields: []string{"prompt"}, plan: complete}) }

// complete continues prompts or the beginnings of texts: sequence-level knowledge distillation (Kim and Rush 2016). With best_of the kept answers are
// those of several that the teacher itself finds likeliest, by the sum of their log-probabilities.
func complete(r *run) (program, error) {
	o := r.config.Complete
	prompts := make([]string, len(r.input))
	for i, e := range r.input {
		text, err := e.text("prompt")
		if err != nil {
			return nil, err
		}
		if prompts[i] = beginning(text, o.Words); prompts[i] == "" {
			return nil, fmt.Errorf("%s: the prompt is empty", e.Place)
		}
	}
	return func(ctx context.Context) error { return r.complete(ctx, prompts) }, nil
}

func (r *run) complete(ctx context.Context, prompts []string) error {
	o := r.config.Complete
	r.goal(len(prompts))
	return r.each(ctx, len(prompts), func(ctx context.Context, i int) error {
		q := r.request(prompts[i])
		if o.BestOf > 0 {
			q.Logprobs = max(q.Logprobs, 1)
		}
		answers, err := r.ask(ctx, fmt.Sprint(i+1), q, max(r.config.Samples, o.BestOf))
		if err != nil {
			return err
		}
		kept := len(answers)
		if o.BestOf > 0 {
			kept = r.config.Samples
			for _, a := range answers {
				if a.Logprobs == nil {
					return fmt.Errorf("synth.complete.best_of: the server gives no log-probabilities, by which the best would be known: leave best_of out")
				}
			}
			slices.SortStableFunc(answers, func(a, b reply) int { return cmp.Compare(b.likelihood(), a.likelihood()) })
		}
		for j, a := range answers {
			line := r.line(prompts[i], a)
			if j < kept {
				r.keep(place{i, j}, line)
			} else {
				r.drop(place{i, j}, "not the likeliest", line)
			}
		}
		return nil
	})
}

// beginning returns the first so many words of a text, with the white space between them; 0: the text.
func beginning(text string, words int) string {
	if words == 0 {
		return text
	}
	inside, seen := false, 0
	text = strings.TrimSpace(text)
	for i, c := range text {
		if unicode.IsSpace(c) {
			if inside && seen == words {
				return text[:i]
			}
			inside = false
		} else if !inside {
			inside = true
			seen++
		}
	}
	return text
}
