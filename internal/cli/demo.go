package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"kdistill/internal/config"
	"kdistill/internal/distill"
	"kdistill/internal/generate"
)

const demoIntroduction = `The demo trains the same small student twice, with equal steps on the same few stories: once by the stories' own words alone
(cross-entropy), once also by the probabilities that a larger teacher gives to every next word (distillation). Then it measures both
on stories that neither they nor the teacher have seen.
All stories were written by a language model of 260,000 parameters, and the teacher was trained on many more of them. So this shows
how closely a student follows such a teacher, not how well it writes English: the stories make little sense to begin with.`

const demoPrompt = "Once upon a time"

// isDemo tells whether name is the embedded demo. A file of that name is a configuration like any other.
func isDemo(name string) bool {
	info, err := os.Stat(name)
	return name == "demo" && (err != nil || info.IsDir())
}

// demo runs the demo's configuration as it is, then with cross-entropy in place of its losses, and compares the two students. What is wrong
// with --set ends the first run before its first step; the second one has less that could be wrong.
func (o *trainOptions) demo(ctx context.Context, s streams) error {
	fmt.Fprintf(s.err, "%s\n\n1 of 2: distilled\n", demoIntroduction)
	distilled, err := o.demoRun(ctx, s, "distilled")
	if err != nil {
		return err
	}
	fmt.Fprint(s.err, "\n2 of 2: cross-entropy alone\n")
	alone, err := o.demoRun(ctx, s, "cross_entropy", "loss=[{name: cross_entropy}]")
	if err != nil {
		return err
	}

	fmt.Fprintf(s.out, "\nOn %s (written by a model, seen by none of these):\n", distilled.MeasuredOn)
	rows := []distill.Row{distilled.Teachers[0], alone.After, distilled.After}
	rows[1].Name, rows[2].Name = "student, cross-entropy alone", "student, distilled"
	if err := distill.Table(s.out, rows); err != nil {
		return err
	}
	var nll [3]float64
	for i, r := range rows {
		nll[i], _ = r.Figures["nll"].(float64)
	}
	fmt.Fprintf(s.out, "\nOf the %.4f nats per token between cross-entropy alone and the teacher, distillation closes %.0f %% (one run of each, with one seed).\n",
		nll[1]-nll[0], 100*(nll[1]-nll[2])/(nll[1]-nll[0]))

	models := []string{distilled.Teachers[0].Dir, alone.Model, distilled.Model}
	for i, model := range models {
		fmt.Fprintf(s.out, "\n%s, sampled at temperature 0.5:\n", rows[i].Name)
		g := generateOptions{model: model, prompts: []string{demoPrompt}, samples: 1, sampling: generate.Options{MaxTokens: 80, Temperature: 0.5, TopP: 1, Seed: 1}}
		if err := g.run(ctx, s); err != nil {
			return err
		}
	}
	fmt.Fprintln(s.out, "\nWhere they are:")
	for i, model := range models {
		fmt.Fprintf(s.out, "  %s: %s\n", rows[i].Name, model)
	}
	_, err = fmt.Fprintf(s.out, "\nTry: kdistill generate --model %s --prompt 'One day' --temperature 0.5\n", distilled.Model)
	return err
}

// demoRun runs the demo's configuration with one more set of overrides in a folder of its own.
func (o *trainOptions) demoRun(ctx context.Context, s streams, folder string, sets ...string) (*distill.Result, error) {
	c, err := config.Load(o.config, slices.Concat(o.sets, sets))
	if err != nil {
		return nil, err
	}
	if c.Teacher.Path == "" {
		return nil, usagef("teacher.path: the demo compares its students with a teacher: name one")
	}
	c.Output.Dir = filepath.Join(c.Output.Dir, folder)
	if err := c.Unpack(); err != nil {
		return nil, err
	}
	return distill.Train(ctx, c, o.options(s))
}
