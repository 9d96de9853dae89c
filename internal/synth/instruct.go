package synth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

func init() {
	registerStyle("instruct", style{fields: []string{"instruction", "input", "output", "instances", "is_classification"}, plan: instruct})
}

// task is an instruction with an example of it.
type task struct {
	instruction, input, output string
	classification             bool
}

// prompt is the instruction with its input.
func (t task) prompt() string {
	if t.input == "" {
		return t.instruction
	}
	return t.instruction + "\n\n" + t.input
}

// instruct makes instructions with answers: to those of the input, in conversations, or to new ones.
func instruct(r *run) (program, error) {
	tasks := make([]task, len(r.input))
	for i, e := range r.input {
		var err error
		if tasks[i], err = readTask(e); err != nil {
			return nil, err
		}
	}
	if len(tasks) == 0 {
		return nil, errors.New("synth.input is missing: give a file of instructions")
	}
	ask := r.bootstrap
	switch o := r.config.Instruct; {
	case o.Form == "answers":
		ask = r.answerTasks
	case o.Form == "chat":
		ask = r.converse
	case o.Form == "topics" && len(o.Topics) == 0:
		return nil, errors.New("synth.instruct.topics is missing: name what instructions are to be about")
	}
	return func(ctx context.Context) error { return ask(ctx, tasks) }, nil
}

// answerTasks asks for answers to given instructions.
func (r *run) answerTasks(ctx context.Context, tasks []task) error {
	r.goal(len(tasks))
	return r.each(ctx, len(tasks), func(ctx context.Context, i int) error {
		answers, err := r.ask(ctx, fmt.Sprint(i+1), r.answerTo(tasks[i]), r.config.Samples)
		for j, a := range answers {
			r.keep(place{i, j}, r.taskLine(tasks[i], a, strings.TrimSpace(a.Text)))
		}
		return err
	})
}

// answerTo makes the request for an answer to an instruction.
func (r *run) answerTo(t task) Request {
	if r.config.Chat {
		return r.request(t.prompt())
	}
	q := r.request("Instruction: " + t.prompt() + "\nAnswer:")
	if q.Stop == nil {
		q.Stop = []string{"\nInstruction:"}
	}
	return q
}

// taskLine is the line of an instruction whose answer is (part of) a reply.
func (r *run) taskLine(t task, a reply, output string) Line {
	l := r.line(t.prompt(), a)
	l.Completion, l.Instruction, l.Input, l.Output = r.behind(output), t.instruction, t.input, output
	l.Messages = []Message{{"user", t.prompt()}, {"assistant", output}}
	if r.config.System != "" {
		l.Messages = append([]Message{{"system", r.config.System}}, l.Messages...)
	}
	return l
}

// converse makes conversations: the teacher answers, then writes what the user might say next, and so on.
func (r *run) converse(ctx context.Context, tasks []task) error {
	turns := r.config.Instruct.Turns
	r.goal(len(tasks) * r.config.Samples * (2*turns - 1))
	return r.each(ctx, len(tasks)*r.config.Samples, func(ctx context.Context, n int) error {
		i, sample := n/r.config.Samples, n%r.config.Samples
		messages := chat(r.config.System, tasks[i].prompt())
		for turn := 1; ; turn++ {
			a, err := r.say(ctx, fmt.Sprintf("%d.%d answer %d", i+1, sample+1, turn), messages, "assistant")
			if err != nil {
				return err
			}
			text := strings.TrimSpace(a.Text)
			messages = append(messages, Message{"assistant", text})
			if turn == turns || text == "" {
				l := r.line(tasks[i].prompt(), a)
				l.Completion, l.Messages = text, messages
				r.keep(place{i, sample}, l)
				return nil
			}
			next, err := r.say(ctx, fmt.Sprintf("%d.%d question %d", i+1, sample+1, turn), messages, "user")
			if err != nil {
				return err
			}
			messages = append(messages, Message{"user", strings.TrimSpace(next.Text)})
		}
	})
}

// say asks for the next message of a conversation, by the assistant or by the user.
func (r *run) say(ctx context.Context, key string, messages []Message, role string) (reply, error) {
	var q Request
	switch {
	case r.config.Chat && role == "assistant":
		q = r.conversation(messages)
	case r.config.Chat:
		q = r.request("This is a conversation between a user and an assistant.\n\n" + transcript(messages) +
			"\n\nWrite what the user says next: a question or request that goes on from the last answer. Write that message alone.")
	default:
		name := map[string]string{"assistant": "Assistant:", "user": "User:"}[role]
		q = r.request(transcript(messages) + "\n\n" + name)
		if q.Stop == nil {
			q.Stop = []string{"\nUser:", "\nAssistant:"}
		}
	}
	answers, err := r.ask(ctx, key, q, 1)
	if err != nil {
		return reply{}, err
	}
	return answers[0], nil
}

// transcript is a conversation as text.
func transcript(messages []Message) string {
	var b strings.Builder
	for i, m := range messages {
		if i > 0 {
			b.WriteString("\n\n")
		}
		fmt.Fprintf(&b, "%s%s: %s", strings.ToUpper(m.Role[:1]), m.Role[1:], m.Content)
	}
	return b.String()
}

// readTask reads a record: input and output, or the first of instances, as Self-Instruct's seed tasks have them.
func readTask(e example) (t task, err error) {
	if t.instruction, err = e.text("instruction"); err != nil {
		return t, err
	}
	t.instruction = strings.TrimSpace(t.instruction)
	if t.input, _, err = e.optional("input"); err != nil {
		return t, err
	}
	if t.output, _, err = e.optional("output"); err != nil {
		return t, err
	}
	if raw := e.Fields[e.name("instances")]; len(raw) > 0 {
		var list []struct{ Input, Output string }
		if err := json.Unmarshal(raw, &list); err != nil {
			return t, fmt.Errorf("%s: field %q: want a list of objects with input and output: %w", e.Place, e.name("instances"), err)
		}
		if len(list) > 0 {
			t.input, t.output = list[0].Input, list[0].Output
		}
	}
	class, _, err := e.optional("is_classification")
	t.classification = class == "true"
	t.input, t.output = strings.TrimSpace(t.input), strings.TrimSpace(t.output)
	if err == nil && t.instruction == "" {
		err = fmt.Errorf("%s: the instruction is empty", e.Place)
	}
	return t, err
}
