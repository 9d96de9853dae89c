package distill

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"kdistill/internal/checkpoint"
	"kdistill/internal/config"
	"kdistill/internal/data"
	"kdistill/internal/report"
)

// session is the state of a run between its steps.
type session struct {
	checkpoint.State
	loop
	dir      folder
	lock     *checkpoint.Lock
	log      *report.Log
	saved    int // last step that was saved, 0: none
	finished bool
}

// loop is the part of the saved state that belongs to this package.
type loop struct {
	Evaluated   int            `json:"evaluated"` // last step that was evaluated, -1: none
	Before      map[string]any `json:"before"`    // figures of the student before step 1
	Last        map[string]any `json:"last"`      // figures of the last evaluation
	TeacherHash string         `json:"teacher_hash,omitempty"`
	StudentHash string         `json:"student_hash"` // of its config.json: the weights are part of the state
	Measured    string         `json:"measured"`     // fingerprint of the documents of evaluation
}

// open begins a run in its folder, or loads the last good state of the one that is there. No other process can write there until the session's close.
func (f folder) open(r *run, o Options) (_ *session, err error) {
	s := &session{dir: f, loop: loop{Evaluated: -1, Measured: r.measuredStart.Fingerprint}}
	s.Seed = uint64(r.config.Train.Seed)
	if err := os.MkdirAll(f.path, 0o777); err != nil {
		return nil, fmt.Errorf("output.dir: %w", err)
	}
	if s.lock, err = checkpoint.LockFolder(f.path); err != nil {
		return nil, fmt.Errorf("output.dir: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := f.examine(r.config, o); err != nil { // again: another process may have been here since
		return nil, err
	}
	sum := sha256.Sum256(r.student.config)
	s.StudentHash = hex.EncodeToString(sum[:])
	if r.cached != nil {
		s.TeacherHash = r.cached.Reader.Header().ID()
	}
	if len(r.teachers) > 0 {
		if s.TeacherHash, err = r.teachersHash(); err != nil {
			return nil, err
		}
	}
	if o.Resume {
		if err := s.load(r); err != nil {
			return nil, err
		}
	} else if err := f.clear(); err != nil {
		return nil, err
	}
	text, err := config.Marshal(r.config)
	if err != nil {
		return nil, err
	}
	if err := checkpoint.WriteFile(f.join(configFile), text); err != nil {
		return nil, err
	}
	s.log, err = report.OpenLog(f.path, s.Step, s.Evaluated == s.Step)
	return s, err
}

// close ends the log and gives the folder back.
func (s *session) close() error {
	var err error
	if s.log != nil {
		err = s.log.Close()
	}
	return errors.Join(err, s.lock.Close())
}

// load restores the last good state; without one the run begins and says so.
func (s *session) load(r *run) error {
	saved, warnings, err := checkpoint.Latest(s.dir.join(checkpointsDir))
	if err != nil {
		return err
	}
	for _, w := range warnings {
		r.say("warning: %s", w)
	}
	if saved == nil {
		r.say("nothing is saved in %s: starting from the beginning", s.dir.path)
		return nil
	}
	defer saved.Close()
	now := s.loop
	s.State, s.saved = saved.State, saved.Step
	if err := json.Unmarshal(saved.Loop, &s.loop); err != nil {
		return fmt.Errorf("%s: %w", saved.Path, err)
	}
	for _, input := range []struct{ what, was, is string }{
		{"the teacher's files", s.TeacherHash, now.TeacherHash}, {"the keys of the student's config.json", s.StudentHash, now.StudentHash},
		{"the documents of " + r.measuring, s.Measured, now.Measured},
	} {
		if input.was != input.is {
			return fmt.Errorf("cannot resume %s: %s are not those that the run began with: restore them, or start anew in another folder", s.dir.path, input.what)
		}
	}
	for _, x := range r.slices() {
		if err := saved.Read(x.Name, x.Data); err != nil {
			return err
		}
	}
	var position data.State
	if err := json.Unmarshal(saved.Data, &position); err != nil {
		return fmt.Errorf("%s: %w", saved.Path, err)
	}
	if err := r.source.Seek(position); err != nil {
		return fmt.Errorf("cannot resume %s: %w", s.dir.path, err)
	}
	_, err = os.Stat(s.dir.join(modelDir))
	s.finished = s.Step == r.steps() && err == nil
	r.say("resuming %s after step %d", s.dir.path, s.Step)
	return nil
}

// slices are the arrays of the training state.
func (r *run) slices() []checkpoint.Slice {
	all := []checkpoint.Slice{{Name: "parameters", Data: r.student.flat.Values}}
	for _, moment := range r.optimizer.State() {
		all = append(all, checkpoint.Slice{Name: "optimizer." + moment.Name, Data: moment.Values})
	}
	return all
}

// save writes the state after s.Step, whose next rows begin at position. Older states stay until prune.
func (s *session) save(r *run, position data.State) error {
	if err := r.sound(s.Step); err != nil {
		return err
	}
	if err := s.log.Sync(); err != nil {
		return err
	}
	var err error
	if s.Data, err = json.Marshal(position); err != nil {
		return err
	}
	if s.Loop, err = json.Marshal(s.loop); err != nil {
		return err
	}
	if _, err := checkpoint.Save(s.dir.join(checkpointsDir), s.State, r.slices()); err != nil {
		return fmt.Errorf("step %d: save: %w", s.Step, err)
	}
	s.saved = s.Step
	return nil
}

// prune removes older states. It is called when the saved one has proved good: the step after it went well, or the run is done.
func (s *session) prune(r *run) error {
	if s.saved == 0 || s.saved != s.Step {
		return nil
	}
	return checkpoint.Prune(s.dir.join(checkpointsDir), s.Step, r.config.Train.Keep)
}

// interrupted saves the state when err comes from the end of ctx, and passes err on.
func (s *session) interrupted(ctx context.Context, r *run, progress *report.Progress, position data.State, err error) error {
	if ctx.Err() == nil || !errors.Is(err, context.Cause(ctx)) {
		return err
	}
	if s.saved < s.Step {
		if failed := s.save(r, position); failed != nil {
			return failed
		}
	}
	if s.saved > 0 {
		progress.Printf("stopped after step %d: go on with --resume", s.saved)
	} else {
		progress.Printf("stopped before step 1: nothing is saved")
	}
	return err
}
