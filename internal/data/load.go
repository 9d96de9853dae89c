package data

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"kdistill/internal/tokenizer"
)

// LoadOptions are what Load needs besides the files.
type LoadOptions struct {
	Vocab int  // ids must be below it: the smallest vocabulary among the models; 0: the encoder's
	Bytes bool // keep how many source bytes each token covers (for bits per byte); files of tokens have none
	Limit int  // load the first Limit documents; 0: all

	Task       Task
	Classes    Classes // Classification
	WholeWords bool    // Masked: keep where words begin

	Length int    // icl: most tokens of a document: demonstrations that don't fit are left out; 0: no limit
	Seed   uint64 // icl: of the demonstrations
	Told   bool   // jsonl, chat: keep what the teacher told of each answer
}

// Load reads the files in their order and encodes their documents on all cores; the result does not depend on how many there are.
// The encoder may be nil where every file holds tokens. The error is the first one in the order of the documents and names file and line.
func Load(ctx context.Context, files []File, encoder Encoder, o LoadOptions) (*Dataset, error) {
	files = slices.Clone(files)
	if o.Vocab == 0 && encoder != nil {
		o.Vocab = encoder.VocabSize()
	}
	if o.Task == "" {
		o.Task = Causal
	}
	if err := check(files, encoder, o); err != nil {
		return nil, err
	}
	d := &Dataset{start: []int{0}, vocab: o.Vocab, task: o.Task}
	if err := d.frames(files, encoder); err != nil {
		return nil, err
	}
	if o.WholeWords {
		d.begins = []bool{}
	}
	if o.Task == Classification && o.Classes.Count == 1 {
		d.targets = []float32{}
	}
	if o.Bytes && o.Task == Causal && !slices.ContainsFunc(files, func(f File) bool { return !formats[f.Format].text }) {
		d.bytes = []int32{}
	}

	var running sync.WaitGroup
	defer running.Wait()
	inner, stop := context.WithCancel(ctx)
	defer stop()
	l := &loading{Dataset: d, files: files}
	for j := range encodeAll(inner, &running, files, encoder, o) {
		select {
		case <-j.done:
		case <-ctx.Done():
		}
		if ctx.Err() != nil { // the job may have been left undone
			return nil, ctx.Err()
		}
		if done, err := l.take(j, o.Limit); err != nil {
			return nil, err
		} else if done {
			break
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.finish()
	return d, nil
}

// loading is a Dataset that grows.
type loading struct {
	*Dataset
	files   []File
	skipped map[string]int // of the last file
	chats   int            // records of it with messages that are read as prompt and completion
}

// take adds what a job has made; done says that the limit is reached.
func (l *loading) take(j *job, limit int) (done bool, err error) {
	d, f := l.Dataset, &l.files[j.file]
	if j.file == len(d.files) {
		l.finishFile()
		d.files = append(d.files, origin{path: f.Path, first: d.Len(), raw: f.bare(), rationaleWeight: f.RationaleWeight})
	}
	for i := range j.documents {
		d.add(j.documents[i])
		if j.documents[i].chat {
			l.chats++
		}
		if j.documents[i].told != nil || d.told != nil {
			d.told = append(append(d.told, make([]*Told, d.Len()-1-len(d.told))...), j.documents[i].told)
		}
		if d.Len() == limit {
			return true, nil
		}
	}
	for reason, n := range j.skipped {
		if l.skipped == nil {
			l.skipped = map[string]int{}
		}
		l.skipped[reason] += n
	}
	if j.err == nil && j.last && d.Len() == d.files[j.file].first {
		j.err = fmt.Errorf("%s: no documents in it (format %s)%s", f.Path, f.Format, l.why())
	}
	return false, j.err
}

// why lists what was skipped in a file of which nothing is left.
func (l *loading) why() string {
	var all []string
	for _, reason := range slices.Sorted(maps.Keys(l.skipped)) {
		all = append(all, fmt.Sprintf("%d %s", l.skipped[reason], reason))
	}
	if all == nil {
		return ""
	}
	return ": left out are " + strings.Join(all, ", ")
}

// finishFile closes the last file: it notes what was skipped, and balances the tasks of style multitask.
func (l *loading) finishFile() {
	if len(l.Dataset.files) == 0 {
		return
	}
	i := len(l.Dataset.files) - 1
	f, first := l.files[i], l.Dataset.files[i].first
	if f.fellBack {
		l.notes = append(l.notes, f.Path+": the tokenizer has no chat template: chats are written as Alpaca's prompt (chat_template: alpaca)")
	}
	for _, reason := range slices.Sorted(maps.Keys(l.skipped)) {
		l.notes = append(l.notes, fmt.Sprintf("%s: left out: %d %s", f.Path, l.skipped[reason], reason))
	}
	if f.RationaleWeight > 0 && l.rationales != nil {
		l.balance(first, f.RationaleWeight)
	}
	if l.chats > 0 {
		l.notes = append(l.notes, fmt.Sprintf("%s: %d records have messages: format: chat writes these by a template; prompt and completion are joined as they are", f.Path, l.chats))
	}
	l.skipped, l.chats = nil, 0
}

// balance weighs the tokens of rationales so that the weighted mean over all tokens from a document on is, but for a factor, the mean over the answers' tokens
// plus weight times the mean over the rationales'. It is for the batches that have no answers: the others are balanced for themselves.
func (l *loading) balance(first int, weight float64) {
	d := l.Dataset
	any := func(int) bool { return true }
	all, ofRationales := d.count(d.start[first], len(d.ids), any), 0
	for i := first; i < d.Len(); i++ {
		if d.rationales[i] {
			ofRationales += d.count(d.start[i], d.start[i+1], any)
		}
	}
	if ofRationales == 0 {
		return
	}
	if d.weights == nil {
		d.weights = slices.Repeat([]float32{1}, len(d.ids))
	}
	w := float32(weight * float64(all-ofRationales) / float64(ofRationales))
	for i := first; i < d.Len(); i++ {
		for at := d.start[i]; at < d.start[i+1] && d.rationales[i]; at++ {
			d.weights[at] = w
		}
	}
}

func (l *loading) finish() {
	l.finishFile()
	l.fingerprint = l.sum()
}

// check finds what is wrong before any file is read.
func check(files []File, encoder Encoder, o LoadOptions) error {
	if len(files) == 0 {
		return errors.New("data: no files: name at least one")
	}
	if o.Vocab <= 0 {
		return errors.New("data: without a tokenizer the size of the vocabulary must be given")
	}
	if o.Task == Classification && o.Classes.Count < 1 {
		return errors.New("data: the number of classes must be given")
	}
	if err := checkTask(files, o.Task); err != nil {
		return err
	}
	for i := range files {
		f := &files[i]
		if formats[f.Format].text && encoder == nil {
			return fmt.Errorf("%s: format %s needs a tokenizer and the model's folder has none: use format tokens", f.Path, f.Format)
		}
		if f.AppendEOS == "true" && encoder.EOS() < 0 {
			return fmt.Errorf("%s: append_eos: the tokenizer has no end token: set append_eos to false", f.Path)
		}
		if _, err := os.Stat(f.Path); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: no such file or directory (relative paths begin at the working directory)", f.Path)
		} else if err != nil {
			return err
		}
		if formats[f.Format].template {
			if err := f.findTemplate(encoder); err != nil {
				return fmt.Errorf("%s: %w", f.Path, err)
			}
		}
		f.seed, f.keepTold = o.Seed, o.Told
	}
	if encoder != nil {
		return inVocabulary("the tokenizer's start token", encoder.Prefix(), o.Vocab, false)
	}
	return nil
}

// checkTask fills in the defaults of files whose documents are for a task, and finds settings that don't fit it.
func checkTask(files []File, task Task) error {
	for i := range files {
		f := &files[i]
		f.task = task
		if err := f.Check(); err != nil {
			return err
		}
		format := formats[f.Format]
		switch {
		case task != Causal && f.AppendEOS != "auto":
			return fmt.Errorf("%s: append_eos is for models that predict the next token: this one gets what its tokenizer puts around a text", f.Path)
		case task != Classification && (f.LabelField != "" || f.PairField != ""):
			return fmt.Errorf("%s: pair_field and label_field are for models that classify: remove them", f.Path)
		case task != Causal && format.causal:
			return fmt.Errorf("%s: format %s is for models that predict the next token", f.Path, f.Format)
		case task == Classification && f.PromptField != "":
			return fmt.Errorf("%s: the model classifies: in place of prompt_field and completion_field set field, label_field and, for pairs, pair_field", f.Path)
		case task == Classification && format.text && !format.fields:
			return fmt.Errorf("%s: the model classifies, and %s holds no labels: want one of jsonl, parquet, tsv, tokens", f.Path, f.Format)
		}
		if task == Classification && format.fields && f.LabelField == "" {
			f.LabelField = "label"
		}
	}
	return nil
}

// findTemplate takes the chat template that was named, or the tokenizer's own, or Alpaca's prompt.
func (f *File) findTemplate(encoder Encoder) (err error) {
	f.template, err = encoder.ChatTemplate(f.ChatTemplate)
	if f.ChatTemplate == "" && errors.Is(err, tokenizer.ErrNoTemplate) {
		f.ChatTemplate, f.fellBack = "alpaca", true
		f.template, err = encoder.ChatTemplate(f.ChatTemplate)
	}
	return err
}

// frames asks the tokenizer what it puts around texts.
func (d *Dataset) frames(files []File, encoder Encoder) error {
	d.mask = -1
	if encoder == nil {
		return nil
	}
	if d.task == Masked {
		d.mask, d.random, d.special = encoder.MASK(), int32(min(d.vocab, encoder.VocabSize())), map[int32]bool{}
		for id := range d.random {
			if encoder.Special(id) {
				d.special[id] = true
			}
		}
	}
	d.single.prefix = encoder.Prefix()
	if d.task == Causal {
		return nil // the end token is the document's own
	}
	d.single.suffix = encoder.Suffix()
	if !slices.ContainsFunc(files, func(f File) bool { return f.PairField != "" }) {
		return nil
	}
	p, err := encoder.Pair()
	d.pair = frame{p.Prefix, p.Middle, p.Suffix, p.Types}
	return err
}

// job is a run of records of one file: the unit of work of a worker.
type job struct {
	file      int
	last      bool // the file ends here
	records   []record
	documents []document
	skipped   map[string]int // records that became no document, by reason
	err       error          // what follows the documents
	done      chan struct{}  // closed when documents and err are set
}

// recordsPerJob is large enough that handing over costs nothing, small enough that few documents are in flight.
const recordsPerJob = 32

// encodeAll starts a reader and a worker per core, and returns the jobs in the order of the documents. All end with ctx.
func encodeAll(ctx context.Context, running *sync.WaitGroup, files []File, encoder Encoder, o LoadOptions) <-chan *job {
	workers := runtime.GOMAXPROCS(0)
	ordered, open := make(chan *job, 4*workers), make(chan *job, workers)
	send := func(j *job) error {
		j.done = make(chan struct{})
		for _, c := range []chan<- *job{ordered, open} {
			select {
			case c <- j:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
	running.Go(func() {
		defer close(ordered)
		defer close(open)
		for i := range files {
			if readFile(i, &files[i], send) != nil {
				return
			}
		}
	})
	for range workers {
		running.Go(func() {
			for j := range open {
				j.encode(ctx, encoder, o)
				close(j.done)
			}
		})
	}
	return ordered
}

// readFile sends the file's records, and last the error that ended reading. It returns an error when nobody wants more.
func readFile(i int, f *File, send func(*job) error) error {
	j := &job{file: i}
	var stopped error
	err := readRecords(f, func(r record) error {
		if j.records = append(j.records, r); len(j.records) < recordsPerJob {
			return nil
		}
		stopped = send(j)
		j = &job{file: i}
		return stopped
	})
	if stopped != nil {
		return stopped
	}
	j.last, j.err = true, err
	return send(j)
}

func readRecords(f *File, emit func(record) error) error {
	src, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	defer src.Close()
	return formats[f.Format].read(f, src, emit)
}

func (j *job) encode(ctx context.Context, encoder Encoder, o LoadOptions) {
	for _, r := range j.records {
		if ctx.Err() != nil {
			return
		}
		doc, err := encodeRecord(r, encoder, o)
		var reason skipped
		if errors.As(err, &reason) {
			if j.skipped == nil {
				j.skipped = map[string]int{}
			}
			j.skipped[string(reason)]++
			continue
		}
		if err != nil {
			j.err = fmt.Errorf("%s: %w", r, err)
			return
		}
		j.documents = append(j.documents, doc)
	}
	j.records = nil
}
