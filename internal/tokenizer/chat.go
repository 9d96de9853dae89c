package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kdistill/internal/tokenizer/jinja"
)

// Chat is a conversation, with what else a chat template may look at, as the JSON that transformers' apply_chat_template
// takes: templates read any field that a message has.
type Chat struct {
	Messages            json.RawMessage `json:"messages"`
	Tools               json.RawMessage `json:"tools"`
	Documents           json.RawMessage `json:"documents"`
	AddGenerationPrompt bool            `json:"add_generation_prompt"`
	Kwargs              json.RawMessage `json:"chat_template_kwargs"` // more variables of the template
}

// Prompt returns the text of a chat. It is to be encoded without special tokens: the template writes them.
func (c *ChatTemplate) Prompt(chat Chat) (string, error) {
	in, err := c.input(chat)
	if err != nil {
		return "", err
	}
	r, err := c.render(in, in.messages, chat.AddGenerationPrompt)
	return r.Text, err
}

// Assistant is Prompt with the parts of the text that the assistant says, which a model is trained on. They are what
// stands in the template's {% generation %} blocks. Where the template has none, the part of a message is what the
// conversation up to it has more than the conversation before it with a generation prompt, up to and with the end of the
// turn; a template that does not write conversations from front to back is an error then.
func (c *ChatTemplate) Assistant(chat Chat) (prompt string, parts []Span, err error) {
	in, err := c.input(chat)
	if err != nil {
		return "", nil, err
	}
	r, err := c.render(in, in.messages, chat.AddGenerationPrompt)
	if err != nil {
		return "", nil, err
	}
	if !in.template.Generates() {
		parts, err = c.prefixes(in, r.Text)
		return r.Text, parts, err
	}
	if r.Untracked {
		return "", nil, errors.New("chat template: a {% generation %} block stands in a macro or in another block whose text goes elsewhere: what the assistant says cannot be told")
	}
	for _, g := range r.Generated {
		parts = append(parts, Span(g))
	}
	return r.Text, parts, nil
}

// prefixes finds the parts of the assistant by rendering the conversation up to each of its messages.
func (c *ChatTemplate) prefixes(in *chatInput, whole string) (parts []Span, err error) {
	for i, m := range in.messages {
		if role, _ := m.(*jinja.Dict).Get("role"); role != "assistant" {
			continue
		}
		before, err := c.render(in, in.messages[:i], true)
		if err != nil {
			return nil, fmt.Errorf("the conversation before message %d: %w", i, err)
		}
		upTo, err := c.render(in, in.messages[:i+1], false)
		if err != nil {
			return nil, fmt.Errorf("the conversation up to message %d: %w", i, err)
		}
		if !strings.HasPrefix(upTo.Text, before.Text) || !strings.HasPrefix(whole, upTo.Text) {
			return nil, fmt.Errorf("chat template: message %d: the text before it and with it are not prefixes of the whole text, so that what the assistant says cannot be told: a template with {%% generation %%} can tell", i)
		}
		parts = append(parts, Span{len(before.Text), len(upTo.Text)})
	}
	return parts, nil
}

// Mask tells which tokens of an encoding, of the text that the parts are of, belong to one of the parts: those that have
// a byte of it and those between them. The parts are in order.
func (e Encoding) Mask(parts []Span) []bool {
	mask := make([]bool, len(e.IDs))
	next := 0
	for _, part := range parts {
		for next < len(e.Spans) && e.Spans[next].End <= part.Start {
			next++
		}
		last := next - 1
		for i := next; i < len(e.Spans) && e.Spans[i].Start < part.End; i++ {
			if e.Spans[i].End > part.Start {
				last = i
			}
		}
		for i := next; i <= last; i++ {
			mask[i] = true
		}
	}
	return mask
}

// chatInput is a chat as a template sees it.
type chatInput struct {
	template  *jinja.Template
	messages  jinja.List
	variables map[string]any
}

// reserved are names that apply_chat_template takes itself.
var reserved = []string{
	"add_generation_prompt", "chat_template", "continue_final_message", "conversation", "documents", "max_length", "messages", "padding",
	"return_assistant_tokens_mask", "return_dict", "return_tensors", "sanitize_control_tokens", "tokenize", "tokenizer_kwargs", "tools", "truncation",
}

// input reads a chat, with what transformers does to it: fields of a message that are null are left out, and reasoning
// is found under each of its names.
func (c *ChatTemplate) input(chat Chat) (*chatInput, error) {
	messages, err := objects("messages", chat.Messages)
	if err != nil {
		return nil, err
	}
	if len(messages) == 0 {
		return nil, errors.New("messages: have none, want at least one")
	}
	for i, m := range messages {
		messages[i] = normalMessage(m.(*jinja.Dict))
	}
	in := &chatInput{messages: messages, variables: map[string]any{}}
	for name, token := range c.tokens {
		in.variables[name] = token
	}
	if !empty(chat.Kwargs) {
		v, err := jinja.FromJSON(chat.Kwargs)
		if err != nil {
			return nil, fmt.Errorf("chat_template_kwargs: %w", err)
		}
		d, ok := v.(*jinja.Dict)
		if !ok {
			return nil, errors.New("chat_template_kwargs: want an object")
		}
		for name, v := range d.All() {
			if slices.Contains(reserved, name) {
				return nil, fmt.Errorf("chat_template_kwargs: %s cannot be a variable of a template", name)
			}
			in.variables[name] = v
		}
	}
	for name, raw := range map[string]json.RawMessage{"tools": chat.Tools, "documents": chat.Documents} {
		in.variables[name] = nil
		if empty(raw) {
			continue
		}
		list, err := objects(name, raw)
		if err != nil {
			return nil, err
		}
		in.variables[name] = list
	}
	in.template, err = c.choose(!empty(chat.Tools))
	return in, err
}

func empty(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// objects reads a list of objects.
func objects(name string, raw json.RawMessage) (jinja.List, error) {
	if empty(raw) {
		return nil, fmt.Errorf("%s: have none, want a list of objects", name)
	}
	v, err := jinja.FromJSON(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	list, ok := v.(jinja.List)
	if !ok {
		return nil, fmt.Errorf("%s: want a list of objects", name)
	}
	for i, x := range list {
		if _, ok := x.(*jinja.Dict); !ok {
			return nil, fmt.Errorf("%s: element %d is not an object", name, i)
		}
	}
	return list, nil
}

func normalMessage(m *jinja.Dict) *jinja.Dict {
	fields := jinja.NewDict()
	var reasoning any
	for _, name := range []string{"reasoning", "thinking", "reasoning_content"} {
		if v, _ := m.Get(name); v != nil {
			reasoning = v
		}
	}
	if reasoning != nil {
		fields.Set("thinking", reasoning)
	}
	for name, v := range m.All() {
		if v != nil {
			fields.Set(name, v)
		}
	}
	if reasoning != nil {
		fields.Set("reasoning_content", reasoning)
	}
	return fields
}

func (c *ChatTemplate) render(in *chatInput, messages jinja.List, prompt bool) (jinja.Result, error) {
	in.variables["messages"] = messages
	in.variables["add_generation_prompt"] = prompt
	r, err := in.template.Render(in.variables, jinja.Options{})
	return r, templateError(err)
}

// templateError tells what can be done about a template that cannot be rendered.
func templateError(err error) error {
	var e *jinja.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e) && e.Raised:
		return fmt.Errorf("chat template: it refuses the chat: %w", err)
	}
	return fmt.Errorf("chat template: %w (the built-in templates %s can be used instead)", err, strings.Join(ChatTemplates(), ", "))
}
