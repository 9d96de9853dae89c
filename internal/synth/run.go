package synth

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"kdistill/internal/config"
	"kdistill/internal/report"
)

// run is what a style works with: the input, the teacher behind the store, and the lines that come out.
type run struct {
	config  config.Synth
	teacher Teacher
	store   *store
	input   []example
	now     func() time.Time

	mu       sync.Mutex
	lines    map[place]Line
	dropped  []drop
	refusals []refusal
	failed   int   // of refusals: requests that failed
	inARow   int   // of failed: since the last answer
	failure  error // the last
	answers  int   // that styles were given
	requests int   // that are stored or on their way

	total, done int    // keys, or what the style counts
	counted     bool   // by the style
	wanted      int    // records of lines, where that hangs on what the teacher writes; 0: it does not
	short       string // why the style stopped before they were there
	figures     []Figure
	screen      *screen
	began       time.Time // of the first request; the speed counts from here
	had         int       // tokens that were written before
}

// place puts lines in order: by the number of the record, or what takes its place, then by that of the answer.
type place struct{ record, answer int }

type drop struct {
	place
	reason string
	line   Line
}

type refusal struct {
	record int
	*Refused
}

// reply is one answer with what it came of.
type reply struct {
	Answer
	request Request
	usage   *Usage
	time    time.Time
}

// likelihood is the log-probability of the answer, in nats.
func (a reply) likelihood() (sum float64) {
	for _, t := range a.Logprobs {
		sum += float64(t.Logprob)
	}
	return sum
}

// errBudget ends a run whose budget is used up.
var errBudget = errors.New("the budget is used up")

// mostFailures in a row, without an answer between them, end a run: then it is not the prompts.
const mostFailures = 5

// request makes the request of a prompt, as the configuration says.
func (r *run) request(prompt string) Request {
	if r.config.Chat {
		return r.conversation(chat(r.config.System, prompt))
	}
	q := r.conversation(nil)
	q.Prompt = &prompt
	return q
}

// conversation makes the request for the next message.
func (r *run) conversation(messages []Message) Request {
	c := r.config
	q := Request{Messages: messages, Sampling: Sampling{
		MaxTokens: c.MaxTokens, Temperature: c.Temperature, TopP: c.TopP, TopK: c.TopK, MinP: c.MinP, Stop: c.Stop, Logprobs: c.Logprobs, Extra: c.Extra,
	}}
	if c.RepetitionPenalty != 1 {
		q.RepetitionPenalty = c.RepetitionPenalty
	}
	return q
}

// ask returns n answers to a request: those that are stored under its key, and new ones for the rest. Each response is stored before anybody sees it.
func (r *run) ask(ctx context.Context, key string, q Request, n int) ([]reply, error) {
	var all []reply
	for _, rec := range r.store.get(key) {
		if rec.Request.text() != q.text() {
			return nil, fmt.Errorf("%s: the stored answer %q is to another prompt: give synth.output another name", r.store.path, key)
		}
		if rec.Refused != "" {
			return nil, &Refused{rec.Refused, rec.Detail}
		}
		all = append(all, rec.answers()...)
	}
	for len(all) < n {
		q.N, q.Seed = n-len(all), seed(r.config.Seed, key, len(all))
		rec := record{Key: key, First: len(all), Request: q}
		if err := r.send(ctx, &rec); err != nil {
			return nil, err
		}
		if rec.Refused != "" {
			return nil, &Refused{rec.Refused, rec.Detail}
		}
		if rec.Usage == nil && r.config.BudgetTokens > 0 {
			return nil, errors.New("the server does not say how many tokens it read and wrote, so that synth.budget_tokens cannot be kept: give synth.budget_requests instead")
		}
		all = append(all, rec.answers()...)
	}
	r.mu.Lock()
	r.answers += n
	r.mu.Unlock()
	r.advance()
	return all[:n], nil
}

func (r *record) answers() (all []reply) {
	u := r.Usage
	if n := len(r.Answers); u != nil && n > 1 {
		u = &Usage{u.PromptTokens, u.CompletionTokens, n}
	}
	for _, a := range r.Answers {
		all = append(all, reply{a, r.Request, u, r.Time})
	}
	return all
}

// seed is that of the first of the answers that a request asks for. It hangs on the run's seed, the key and their number alone.
func seed(run int64, key string, first int) int64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d\n%s\n%d", run, key, first)
	return int64(h.Sum64() >> 33)
}

// send asks the teacher, if the budget allows it, and stores what comes.
func (r *run) send(ctx context.Context, rec *record) (err error) {
	if err := r.afford(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			r.mu.Lock()
			r.requests--
			r.mu.Unlock()
		}
	}()
	r.asking()
	rec.Answers, rec.Usage, err = r.teacher.Answers(ctx, rec.Request)
	var refused *Refused
	if errors.As(err, &refused) {
		rec.Refused, rec.Detail, err = refused.Reason, refused.Detail, nil
	}
	if err != nil {
		return err
	}
	rec.Time = r.now().UTC().Truncate(time.Millisecond)
	if err := r.store.add(*rec); err != nil {
		return err
	}
	r.answered()
	return nil
}

// afford takes a request from the budget, or says that it is used up. How many tokens come of what is on its way nobody knows: these may exceed it.
func (r *run) afford() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, u := r.store.spent()
	switch c := r.config; {
	case c.BudgetTokens > 0 && u.PromptTokens+u.CompletionTokens >= c.BudgetTokens, c.BudgetRequests > 0 && r.requests >= c.BudgetRequests:
		return errBudget
	}
	r.requests++
	return nil
}

// each calls f for 0 to n-1, synth.concurrency at a time. A request that was refused or failed is noted, and the others go on; when the budget is used up nothing
// new is begun, and what is on its way is waited for; any other error stops all.
func (r *run) each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		next, used int
		workers    sync.WaitGroup
		mu         sync.Mutex
	)
	take := func() (i int, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if next >= n || used > 0 || ctx.Err() != nil {
			return 0, false
		}
		next++
		return next - 1, true
	}
	for range min(r.config.Concurrency, n) {
		workers.Go(func() {
			for i, ok := take(); ok; i, ok = take() {
				err := f(ctx, i)
				var refused *Refused
				var failed *Failed
				if errors.As(err, &failed) {
					err = r.fail(i, failed)
					r.advance()
				}
				switch {
				case err == nil:
				case errors.As(err, &refused):
					r.refuse(i, refused)
					r.advance()
				case errors.Is(err, errBudget):
					mu.Lock()
					used++
					mu.Unlock()
				default:
					cancel(err)
				}
			}
		})
	}
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if used > 0 {
		return errBudget
	}
	return nil
}

func (r *run) refuse(record int, why *Refused) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusals = append(r.refusals, refusal{record, why})
}

// fail notes a request that failed; the error is that too many did.
func (r *run) fail(record int, why *Failed) error {
	r.refuse(record, &Refused{requestFailed, why.Error()})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed, r.inARow, r.failure = r.failed+1, r.inARow+1, why
	if r.inARow < mostFailures {
		return nil
	}
	return fmt.Errorf("%d requests in a row failed, the last one: %w", r.inARow, why.error)
}

// requestFailed is the reason in the report.
const requestFailed = "the request failed"

// answered notes that the teacher is there.
func (r *run) answered() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inARow = 0
}

// keep takes a line into the output, unless a filter removes it in the end.
func (r *run) keep(at place, l Line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines[at] = l
}

// drop counts a line that is not taken, with the reason.
func (r *run) drop(at place, reason string, l Line) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped = append(r.dropped, drop{at, reason, l})
}

// goal says how many keys will be asked for, so that progress can tell the time left.
func (r *run) goal(keys int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total = keys
}

// reached shows how far the style has come by its own count.
func (r *run) reached(done, total int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done, r.total, r.counted = done, total, true
}

// figure adds a number to the report.
func (r *run) figure(name string, value float64) { r.figures = append(r.figures, Figure{name, value}) }

// asking notes that the teacher, not the store, is to answer: from here on the time counts.
func (r *run) asking() {
	_, u := r.store.spent()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.began.IsZero() {
		r.began, r.had = r.now(), u.CompletionTokens
	}
	r.screen.begin(r.done, r.total)
}

// advance shows that a key is done.
func (r *run) advance() {
	requests, u := r.store.spent()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.counted {
		r.done++
	}
	r.screen.show(r.done, func() string {
		line := fmt.Sprintf("%d/%d  %s requests  %s tokens read, %s written", r.done, r.total, report.Count(int64(requests)),
			report.Count(int64(u.PromptTokens)), report.Count(int64(u.CompletionTokens)))
		if took := r.now().Sub(r.began).Seconds(); took > 0 && u.CompletionTokens > r.had {
			line += fmt.Sprintf("  %s tokens/s", report.Count(int64(float64(u.CompletionTokens-r.had)/took)))
		}
		if cost := cost(r.config, u); cost > 0 {
			line += fmt.Sprintf("  cost %.4g", cost)
		}
		return line
	})
}

// cost is that of tokens, in the currency of synth.price.
func cost(c config.Synth, u Usage) float64 {
	return (float64(u.PromptTokens)*c.Price[0] + float64(u.CompletionTokens)*c.Price[1]) / 1e6
}
