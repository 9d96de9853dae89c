package distill

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kdistill/internal/checkpoint"
	"kdistill/internal/config"
	"kdistill/internal/eval"
	"kdistill/internal/graph"
	"kdistill/internal/loss"
	"kdistill/internal/model"
	"kdistill/internal/objective"
	"kdistill/internal/teacher"
)

// tutor is a live teacher.
type tutor struct {
	config.NamedTeacher
	*checkpoint.Pretrained
	who     string       // for people
	weights *model.Store // frozen
	live    *teacher.Live
	exact   *teacher.Live // of evaluations: float32
	packing graph.Packing // of live
}

// openTeachers opens the live teachers.
func (r *run) openTeachers() error {
	for _, c := range r.config.Teacher.All() {
		t := &tutor{NamedTeacher: c, who: "teacher"}
		if r.config.Teacher.List != nil {
			t.who += " " + c.Name
		}
		var err error
		if t.Pretrained, err = checkpoint.OpenModel(c.Path); err != nil {
			return fmt.Errorf("%s: %w", t.who, err)
		}
		r.teachers = append(r.teachers, t)
		if t.weights, err = checkpoint.ReadFrozen(t, t.Model, c.DType); err != nil {
			return fmt.Errorf("%s %s: %w", t.who, t.Dir, err)
		}
		t.live = &teacher.Live{Model: t.Model, Weights: t.weights, Arena: &r.arena, BF16: r.bf16()}
		if t.exact = t.live; r.bf16() {
			t.exact = &teacher.Live{Model: t.Model, Weights: t.weights, Arena: &r.arena}
		}
	}
	return nil
}

// packTeachers lays the weights of teachers that losses compare with out for products, once, and lets go of the memory of their files.
func (r *run) packTeachers() error {
	head := map[*tutor]bool{}
	for _, term := range r.terms() {
		for _, t := range r.heard(term) {
			head[t] = head[t] || term.Loss.Rows == loss.Logits
		}
	}
	for _, t := range r.teachers {
		if head, used := head[t]; used {
			if err := t.pack(head); err != nil {
				return err
			}
		}
	}
	return nil
}

// pack lays the weights out for products; head says whether those of logits are among them.
func (t *tutor) pack(head bool) (err error) {
	if t.packing, err = t.live.Pack(head, t.Release); err != nil {
		return fmt.Errorf("%s: %w", t.who, err)
	}
	return nil
}

// memory is what the teacher's weights take, packed and in files: evaluations of another precision, where there are any, read the files too.
func (t *tutor) memory(evaluated bool) int {
	n := int(t.Bytes()) + t.packing.Taken
	if t.exact == t.live || !evaluated {
		n -= t.packing.Unread
	}
	return n
}

func (t *tutor) close() error {
	var errs []error
	if t.live != nil {
		errs = append(errs, t.live.Close())
	}
	if t.exact != t.live {
		errs = append(errs, t.exact.Close())
	}
	return errors.Join(append(errs, t.Pretrained.Close())...)
}

// single is the only teacher, of kdistill cache.
func (r *run) single() *tutor { return r.teachers[0] }

// hears is the number, from 1, of the teacher that a loss names, 0 for the average of several or the only one. Losses that have no average must name one.
func (r *run) hears(t config.Loss, l *loss.Loss) (int, error) {
	all := r.config.Teacher.All()
	var names []string
	for _, t := range all {
		names = append(names, t.Name)
	}
	which := "name one of them (teacher: " + strings.Join(names, " or ") + ")"
	switch {
	case !l.Teacher && t.Teacher != "":
		return 0, fmt.Errorf("loss %s compares with no teacher: leave out teacher: %s", t.Label(), t.Teacher)
	case !l.Teacher || len(all) == 1:
		return 0, nil
	case len(all) == 0:
		return 0, fmt.Errorf("loss %s compares with a teacher: set teacher.path", t.Name)
	case t.Teacher == "" && l.Rows != loss.Logits:
		return 0, fmt.Errorf("loss %s compares layers, of which several teachers have no average: %s", t.Label(), which)
	case t.Teacher == "" && l.Raw:
		return 0, fmt.Errorf("loss %s compares logits, and the average of several teachers is one of probabilities: %s", t.Label(), which)
	}
	return slices.Index(names, t.Teacher) + 1, nil
}

// heard are the teachers that a term reads: none where they are in a cache.
func (r *run) heard(t *graph.Term) (all []*tutor) {
	for i, tutor := range r.teachers {
		if t.Loss.Teacher && t.Hears(i, len(r.teachers), tutor.Weight) {
			all = append(all, tutor)
		}
	}
	return all
}

// weighted are the live teachers of training.
func (r *run) weighted() (all []objective.Weighted) {
	for _, t := range r.teachers {
		all = append(all, objective.Weighted{Teacher: t.live, Share: t.Weight})
	}
	return all
}

// compared are the teachers whose average evaluations compare the student with; nil: there is none that could be.
func (r *run) compared() (all []objective.Weighted) {
	info := r.student.model.Info()
	if len(eval.Available(info, true)) == len(eval.Available(info, false)) {
		return nil
	}
	for _, t := range r.teachers {
		if t.Weight > 0 && SameOutputs(t.Model.Info(), info) == nil {
			all = append(all, objective.Weighted{Teacher: t.exact, Share: t.Weight})
		}
	}
	return all
}

// sameTeachers refuses teachers whose token ids mean something else than the student's.
func (r *run) sameTeachers() error {
	student := Tokens{r.student.model.Info().Vocab, r.student.tokenizer}
	for _, t := range r.teachers {
		warning, err := SameTokens(Tokens{t.Model.Info().Vocab, t.Tokenizer}, student)
		if r.config.Teacher.List != nil && err != nil {
			err = fmt.Errorf("%s: %w", t.who, err)
		}
		if err != nil {
			return err
		}
		if warning != "" {
			r.say("warning: %s", strings.Replace(warning, "the teacher", "the "+t.who, 1))
		}
	}
	return nil
}

// share is a teacher's part of the average, for people; "" where it is the only one.
func (r *run) share(t *tutor) string {
	if len(r.teachers) < 2 {
		return ""
	}
	together := 0.0
	for _, t := range r.teachers {
		together += t.Weight
	}
	return fmt.Sprintf(", %.3g %% of the average", 100*t.Weight/cmp.Or(together, 1))
}

// teachersHash tells whether a resumed run has the same teachers.
func (r *run) teachersHash() (string, error) {
	var all []string
	for _, t := range r.teachers {
		hash, err := t.Hash()
		if err != nil {
			return "", err
		}
		all = append(all, hash)
	}
	return strings.Join(all, " "), nil
}
