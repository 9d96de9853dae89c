package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"kdistill/internal/checkpoint"
	"kdistill/internal/generate"
	"kdistill/internal/journal"
	"kdistill/internal/task"
)

// keptAnswers are the answers of an evaluation that is not done, in a file beside that of --per-example: a stopped one goes on with them.
type keptAnswers struct {
	path    string
	file    *journal.File
	records int
	written map[int]generate.Result
	ranked  map[int][]float64
}

// keptRun is the header of the file: whose answers it has, and to what.
type keptRun struct {
	Format string `json:"format"`
	Model  string `json:"model_sha256"`
	Asked  string `json:"asked_sha256"`
}

const keptFormat = "kdistill evaluation 1"

// keptAnswer is what was written to a question, or how likely its choices are.
type keptAnswer struct {
	Index      int              `json:"index"`
	Written    *generate.Result `json:"written,omitempty"`
	Likelihood []float64        `json:"loglikelihood,omitempty"`
}

// keepAnswers opens the file of --per-example perExample; "": nothing is kept. All that decides on the answers besides the model is in asked.
func keepAnswers(perExample string, m *checkpoint.Pretrained, records int, asked ...any) (k *keptAnswers, err error) {
	k = &keptAnswers{records: records, written: map[int]generate.Result{}, ranked: map[int][]float64{}}
	if perExample == "" {
		return k, nil
	}
	text, err := json.Marshal(asked)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	run := keptRun{Format: keptFormat, Asked: hex.EncodeToString(sum[:])}
	if run.Model, err = m.Hash(); err != nil {
		return nil, err
	}
	k.path = perExample + ".part"
	k.file, _, err = journal.Open(k.path, journal.Run{Header: run, Same: run.same, Note: k.note})
	return k, err
}

// same says in what an older file is another evaluation's.
func (r keptRun) same(line json.RawMessage) error {
	var have keptRun
	if err := json.Unmarshal(line, &have); err != nil {
		return err
	}
	what := ""
	switch {
	case have.Format != r.Format:
		return fmt.Errorf("have format %q, want %q: it is not this program's, give --per-example another name", have.Format, r.Format)
	case have.Model != r.Model:
		what = "another model"
	case have.Asked != r.Asked:
		what = "other questions, or asked in another way"
	default:
		return nil
	}
	return fmt.Errorf("holds answers of an evaluation that is not finished, of %s: remove it, or give --per-example another name", what)
}

func (k *keptAnswers) note(line json.RawMessage) error {
	var a keptAnswer
	err := json.Unmarshal(line, &a)
	switch {
	case err != nil:
	case a.Index < 0 || a.Index >= k.records:
		err = fmt.Errorf("have question %d of %d", a.Index, k.records)
	case a.Written != nil:
		k.written[a.Index] = *a.Written
	case a.Likelihood != nil:
		k.ranked[a.Index] = a.Likelihood
	default:
		err = errors.New("neither an answer nor likelihoods")
	}
	return err
}

// add keeps an answer, where there is a file.
func (k *keptAnswers) add(a keptAnswer) error {
	if k.file == nil {
		return nil
	}
	return k.file.Add(a)
}

// ranking lets task.Rank go on with what is kept, and writing task.Write.
func (k *keptAnswers) ranking() task.Ranking {
	return task.Ranking{Known: k.ranked, Keep: func(i int, l []float64) error { return k.add(keptAnswer{Index: i, Likelihood: l}) }}
}

func (k *keptAnswers) writing(o generate.Options, stops []string, seed uint64) task.Writing {
	return task.Writing{
		Options: o, Stops: stops, Seed: seed, AtOnce: 2 * atOnce,
		Known: k.written, Keep: func(i int, a generate.Result) error { return k.add(keptAnswer{Index: i, Written: &a}) },
	}
}

// close closes the file; after an error it says on w how to go on.
func (k *keptAnswers) close(w io.Writer, err error) error {
	if k.file == nil {
		return err
	}
	if err != nil {
		fmt.Fprintf(w, "note: the answers that were given are kept in %s: run the same command again to go on\n", k.path)
	}
	return errors.Join(err, k.file.Close())
}

// remove takes the file away when all that is in it is elsewhere.
func (k *keptAnswers) remove() error {
	if k.file == nil {
		return nil
	}
	return os.Remove(k.path)
}
