package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"kdistill/internal/checkpoint"
	"kdistill/internal/eval"
	"kdistill/internal/generate"
	"kdistill/internal/nn"
	"kdistill/internal/report"
	"kdistill/internal/task"
	"kdistill/internal/tokenizer"
)

const taskHelp = `With --task the model answers questions: JSON lines, one JSON array, or a parquet file, with a prompt (field prompt, question, or instruction with input) and what is right
(reference, gold, answer, answerKey, output, ...: a text or a list of them); for multiple choice also choices, and as reference the index from 0, the label, the
letter or the text of the right one. Other names: --fields prompt=NAME,reference=NAME,choices=NAME. With --predictions nothing is asked: each line holds a
prediction and its reference.

Of what the model writes there are exact_match (lower case, no punctuation and articles, as SQuAD), number (the final number: after "####", "the answer is",
"A:", or the last), choice (the letter or words of one; where references are neither letters nor among choices, such as true and false, one of the file's references), rouge1, rouge2, rougeL (F-measures, as rouge_score), distinct_1 to distinct_4 (different n-grams
of all answers; distinct_n: the first two) and length (words). acc and acc_norm write nothing: they take the choice with the largest likelihood, as a whole or
per byte, as lm-evaluation-harness does.

A question becomes "Question: ...\nAnswer:", an instruction Alpaca's text, a prompt stays as it is; --template makes another ('{cot}' what the formats cot and icl
of data.train make, '[label] {cot}' that of style multitask), --chat a user's message in the model's chat template. --shots K puts K other records of --shots-from (default: of the task itself) in front, drawn anew for each question by --seed, with a
blank between question and answer and an empty line behind (--shot-separator); in a chat they are turns. Those that don't fit into the model's positions
are left out, and counted; a question that does not fit is refused before the first answer. Answers end at --stop, by default where the next question would begin.`

// taskOptions are the flags of questions and answers.
type taskOptions struct {
	file, predictions string
	metrics           []string
	fields            map[string]string
	stemmer           bool

	template  string
	shots     int
	shotsFrom string
	separator string
	chat      bool
	chatName  string

	sampling generate.Options
	stops    []string
}

// addScoring adds the flags that answers from anywhere need.
func (o *taskOptions) addScoring(f *pflag.FlagSet) {
	f.StringVar(&o.file, "task", "", "ask the questions of `FILE`")
	f.StringVar(&o.predictions, "predictions", "", "measure the answers in `FILE`, without a model")
	f.StringSliceVar(&o.metrics, "metric", nil, "measure `NAME`: "+strings.Join(eval.TaskMetrics(), ", ")+"; may be repeated")
	f.StringToStringVar(&o.fields, "fields", nil, "the fields of prompt, reference, choices or prediction, as `ROLE=FIELD,...`")
	f.BoolVar(&o.stemmer, "stemmer", false, "ROUGE compares Porter's stems of words")
}

// addAsking adds the flags of questions to a model.
func (o *taskOptions) addAsking(f *pflag.FlagSet) {
	f.StringVar(&o.template, "template", "", "the prompt as `TEXT` with fields in braces, such as 'Q: {question}\\nA:'; {choices} lists the choices with letters, {cot} is question and choices as the formats cot and icl have them")
	f.IntVar(&o.shots, "shots", 0, "put `K` answered questions in front")
	f.StringVar(&o.shotsFrom, "shots-from", "", "draw them from `FILE`; default: from the other questions of the task")
	f.StringVar(&o.separator, "shot-separator", `\n\n`, "what stands behind each; \\n is a line feed")
	f.BoolVar(&o.chat, "chat", false, "ask in the model's chat template")
	f.StringVar(&o.chatName, "chat-template", "", "with --chat: the tokenizer's template `NAME`, or a built-in one: "+strings.Join(tokenizer.ChatTemplates(), ", "))
	f.IntVar(&o.sampling.MaxTokens, "max-tokens", 0, "end an answer after `N` tokens; default: 256, or half of the model's positions")
	addSampling(f, &o.sampling)
	f.StringArrayVar(&o.stops, "stop", nil, "end an answer before `TEXT`; \\n is a line feed; may be repeated")
}

// unescape lets flags hold line feeds and tabs.
var unescape = strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\\`, `\`)

// checkTask says what is wrong with the flags, and whether texts are to be written or choices ranked.
func (o *evalOptions) checkTask() (writes, ranks bool, err error) {
	t := &o.task
	switch {
	case t.file != "" && t.predictions != "":
		return false, false, usagef("want --task or --predictions, not both")
	case t.file != "" && o.model == "":
		return false, false, usagef("--model is missing")
	case t.predictions != "" && o.model != "":
		return false, false, usagef("--predictions needs no --model: leave one of them out")
	case len(t.metrics) == 0:
		return false, false, usagef("--metric is missing: want one or more of %s", strings.Join(eval.TaskMetrics(), ", "))
	case t.shots < 0 || o.limit < 0 || t.sampling.MaxTokens < 0:
		return false, false, usagef("--shots, --limit and --max-tokens want numbers that are not negative")
	case t.shotsFrom != "" && t.shots == 0:
		return false, false, usagef("--shots-from goes with --shots")
	case t.chatName != "" && !t.chat:
		return false, false, usagef("--chat-template goes with --chat")
	}
	if t.metrics, writes, ranks, err = eval.ParseTask(t.metrics); err != nil {
		return false, false, usageError{err}
	}
	if ranks && t.predictions != "" {
		return false, false, usagef("--metric: acc and acc_norm need likelihoods of choices, and so a model and a task: use choice for answers that name one")
	}
	if err := task.Fields(t.fields).Check(); err != nil {
		return false, false, usagef("--fields: %w", err)
	}
	sampling := t.sampling
	sampling.MaxTokens = max(sampling.MaxTokens, 1)
	if err := sampling.Check(); err != nil {
		return false, false, usageError{err}
	}
	for i := range t.stops {
		if t.stops[i] = unescape.Replace(t.stops[i]); t.stops[i] == "" {
			return false, false, usagef("--stop: have an empty text")
		}
	}
	t.template, t.separator = unescape.Replace(t.template), unescape.Replace(t.separator)
	return writes, ranks, nil
}

// runTask measures answers: those of a file, or those that a model gives first.
func (o *evalOptions) runTask(ctx context.Context, s streams) (err error) {
	writes, ranks, err := o.checkTask()
	if err != nil {
		return err
	}
	if err := o.prepare(); err != nil {
		return err
	}
	path := o.task.file + o.task.predictions
	records, err := task.Read(path, o.task.fields, o.task.predictions != "")
	if err != nil {
		return err
	}
	all := records
	if o.limit > 0 {
		records = records[:min(o.limit, len(records))]
	}
	examples := make([]eval.Example, len(all))
	for i, r := range all {
		examples[i] = r.Example
	}
	options := eval.TaskOptions{Stem: o.task.stemmer, Names: eval.ImpliedChoices(examples)}
	for _, r := range records {
		if err := eval.CheckExample(o.task.metrics, r.Example, options); err != nil {
			return fmt.Errorf("%s: %w", r.Place, err)
		}
	}
	session := taskSession{evalOptions: o, streams: s, records: records, pool: all, options: options}
	if o.task.file != "" {
		if err := session.answer(ctx, writes, ranks); err != nil {
			return err
		}
	}
	return session.report()
}

// taskSession is one evaluation of answers.
type taskSession struct {
	*evalOptions
	streams
	records []task.Record
	pool    []task.Record // of the whole file
	options eval.TaskOptions
	prompts []task.Prompt     // of what is written, else of what is ranked; nil: the answers are from elsewhere
	written []generate.Result // nil: nothing was
	took    time.Duration     // of the writing
	before  int               // tokens of answers that were kept
	omitted int               // demonstrations that did not fit
	kept    *keptAnswers      // nil: nothing is asked
}

// answer has the model answer all records. Whatever can be known to be wrong is found before its first word.
func (t *taskSession) answer(ctx context.Context, writes, ranks bool) (err error) {
	m, err := checkpoint.OpenModel(t.model)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	if err := generate.Check(m.Model); err != nil {
		return fmt.Errorf("%s: %w", m.Dir, err)
	}
	prompts, err := t.makePrompts(m.Tokenizer)
	if err != nil {
		return fmt.Errorf("%s: %w", m.Dir, err)
	}
	positions := m.Model.Info().Positions
	sampling := t.task.sampling
	if sampling.MaxTokens == 0 {
		sampling.MaxTokens = max(1, min(256, positions/2))
	}
	var asked, compared []task.Prompt
	if writes {
		if asked, err = prompts.Written(t.records, positions+1-sampling.MaxTokens); err != nil {
			return err
		}
	}
	if ranks {
		if compared, err = prompts.Ranked(t.records, positions+1); err != nil {
			return err
		}
	}
	if t.prompts = asked; !writes {
		t.prompts = compared
	}
	for _, p := range append(asked, compared...) {
		t.omitted += t.task.shots - p.Shots
	}
	if sampling.Stop, err = generate.StopIDs(m.Dir, m.Config); err != nil {
		return fmt.Errorf("%s: %w", m.Dir, err)
	}
	weights, err := checkpoint.ReadFrozen(m, m.Model, checkpoint.Auto)
	if err != nil {
		return fmt.Errorf("%s: %w", m.Dir, err)
	}
	stops := t.task.stops
	if stops == nil && writes {
		stops = prompts.Stops(t.records)
	}
	if t.kept, err = keepAnswers(t.perExample, m, len(t.records), asked, compared, sampling, stops, t.seed); err != nil {
		return err
	}
	defer func() { err = t.kept.close(t.err, err) }()
	if ranks {
		if err := t.rank(ctx, m, weights, compared); err != nil {
			return err
		}
	}
	if writes {
		return t.write(ctx, m, weights, asked, sampling, stops)
	}
	return nil
}

func (t *taskSession) makePrompts(tok *tokenizer.Tokenizer) (*task.Prompts, error) {
	if tok == nil {
		return nil, errors.New("no tokenizer: questions are text")
	}
	p := &task.Prompts{Template: t.task.template, Shots: t.task.shots, Separator: t.task.separator, Seed: t.seed, Tokenizer: tok, Pool: t.pool}
	var err error
	if t.task.shotsFrom != "" {
		if p.Pool, err = task.Read(t.task.shotsFrom, t.task.fields, false); err != nil {
			return nil, err
		}
	}
	if t.task.chat {
		name := t.task.chatName
		p.Chat, err = tok.ChatTemplate(name)
		if name == "" && errors.Is(err, tokenizer.ErrNoTemplate) {
			fmt.Fprintln(t.err, "note: the tokenizer has no chat template: questions are asked by Alpaca's prompt (--chat-template alpaca)")
			name = "alpaca"
			p.Chat, err = tok.ChatTemplate(name)
		}
		if err != nil {
			return nil, err
		}
		p.Start = name == "alpaca" || name == "none" // as in training
	}
	return p, nil
}

func (t *taskSession) rank(ctx context.Context, m *checkpoint.Pretrained, weights nn.Weights, prompts []task.Prompt) error {
	total := 0
	for _, p := range prompts {
		total += len(p.Ends)
	}
	progress := report.NewCounter(t.err, "choices", total)
	likelihood, err := task.Rank(ctx, m.Model, weights, prompts, t.kept.ranking(), progress.Set)
	progress.Done()
	for i := range likelihood {
		t.records[i].Likelihood = likelihood[i]
	}
	return err
}

func (t *taskSession) write(ctx context.Context, m *checkpoint.Pretrained, weights nn.Weights, prompts []task.Prompt, o generate.Options, stops []string) (err error) {
	e := generate.NewEngine(m.Model, weights, m.Tokenizer, min(len(prompts), atOnce))
	defer func() { err = errors.Join(err, e.Close()) }()
	progress := report.NewCounter(t.err, "answers", len(prompts))
	begun := time.Now()
	t.written, err = task.Write(ctx, prompts, e.Generate, t.kept.writing(o, stops, t.seed), progress.Set)
	t.took = time.Since(begun)
	for _, a := range t.kept.written {
		t.before += len(a.IDs)
	}
	progress.Done()
	for i := range t.written {
		t.records[i].Prediction = strings.TrimSpace(t.written[i].Text)
	}
	return err
}

// report prints the figures, and writes each answer where that is wanted.
func (t *taskSession) report() error {
	examples := make([]eval.Example, len(t.records))
	for i, r := range t.records {
		examples[i] = r.Example
	}
	scores, err := eval.Score(t.task.metrics, examples, t.options)
	if err != nil {
		return err
	}
	if t.perExample != "" {
		if err := t.writeEach(scores); err != nil {
			return err
		}
	}
	tokens, cut := 0, 0
	for _, w := range t.written {
		tokens += len(w.IDs)
		if w.Finish == generate.Length {
			cut++
		}
	}
	speed := float64(tokens-t.before) / max(t.took.Seconds(), 1e-9)
	if t.json {
		out := scores.JSON()
		out["examples"] = len(examples)
		if t.task.shots > 0 {
			out["shots_omitted"] = t.omitted
		}
		if t.written != nil {
			out["tokens"], out["tokens_per_second"], out["cut"] = tokens, speed, cut
		}
		return writeObject(t.streams, out)
	}
	rows := [][]string{figureHeader}
	for _, name := range t.task.metrics {
		rows = append(rows, figureRow(name, scores.Figures[name]))
	}
	if err := report.Table(t.out, rows); err != nil {
		return err
	}
	line := fmt.Sprintf("%d examples", len(examples))
	if t.written != nil {
		line += fmt.Sprintf(", %d tokens, %s tokens/s; %d answers were cut by the limit of tokens", tokens, report.Count(int64(speed)), cut)
	}
	if t.omitted > 0 {
		line += fmt.Sprintf("; %d demonstrations did not fit", t.omitted)
	}
	_, err = fmt.Fprintln(t.out, line)
	return err
}

func (t *taskSession) writeEach(scores *eval.Scores) error {
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	enc.SetEscapeHTML(false)
	for i, r := range t.records {
		line := scores.Example(i)
		line["index"], line["place"] = i, r.Place
		if r.References != nil {
			line["references"] = r.References
		}
		if t.prompts != nil {
			line["prompt"], line["shots"] = t.prompts[i].Text, t.prompts[i].Shots
		}
		if r.Likelihood != nil {
			line["choices"], line["gold"], line["loglikelihood"] = r.Choices, r.Gold, r.Likelihood
		}
		if r.Likelihood == nil || t.written != nil {
			line["prediction"] = r.Prediction
		}
		if t.written != nil {
			line["finish_reason"], line["tokens"] = t.written[i].Finish, len(t.written[i].IDs)
		}
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	if err := checkpoint.WriteFile(t.perExample, lines.Bytes()); err != nil || t.kept == nil {
		return err
	}
	return t.kept.remove()
}
