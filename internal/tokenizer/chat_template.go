package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kdistill/internal/tokenizer/jinja"
)

// ErrNoTemplate is the error of ChatTemplate for a tokenizer without one.
var ErrNoTemplate = errors.New("the tokenizer has no chat template")

// ChatTemplate turns chats into prompts. It is safe for concurrent use.
type ChatTemplate struct {
	plain, tools *jinja.Template   // the latter for chats with tools, or nil; the former may be nil only where the latter is not
	tokens       map[string]string // the special tokens that it can name, such as bos_token
}

// chatFiles are the parts of a tokenizer's files that chat templates need.
type chatFiles struct {
	templates map[string]string // by name
	tokens    map[string]string
}

// ChatTemplate returns the chat template of a name: one that the tokenizer's files give, else one of ChatTemplates. The
// name "" is the one that transformers takes, called default, or tool_use for a chat with tools.
func (t *Tokenizer) ChatTemplate(name string) (*ChatTemplate, error) {
	c := &ChatTemplate{tokens: t.chatTokens()}
	source, ok := t.chat.templates[name]
	if !ok {
		source, ok = builtinTemplates[name]
	}
	var err error
	switch {
	case ok:
		c.plain, err = parseTemplate(source)
		return c, err
	case name != "":
		return nil, fmt.Errorf("chat template %q: want one of %s", name, strings.Join(append(t.templateNames(), ChatTemplates()...), ", "))
	case len(t.chat.templates) == 0:
		return nil, fmt.Errorf("%w (the built-in templates %s can be used instead)", ErrNoTemplate, strings.Join(ChatTemplates(), ", "))
	}
	for name, to := range map[string]**jinja.Template{"default": &c.plain, "tool_use": &c.tools} {
		if source, ok := t.chat.templates[name]; ok {
			if *to, err = parseTemplate(source); err != nil {
				return nil, err
			}
		}
	}
	if c.plain == nil && c.tools == nil {
		return nil, fmt.Errorf("chat template: the tokenizer has several and none is called default: want one of %s", strings.Join(t.templateNames(), ", "))
	}
	return c, nil
}

// ChatTemplates returns the names of the built-in chat templates.
func ChatTemplates() []string { return []string{"chatml", "llama3", "gemma", "alpaca", "none"} }

func (t *Tokenizer) templateNames() (names []string) {
	for name := range t.chat.templates {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func parseTemplate(source string) (*jinja.Template, error) {
	t, err := jinja.Parse(source)
	return t, templateError(err)
}

// chatTokens returns the special tokens by the names that templates know them by.
func (t *Tokenizer) chatTokens() map[string]string {
	tokens := maps.Clone(t.chat.tokens)
	if tokens == nil {
		tokens = map[string]string{}
	}
	for name, id := range map[string]int32{"bos_token": t.BOS(), "eos_token": t.EOS(), "pad_token": t.PAD(), "unk_token": t.UNK()} {
		content, ok := t.Token(id)
		if _, has := tokens[name]; ok && !has {
			tokens[name] = content
		}
	}
	return tokens
}

// choose returns the template for a chat with or without tools.
func (c *ChatTemplate) choose(tools bool) (*jinja.Template, error) {
	switch {
	case tools && c.tools != nil:
		return c.tools, nil
	case c.plain == nil:
		return nil, errors.New("chat template: the tokenizer has one for chats with tools only")
	}
	return c.plain, nil
}

// readChatFiles reads what a folder has of chat templates, as transformers does.
func readChatFiles(dir string) (chatFiles, error) {
	c := chatFiles{map[string]string{}, map[string]string{}}
	settings, err := readConfig(dir)
	if err != nil {
		return c, err
	}
	c.addTokens(settings)
	if err := c.addTemplates(settings["chat_template"]); err != nil {
		return c, fmt.Errorf("tokenizer_config.json: chat_template: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(escapeGlob(dir), "additional_chat_templates", "*.jinja"))
	if err != nil {
		return c, err
	}
	own := map[string]string{}
	for _, file := range append(files, filepath.Join(dir, "chat_template.jinja")) {
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return c, err
		}
		name := strings.TrimSuffix(filepath.Base(file), ".jinja")
		if name == "chat_template" && filepath.Dir(file) == filepath.Clean(dir) {
			name = "default"
		}
		own[name] = string(data)
	}
	if len(own) > 0 { // these win over tokenizer_config.json
		c.templates = own
	}
	return c, nil
}

// escapeGlob makes filepath.Glob take a path as it is.
func escapeGlob(path string) string {
	return strings.NewReplacer("*", "[*]", "?", "[?]", "[", "[[]").Replace(path)
}

// addTokens notes the special tokens of a file: all keys that end in _token, and those of extra_special_tokens.
func (c *chatFiles) addTokens(object config) {
	var extra config
	_ = json.Unmarshal(object[keyExtra], &extra) // a list has no names
	for key, raw := range object {
		if strings.HasSuffix(key, "_token") {
			c.addToken(key, raw)
		}
	}
	for key, raw := range extra {
		c.addToken(key, raw)
	}
}

// addToken notes a special token: its text, or an object that has it as content. Anything else, such as the switch
// add_bos_token, is none.
func (c *chatFiles) addToken(name string, raw json.RawMessage) {
	var text *string
	var object struct{ Content *string }
	if json.Unmarshal(raw, &text) != nil {
		_ = json.Unmarshal(raw, &object)
		text = object.Content
	}
	if text != nil {
		c.tokens[name] = *text
	}
}

// addTemplates notes the templates of tokenizer_config.json: one text, or a list of texts with names.
func (c *chatFiles) addTemplates(raw json.RawMessage) error {
	if empty(raw) {
		return nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		c.templates["default"] = text
		return nil
	}
	var list []struct{ Name, Template *string }
	if err := json.Unmarshal(raw, &list); err != nil {
		return errors.New("want a text, or a list of objects with name and template")
	}
	for i, t := range list {
		if t.Name == nil || t.Template == nil {
			return fmt.Errorf("element %d lacks name or template", i)
		}
		c.templates[*t.Name] = *t.Template
	}
	return nil
}
