package synth

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
)

// Teacher answers requests. It may be used from many goroutines.
type Teacher interface {
	// Answers returns at least one answer and at most Request.N, with what they cost together (nil: not known). An error that is a *Refused or a *Failed is
	// about this request alone; any other ends the run.
	Answers(ctx context.Context, r Request) ([]Answer, *Usage, error)
	Identity() string // stands in each line of the output: the hash of a folder, a server's name of the model
}

// Request is what a teacher is asked, in the words of OpenAI's API. It continues Prompt, or writes the next message after Messages.
type Request struct {
	Prompt   *string   `json:"prompt,omitempty"` // nil where there are Messages
	Messages []Message `json:"messages,omitempty"`
	Sampling
	N    int   `json:"n"`    // answers
	Seed int64 `json:"seed"` // below 2^31, which every server takes
}

// Message is one of a chat.
type Message struct {
	Role    string `json:"role"` // system, user or assistant
	Content string `json:"content"`
}

// Sampling says how an answer is drawn.
type Sampling struct {
	MaxTokens         int            `json:"max_tokens"`
	Temperature       float64        `json:"temperature"`
	TopP              float64        `json:"top_p"`
	TopK              int            `json:"top_k,omitempty"`
	MinP              float64        `json:"min_p,omitempty"`
	RepetitionPenalty float64        `json:"repetition_penalty,omitempty"` // 0: none, as 1
	Stop              []string       `json:"stop,omitempty"`
	Logprobs          int            `json:"logprobs,omitempty"` // likeliest tokens at each place, besides the chosen one; 0: none
	Extra             map[string]any `json:"extra,omitempty"`    // more keys of a server's request
}

// The reasons why an answer ended. A server may have others, such as content_filter.
const (
	FinishStop   = "stop"
	FinishLength = "length"
)

// Answer is what a teacher wrote.
type Answer struct {
	Text         string  `json:"text"`
	FinishReason string  `json:"finish_reason"`
	Logprobs     []Token `json:"logprobs,omitempty"`
}

// Token is one token of an answer, with its log-probability in nats and the likeliest ones in its place.
type Token struct {
	Token   string      `json:"token"`
	ID      *int32      `json:"id,omitempty"` // nil: the server does not tell
	Logprob Logprob     `json:"logprob"`
	Top     []Candidate `json:"top_logprobs,omitempty"`
}

// Candidate is a likely token.
type Candidate struct {
	Token   string  `json:"token"`
	ID      *int32  `json:"id,omitempty"`
	Logprob Logprob `json:"logprob"`
}

// Logprob is a log-probability in nats. JSON has no infinity: what is below the smallest number is that.
type Logprob float64

// MarshalJSON writes a number.
func (l Logprob) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, max(float64(l), -1e4), 'g', 9, 64), nil
}

// Usage is what a request cost.
type Usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	Answers          int `json:"answers,omitempty"` // that it paid for, where it is more than one
}

// Refused says why one request has no answer and never will, such as a prompt that is longer than the context.
type Refused struct {
	Reason string // the same for all alike
	Detail string // of this one, such as its length
}

func (e *Refused) Error() string { return e.Reason + ": " + e.Detail }

// Failed says why one request has no answer yet, though it was tried again and again: another one may have, and this one in another run.
type Failed struct{ error }

func (e *Failed) Unwrap() error { return e.error }

// chat returns a request's messages: the prompt is a user's, after the system's where there is one.
func chat(system, prompt string) []Message {
	messages := []Message{{"user", prompt}}
	if system != "" {
		messages = append([]Message{{"system", system}}, messages...)
	}
	return messages
}

// text is what a request says, for comparison.
func (r Request) text() string {
	b, err := json.Marshal(struct {
		P *string
		M []Message
	}{r.Prompt, r.Messages})
	if err != nil {
		panic(fmt.Sprintf("synth: %v", err)) // strings are always encodable
	}
	return string(b)
}
