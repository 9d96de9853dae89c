package tokenizer

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"kdistill/internal/testutil"
	"kdistill/internal/tokenizer/jinja"
)

// template returns a chat template of a source, with the start token <s> and the end token </s>.
func template(t testing.TB, source string) *ChatTemplate {
	t.Helper()
	parsed, err := parseTemplate(source)
	if err != nil {
		t.Fatal(err)
	}
	return &ChatTemplate{plain: parsed, tokens: map[string]string{"bos_token": "<s>", "eos_token": "</s>"}}
}

// TestChats holds whole templates, own ones, to what transformers makes of them.
func TestChats(t *testing.T) {
	var golden struct {
		Templates map[string]string
		Chats     []Chat
		Results   []struct {
			Template string
			Chat     int
			Prompt   *string
			Spans    [][2]int // in characters
		}
	}
	readJSON(t, testutil.Testdata(t, "tokenizer/chat/chats.json"), &golden)
	if len(golden.Results) < 40 {
		t.Fatalf("%d results", len(golden.Results))
	}
	for _, want := range golden.Results {
		c := template(t, golden.Templates[want.Template])
		prompt, err := c.Prompt(golden.Chats[want.Chat])
		if want.Prompt == nil {
			if err == nil {
				t.Errorf("%s, chat %d: have %q, want an error", want.Template, want.Chat, prompt)
			}
			continue
		}
		if err != nil || prompt != *want.Prompt {
			t.Errorf("%s, chat %d:\nhave %q (%v)\nwant %q", want.Template, want.Chat, prompt, err, *want.Prompt)
			continue
		}
		if !c.plain.Generates() {
			continue
		}
		_, parts, err := c.Assistant(golden.Chats[want.Chat])
		var have [][2]int
		for _, p := range parts {
			have = append(have, [2]int{utf8.RuneCountInString(prompt[:p.Start]), utf8.RuneCountInString(prompt[:p.End])})
		}
		if err != nil || !slices.Equal(have, want.Spans) {
			t.Errorf("%s, chat %d: have %v (%v), want %v", want.Template, want.Chat, have, err, want.Spans)
		}
	}
}

// TestChatsPublished holds published templates to what Python's jinja2 makes of them.
func TestChatsPublished(t *testing.T) {
	var cases []struct {
		Name, Template, Py string
		Data               json.RawMessage
	}
	readJSON(t, testutil.Shared(t, "data/tokenizer/hf/chat_plain.json.gz"), &cases)
	same, refused := 0, 0
	made := func() time.Time { return time.Date(2025, time.July, 10, 12, 0, 0, 0, time.UTC) } // two templates write the date
	for _, c := range cases {
		v, err := jinja.FromJSON(c.Data)
		if err != nil {
			t.Fatal(err)
		}
		variables := map[string]any{}
		for name, x := range v.(*jinja.Dict).All() {
			variables[name] = x
		}
		var r jinja.Result
		parsed, err := jinja.Parse(c.Template)
		if err == nil {
			r, err = parsed.Render(variables, jinja.Options{Now: made})
		}
		switch {
		case err == nil && r.Text == c.Py, err != nil && c.Py == "ERR":
			same++
		case err != nil:
			refused++
			t.Logf("%s: %v", c.Name, err)
		default:
			t.Errorf("%s:\nhave %q\nwant %q", c.Name, r.Text, c.Py)
		}
	}
	if t.Logf("%d of %d renderings are equal, %d are refused", same, len(cases), refused); same < 660 {
		t.Errorf("%d renderings are equal, want 660", same)
	}
}

func chatOf(t testing.TB, data string) (c Chat) {
	t.Helper()
	if err := json.Unmarshal([]byte(data), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// folder returns a folder with an own tokenizer and files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	data, err := os.ReadFile(testutil.Testdata(t, "tokenizer/clean/own-smollm.tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	files["tokenizer.json"] = string(data)
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestChatTemplateFiles has the places that a template can stand in, and the names that it sees.
func TestChatTemplateFiles(t *testing.T) {
	plain, tools := `{"messages":[{"role":"user","content":"x"}]}`, `{"messages":[{"role":"user","content":"x"}],"tools":[{"a":1}]}`
	for _, c := range []struct {
		files      map[string]string
		name, chat string
		want, err  string
	}{
		{files: map[string]string{}, chat: plain, err: "the tokenizer has no chat template (the built-in templates chatml, llama3, gemma, alpaca, none can be used instead)"},
		{files: map[string]string{"tokenizer_config.json": `{"chat_template":null}`}, chat: plain, err: "no chat template"},
		{files: map[string]string{"tokenizer_config.json": `{"chat_template":"config {{ messages|length }}"}`}, chat: plain, want: "config 1"},
		{files: map[string]string{"chat_template.jinja": "file"}, chat: plain, want: "file"},
		{files: map[string]string{"chat_template.jinja": "file", "tokenizer_config.json": `{"chat_template":"config"}`}, chat: plain, want: "file"},
		{files: map[string]string{"tokenizer_config.json": `{"chat_template":[{"name":"default","template":"d"},{"name":"tool_use","template":"t"},{"name":"rag","template":"r"}]}`}, chat: plain, want: "d"},
		{files: map[string]string{"tokenizer_config.json": `{"chat_template":[{"name":"default","template":"d"},{"name":"tool_use","template":"t"},{"name":"rag","template":"r"}]}`}, chat: tools, want: "t"},
		{files: map[string]string{"tokenizer_config.json": `{"chat_template":[{"name":"default","template":"d"},{"name":"tool_use","template":"t"},{"name":"rag","template":"r"}]}`}, name: "rag", chat: tools, want: "r"},
		{files: map[string]string{"chat_template.jinja": "d", "additional_chat_templates/tool_use.jinja": "t"}, chat: tools, want: "t"},
		{files: map[string]string{"tokenizer_config.json": `{"chat_template":[{"name":"rag","template":"r"}]}`}, chat: plain, err: "none is called default: want one of rag"},
		{files: map[string]string{"tokenizer_config.json": `{"chat_template":[{"name":"tool_use","template":"t"}]}`}, chat: plain, err: "for chats with tools only"},
		{files: map[string]string{"tokenizer_config.json": `{"chat_template":"{% if %}"}`}, chat: plain, err: "chat template: line 1: have the end of a tag, want an expression (the built-in templates chatml, llama3, gemma, alpaca, none can be used instead)"},
		{files: map[string]string{}, name: "vicuna", chat: plain, err: `chat template "vicuna": want one of chatml, llama3, gemma, alpaca, none`},
		{files: map[string]string{"tokenizer_config.json": `{"bos_token":{"content":"<b>"},"eos_token":"<|im_end|>","image_token":"<i>","add_bos_token":true,"sep_token":null,"extra_special_tokens":{"boi":"<y>"}}`,
			"chat_template.jinja": "{{ bos_token }}{{ eos_token }}{{ image_token }}{{ boi }}{{ add_bos_token is defined }}{{ sep_token is defined }}"}, chat: plain, want: "<b><|im_end|><i><y>FalseFalse"},
		{files: map[string]string{"special_tokens_map.json": `{"bos_token":"<|im_start|>"}`, "chat_template.jinja": "{{ bos_token }}"}, chat: plain, want: "<|im_start|>"},
		{files: map[string]string{"chat_template.jinja": "{{ x }}{{ bos_token }}"}, chat: `{"messages":[{"role":"user"}],"chat_template_kwargs":{"x":1.0,"bos_token":"B"}}`, want: "1.0B"},
		{files: map[string]string{"chat_template.jinja": "x"}, chat: `{"messages":[{"role":"user"}],"chat_template_kwargs":{"tools":[]}}`, err: "tools cannot be a variable"},
		{files: map[string]string{"chat_template.jinja": "x"}, chat: `{"messages":[]}`, err: "messages: have none"},
		{files: map[string]string{"chat_template.jinja": "x"}, chat: `{}`, err: "messages: have none"},
		{files: map[string]string{"chat_template.jinja": "x"}, chat: `{"messages":["x"]}`, err: "messages: element 0 is not an object"},
		{files: map[string]string{"chat_template.jinja": "x"}, chat: `{"messages":[{}],"tools":{}}`, err: "tools: want a list"},
	} {
		tok := load(t, folder(t, c.files))
		template, err := tok.ChatTemplate(c.name)
		var prompt string
		if err == nil {
			prompt, err = template.Prompt(chatOf(t, c.chat))
		}
		if c.err == "" && (err != nil || prompt != c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%v, %q, %s:\nhave %q (%v)\nwant %q %s", c.files["tokenizer_config.json"], c.name, c.chat, prompt, err, c.want, c.err)
		}
	}
	if _, err := Load(folder(t, map[string]string{"tokenizer_config.json": `{"chat_template":5}`})); err == nil || !strings.Contains(err.Error(), "chat_template") {
		t.Errorf("a template that is a number: have %v", err)
	}
	if _, err := clean(t, "own-gpt2").ChatTemplate(""); !errors.Is(err, ErrNoTemplate) {
		t.Errorf("no template: have %v", err)
	}
}

// said returns the parts of a prompt that the assistant says.
func said(prompt string, parts []Span) (texts []string) {
	for _, p := range parts {
		texts = append(texts, prompt[p.Start:p.End])
	}
	return texts
}

func TestAssistant(t *testing.T) {
	const (
		turns    = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
		stripped = "{% for m in messages %}<{{ m.role }}>{{ m.content if loop.last else '' }}</>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
		inMacro  = "{% macro say(m) %}{% generation %}{{ m.content }}{% endgeneration %}{% endmacro %}{% for m in messages %}{{ say(m) }}{% endfor %}"
		marked   = "{% for m in messages %}{% if m.role == 'assistant' %}[{% generation %}{{ m.content }}é{% endgeneration %}]{% endif %}{% endfor %}"
		picky    = "{% if messages[0].role != 'user' %}{{ raise_exception('no') }}{% endif %}" + turns
		chat     = `{"messages":[{"role":"user","content":"U"},{"role":"assistant","content":"漢"},{"role":"user","content":"V"},{"role":"assistant","content":"B"}]}`
	)
	for _, c := range []struct {
		template, chat string
		want           []string
		err            string
	}{
		{turns, chat, []string{"漢</>", "B</>"}, ""},
		{turns, strings.Replace(chat, "]}", `],"add_generation_prompt":true}`, 1), []string{"漢</>", "B</>"}, ""},
		{turns, `{"messages":[{"role":"assistant","content":"A"},{"role":"user","content":"U"}]}`, []string{"A</>"}, ""},
		{turns, `{"messages":[{"role":"user","content":"U"}]}`, nil, ""},
		{stripped, chat, nil, "message 1: the text before it and with it are not prefixes"},
		{marked, chat, []string{"漢é", "Bé"}, ""},
		{inMacro, chat, nil, "stands in a macro"},
		{picky, `{"messages":[{"role":"assistant","content":"A"}]}`, nil, "it refuses the chat"},
		{picky, chat, []string{"漢</>", "B</>"}, ""},
	} {
		prompt, parts, err := template(t, c.template).Assistant(chatOf(t, c.chat))
		have := said(prompt, parts)
		if c.err == "" && (err != nil || !slices.Equal(have, c.want)) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s, %s: have %q (%v), want %q %s", c.template, c.chat, have, err, c.want, c.err)
		}
	}
}

func TestMask(t *testing.T) {
	e := Encoding{IDs: make([]int32, 8), Spans: []Span{{0, 0}, {0, 3}, {3, 5}, {5, 5}, {5, 8}, {8, 9}, {9, 9}, {9, 12}}}
	for _, c := range []struct {
		parts []Span
		want  string
	}{
		{nil, "00000000"}, {[]Span{{0, 12}}, "01111111"}, {[]Span{{3, 8}}, "00111000"}, {[]Span{{4, 6}}, "00111000"}, {[]Span{{8, 8}}, "00000000"},
		{[]Span{{0, 1}, {2, 3}, {9, 10}}, "01000001"}, {[]Span{{3, 5}, {8, 9}}, "00100100"}, {[]Span{{12, 20}}, "00000000"},
	} {
		have := ""
		for _, m := range e.Mask(c.parts) {
			have += map[bool]string{false: "0", true: "1"}[m]
		}
		if have != c.want {
			t.Errorf("%v: have %s, want %s", c.parts, have, c.want)
		}
	}
}

// TestBuiltinTemplates also shows what the mask of a whole chat is.
func TestBuiltinTemplates(t *testing.T) {
	chat := chatOf(t, `{"messages":[{"role":"system","content":"Be brief. "},{"role":"user","content":[{"type":"text","text":"Hi"},{"type":"text","text":"!"}]},{"role":"assistant","content":"Hello"}],"add_generation_prompt":true}`)
	tok := load(t, folder(t, map[string]string{"tokenizer_config.json": `{"bos_token":"<|endoftext|>"}`}))
	for name, want := range map[string][2]string{
		"chatml": {"<|im_start|>system\nBe brief. <|im_end|>\n<|im_start|>user\nHi!<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>assistant\n", "Hello<|im_end|>"},
		"llama3": {"<|endoftext|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi!<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", "Hello<|eot_id|>"},
		"gemma":  {"<|endoftext|><start_of_turn>user\nBe brief.\n\nHi!<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n<start_of_turn>model\n", "Hello<end_of_turn>"},
		"none":   {"Be brief. Hi!Hello", "Hello"},
	} {
		c, err := tok.ChatTemplate(name)
		if err != nil {
			t.Fatal(err)
		}
		prompt, parts, err := c.Assistant(chat)
		if err != nil || prompt != want[0] || !slices.Equal(said(prompt, parts), []string{want[1]}) {
			t.Errorf("%s: have %q, %q (%v), want %q", name, prompt, said(prompt, parts), err, want)
		}
		e, err := tok.Encode(prompt, false)
		if err != nil {
			t.Fatal(err)
		}
		var ids []int32
		for i, m := range e.Mask(parts) {
			if m {
				ids = append(ids, e.IDs[i])
			}
		}
		// Where the vocabulary lacks the template's tokens, the last token may reach over the end.
		if text := tok.Decode(ids, false); !strings.HasPrefix(text, want[1]) || name == "chatml" && text != want[1] {
			t.Errorf("%s: the mask leaves %q", name, text)
		}
		for _, bad := range []string{`{"messages":[{"role":"user","content":"x"}],"tools":[{}]}`, `{"messages":[{"role":"user","content":[{"type":"image"}]}]}`, `{"messages":[{"role":"user","content":"x","tool_calls":[{}]}]}`} {
			if prompt, err := c.Prompt(chatOf(t, bad)); err == nil || !strings.Contains(err.Error(), "no place for") && !strings.Contains(err.Error(), "a place for text only") {
				t.Errorf("%s, %s: have %q (%v)", name, bad, prompt, err)
			}
		}
	}
	if have := ChatTemplates(); len(have) != len(builtinTemplates) {
		t.Errorf("have the names %v of %d templates", have, len(builtinTemplates))
	}
}
