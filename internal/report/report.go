// Package report shows a run to people and to other programs: metrics.jsonl, TensorBoard event files, a progress line,
// tables. It computes no figures; it writes down those that it is given.
package report

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"
)

// Step is what is known after an optimizer step. Its JSON is a line of metrics.jsonl.
type Step struct {
	Step            int                `json:"step"`            // from 1
	Stage           string             `json:"stage,omitempty"` // "": the run has no stages
	Loss            float64            `json:"loss"`
	Losses          map[string]float64 `json:"losses"`    // each term's mean, unweighted
	GradNorm        float64            `json:"grad_norm"` // before clipping
	LR              float64            `json:"lr"`
	Tokens          int                `json:"tokens"`                 // counted positions of this step
	TeacherTail     *float64           `json:"teacher_tail,omitempty"` // probability of the ids that teacher.cache has not kept; nil: all are
	StudentTail     *float64           `json:"student_tail,omitempty"` // the student's of the same
	TokensPerSecond float64            `json:"tokens_per_second"`      // without padding
}

// The files of a Log.
const (
	MetricsFile = "metrics.jsonl"
	EventsFile  = "events.out.tfevents.0.kdistill"
)

// Log writes metrics.jsonl and a TensorBoard event file in the folder of a run. Every line reaches the operating system
// before the call returns, so that it survives the death of the process, and the disk with Sync.
type Log struct {
	metrics *appender
	events  *appender
	now     func() time.Time
}

// OpenLog continues the files in dir after step last, or begins them. What was written for later steps, and what is
// torn at the end, is cut off; with last 0 everything is. evaluated says whether the evaluation of step last is to be
// kept: where it is not, it will be written again.
func OpenLog(dir string, last int, evaluated bool) (*Log, error) {
	records := 1 // the step, then its evaluation
	if evaluated {
		records = 2
	}
	metrics, err := openAppender(filepath.Join(dir, MetricsFile), last, records, scanLine)
	if err != nil {
		return nil, err
	}
	events, err := openAppender(filepath.Join(dir, EventsFile), last, records, scanEvent)
	if err != nil {
		_ = metrics.Close()
		return nil, err
	}
	l := &Log{metrics, events, time.Now}
	if events.empty {
		if err := events.put(versionEvent(l.now())); err != nil {
			_ = l.Close()
			return nil, err
		}
	}
	return l, nil
}

// Step writes one optimizer step. It must be called once for each, in order.
func (l *Log) Step(s Step) error {
	scalars := map[string]float64{"train/loss": s.Loss, "train/grad_norm": s.GradNorm, "train/lr": s.LR, "train/tokens_per_second": s.TokensPerSecond}
	for name, value := range s.Losses {
		scalars["losses/"+name] = value
	}
	if s.TeacherTail != nil && s.StudentTail != nil {
		scalars["tail/teacher"], scalars["tail/student"] = *s.TeacherTail, *s.StudentTail
	}
	return l.write(s, s.Step, scalars)
}

// Eval writes an evaluation after a step; 0: before the first. figures is a struct or map whose JSON is an object; its
// numbers go to TensorBoard too. An evaluation belongs before the checkpoint of its step, to be in the log once.
func (l *Log) Eval(step int, figures any) error {
	text, err := json.Marshal(figures)
	if err != nil {
		return fmt.Errorf("evaluation at step %d: %w", step, err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return fmt.Errorf("evaluation at step %d: %w", step, err)
	}
	scalars := map[string]float64{}
	for name, value := range fields {
		if x, ok := value.(float64); ok {
			scalars["eval/"+name] = x
		}
	}
	return l.write(struct {
		Step int             `json:"step"`
		Eval json.RawMessage `json:"eval"`
	}{step, text}, step, scalars)
}

func (l *Log) write(line any, step int, scalars map[string]float64) error {
	text, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("metrics of step %d: %w", step, err)
	}
	if err := l.metrics.put(append(text, '\n')); err != nil {
		return err
	}
	return l.events.put(scalarEvent(step, l.now(), scalars))
}

// Sync puts everything written on the disk. Call it before a checkpoint is saved.
func (l *Log) Sync() error {
	if err := l.metrics.Sync(); err != nil {
		return err
	}
	return l.events.Sync()
}

// Close closes the files, synced.
func (l *Log) Close() error {
	err := l.Sync()
	for _, a := range []*appender{l.metrics, l.events} {
		if e := a.Close(); err == nil {
			err = e
		}
	}
	return err
}
