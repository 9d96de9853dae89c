package data

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"

	"kdistill/internal/tokenizer"
)

func init() {
	register("icl", format{text: true, causal: true, names: []string{"question", "choices", "answer", "prompt", "completion", "task"}, read: readDemonstrated})
}

// demonstrated are the records of a file, each of which becomes a document with others in front of it.
type demonstrated struct {
	file    *File
	raw     [][]byte
	ofTask  map[string][]int // records by their task, "" where they have none
	tasks   []string
	skipped []error
}

// readDemonstrated emits each record behind File.Shots others of its task, drawn and put in order by the seed and the record's number, never itself
// (MetaICL, Min et al. 2022; in-context learning distillation, Huang et al. 2022). They are the same in every epoch; with File.Draws there are several passes over the
// records, each with other demonstrations.
func readDemonstrated(f *File, src *os.File, emit func(record) error) error {
	d := &demonstrated{file: f, ofTask: map[string][]int{}}
	type place struct {
		unit   string
		number int
	}
	var places []place
	err := splitJSON(f, src, func(unit string, number int, raw []byte) error {
		i := len(d.raw)
		d.raw, places = append(d.raw, raw), append(places, place{unit, number})
		o, err := f.object(raw)
		task := ""
		if name := f.name("task"); err == nil && o.has(name) {
			task, err = parseField(o[name], true)
		}
		d.tasks, d.skipped = append(d.tasks, task), append(d.skipped, err)
		if err == nil {
			d.ofTask[task] = append(d.ofTask[task], i)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for pass := range max(1, f.Draws) {
		for i, p := range places {
			if pass > 0 && d.skipped[i] != nil {
				continue // it was counted
			}
			if err := emit(record{f, p.unit, p.number, func() (example, error) { return d.example(i, pass) }}); err != nil {
				return err
			}
		}
	}
	return nil
}

// example draws the demonstrations of record i in a pass over all.
func (d *demonstrated) example(i, pass int) (example, error) {
	if d.skipped[i] != nil {
		return example{}, d.skipped[i]
	}
	prompt, completion, err := d.file.shown(d.raw[i])
	if err != nil {
		return example{}, err
	}
	random := rand.New(rand.NewPCG(d.file.seed, uint64(pass)<<32|uint64(i)))
	var shown []string
	others := d.ofTask[d.tasks[i]]
	for _, k := range draw(random, len(others), d.file.Shots+1) {
		if others[k] == i || len(shown) == d.file.Shots {
			continue
		}
		p, c, err := d.file.shown(d.raw[others[k]])
		if err != nil {
			return example{}, fmt.Errorf("a demonstration: %w", err)
		}
		shown = append(shown, p+c)
	}
	if len(shown) == 0 {
		return example{}, errors.New("there is no other record of its task to show: remove it")
	}
	return d.file.demonstrate(shown, prompt, completion), nil
}

// draw returns k different numbers below n in random order, or all where there are fewer.
func draw(random *rand.Rand, n, k int) []int {
	swapped, out := map[int]int{}, make([]int, 0, min(n, k))
	at := func(i int) int {
		if v, ok := swapped[i]; ok {
			return v
		}
		return i
	}
	for i := range min(n, k) { // Fisher and Yates, of whose list only what has moved is kept
		j := i + random.IntN(n-i)
		out = append(out, at(j))
		swapped[j] = at(i)
	}
	return out
}

// demonstrate puts demonstrations in front of a prompt.
func (f *File) demonstrate(shown []string, prompt, completion string) example {
	context := strings.Join(append(shown[:len(shown):len(shown)], ""), "\n\n")
	ex := completed(context+prompt, completion)
	if f.DemonstrationWeight > 0 && len(shown) > 0 {
		ex.parts = append([]part{{tokenizer.Span{End: len(context)}, float32(f.DemonstrationWeight)}}, ex.parts...)
	}
	if len(shown) > 0 {
		ex.shorter = func() example { return f.demonstrate(shown[1:], prompt, completion) }
	}
	return ex
}

// shown reads a record: a question with its answer, or a prompt with its completion.
func (f *File) shown(raw []byte) (prompt, completion string, err error) {
	o, err := decodeObject(raw)
	if err != nil {
		return "", "", err
	}
	if !o.has(f.name("prompt")) {
		p, err := f.problem(o)
		return p.prompt(""), " " + p.answer, err
	}
	for name, to := range map[string]*string{"prompt": &prompt, "completion": &completion} {
		value, ok := o[f.name(name)]
		if !ok {
			return "", "", f.lacks(name, o)
		}
		if *to, err = parseField(value, false); err != nil {
			return "", "", fmt.Errorf("field %q: %w", f.name(name), err)
		}
	}
	return prompt, completion, nil
}
