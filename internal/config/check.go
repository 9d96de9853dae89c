package config

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// settle fills in the defaults that hang on other keys.
func (c *Config) settle(given map[string]*yaml.Node) {
	if (given["train.epochs"] != nil || c.Stages != nil) && given["train.steps"] == nil {
		c.Train.Steps = 0
	}
	if given["train.optimizer.weight_decay"] == nil && c.Train.Optimizer.Name != "adamw" {
		c.Train.Optimizer.WeightDecay = 0
	}
	if c.Student.Init == "teacher_layers" && c.Student.Layers.IsZero() {
		c.Student.Layers.Rule = "uniform"
	}
	if c.Stages != nil && given["loss"] == nil {
		c.Loss = nil
	}
	for i := range c.Stages {
		c.Stages[i].settle(c.Train, fmt.Sprintf("stages[%d]", i), given)
	}
	if c.Cache.Samples > 0 { // which take the place of the likeliest ids
		if given["cache.top_k"] == nil {
			c.Cache.TopK = 0
		}
		if given["cache.bits"] == nil {
			c.Cache.Bits = 0
		}
	}
	settleTeachers(c.Teacher.List)
	settleSources("data.train", c.Data.Train, given)
	settleSources("data.eval", c.Data.Eval, given)
}

// settle takes what a stage doesn't say from train.
func (s *Stage) settle(t Train, at string, given map[string]*yaml.Node) {
	if given[at+".lr"] == nil {
		s.LR = t.Optimizer.LR
	}
	from := t.Schedule
	if name := s.Schedule.Name; name != "" && name != from.Name {
		from.DecaySteps = 0 // they belong to the other schedule
	}
	fields := reflect.ValueOf(from)
	for i, name := range names(fields.Type()) {
		if given[join(at, "schedule."+name)] == nil {
			reflect.ValueOf(&s.Schedule).Elem().Field(i).Set(fields.Field(i))
		}
	}
}

func settleSources(key string, sources []Source, given map[string]*yaml.Node) {
	for i := range sources {
		s, at := &sources[i], fmt.Sprintf("%s[%d]", key, i)
		isText := s.Format == "text" || s.Format == "" && slices.Contains([]string{".txt", ".text", ".md"}, strings.ToLower(filepath.Ext(s.Path)))
		if isText && given[at+".separator"] == nil {
			s.Separator = "<|endoftext|>"
		}
		if s.PromptField != "" && given[at+".mask_prompt"] == nil {
			s.MaskPrompt = true
		}
	}
}

// checkTraining finds what is missing and what contradicts itself.
func (l *loader) checkTraining(c *Config) {
	wrong := l.reporter()
	l.checkTeachers(c, wrong)
	checkStudent(c, wrong)
	if c.Teacher.URL != "" {
		wrong("teacher.url", "belongs to kdistill synth: train on what it writes, without a teacher or with one in teacher.path")
	}
	if len(c.Data.Train) == 0 {
		wrong("data.train", "is missing: give at least one file, such as [{path: FILE}]")
	}
	checkSources("data.train", c.Data.Train, wrong)
	checkSources("data.eval", c.Data.Eval, wrong)
	if c.Stages == nil {
		l.checkLosses(c.Loss, "loss", wrong)
		checkLength("train", c.Train.Steps, c.Train.Epochs, wrong)
	} else {
		l.checkStages(c, wrong)
	}
	checkOptimizer(c.Train.Optimizer, wrong)
	checkSchedule(c.Train.Schedule, "train.schedule", wrong)
	if c.Output.Dir == "" {
		wrong("output.dir", "is missing: give the folder to write to")
	}
	checkCache(c, wrong)
}

type reporter func(key, format string, args ...any)

// reporter notes one problem for each key.
func (l *loader) reporter() reporter {
	return func(key, format string, args ...any) {
		if !slices.ContainsFunc(l.problems, func(p problem) bool { return p.key == key }) { // said already
			l.fail(l.given[key], key, format, args...)
		}
	}
}

func checkStudent(c *Config, wrong reporter) {
	s := c.Student
	if s.Init == "checkpoint" {
		if s.Path == "" {
			wrong("student.path", "is missing: give a Hugging Face folder, or set student.init to random or teacher_layers")
		}
		if s.Config != nil {
			wrong("student.config", "belongs to student.init random or teacher_layers: a checkpoint has its own")
		}
	} else if s.Path != "" {
		wrong("student.path", "belongs to student.init checkpoint, have %s: leave one of them out", s.Init)
	}
	if s.Init != "teacher_layers" && !s.Layers.IsZero() {
		wrong("student.layers", "belongs to student.init teacher_layers, have %s", s.Init)
	}
	if s.Init == "random" && c.Teacher.Base() == "" && s.Config["model_type"] == nil {
		wrong("student.config", "without teacher.path it must be complete, model_type included")
	}
	if s.Init != "teacher_layers" {
		return
	}
	if c.Teacher.Base() == "" {
		wrong("teacher.path", "is missing: student.init teacher_layers copies the teacher's layers")
	}
	count, hasCount := s.Config["num_hidden_layers"].(int)
	if !hasCount {
		count, hasCount = s.Config["n_layer"].(int) // GPT-2's own name
	}
	switch {
	case s.Layers.Rule != "" && !hasCount:
		wrong("student.config", "num_hidden_layers is missing: how many layers shall the student have?")
	case s.Layers.Rule == "" && len(s.Layers.List) == 0:
		wrong("student.layers", "is empty: want at least one layer")
	case s.Layers.Rule == "" && hasCount && count != len(s.Layers.List):
		wrong("student.layers", "has %d layers, student.config.num_hidden_layers is %d", len(s.Layers.List), count)
	}
}

func checkSources(key string, sources []Source, wrong reporter) {
	for i, s := range sources {
		if s.Path == "" {
			wrong(fmt.Sprintf("%s[%d]", key, i), "path is missing")
		}
	}
}

func (l *loader) checkStages(c *Config, wrong reporter) {
	if len(c.Stages) == 0 {
		wrong("stages", "is empty: leave it out for a run of one stage")
	}
	if c.Loss != nil {
		wrong("loss", "stages are given, each with a loss of its own: leave this one out")
	}
	for _, length := range []struct {
		key   string
		given int
	}{{"train.steps", c.Train.Steps}, {"train.epochs", c.Train.Epochs}} {
		if length.given > 0 {
			wrong(length.key, "stages are given, each with steps or epochs of its own: leave this out")
		}
	}
	seen := map[string]bool{}
	for i, s := range c.Stages {
		at := fmt.Sprintf("stages[%d]", i)
		if s.Name == "" {
			wrong(at+".name", "is missing: metrics tell stages by it")
		} else if seen[s.Name] {
			wrong(at+".name", "%s is there already: give this stage another name", s.Name)
		}
		seen[s.Name] = true
		l.checkLosses(s.Loss, at+".loss", wrong)
		if s.Steps == 0 && s.Epochs == 0 {
			wrong(at+".steps", "is missing: give steps, or epochs")
		}
		checkLength(at, s.Steps, s.Epochs, wrong)
		checkSchedule(s.Schedule, at+".schedule", wrong)
	}
}

func checkLength(at string, steps, epochs int, wrong reporter) {
	if steps > 0 && epochs > 0 {
		wrong(at+".epochs", "%s.steps is given too: leave one of them out, or set it to null", at)
	}
}

func checkSchedule(s Schedule, at string, wrong reporter) {
	if s.DecaySteps > 0 && s.Name != "warmup_stable_decay" {
		wrong(at+".decay_steps", "belongs to the schedule warmup_stable_decay, have %s", s.Name)
	}
}

// checkLosses checks the losses of a key.
func (l *loader) checkLosses(losses []Loss, key string, wrong reporter) {
	if len(losses) == 0 {
		wrong(key, "is empty: name a loss, such as [{name: forward_kl}]")
		return
	}
	labels := map[string]bool{}
	weight := 0.0
	for i, loss := range losses {
		at := fmt.Sprintf("%s[%d]", key, i)
		if loss.Name == "" {
			wrong(at, "name is missing")
		} else if labels[loss.Label()] {
			wrong(at, "%s is there already: give this one another name in logs with as", loss.Label())
		}
		labels[loss.Label()] = true
		if loss.Temperature != 1 && l.given[at+".temperature"] != nil && l.given[at+".t2_scaling"] == nil {
			wrong(at+".temperature", "say t2_scaling: true (times the temperature squared, as Hinton et al. 2015) or false (as TRL)")
		}
		if loss.Relations != nil && len(loss.Relations) == 0 {
			wrong(at+".relations", "is empty: want qk, qq, kk or vv")
		}
		if loss.Layers != nil && loss.Layer != 0 {
			wrong(at+".layer", "layers is given too: leave one of them out")
		}
		weight += loss.Weight.From + loss.Weight.To
	}
	if weight == 0 {
		wrong(key, "every weight is 0: nothing would be learnt")
	}
}

func checkOptimizer(o Optimizer, wrong reporter) {
	adam := Default().Train.Optimizer
	if o.Name == "sgd" {
		if o.Nesterov && (o.Momentum == 0 || o.Dampening != 0) {
			wrong("train.optimizer.nesterov", "needs momentum above 0 and dampening 0, have %g and %g", o.Momentum, o.Dampening)
		}
		if o.Betas != adam.Betas {
			wrong("train.optimizer.betas", "belongs to adamw and adam, have sgd: use momentum")
		}
		return
	}
	for _, only := range []struct {
		key string
		set bool
	}{{"momentum", o.Momentum != 0}, {"dampening", o.Dampening != 0}, {"nesterov", o.Nesterov}} {
		if only.set {
			wrong("train.optimizer."+only.key, "belongs to sgd, have %s: leave it out", o.Name)
		}
	}
}

func checkCache(c *Config, wrong reporter) {
	switch k := c.Cache; {
	case k.Samples > 0 && k.TopK != 0:
		wrong("cache.samples", "takes the place of top_k: leave one of them out, or set it to null")
	case k.Samples > 0 && k.Bits != 0:
		wrong("cache.bits", "belongs to top_k: samples are counted, not rounded")
	case k.Samples == 0 && k.TopK == 0:
		wrong("cache.top_k", "have 0, want at least 1, all, or samples in its place")
	case k.Samples == 0 && k.Bits != 32 && k.Bits != 16 && k.Bits != 8:
		wrong("cache.bits", "have %d, want 32, 16 or 8", k.Bits)
	}
	for i, s := range c.Course() {
		at := c.lossKey(i)
		for j, loss := range s.Loss {
			if loss.Tail != "" && c.Teacher.Cache == "" && c.Cache.Dir == "" {
				wrong(fmt.Sprintf("%s[%d].tail", at, j), "belongs to teacher.cache: a live teacher gives the whole distribution")
			}
		}
	}
}

// Warnings names what was set and has no effect, or hardly the one that was meant.
func (c *Config) Warnings() []string {
	var all []string
	warn := func(on bool, format string, args ...any) {
		if on {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	t := c.Train
	for i, s := range c.Course() {
		at := "train"
		if c.Stages != nil {
			at = fmt.Sprintf("stages[%d]", i)
		}
		warn(s.Steps > 0 && s.Schedule.WarmupSteps >= s.Steps,
			"%s.schedule.warmup_steps (%d) is not below %[1]s.steps (%[3]d): the learning rate never leaves the warm-up", at, s.Schedule.WarmupSteps, s.Steps)
		warn(s.Schedule.MinLRRatio > 0 && (s.Schedule.Name == "constant" || s.Schedule.Name == "inverse_sqrt"),
			"%s.schedule.min_lr_ratio has no effect with the schedule %s", at, s.Schedule.Name)
	}
	warn(t.BatchSize < int(t.MicroBatchSize),
		"train.micro_batch_size (%d) is above train.batch_size (%d): batches of %d are used", t.MicroBatchSize, t.BatchSize, t.BatchSize)
	return all
}
