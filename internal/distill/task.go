package distill

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"kdistill/internal/checkpoint"
	"kdistill/internal/config"
	"kdistill/internal/data"
	"kdistill/internal/eval"
	"kdistill/internal/loss"
	"kdistill/internal/model"
)

// withTask makes a student, its weights not yet there, of a config.json, with the task that the configuration wants.
func withTask(ctx context.Context, c *config.Config, text []byte, teacher *checkpoint.Pretrained) (*student, error) {
	m, err := model.New(text)
	if err != nil {
		return nil, err
	}
	keys, err := taskKeys(ctx, c, m.Info(), teacher)
	if keys == nil || err != nil {
		return &student{model: m, config: text}, err
	}
	if text, err = checkpoint.EditObject(text, keys, "num_labels"); err != nil {
		return nil, err
	}
	m, err = model.New(text)
	return &student{model: m, config: text}, err
}

// taskKeys are the keys of config.json that give the student its task; nil: it has it.
func taskKeys(ctx context.Context, c *config.Config, info model.Info, teacher *checkpoint.Pretrained) (map[string]any, error) {
	task := model.Task(c.Student.Task)
	if task == "" {
		task = info.Task
	}
	names := c.Data.Labels
	if task != model.Classification {
		if names != nil {
			return nil, fmt.Errorf("data.labels: %s does not classify: set student.task: classification, or leave them out", info.Class)
		}
		if task == info.Task {
			return nil, nil
		}
		return model.TaskKeys(info.Type, task, nil)
	}
	if info.Task == model.Classification {
		if names == nil || slices.Equal(names, info.Labels) {
			return nil, nil
		}
		if !generic(info.Labels) || len(names) != len(info.Labels) {
			return nil, fmt.Errorf("data.labels: have %s, the student's config.json has %s: leave them out", strings.Join(names, ", "), strings.Join(info.Labels, ", "))
		}
	}
	if names == nil && teacher != nil {
		names = teacher.Model.Info().Labels
	}
	if names == nil {
		found, err := data.FindClasses(ctx, files(c.Data.Train))
		if err != nil {
			return nil, fmt.Errorf("data.train: %w", err)
		}
		if names = found.Names; names == nil {
			names = make([]string, found.Count)
			for i := range names {
				names[i] = genericName(i)
			}
		}
	}
	return model.TaskKeys(info.Type, model.Classification, names)
}

// genericName is what transformers calls a class without a name.
func genericName(i int) string { return fmt.Sprintf("LABEL_%d", i) }

func generic(names []string) bool {
	for i, name := range names {
		if name != genericName(i) {
			return false
		}
	}
	return true
}

// checkTasks refuses losses that make no sense of what student and teacher predict.
func (r *run) checkTasks() error {
	student := r.student.model.Info()
	for t, term := range r.terms() {
		l := term.Loss
		if l.Rows != loss.Logits {
			continue
		}
		regression := student.Task == model.Classification && student.Logits() == 1
		switch {
		case student.Task == model.NoTask:
			return fmt.Errorf("loss %s: %s has no head to make logits: set student.task, or use losses on layers", t.Label(), student.Class)
		case l.Target && !regression:
			return fmt.Errorf("loss %s compares with a number, and %s predicts none: it has to have one output", t.Label(), student.Class)
		case regression && !l.Target && l.Name != "logit_mse":
			return fmt.Errorf("loss %s compares distributions, and the student gives one number: use mse, and logit_mse for the teacher's", t.Label())
		case student.Task == model.Classification && t.Positions == "attended":
			return fmt.Errorf("loss %s: positions: attended: the student's classes stand at the first token of a document only", t.Label())
		}
		if !l.Teacher {
			continue
		}
		for _, teacher := range r.spoken(term) {
			if err := SameOutputs(teacher, student); err != nil {
				return fmt.Errorf("loss %s: %w", t.Label(), err)
			}
		}
	}
	return nil
}

// SameOutputs refuses models whose logits mean different things.
func SameOutputs(teacher, student model.Info) error {
	switch {
	case teacher.Task == model.NoTask:
		return fmt.Errorf("the teacher, %s, has no head: losses on layers are possible", teacher.Class)
	case teacher.Task != student.Task:
		return fmt.Errorf("the teacher is for %s, the student for %s: only losses on layers can compare them", teacher.Task, student.Task)
	case len(teacher.Labels) != len(student.Labels):
		return fmt.Errorf("the teacher has %d classes, the student %d", len(teacher.Labels), len(student.Labels))
	case !generic(teacher.Labels) && !generic(student.Labels) && !slices.Equal(teacher.Labels, student.Labels):
		return fmt.Errorf("the teacher's classes are %s, the student's %s: they must be the same, in the same order",
			strings.Join(teacher.Labels, ", "), strings.Join(student.Labels, ", "))
	}
	return nil
}

// bestMetric is train.best_metric; a regression has an mse in place of the nll.
func (r *run) bestMetric() string {
	if info := r.student.model.Info(); r.config.Train.BestMetric == "nll" && info.Task == model.Classification && info.Logits() == 1 {
		return "mse"
	}
	return r.config.Train.BestMetric
}

// makeEvaluator prepares evaluations. A student without a head has none: what it says is measured by nothing but its losses.
func (r *run) makeEvaluator() error {
	info, compared := r.student.model.Info(), r.compared()
	if info.Task == model.NoTask {
		r.say("note: %s has no head: it is trained, but there is nothing to evaluate", info.Class)
		return nil
	}
	if err := eval.Check(r.bestMetric(), info, compared != nil); err != nil {
		if r.cached != nil {
			err = fmt.Errorf("%w (evaluations need a live teacher: teacher.path without teacher.cache)", err)
		}
		return &config.Error{Problems: []string{"train.best_metric: " + err.Error()}}
	}
	var err error
	r.evaluator, err = eval.New(r.student.model, r.student.flat.Frozen(), compared, &r.arena)
	return err
}
