package synth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"kdistill/internal/rouge"
)

const (
	roundRequests = 8  // of a round, whatever the concurrency: the examples of a round are those that were kept before it
	idleRounds    = 20 // without a new instruction end the run
	batchTasks    = 20 // that are asked for at once, in the forms alpaca and topics
)

// pool holds all instructions: those of the input, then new ones, each unlike all before it.
type pool struct {
	tasks  []task
	tokens [][]string
	seeds  int
	limit  float64 // of ROUGE-L

	excluded [][]string // words that no new instruction has
}

// add takes an instruction, or says why not.
func (p *pool) add(t task) (flaw string) {
	tokens := words(t.instruction)
	if flaw := p.flaw(t.instruction, tokens); flaw != "" {
		return flaw
	}
	for _, other := range p.tokens {
		// The F-measure cannot reach the limit where the lengths are too different.
		if short, long := min(len(tokens), len(other)), max(len(tokens), len(other)); 2*float64(short) < p.limit*float64(short+long) {
			continue
		}
		if rouge.L(tokens, other) >= p.limit {
			return "like another instruction"
		}
	}
	p.tasks, p.tokens = append(p.tasks, t), append(p.tokens, tokens)
	return ""
}

// flaw says why an instruction is no good; "": it may be. The rules are Self-Instruct's, but for the first letter, which may be of any script.
func (p *pool) flaw(text string, tokens []string) string {
	first, _ := utf8.DecodeRuneInString(text)
	switch {
	case !unicode.In(first, unicode.Letter, unicode.Number):
		return "begins with no letter"
	case len(tokens) <= 3 || len(tokens) > 150:
		return "instruction too short or too long"
	}
	for _, phrase := range p.excluded {
		if within(tokens, phrase) {
			return excludedWord
		}
	}
	return ""
}

const excludedWord = "holds a word of synth.instruct.exclude"

// bootstrap makes new instructions from those of the input, in rounds, until there are enough.
func (r *run) bootstrap(ctx context.Context, seeds []task) error {
	o := r.config.Instruct
	p := &pool{limit: o.ROUGE}
	for _, phrase := range o.Exclude {
		p.excluded = append(p.excluded, words(phrase))
	}
	for _, t := range seeds {
		p.tasks, p.tokens = append(p.tasks, t), append(p.tokens, words(t.instruction))
	}
	p.seeds = len(seeds)
	r.wanted = o.Count
	r.reached(0, o.Count)
	number, idle := 0, 0 // of candidates so far; rounds in a row without a new one
	for round := 1; len(p.tasks)-p.seeds < o.Count; round++ {
		if idle == idleRounds {
			r.short = fmt.Sprintf("%d rounds in a row brought no new instruction", idle)
			break
		}
		replies := make([]*reply, roundRequests) // nil: refused
		asked := r.each(ctx, roundRequests, func(ctx context.Context, i int) error {
			key := fmt.Sprintf("round %d.%d", round, i+1)
			answers, err := r.ask(ctx, key, r.askNew(p, r.random(key)), 1)
			if err == nil {
				replies[i] = &answers[0]
			}
			if failed := (*Failed)(nil); errors.As(err, &failed) {
				return failed.error // the next rounds hang on this one
			}
			return err
		})
		if asked != nil {
			return asked // an unfinished round is taken up by the next run: what is kept must not hang on where it broke off
		}
		first := len(p.tasks)
		var from []reply
		var numbers []int
		for _, a := range replies {
			if a == nil {
				continue
			}
			tasks, cut := wholeTasks(*a, o.Form)
			switch {
			case len(tasks) == 0:
				r.drop(place{number, 0}, noTask(*a), r.line(r.config.Instruct.Form, *a))
			case cut != nil:
				r.drop(place{number + len(tasks), 0}, "cut by max_tokens", r.taskLine(*cut, *a, cut.output))
			}
			for _, t := range tasks {
				number++
				var flaw string
				switch {
				case len(p.tasks)-p.seeds == o.Count:
					flaw = "more than are wanted"
				case o.Form == "alpaca" && t.output == "":
					flaw = "no output"
				default:
					flaw = p.add(t)
				}
				if flaw != "" {
					r.drop(place{number - 1, 0}, flaw, r.taskLine(t, *a, t.output))
					continue
				}
				from, numbers = append(from, *a), append(numbers, number-1)
			}
		}
		fresh := p.tasks[first:]
		if idle++; len(fresh) > 0 {
			idle = 0
		}
		if o.Form == "alpaca" {
			for i, t := range fresh {
				l := r.taskLine(t, from[i], t.output)
				l.FinishReason = FinishStop // it is whole, whatever came after it
				r.keep(place{numbers[i], 0}, l)
			}
		} else if err := r.each(ctx, len(fresh), func(ctx context.Context, i int) error { return r.instances(ctx, seeds, fresh[i], numbers[i]) }); err != nil {
			return err
		}
		r.reached(len(p.tasks)-p.seeds, o.Count)
	}
	return nil
}

// askNew makes a request for new instructions, with examples drawn from the pool.
func (r *run) askNew(p *pool, random *rand.Rand) Request {
	o := r.config.Instruct
	old, fresh := p.tasks[:p.seeds], p.tasks[p.seeds:]
	var shown []task
	if o.Form == "self_instruct" {
		shown = pick(random, fresh, o.Shots/4)
	}
	shown = append(shown, pick(random, old, o.Shots-len(shown))...)
	random.Shuffle(len(shown), func(i, j int) { shown[i], shown[j] = shown[j], shown[i] })
	var b strings.Builder
	switch o.Form {
	case "self_instruct":
		b.WriteString("A list of many different tasks, each said in a sentence or two:\n\n")
		for i, t := range shown {
			fmt.Fprintf(&b, "Task %d: %s\n", i+1, oneLine(t.instruction))
		}
		if r.config.Chat {
			fmt.Fprintf(&b, "\nGo on with tasks %d to %d in the same form.", len(shown)+1, len(shown)+8)
		} else {
			fmt.Fprintf(&b, "Task %d:", len(shown)+1)
		}
	case "alpaca":
		fmt.Fprintf(&b, "Here is a list of %d different tasks for an assistant that reads and writes text. Each has an instruction of one or two sentences, an input where it needs one "+
			"(else \"none\"), and the right output. No two tasks are alike: they differ in verb, subject, form and length.\n\n", batchTasks)
		for i, t := range shown {
			input := t.input
			if input == "" {
				input = "none"
			}
			fmt.Fprintf(&b, "Task %d\nInstruction: %s\nInput: %s\nOutput: %s\n\n", i+1, oneLine(t.instruction), input, t.output)
		}
		if r.config.Chat {
			fmt.Fprintf(&b, "Go on with tasks %d to %d in the same form.", len(shown)+1, batchTasks)
		} else {
			fmt.Fprintf(&b, "Task %d\nInstruction:", len(shown)+1)
		}
	case "topics":
		topic := o.Topics[random.IntN(len(o.Topics))]
		b.WriteString("Instructions that one might give to an assistant:\n\n")
		for _, t := range shown {
			fmt.Fprintf(&b, "- %s\n", oneLine(t.instruction))
		}
		if r.config.Chat {
			fmt.Fprintf(&b, "\nWrite %d more, all different, each about this topic: %s. One in a line, each line beginning with \"- \".", batchTasks, topic)
		} else {
			fmt.Fprintf(&b, "\nMore of them, all different, about the topic %q:\n\n-", topic)
		}
	}
	return r.request(b.String())
}

// pick draws n of a list, or all of it.
func pick(random *rand.Rand, from []task, n int) (some []task) {
	for _, i := range random.Perm(len(from))[:min(max(n, 0), len(from))] {
		some = append(some, from[i])
	}
	return some
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

var (
	taskHead = regexp.MustCompile(`(?m)^\s*(?:\*\*|#+ )?Task \d+\b[.:*]*`)
	listHead = regexp.MustCompile(`(?m)^\s*(?:-|\d+[.)])\s`)
	fieldOf  = regexp.MustCompile(`(?m)^\s*(Instruction|Input|Output):`)
)

// wholeTasks are the tasks of a reply, without the one that the limit has cut (nil: there is none).
func wholeTasks(a reply, form string) (whole []task, cut *task) {
	all := parseTasks(a.Text, form)
	if n := len(all); a.FinishReason == FinishLength && n > 0 {
		return all[:n-1], &all[n-1]
	}
	return all, nil
}

// noTask says why a reply has no whole task.
func noTask(a reply) string {
	switch {
	case strings.TrimSpace(a.Text) == "":
		return "empty answer"
	case a.FinishReason == FinishLength:
		return "cut by max_tokens before a task was whole"
	}
	return "no task found"
}

// parseTasks finds the tasks in an answer. The first may begin at once, as it does where the prompt ended with its number.
func parseTasks(text, form string) (all []task) {
	head := taskHead
	if form == "topics" {
		head = listHead
	}
	text = "\n" + text
	bounds := head.FindAllStringIndex(text, -1)
	starts, ends := []int{0}, []int{}
	for _, at := range bounds {
		starts, ends = append(starts, at[1]), append(ends, at[0])
	}
	ends = append(ends, len(text))
	for i := range starts {
		part := strings.TrimSpace(text[starts[i]:ends[i]])
		if part == "" {
			continue
		}
		if form == "alpaca" {
			if t, ok := parseFields(part); ok {
				all = append(all, t)
			}
			continue
		}
		line, _, _ := strings.Cut(part, "\n") // what stands below is no instruction
		all = append(all, task{instruction: strings.Trim(strings.TrimSpace(line), "\"*")})
	}
	return all
}

// parseFields reads "Instruction: …", "Input: …", "Output: …"; the first word may be missing.
func parseFields(part string) (t task, ok bool) {
	if !fieldOf.MatchString(part) || fieldOf.FindStringIndex(part)[0] > 0 {
		part = "Instruction: " + part
	}
	at := fieldOf.FindAllStringSubmatchIndex(part, -1)
	for i, m := range at {
		end := len(part)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		value := strings.TrimSpace(part[m[1]:end])
		switch part[m[2]:m[3]] {
		case "Instruction":
			t.instruction = oneLine(value)
		case "Input":
			if none := strings.ToLower(strings.Trim(value, "\"<>.()")); none != "none" && none != "noinput" && none != "no input" {
				t.input = value
			}
		case "Output":
			t.output = value
		}
	}
	return t, t.instruction != ""
}

// instances asks for an example of a new instruction: in the form topics for an answer, in self_instruct first whether the task is a classification, then
// for input and output; of a classification for the output first, so that its classes are balanced.
func (r *run) instances(ctx context.Context, seeds []task, t task, number int) error {
	key := fmt.Sprintf("task %d", number+1)
	at := place{number, 0}
	if r.config.Instruct.Form == "topics" {
		answers, err := r.ask(ctx, key, r.answerTo(t), r.config.Samples)
		for j, a := range answers {
			r.keep(place{number, j}, r.taskLine(t, a, strings.TrimSpace(a.Text)))
		}
		return err
	}
	random := r.random(key)
	class, err := r.ask(ctx, key+": classification?", r.askClass(seeds, t, random), 1)
	if err != nil {
		return err
	}
	t.classification = strings.HasPrefix(strings.ToLower(strings.TrimSpace(class[0].Text)), "yes")
	made, err := r.ask(ctx, key, r.askInstance(seeds, t, random), 1)
	if err != nil {
		return err
	}
	instance, _ := parseFields("Instruction: " + t.instruction + "\n" + afterPrompt(made[0].Text, t.classification))
	instance.instruction = t.instruction
	l := r.taskLine(instance, made[0], instance.output)
	switch {
	case instance.output == "":
		r.drop(at, "no output", l)
	case instance.output == instance.input:
		r.drop(at, "output is the input", l)
	default:
		r.keep(at, l)
	}
	return nil
}

// afterPrompt puts before an answer the word that the prompt of askInstance ended with, unless the answer has it.
func afterPrompt(text string, classification bool) string {
	if at := fieldOf.FindStringIndex(text); at != nil && strings.TrimSpace(text[:at[0]]) == "" {
		return text
	}
	if classification {
		return "Output:" + text
	}
	return "Input:" + text
}

// askClass makes the question whether a task is a classification, with six examples of each.
func (r *run) askClass(seeds []task, t task, random *rand.Rand) Request {
	var yes, no []task
	for _, s := range seeds {
		if s.classification {
			yes = append(yes, s)
		} else {
			no = append(no, s)
		}
	}
	shown := append(pick(random, yes, 6), pick(random, no, 6)...)
	random.Shuffle(len(shown), func(i, j int) { shown[i], shown[j] = shown[j], shown[i] })
	var b strings.Builder
	b.WriteString("Is the task a classification, with a small set of possible outputs?\n\n")
	for _, s := range shown {
		fmt.Fprintf(&b, "Task: %s\nClassification: %s\n\n", oneLine(s.instruction), map[bool]string{true: "Yes", false: "No"}[s.classification])
	}
	fmt.Fprintf(&b, "Task: %s\nClassification:", oneLine(t.instruction))
	q := r.request(b.String())
	q.MaxTokens, q.Temperature = min(q.MaxTokens, 8), 0
	if q.Stop = slices.Clone(q.Stop); !r.config.Chat {
		q.Stop = append(q.Stop, "\n")
	}
	return q
}

// askInstance asks for input and output, by examples of the same sort: four of them, one below another.
func (r *run) askInstance(seeds []task, t task, random *rand.Rand) Request {
	var same []task
	for _, s := range seeds {
		if s.classification == t.classification && s.output != "" {
			same = append(same, s)
		}
	}
	var b strings.Builder
	b.WriteString("Tasks, each with an example: an input, or none where the task needs none, and the right output.\n\n")
	write := func(name, value string) {
		if value == "" {
			value = "none"
		}
		fmt.Fprintf(&b, "%s: %s\n", name, value)
	}
	for _, s := range pick(random, same, 4) {
		write("Instruction", oneLine(s.instruction))
		if s.classification {
			write("Output", s.output)
			write("Input", s.input)
		} else {
			write("Input", s.input)
			write("Output", s.output)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "Instruction: %s\n%s", oneLine(t.instruction), map[bool]string{true: "Output:", false: "Input:"}[t.classification])
	q := r.request(b.String())
	if q.Stop == nil && !r.config.Chat {
		q.Stop = []string{"\nInstruction:"}
	}
	return q
}
