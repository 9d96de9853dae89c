package synth

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// response is the body of a completion or a chat completion. Servers differ: the log-probabilities of completions come in the old form
// (parallel lists) or in that of chats, and usage may be missing.
type response struct {
	Model   string          `json:"model"`
	Choices []choice        `json:"choices"`
	Usage   *Usage          `json:"usage"`
	Error   json.RawMessage `json:"error"`
}

type choice struct {
	Text         *string   `json:"text"`
	Message      *answered `json:"message"`
	FinishReason string    `json:"finish_reason"`
	Index        int       `json:"index"`
	Logprobs     *logprobs `json:"logprobs"`
}

type answered struct {
	Content *string `json:"content"`
	Refusal *string `json:"refusal"`
}

type logprobs struct {
	Content       []Token              `json:"content"`
	Tokens        []string             `json:"tokens"`
	TokenLogprobs []*float64           `json:"token_logprobs"` // null for a token without a context
	TopLogprobs   []map[string]float64 `json:"top_logprobs"`
}

// parseAnswers reads the answers in their order, and the model that the server says gave them.
func parseAnswers(body []byte) (answers []Answer, u *Usage, model string, err error) {
	var r response
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, nil, "", fmt.Errorf("the answer is not what the API gives (%w): %s", err, excerpt(string(body)))
	}
	if len(r.Choices) == 0 {
		return nil, nil, "", fmt.Errorf("the answer holds no choices: %s", errorMessage(string(body)))
	}
	slices.SortStableFunc(r.Choices, func(a, b choice) int { return cmp.Compare(a.Index, b.Index) })
	for _, c := range r.Choices {
		a := Answer{FinishReason: c.FinishReason}
		switch {
		case c.Text != nil:
			a.Text = *c.Text
		case c.Message != nil && c.Message.Content != nil:
			a.Text = *c.Message.Content
		case c.Message != nil && c.Message.Refusal != nil:
			a.Text = *c.Message.Refusal
		case c.Message == nil: // content may be null where there is nothing to say
			return nil, nil, "", fmt.Errorf("the answer holds a choice without text or message: %s", excerpt(string(body)))
		}
		if c.FinishReason == "" {
			return nil, nil, "", fmt.Errorf("the answer holds a choice without finish_reason: %s", excerpt(string(body)))
		}
		if c.Logprobs != nil {
			a.Logprobs = c.Logprobs.tokens()
		}
		answers = append(answers, a)
	}
	return answers, r.Usage, r.Model, nil
}

func (l *logprobs) tokens() []Token {
	if l.Content != nil {
		return l.Content
	}
	var all []Token
	for i, text := range l.Tokens {
		t := Token{Token: text}
		if i < len(l.TokenLogprobs) && l.TokenLogprobs[i] != nil {
			t.Logprob = Logprob(*l.TokenLogprobs[i])
		}
		if i < len(l.TopLogprobs) {
			for _, name := range sortedKeys(l.TopLogprobs[i]) {
				t.Top = append(t.Top, Candidate{Token: name, Logprob: Logprob(l.TopLogprobs[i][name])})
			}
			slices.SortStableFunc(t.Top, func(a, b Candidate) int { return cmp.Compare(b.Logprob, a.Logprob) })
		}
		all = append(all, t)
	}
	return all
}
