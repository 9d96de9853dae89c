package distill

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kdistill/internal/checkpoint"
	"kdistill/internal/config"
	"kdistill/internal/report"
)

// What a run writes in its folder, beside the logs of package report.
const (
	configFile     = "config.yaml"
	checkpointsDir = "checkpoints"
	bestDir        = "best"
	modelDir       = "model"
)

// folder is output.dir.
type folder struct{ path string }

func (f folder) join(name string) string { return filepath.Join(f.path, name) }

// ours lists what a run writes, and leaves unfinished when it dies, in the order in which an older run is removed: the configuration, by which
// a run is known, comes last.
func (f folder) ours() []string {
	names := []string{checkpointsDir}
	for _, model := range []string{modelDir, bestDir} {
		names = append(names, model, model+".tmp", model+".old")
	}
	return append(names, report.MetricsFile, report.EventsFile, configFile)
}

// claim refuses a folder that another process writes to, and what examine refuses. It changes nothing.
func (f folder) claim(c *config.Config, o Options) error {
	if err := checkpoint.FolderIsFree(f.path); err != nil {
		return fmt.Errorf("output.dir: %w", err)
	}
	return f.examine(c, o)
}

// examine refuses a folder that holds another run or what is none, and changed keys that would alter what a resumed run learns.
func (f folder) examine(c *config.Config, o Options) error {
	entries, err := os.ReadDir(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("output.dir: %w", err)
	}
	fresh := func(e os.DirEntry) bool { // all that there is of a run that died as it began
		return e.Name() == checkpoint.LockFile || e.Name() == configFile+".tmp"
	}
	if !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return !fresh(e) }) {
		return nil
	}
	old, err := config.Read(f.join(configFile))
	isRun := err == nil || exists(f.join(configFile)) && exists(f.join(report.MetricsFile))
	switch {
	case !isRun && !o.Overwrite:
		return fmt.Errorf("output.dir %s is not empty and holds no run: choose another folder, or --overwrite to write a run beside what is there", f.path)
	case !isRun:
		for _, name := range f.ours() {
			if exists(f.join(name)) {
				return fmt.Errorf("output.dir %s holds no run, but a %s that is not kdistill's to remove: choose another folder", f.path, name)
			}
		}
		return nil
	case o.Overwrite:
		return f.spare(c)
	case !o.Resume:
		return fmt.Errorf("output.dir %s holds another run: go on with --resume, begin anew with --overwrite, or choose another folder", f.path)
	case err != nil:
		return fmt.Errorf("output.dir %s: its configuration cannot be read: %w", f.path, err)
	}
	var changed []string
	for _, d := range config.Diff(old, c) {
		if !d.Free {
			changed = append(changed, fmt.Sprintf("%s was %s and is %s", d.Key, orNothing(d.Old), orNothing(d.New)))
		}
	}
	if len(changed) > 0 {
		return &config.Error{Problems: []string{"cannot resume " + f.path + ": keys that alter the mathematics have changed: " + strings.Join(changed, "; ")}}
	}
	return nil
}

// spare refuses to overwrite what the new run is made from.
func (f folder) spare(c *config.Config) error {
	inputs := []string{c.Student.Path}
	for _, t := range c.Teacher.All() {
		inputs = append(inputs, t.Path, t.Cache)
	}
	for _, source := range append(slices.Clone(c.Data.Train), c.Data.Eval...) {
		inputs = append(inputs, source.Path, source.Rationales)
	}
	for _, stage := range c.Course() {
		for _, loss := range stage.Loss {
			inputs = append(inputs, loss.Projection.Init) // a file, or a word that names none
		}
	}
	for _, input := range inputs {
		for _, name := range f.ours() {
			if inside(f.join(name), input) {
				return &config.Error{Problems: []string{fmt.Sprintf("--overwrite would remove %s, which the new run is made from: choose another output.dir", input)}}
			}
		}
	}
	return nil
}

// inside says whether path is dir or lies in it; names that don't exist lie nowhere.
func inside(dir, path string) bool {
	real := func(name string) string {
		if name, err := filepath.EvalSymlinks(name); err == nil {
			if name, err = filepath.Abs(name); err == nil {
				return name
			}
		}
		return ""
	}
	dir, path = real(dir), real(path)
	if dir == "" || path == "" {
		return false
	}
	relative, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(relative)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func orNothing(s string) string {
	if s == "" {
		return "not set"
	}
	return s
}

// clear removes an older run, and nothing else.
func (f folder) clear() error {
	for _, name := range f.ours() {
		if err := os.RemoveAll(f.join(name)); err != nil {
			return fmt.Errorf("output.dir: %w", err)
		}
	}
	return nil
}
