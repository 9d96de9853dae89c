package distill

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kdistill/internal/checkpoint"
	"kdistill/internal/config"
	"kdistill/internal/data"
	"kdistill/internal/model"
	"kdistill/internal/signal"
	"kdistill/internal/teacher"
	"kdistill/internal/tokenizer"
)

// AnswersFile is written into a cache of told answers: the records that have rows, to learn from.
const AnswersFile = "answers.jsonl"

// CacheAnswers keeps what the records of data.train tell of their teacher's distribution, as kdistill synth has it from a server, as if the teacher had run here:
// at each token of an answer the likeliest ones and, spread over all others, the rest. An end token that the server doesn't tell of counts as certain: the
// teacher did end there. Answers whose tokens are not what the student's tokenizer makes of their text are left out and counted.
func CacheAnswers(ctx context.Context, c *config.Config, o Options) (_ *CacheResult, err error) {
	dir := cmp.Or(c.Cache.Dir, c.Teacher.Cache)
	switch {
	case dir == "":
		return nil, &config.Error{Problems: []string{"cache.dir is missing: give the folder to write to, here or as teacher.cache"}}
	case c.Cache.Samples > 0 || c.Cache.TopK == config.AllIDs:
		return nil, &config.Error{Problems: []string{"cache: answers come with their likeliest ids: want top_k, a number"}}
	}
	r := &run{config: c, log: o.Log}
	defer func() { err = errors.Join(err, r.close()) }()
	m, err := checkpoint.OpenModel(cmp.Or(c.Student.Path, c.Teacher.Path))
	if err != nil {
		return nil, fmt.Errorf("student: %w", err)
	}
	defer m.Close()
	info := m.Model.Info()
	if m.Tokenizer == nil || info.Task != model.Causal {
		return nil, fmt.Errorf("%s: want a model that predicts the next token, with a tokenizer", m.Dir)
	}
	load := data.LoadOptions{Vocab: info.Vocab, Told: true, Length: c.Data.SequenceLength, Seed: uint64(c.Train.Seed)}
	if r.dataset, err = data.Load(ctx, files(c.Data.Train), m.Tokenizer, load); err != nil {
		return nil, fmt.Errorf("data.train: %w", err)
	}
	for _, note := range r.dataset.Notes() {
		r.say("note: data.train: %s", note)
	}
	r.order = data.Options{SequenceLength: c.Data.SequenceLength, Truncate: c.Data.LongDocuments == "truncate"}
	a := &answers{tokenizer: m.Tokenizer, vocab: info.Vocab, left: map[string]int{}}
	if err := r.listen(a); err != nil {
		return nil, err
	}
	for _, reason := range slices.Sorted(maps.Keys(a.left)) {
		r.say("note: left out: %d %s", a.left[reason], reason)
	}
	if len(a.heard) == 0 {
		return nil, errors.New("data.train: no answer is left: want log-probabilities (kdistill synth asks for them with synth.logprobs) of the tokens that the student's tokenizer makes")
	}
	h := signal.Header{
		Version: signal.Version, Kind: signal.TopK, Count: min(int(c.Cache.TopK), a.told()), Bits: c.Cache.Bits, Temperature: 1, Vocabulary: info.Vocab,
		Teacher:   signal.Teacher{Path: a.teacher, Type: told, Hash: hash(a.teacher), DType: "auto", Precision: c.Train.Precision, Task: string(model.Causal)},
		Tokenizer: m.Tokenizer.Fingerprint(),
	}
	w, err := signal.Create(ctx, dir, h)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	before, begun := w.Totals().Rows, time.Now()
	if err := a.write(ctx, w); err != nil {
		return nil, err
	}
	if err := w.Sync(); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, AnswersFile)
	r.say("%d answers have rows: learn from %s with teacher.cache=%s", len(a.heard), path, dir)
	return &CacheResult{Dir: dir, Header: h, Totals: w.Totals(), Rows: w.Totals().Rows - before, Duration: time.Since(begun)}, checkpoint.WriteFile(path, a.lines.Bytes())
}

// told is the type of a teacher that is known by its answers alone.
const told = "answers"

func hash(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

// answers are documents whose teacher told enough.
type answers struct {
	tokenizer *tokenizer.Tokenizer
	vocab     int
	ids       map[string]int32 // one more than the id, by the text that it adds behind others; -1: several do
	texts     []string         // of each id
	teacher   string
	places    []int // by a number of likely tokens: the places that have so many
	heard     []heardAnswer
	lines     bytes.Buffer   // their records
	left      map[string]int // how many were left out, by reason
}

// heardAnswer is a sequence with what was told at its labels.
type heardAnswer struct {
	teacher.Utterance
	tokens int
	rows   [][]likely // of each row of the mask
}

// likely is an id with its log-probability.
type likely struct {
	id      int32
	logProb float64
}

// listen takes the answers of the run's documents apart.
func (r *run) listen(a *answers) error {
	source, err := r.once()
	if err != nil {
		return err
	}
	for last := -1; ; {
		row, err := source.Next(1)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		i := int(row.Documents[0])
		if i == last { // another piece of what was left out
			continue
		}
		last = i
		reason := "answers without log-probabilities"
		if t := r.dataset.Told(i); t != nil && len(t.Tokens) > 0 {
			if a.teacher == "" {
				a.teacher = t.Teacher
			}
			if t.Teacher != a.teacher {
				return fmt.Errorf("data.train: %s: its teacher is %q, that of those before %q: a cache keeps the words of one", r.dataset.Name(i), t.Teacher, a.teacher)
			}
			reason = a.take(row, t, r.dataset.Labels(i))
		}
		if reason != "" {
			a.left[reason]++
		}
	}
}

// take keeps an answer; or says why it can't.
func (a *answers) take(row *data.Batch, t *data.Told, all []int32) (reason string) {
	us := teacher.Utterances(row, false)
	labels := 0
	for _, l := range all {
		if l != data.Ignore {
			labels++
		}
	}
	if len(us) != 1 || row.Labelled() != labels {
		return "answers that are longer than data.sequence_length with their prompt"
	}
	h := heardAnswer{Utterance: us[0], tokens: us[0].To - us[0].From}
	h.Mask = slices.Clone(h.Mask)
	for _, label := range row.Labels[us[0].From:us[0].To] {
		if label == data.Ignore {
			continue
		}
		k := len(h.rows)
		switch {
		case k < len(t.Tokens):
			if !a.is(label, t.Tokens[k].ToldCandidate) {
				return "answers whose tokens the student's tokenizer cuts otherwise"
			}
			places := a.likeliest(label, t.Tokens[k])
			a.places = append(a.places, make([]int, max(0, len(places)+1-len(a.places)))...)
			a.places[len(places)]++
			h.rows = append(h.rows, places)
		case label == a.tokenizer.EOS() || a.tokenizer.Special(label):
			h.rows = append(h.rows, []likely{{label, 0}})
		default:
			return "answers whose tokens the student's tokenizer cuts otherwise"
		}
	}
	if len(h.rows) < len(t.Tokens) {
		return "answers whose tokens the student's tokenizer cuts otherwise"
	}
	a.heard = append(a.heard, h)
	a.lines.Write(append(bytes.TrimSpace(t.Line), '\n'))
	return ""
}

// told is how many likely tokens all but one place in a hundred have. In those few, ids with an even share of the rest take the others' places: one text that is
// no token's should not cost every row its tail.
func (a *answers) told() int {
	all, fewer := 0, 0
	for _, n := range a.places {
		all += n
	}
	for k, n := range a.places {
		if fewer += n; 100*fewer > all {
			return k
		}
	}
	return 1
}

// is says whether a told token is that id.
func (a *answers) is(id int32, t data.ToldCandidate) bool {
	if t.ID != nil {
		return *t.ID == id
	}
	a.learnTexts()
	return int(id) < len(a.texts) && a.texts[id] == t.Token && t.Token != ""
}

// likeliest lists what is known of a place, the token that stands there included. A text that is no single token's stays in the rest.
func (a *answers) likeliest(label int32, t data.ToldToken) []likely {
	all := []likely{{label, t.Logprob}}
	for _, x := range t.Top {
		id := int32(-1)
		if x.ID != nil {
			id = *x.ID
		} else if a.learnTexts(); a.ids[x.Token] > 0 {
			id = a.ids[x.Token] - 1
		}
		if id >= 0 && int(id) < a.vocab && !slices.ContainsFunc(all, func(l likely) bool { return l.id == id }) {
			all = append(all, likely{id, x.Logprob})
		}
	}
	return all
}

// learnTexts finds out what each token writes behind another one.
func (a *answers) learnTexts() {
	if a.ids != nil {
		return
	}
	a.ids = map[string]int32{}
	for id := range int32(a.tokenizer.VocabSize()) {
		s := a.tokenizer.NewStream(false)
		if before, err := a.tokenizer.Encode("a", false); err == nil {
			for _, b := range before.IDs {
				s.Add(b)
			}
		}
		text := s.Add(id)
		a.texts = append(a.texts, text)
		switch other, known := a.ids[text]; {
		case text == "":
		case !known || other > 0 && a.isByte(other-1) && !a.isByte(id):
			a.ids[text] = id + 1 // 0: unknown
		case !a.isByte(id): // SentencePiece's byte tokens stand for what no other token writes
			a.ids[text] = -1
		}
	}
}

// isByte tells whether a token is one of SentencePiece's bytes, such as <0x0A>.
func (a *answers) isByte(id int32) bool {
	name, _ := a.tokenizer.Token(id)
	return len(name) == len("<0x0A>") && strings.HasPrefix(name, "<0x") && name[5] == '>'
}

// write puts rows into a cache: the rest of a place is spread evenly over the ids that were not told.
func (a *answers) write(ctx context.Context, w *signal.Writer) error {
	logits := make([]float32, a.vocab)
	for _, h := range a.heard {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if w.Has(h.Key, h.Mask) {
			continue
		}
		var rows []signal.Row
		for i, places := range h.rows {
			spread(logits, places)
			row, err := w.Encode(logits, h.Key, i)
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		if err := w.Add(h.Key, h.tokens, h.Mask, rows); err != nil {
			return err
		}
	}
	return nil
}

// spread makes a row of log-probabilities: those that are known, scaled down where they add up to more than 1, and the rest evenly.
func spread(logits []float32, places []likely) {
	sum := 0.0
	for _, p := range places {
		sum += math.Exp(p.logProb)
	}
	rest := math.Inf(-1)
	if others := len(logits) - len(places); sum < 1 && others > 0 {
		rest = math.Log1p(-sum) - math.Log(float64(others))
	}
	for i := range logits {
		logits[i] = float32(rest)
	}
	for _, p := range places {
		logits[p.id] = float32(p.logProb - math.Log(max(1, sum)))
	}
}
