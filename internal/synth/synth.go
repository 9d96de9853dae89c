// Package synth makes a data set with a teacher that is reachable as text: a local model, or an OpenAI-compatible server.
// Every answer is on disk before it is used; how text becomes token ids and losses is the business of package data.
package synth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kdistill/internal/checkpoint"
	"kdistill/internal/config"
	"kdistill/internal/journal"
)

// Options are what Make needs besides the configuration.
type Options struct {
	Log     io.Writer // progress and notices
	Teacher func(ctx context.Context, c *config.Config, notice func(format string, args ...any)) (Teacher, io.Closer, error)
	now     func() time.Time
}

// Make asks the teacher for what is not stored yet, and writes the output and the report. It returns the report also where the budget ended the run;
// where something else did, what had come is stored, and the output written as far as it goes.
func Make(ctx context.Context, c *config.Config, o Options) (rep *Report, err error) {
	s := c.Synth
	kind, err := lookupStyle(s.Style)
	if err == nil {
		err = kind.checkFields(s.Fields)
	}
	var list []namedFilter
	if err == nil {
		list, err = newFilters(s.Filters)
	}
	if err != nil {
		return nil, &config.Error{Problems: []string{err.Error()}}
	}
	r := &run{config: s, lines: map[place]Line{}, now: time.Now, screen: &screen{w: o.Log}}
	if o.now != nil {
		r.now = o.now
	}
	var sum string
	if r.input, sum, err = readInput(s.Input, s.Fields, s.Limit); err != nil {
		return nil, fmt.Errorf("synth.input: %w", err)
	}
	ask, err := kind.plan(r)
	if err != nil {
		return nil, err
	}
	files := filesOf(s.Output)
	if err := files.check(); err != nil {
		return nil, err
	}
	teacher, closer, err := o.Teacher(ctx, c, r.screen.printf) // before the lock, a file that stays
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closer.Close()) }()
	lock, err := checkpoint.LockOutput(files.answers)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	r.teacher = teacher
	var cut int64
	if r.store, cut, err = openStore(files.answers, newHeader(teacher.Identity(), sum, c.Settings())); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.store.close()) }()
	if cut > 0 {
		r.screen.printf("note: %s ended in a torn line of %d bytes, which is taken away", files.answers, cut)
	}
	r.requests, _ = r.store.spent()
	ran := ask(ctx)
	r.screen.end()
	if ran == nil && r.answers == 0 {
		ran = r.failure
	}
	kept := r.filtered(list)
	rep = r.report(kept, ran)
	if ran == nil || len(kept) > 0 {
		if err := files.write(kept, rep); err != nil {
			return nil, errors.Join(ran, err)
		}
	}
	if errors.Is(ran, errBudget) {
		ran = nil
	}
	if ran != nil && r.store.answers > 0 {
		kept := fmt.Sprintf("%d answers are stored in %s: run the same command again to go on", r.store.answers, files.answers)
		if ctx.Err() != nil { // an interrupt has no sentence of its own
			r.screen.printf("%s", kept)
		} else {
			ran = fmt.Errorf("%w\n%s", ran, kept)
		}
	}
	return rep, ran
}

// files are what a run writes.
type files struct{ output, answers, report string }

func filesOf(output string) files {
	base := strings.TrimSuffix(output, filepath.Ext(output))
	return files{output, base + ".answers.jsonl", base + ".report.json"}
}

// check refuses to write over what no run has made.
func (f files) check() error {
	if info, err := os.Stat(filepath.Dir(f.output)); err != nil || !info.IsDir() {
		return fmt.Errorf("synth.output: no folder %s: make it first", filepath.Dir(f.output))
	}
	_, output := os.Stat(f.output)
	_, answers := os.Stat(f.answers)
	if output == nil && errors.Is(answers, fs.ErrNotExist) {
		return fmt.Errorf("synth.output: %s is there, and the answers that it was made of (%s) are not: move it away, or give another name", f.output, f.answers)
	}
	return nil
}

// write replaces output and report: each holds the old content or the new.
func (f files) write(lines []Line, rep *Report) error {
	var text []byte
	for _, l := range lines {
		line, err := journal.Line(l)
		if err != nil {
			return err
		}
		text = append(text, line...)
	}
	b, err := rep.encode()
	if err != nil {
		return err
	}
	for _, file := range []struct {
		path string
		text []byte
	}{{f.output, text}, {f.report, b}} {
		if err := checkpoint.WriteFile(file.path, file.text); err != nil {
			return fmt.Errorf("%w (all answers are stored in %s: free some space and run the same command again)", err, f.answers)
		}
	}
	return nil
}

// closeNothing is a teacher's that holds nothing.
type closeNothing struct{}

func (closeNothing) Close() error { return nil }

// NewTeacher returns the teacher that a configuration names.
func NewTeacher(ctx context.Context, c *config.Config, notice func(format string, args ...any)) (Teacher, io.Closer, error) {
	if c.Teacher.Path != "" {
		l, err := NewLocal(c.Teacher.Path, c.Teacher.DType, c.Synth.Concurrency, c.Synth.Chat)
		return l, l, err
	}
	s, err := NewServed(ctx, ServedOptions{
		URL: c.Teacher.URL, Model: c.Teacher.Model, KeyEnv: c.Teacher.KeyEnv,
		Timeout: time.Duration(c.Synth.Timeout * float64(time.Second)), Retries: c.Synth.Retries, Notice: notice,
	})
	return s, closeNothing{}, err
}
