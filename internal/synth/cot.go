package synth

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"

	"kdistill/internal/answer"
	"kdistill/internal/data"
)

func init() {
	registerStyle("cot", style{fields: []string{"question", "answer", "choices", "rationale"}, plan: cot})
}

// problem is a question with its right answer.
type problem struct {
	plain     string // the question
	question  string // with its choices
	choices   []string
	gold      string // as the answer is written
	rationale string // of a worked one
}

// cot asks for rationales: several for each question, by examples or by "Let's think step by step" (Kojima et al. 2022), and keeps those that end with
// the right answer (Fine-tune-CoT: Ho et al. 2023). Where none does it may ask again with the answer given (STaR's rationalisation: Zelikman et al. 2022).
func cot(r *run) (program, error) {
	o := r.config.CoT
	kind := answer.Kind(o.Answer)
	var problems, worked []problem
	for _, e := range r.input {
		p, err := readProblem(e, kind)
		if err != nil {
			return nil, err
		}
		problems = append(problems, p)
	}
	if o.Shots > 0 {
		examples, _, err := readInput([]string{o.ShotsFrom}, r.config.Fields, 0)
		if err != nil {
			return nil, fmt.Errorf("synth.cot.shots_from: %w", err)
		}
		for _, e := range examples {
			p, err := readProblem(e, kind)
			if err != nil {
				return nil, fmt.Errorf("synth.cot.shots_from: %w", err)
			}
			if p.rationale == "" {
				return nil, fmt.Errorf("synth.cot.shots_from: %s: no rationale: give a field of that name, or answers with one before ####", e.Place)
			}
			worked = append(worked, p)
		}
	}
	return func(ctx context.Context) error { return r.reason(ctx, problems, worked) }, nil
}

// reason asks about problems, of which it shows some that are worked.
func (r *run) reason(ctx context.Context, problems, worked []problem) error {
	o := r.config.CoT
	kind := answer.Kind(o.Answer)
	r.goal(len(problems))
	right := make([][2]int, len(problems)) // answers that are right, of how many
	err := r.each(ctx, len(problems), func(ctx context.Context, i int) error {
		p := problems[i]
		shots := r.draw(fmt.Sprint("shots ", i), worked, o.Shots, p)
		answers, err := r.ask(ctx, fmt.Sprint(i+1), r.think(p, shots, false), r.config.Samples)
		if err != nil {
			return err
		}
		right[i][1] = len(answers)
		right[i][0] = r.judge(i, 0, p, kind, answers, false)
		if right[i][0] > 0 || !o.Rationalize {
			return nil
		}
		hinted, err := r.ask(ctx, fmt.Sprintf("%d with the answer", i+1), r.think(p, shots, true), r.config.Samples)
		if err == nil {
			r.judge(i, len(answers), p, kind, hinted, true)
		}
		return err
	})
	var asked, solved, correct, all float64
	for _, n := range right {
		if n[1] > 0 {
			asked++
		}
		if n[0] > 0 {
			solved++
		}
		correct, all = correct+float64(n[0]), all+float64(n[1])
	}
	if all > 0 {
		r.figure("questions with a right answer", solved/asked)
		r.figure("right answers", correct/all)
	}
	return err
}

// judge keeps the answers whose end is right, each rationale once, and returns how many are right.
func (r *run) judge(record, first int, p problem, kind answer.Kind, answers []reply, hinted bool) (right int) {
	seen := map[string]bool{}
	for j, a := range answers {
		a.Text = strings.TrimSpace(answer.Cut(a.Text))
		l := r.line(p.question, a)
		l.Question, l.Choices, l.Answer, l.Rationale, l.Rationalized = p.plain, p.choices, p.short(), a.Text, hinted
		if rationale, _, ok := data.SplitRationale(a.Text); ok { // without the answer at its end
			l.Rationale = rationale
		}
		l.Completion, l.Messages = r.behind(a.Text), []Message{{"user", p.question}, {"assistant", a.Text}}
		at := place{record, first + j}
		_, found := kind.Find(a.Text, p.choices)
		switch same := strings.Join(strings.Fields(a.Text), " "); {
		case a.Text == "":
			r.keep(at, l) // which counts it as empty
		case !found:
			r.drop(at, "no answer found", l)
		case !kind.Equal(a.Text, p.gold, p.choices):
			r.drop(at, "wrong answer", l)
		case seen[same]:
			right++
			r.drop(at, "the same rationale again", l)
		default:
			right++
			seen[same] = true
			r.keep(at, l)
		}
	}
	return right
}

// think makes the request for a rationale. With a hint the right answer is given.
func (r *run) think(p problem, shots []problem, hint bool) Request {
	question := p.question
	if hint {
		question += fmt.Sprintf("\n(The right answer is %s.)", p.said())
	}
	var b strings.Builder
	for _, s := range shots {
		fmt.Fprintf(&b, "Q: %s\nA: %s The answer is %s.\n\n", s.question, s.rationale, s.said())
	}
	if r.config.Chat {
		if len(shots) > 0 {
			b.WriteString("Answer the next question in the same way.\n\nQ: " + question)
		} else {
			b.WriteString(question + "\n\nThink step by step. End with \"The answer is\" and the answer.")
		}
		return r.request(b.String())
	}
	b.WriteString("Q: " + question + "\nA:")
	if len(shots) == 0 {
		b.WriteString(" Let's think step by step.")
	}
	q := r.request(b.String())
	if q.Stop == nil {
		q.Stop = []string{"\nQ:", "\n\nQ:"}
	}
	return q
}

// short is the answer alone, without a solution before it.
func (p problem) short() string {
	if _, end, ok := strings.Cut(p.gold, "####"); ok {
		return strings.TrimSpace(end)
	}
	return strings.TrimSpace(p.gold)
}

// said is the answer as a sentence would give it.
func (p problem) said() string {
	if i, ok := answer.FindChoice(p.gold, p.choices); ok && len(p.choices) > 0 {
		return fmt.Sprintf("(%s) %s", strings.ToLower(answer.Letter(i)), p.choices[i])
	}
	return p.short()
}

// calculator marks the steps of GSM8K's solutions: <<48/2=24>>.
var calculator = regexp.MustCompile(`<<[^>]*>>`)

func readProblem(e example, kind answer.Kind) (p problem, err error) {
	if p.question, err = e.text("question"); err != nil {
		return p, err
	}
	if p.gold, err = e.text("answer"); err != nil {
		return p, err
	}
	p.plain = strings.TrimSpace(p.question)
	p.question = p.plain
	if raw := e.Fields[e.name("choices")]; len(raw) > 0 {
		if err := json.Unmarshal(raw, &p.choices); err != nil {
			return p, fmt.Errorf("%s: field %q: want a list of texts: %w", e.Place, e.name("choices"), err)
		}
		if len(p.choices) > answer.MaxChoices {
			return p, fmt.Errorf("%s: have %d choices, want at most %d", e.Place, len(p.choices), answer.MaxChoices)
		}
		for i, c := range p.choices {
			p.question += fmt.Sprintf("\n(%s) %s", strings.ToLower(answer.Letter(i)), c)
		}
	}
	if p.rationale, _, err = e.optional("rationale"); err != nil {
		return p, err
	}
	if worked, _, ok := strings.Cut(p.gold, "####"); ok && p.rationale == "" {
		p.rationale = strings.Join(strings.Fields(calculator.ReplaceAllString(worked, "")), " ")
	}
	if _, ok := kind.Find(p.gold, p.choices); !ok {
		return p, fmt.Errorf("%s: the answer %q holds no %s (synth.cot.answer)", e.Place, excerpt(p.gold), kind)
	}
	return p, nil
}

// draw picks n others than p in an order, as the run's seed and a name say.
func (r *run) draw(name string, from []problem, n int, p problem) (shots []problem) {
	for _, i := range r.random(name).Perm(len(from)) {
		if len(shots) == n {
			break
		}
		if from[i].question != p.question {
			shots = append(shots, from[i])
		}
	}
	return shots
}

// random draws for one name, the same in each run of the seed.
func (r *run) random(name string) *rand.Rand {
	return rand.New(rand.NewPCG(uint64(r.config.Seed), uint64(seed(r.config.Seed, name, 0))))
}
