package task

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"unicode"

	"kdistill/internal/answer"
	"kdistill/internal/data"
	"kdistill/internal/tokenizer"
)

// Prompts says how records become prompts.
type Prompts struct {
	Template  string                  // names in braces stand for a record's fields, {choices} for its choices with letters, {cot} for both as the data formats cot and icl write them; "": by the names of its fields
	Shots     int                     // demonstrations before each question
	Pool      []Record                // what they are drawn from; never the question itself
	Separator string                  // stands between them
	Seed      uint64                  // of the draws
	Chat      *tokenizer.ChatTemplate // the question is a user's message, demonstrations are turns before it; nil: plain text
	Start     bool                    // with Chat: the template leaves start tokens to the tokenizer
	Tokenizer *tokenizer.Tokenizer
}

// Prompt is what a model is asked.
type Prompt struct {
	Text  string
	IDs   []int32
	Shots int       // demonstrations that it has
	Ends  [][]int32 // of a ranked question the ids of each choice that follow IDs
}

// The templates of records with well-known names: lm-evaluation-harness' of questions, Alpaca's of instructions (Taori et al. 2023). Plain prompts stay as they are.
const (
	asked           = "Question: {question}\nAnswer:"
	askedWithList   = "Question: {question}\n{choices}\nAnswer:"
	instructed      = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Response:"
	instructedInput = "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)

// template returns the one for a record; listed: its choices are to be read, not only compared.
func (p *Prompts) template(r *Record, listed bool) string {
	listed = listed && r.Choices != nil
	input := r.fields["input"] != ""
	switch {
	case p.Template != "":
		return p.Template
	case p.Chat != nil && r.source == "instruction" && input:
		return "{instruction}\n\n{input}"
	case r.source == "instruction" && input && p.Chat == nil:
		return instructedInput
	case r.source == "instruction" && p.Chat == nil:
		return instructed
	case r.source == "question" && p.Chat == nil && listed:
		return askedWithList
	case r.source == "question" && p.Chat == nil:
		return asked
	case listed:
		return "{prompt}\n{choices}"
	}
	return "{prompt}"
}

var field = regexp.MustCompile(`\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// question is the prompt of a record alone.
func (p *Prompts) question(r *Record, listed bool) (text string, err error) {
	if r.source == "" && p.Template == "" {
		return "", fmt.Errorf("no question: want a field %s, or name it by prompt=NAME in --fields", strings.Join(roles["prompt"], ", "))
	}
	text = field.ReplaceAllStringFunc(p.template(r, listed), func(name string) string {
		name = name[1 : len(name)-1]
		switch {
		case name == "choices" && r.Choices != nil:
			return strings.Join(lettered(r.Choices), "\n")
		case name == "cot":
			return data.Question(strings.TrimSpace(r.fields["prompt"]), r.Choices)
		}
		value, ok := r.fields[name]
		if !ok {
			err = fmt.Errorf("the template names the field %q, which is not there or no text", name)
		}
		return value
	})
	return text, err
}

func lettered(choices []string) []string {
	out := make([]string, len(choices))
	for i, c := range choices {
		out[i] = "(" + answer.Letter(i) + ") " + c
	}
	return out
}

// solution is how a demonstration answers: with its reference; where its choices were listed, with letter and text of the right one.
func (p *Prompts) solution(r *Record, listed bool) string {
	if r.Choices != nil && strings.Contains(p.template(r, listed), "{choices}") {
		return lettered(r.Choices)[r.Gold]
	}
	return r.References[0]
}

// join puts an answer behind its question, with a blank where none stands between them.
func join(question, answer string) string {
	if question == "" || strings.TrimRightFunc(question, unicode.IsSpace) != question || strings.TrimLeftFunc(answer, unicode.IsSpace) != answer {
		return question + answer
	}
	return question + " " + answer
}

// turn is a question with its answer.
type turn struct {
	record           *Record
	question, answer string
}

// draw returns the demonstrations of question i.
func (p *Prompts) draw(i int, text string, listed bool) (shots []turn, err error) {
	r := rand.New(rand.NewPCG(p.Seed, uint64(i)))
	for _, at := range r.Perm(len(p.Pool)) {
		if len(shots) == p.Shots {
			break
		}
		d := &p.Pool[at]
		q, err := p.question(d, listed)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Place, err)
		}
		if q == text {
			continue // the question itself, or one that is worded like it
		}
		if len(d.References) == 0 {
			return nil, fmt.Errorf("%s: a demonstration needs a reference", d.Place)
		}
		shots = append(shots, turn{d, q, p.solution(d, listed)})
	}
	if len(shots) < p.Shots {
		return nil, fmt.Errorf("have %d other records to draw from, want %d demonstrations", len(shots), p.Shots)
	}
	return shots, nil
}

// message is a turn of a chat. A template such as Alpaca's reads an instruction and its input apart.
type message struct {
	Role        string `json:"role"`
	Content     string `json:"content"`
	Instruction string `json:"instruction,omitempty"`
	Input       string `json:"input,omitempty"`
}

// compose is the whole text of a prompt.
func (p *Prompts) compose(shots []turn, last turn) (string, error) {
	if p.Chat == nil {
		var b strings.Builder
		for _, s := range shots {
			b.WriteString(join(s.question, s.answer) + p.Separator)
		}
		return b.String() + last.question, nil
	}
	var messages []message
	for _, t := range append(shots[:len(shots):len(shots)], last) {
		user := message{Role: "user", Content: t.question}
		if p.Template == "" && t.record.source == "instruction" {
			user.Instruction, user.Input = t.record.fields["instruction"], t.record.fields["input"]
		}
		messages = append(messages, user, message{Role: "assistant", Content: t.answer})
	}
	raw, err := json.Marshal(messages[:len(messages)-1])
	if err != nil {
		return "", err
	}
	return p.Chat.Prompt(tokenizer.Chat{Messages: raw, AddGenerationPrompt: true})
}

// encode returns the ids of a text that begins a row.
func (p *Prompts) encode(text string) ([]int32, error) {
	e, err := p.Tokenizer.Encode(text, false)
	if err != nil || p.Chat != nil && !p.Start {
		return e.IDs, err
	}
	ids := append(append([]int32(nil), p.Tokenizer.Prefix()...), e.IDs...)
	for _, start := range []int32{p.Tokenizer.BOS(), p.Tokenizer.EOS()} {
		if len(ids) == 0 && start >= 0 {
			ids = []int32{start}
		}
	}
	return ids, nil
}

// Written makes prompts to be continued, each of at most room tokens: demonstrations that don't fit are left out, the last drawn first; a question that
// does not fit is an error.
func (p *Prompts) Written(records []Record, room int) ([]Prompt, error) {
	return p.make(records, true, func(prompt *Prompt, _ *Record) (int, error) { return room - len(prompt.IDs), nil })
}

// Ranked makes prompts with the ids of their choices, each of at most room tokens with its longest choice, as Written does.
//
// A choice stands behind a blank, and its ids are what the ids of prompt and choice have more than those of the prompt, as in lm-evaluation-harness; blanks
// at the prompt's end count as the choice's.
func (p *Prompts) Ranked(records []Record, room int) ([]Prompt, error) {
	return p.make(records, false, func(prompt *Prompt, r *Record) (spare int, err error) {
		context := strings.TrimRightFunc(prompt.Text, unicode.IsSpace)
		if p.Chat != nil || context == "" {
			context = prompt.Text
		}
		if prompt.IDs, err = p.encode(context); err != nil {
			return 0, err
		}
		spare = room - len(prompt.IDs)
		for _, c := range r.Choices {
			whole := prompt.Text + c
			if p.Chat == nil {
				whole = join(prompt.Text, c)
			}
			ids, err := p.encode(whole)
			if err != nil {
				return 0, err
			}
			if len(ids) <= len(prompt.IDs) {
				return 0, fmt.Errorf("the choice %q has no tokens of its own behind the prompt", c)
			}
			prompt.Ends = append(prompt.Ends, ids[len(prompt.IDs):])
			spare = min(spare, room-len(ids))
		}
		return spare, nil
	})
}

// make tries with all demonstrations, then with fewer, until finish finds that no token has too little room.
func (p *Prompts) make(records []Record, listed bool, finish func(*Prompt, *Record) (spare int, err error)) ([]Prompt, error) {
	prompts := make([]Prompt, len(records))
	for i := range records {
		r := &records[i]
		prompt, err := p.one(i, r, listed, finish)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Place, err)
		}
		prompts[i] = prompt
	}
	return prompts, nil
}

func (p *Prompts) one(i int, r *Record, listed bool, finish func(*Prompt, *Record) (spare int, err error)) (Prompt, error) {
	question, err := p.question(r, listed)
	if err != nil {
		return Prompt{}, err
	}
	shots, err := p.draw(i, question, listed)
	if err != nil {
		return Prompt{}, err
	}
	for n := len(shots); ; n-- {
		prompt := Prompt{Shots: n}
		if prompt.Text, err = p.compose(shots[:n], turn{record: r, question: question}); err != nil {
			return prompt, err
		}
		if prompt.IDs, err = p.encode(prompt.Text); err != nil {
			return prompt, err
		}
		if len(prompt.IDs) == 0 {
			return prompt, errors.New("an empty prompt, and the tokenizer has no start token")
		}
		spare, err := finish(&prompt, r)
		if err != nil || spare >= 0 {
			return prompt, err
		}
		if n == 0 {
			advice := "shorten the question, or let answers have fewer tokens"
			if prompt.Ends != nil {
				advice = "shorten the question or its choices"
			}
			return prompt, fmt.Errorf("the prompt has %d tokens, and its answer may need %d more than the model's positions leave: %s", len(prompt.IDs), -spare, advice)
		}
	}
}

// Stops are the texts that end an answer by default: how the next question would begin, that is the last line of the template before its first field; else,
// with demonstrations, what separates these. Of a chat there are none.
func (p *Prompts) Stops(records []Record) []string {
	if p.Chat != nil || len(records) == 0 {
		return nil
	}
	template := strings.ReplaceAll(p.template(&records[0], true), "{cot}", data.Question("{prompt}", nil))
	head := template
	if at := field.FindStringIndex(template); at != nil {
		head = template[:at[0]]
	}
	head = strings.TrimSpace(head)
	head = head[strings.LastIndexByte(head, '\n')+1:]
	switch {
	case head != "":
		return []string{head}
	case p.Shots > 0 && p.Separator != "":
		return []string{p.Separator}
	}
	return nil
}
