package synth

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"kdistill/internal/answer"
)

func init() { registerStyle("icl", style{fields: []string{"input", "output", "task"}, plan: icl}) }

// pair is a record of a task.
type pair struct{ task, input, output string }

// icl asks for answers after demonstrations of a task, as in-context learning distillation does (Huang et al. 2022): in the multitask form about each
// record, in the meta form about records of tasks that are drawn.
func icl(r *run) (program, error) {
	o := r.config.ICL
	var names []string // of tasks, as they come
	tasks := map[string][]pair{}
	var all []pair
	for _, e := range r.input {
		p, err := readPair(e)
		if err != nil {
			return nil, err
		}
		if tasks[p.task] == nil {
			names = append(names, p.task)
		}
		tasks[p.task] = append(tasks[p.task], p)
		all = append(all, p)
	}
	if len(all) == 0 {
		return nil, errors.New("synth.input is missing: give at least one file of a task")
	}
	for _, name := range names {
		if have := len(tasks[name]); have <= o.Shots {
			return nil, fmt.Errorf("synth.icl.shots: have %d, but task %s has %d records: want fewer shots than records", o.Shots, name, have)
		}
	}
	return func(ctx context.Context) error { return r.demonstrate(ctx, names, tasks, all) }, nil
}

// demonstrate asks about records of the tasks of these names; all are the records in the order of the input.
func (r *run) demonstrate(ctx context.Context, names []string, tasks map[string][]pair, all []pair) error {
	o := r.config.ICL
	count := len(all)
	if o.Form == "meta" {
		count = o.Count
	}
	within := make([]int, len(all)) // the number of a record in its task
	seen := map[string]int{}
	for i, p := range all {
		within[i] = seen[p.task]
		seen[p.task]++
	}
	r.goal(count)
	same := make([]int, count)
	asked := make([]int, count)
	err := r.each(ctx, count, func(ctx context.Context, i int) error {
		random := r.random(fmt.Sprint("icl ", i))
		var of []pair
		var at int
		if o.Form == "meta" {
			of = tasks[names[random.IntN(len(names))]]
			at = random.IntN(len(of))
		} else {
			of, at = tasks[all[i].task], within[i]
		}
		var b strings.Builder
		shown := 0
		for _, j := range random.Perm(len(of)) {
			if j == at || shown == o.Shots {
				continue
			}
			shown++
			fmt.Fprintf(&b, "Input: %s\nOutput: %s\n\n", of[j].input, of[j].output)
		}
		fmt.Fprintf(&b, "Input: %s\nOutput:", of[at].input)
		q := r.request(b.String())
		if q.Stop == nil && !r.config.Chat {
			q.Stop = []string{"\n"}
		}
		answers, err := r.ask(ctx, fmt.Sprint(i+1), q, r.config.Samples)
		if err != nil {
			return err
		}
		for j, a := range answers {
			l := r.line(b.String(), a)
			l.Task, l.Answer = of[at].task, of[at].output
			r.keep(place{i, j}, l)
			asked[i]++
			if answer.Normalize(a.Text) == answer.Normalize(of[at].output) {
				same[i]++
			}
		}
		return nil
	})
	sum := func(list []int) (n int) {
		for _, x := range list {
			n += x
		}
		return n
	}
	if n := sum(asked); n > 0 {
		r.figure("answers that are the records' own", float64(sum(same))/float64(n))
	}
	return err
}

func readPair(e example) (p pair, err error) {
	var known bool
	if p.input, err = e.text("input"); err == nil {
		p.output, err = e.text("output")
	}
	if err != nil {
		return p, err
	}
	if p.task, known, err = e.optional("task"); err == nil && !known {
		p.task = strings.TrimSuffix(filepath.Base(e.file), filepath.Ext(e.file))
	}
	p.input, p.output = strings.TrimSpace(p.input), strings.TrimSpace(p.output)
	if slices.Contains([]string{p.input, p.output}, "") {
		return p, fmt.Errorf("%s: input or output is empty", e.Place)
	}
	return p, err
}
