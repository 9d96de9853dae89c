package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"kdistill/internal/tokenizer"
)

func init() {
	register("chat", format{
		text: true, causal: true, template: true, names: []string{"messages", "conversations", "instruction", "input", "output", "system", "prompt", "completion"},
		read: func(f *File, src *os.File, emit func(record) error) error {
			return readJSON(f, src, parseChat, emit)
		},
	})
}

// message is one turn of a chat; templates may read instruction and input, of which content is made.
type message struct {
	Role        string `json:"role"`
	Content     string `json:"content"`
	Instruction string `json:"instruction,omitempty"`
	Input       string `json:"input,omitempty"`
}

// parseChat makes a chat of a record, writes it by the template, and marks what the assistant says.
func parseChat(f *File, o object) (example, error) {
	chat, last, err := f.chat(o)
	if err != nil {
		return example{}, err
	}
	if err := checkTurns(chat.Messages); err != nil {
		return example{}, err
	}
	text, said, err := f.template.Assistant(chat)
	if err != nil {
		return example{}, err
	}
	if len(said) == 0 {
		return example{}, errors.New("a chat without an assistant's turn: there is nothing to learn")
	}
	if last {
		said = said[len(said)-1:]
	}
	ex := example{text: text, written: true}
	for _, s := range said {
		ex.parts = append(ex.parts, part{s, 1})
	}
	return ex, nil
}

// chat reads a record of any of the shapes that data sets have. last: only the last turn is to be learned.
func (f *File) chat(o object) (c tokenizer.Chat, last bool, err error) {
	c = tokenizer.Chat{Tools: o["tools"], Documents: o["documents"], Kwargs: o["chat_template_kwargs"]}
	has := func(name string) bool { return o.has(f.name(name)) }
	switch {
	case has("messages"):
		c.Messages = o[f.name("messages")]
	case has("conversations"):
		var turns []message
		if turns, err = shareGPT(o[f.name("conversations")]); err != nil {
			return c, false, fmt.Errorf("field %q: %w", f.name("conversations"), err)
		}
		if has("system") && (len(turns) == 0 || turns[0].Role != "system") {
			var system string
			if system, err = parseField(o[f.name("system")], false); err != nil {
				return c, false, fmt.Errorf("field %q: %w", f.name("system"), err)
			}
			if system != "" {
				turns = append([]message{{Role: "system", Content: system}}, turns...)
			}
		}
		c.Messages, err = json.Marshal(turns)
	case has("instruction"):
		var turns []message
		if turns, err = f.instruction(o); err == nil {
			c.Messages, err = json.Marshal(turns)
		}
	case has("prompt"):
		last = true
		c.Messages, err = f.answered(o)
	default:
		err = fmt.Errorf("want messages, conversations, instruction with output, or prompt with completion, have %s", strings.Join(slices.Sorted(maps.Keys(o)), ", "))
	}
	return c, last, err
}

// checkTurns finds messages that templates would write as nothing: without a role, or with nothing else.
func checkTurns(raw json.RawMessage) error {
	var messages []object
	if json.Unmarshal(raw, &messages) != nil {
		return nil // the template says what it wants
	}
	for i, m := range messages {
		maps.DeleteFunc(m, func(_ string, v json.RawMessage) bool { return kind(v) == "null" })
		switch {
		case kind(m["role"]) != "a string":
			return fmt.Errorf("message %d: want a field \"role\" with a string, have %s", i+1, kind(m["role"]))
		case len(m) == 1:
			return fmt.Errorf("message %d: %s says nothing: want a field \"content\"", i+1, m["role"])
		}
	}
	return nil
}

// shareGPT reads turns that name their speaker in from and their text in value.
func shareGPT(raw json.RawMessage) ([]message, error) {
	roles := map[string]string{"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
	var turns []struct {
		From  string
		Value *string
	}
	if err := json.Unmarshal(raw, &turns); err != nil {
		return nil, fmt.Errorf("want a list of objects with from and value: %w", err)
	}
	var messages []message
	for i, t := range turns {
		role, ok := roles[t.From]
		if !ok {
			return nil, fmt.Errorf("turn %d is from %q, want human, gpt or system", i+1, t.From)
		}
		if t.Value == nil {
			return nil, fmt.Errorf("turn %d has no value", i+1)
		}
		messages = append(messages, message{Role: role, Content: *t.Value})
	}
	return messages, nil
}

// instruction reads Alpaca's record: instruction, input (which may be empty or missing), output, and a system text where there is one.
func (f *File) instruction(o object) ([]message, error) {
	texts := map[string]string{}
	for _, name := range []string{"instruction", "input", "output", "system"} {
		if !o.has(f.name(name)) {
			if name == "output" {
				return nil, fmt.Errorf("instruction without %s", f.name(name))
			}
			continue
		}
		var err error
		if texts[name], err = parseField(o[f.name(name)], false); err != nil {
			return nil, fmt.Errorf("field %q: %w", f.name(name), err)
		}
	}
	user := message{Role: "user", Content: texts["instruction"], Instruction: texts["instruction"], Input: texts["input"]}
	if user.Input != "" {
		user.Content += "\n\n" + user.Input
	}
	messages := []message{user, {Role: "assistant", Content: texts["output"]}}
	if system := texts["system"]; system != "" {
		messages = append([]message{{Role: "system", Content: system}}, messages...)
	}
	return messages, nil
}

// answered reads a prompt and its completion: two texts, or two lists of messages.
func (f *File) answered(o object) (json.RawMessage, error) {
	var all []json.RawMessage
	for _, name := range []string{"prompt", "completion"} {
		raw, ok := o[f.name(name)]
		if !ok {
			return nil, fmt.Errorf("prompt without %s", f.name(name))
		}
		role := map[string]string{"prompt": "user", "completion": "assistant"}[name]
		var text string
		var list []json.RawMessage
		switch {
		case kind(raw) == "a string" && json.Unmarshal(raw, &text) == nil:
			m, err := json.Marshal(message{Role: role, Content: text})
			if err != nil {
				return nil, err
			}
			all = append(all, m)
		case json.Unmarshal(raw, &list) == nil && len(list) > 0:
			all = append(all, list...)
		default:
			return nil, fmt.Errorf("field %q: want a string or a list of messages, have %s", f.name(name), kind(raw))
		}
	}
	return json.Marshal(all)
}
