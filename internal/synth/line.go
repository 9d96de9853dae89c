package synth

import (
	"strings"
	"time"
)

// Line is one line of the output. Which of the first fields there are, besides prompt and completion, is the style's.
type Line struct {
	Prompt     string    `json:"prompt"`
	Completion string    `json:"completion"`
	Messages   []Message `json:"messages,omitempty"` // of chats, the answer included

	Instruction  string   `json:"instruction,omitempty"` // instruct
	Input        string   `json:"input,omitempty"`
	Output       string   `json:"output,omitempty"`
	Question     string   `json:"question,omitempty"` // cot
	Choices      []string `json:"choices,omitempty"`
	Rationale    string   `json:"rationale,omitempty"`
	Answer       string   `json:"answer,omitempty"` // the gold one: cot, icl
	Rationalized bool     `json:"rationalized,omitempty"`
	Task         string   `json:"task,omitempty"` // icl

	FinishReason string    `json:"finish_reason"`
	Teacher      string    `json:"teacher"`
	Request      Request   `json:"request"`
	Usage        *Usage    `json:"usage,omitempty"` // of the response that the answer came in
	Time         time.Time `json:"time"`
	Logprobs     []Token   `json:"logprobs,omitempty"`
}

// line makes the line of an answer to a prompt.
func (r *run) line(prompt string, a reply) Line {
	l := Line{
		Prompt: prompt, Completion: a.Text, FinishReason: a.FinishReason, Teacher: r.teacher.Identity(),
		Request: a.request, Usage: a.usage, Time: a.time, Logprobs: a.Logprobs,
	}
	if a.request.Messages != nil {
		l.Messages = append(a.request.Messages[:len(a.request.Messages):len(a.request.Messages)], Message{"assistant", a.Text})
	}
	return l
}

// behind is an answer as it stands behind a prompt that is continued as it is: prompt and completion are one text then, in which a blank keeps them apart.
func (r *run) behind(answer string) string {
	if r.config.Chat || answer == "" {
		return answer
	}
	return " " + answer
}

// flaw says why a line is never kept; "": it has none.
func (l Line) flaw() string {
	switch {
	case strings.TrimSpace(l.Completion) == "":
		return "empty answer"
	case l.FinishReason == "content_filter":
		return "content_filter"
	}
	return ""
}
