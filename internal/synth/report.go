package synth

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"kdistill/internal/report"
)

// Report says what became of all that was asked.
type Report struct {
	Complete  bool      `json:"complete"`          // everything was asked, and gave what was wanted
	Stopped   string    `json:"stopped,omitempty"` // why it is not complete
	Output    string    `json:"output"`
	Style     string    `json:"style"`
	Teacher   string    `json:"teacher"`
	Answers   int       `json:"answers"`          // that the style used
	Wanted    int       `json:"wanted,omitempty"` // where that is a number of the configuration
	Kept      int       `json:"kept"`
	Truncated int       `json:"truncated"` // of those kept: cut by the limit of tokens
	Removed   []Removed `json:"removed"`
	Refused   []Removed `json:"refused"`           // prompts without an answer
	Failed    int       `json:"failed"`            // of them those that the next run asks again
	Figures   []Figure  `json:"figures,omitempty"` // the style's own
	Requests  int       `json:"requests"`
	Usage     Usage     `json:"usage"`
	Cost      float64   `json:"cost,omitempty"`
}

// Figure is a number that a style tells.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
}

// Removed is a reason, how many it removed, and the first few of them.
type Removed struct {
	Reason  string   `json:"reason"`
	Count   int      `json:"count"`
	Samples []Sample `json:"samples"`
}

// Sample is what was removed. Record is the number of the input's record, or of what takes its place, from 1.
type Sample struct {
	Record     int    `json:"record"`
	Prompt     string `json:"prompt,omitempty"`
	Completion string `json:"completion,omitempty"`
	Detail     string `json:"detail,omitempty"` // of a refusal
}

const samplesOfReason = 5

func comparePlaces(a, b place) int {
	return cmp.Or(cmp.Compare(a.record, b.record), cmp.Compare(a.answer, b.answer))
}

// report counts. ran is how the style ended.
func (r *run) report(kept []Line, ran error) *Report {
	requests, u := r.store.spent()
	rep := &Report{
		Wanted: r.wanted, Output: r.config.Output, Style: r.config.Style, Teacher: r.teacher.Identity(), Answers: r.answers, Kept: len(kept),
		Failed: r.failed, Requests: requests, Usage: u, Cost: cost(r.config, u), Removed: []Removed{}, Refused: []Removed{}, Figures: r.figures,
	}
	rep.Stopped = r.stopped(ran)
	rep.Complete = rep.Stopped == ""
	for _, l := range kept {
		if l.FinishReason == FinishLength {
			rep.Truncated++
		}
	}
	slices.SortStableFunc(r.dropped, func(a, b drop) int { return comparePlaces(a.place, b.place) })
	for _, d := range r.dropped {
		rep.Removed = count(rep.Removed, d.reason, Sample{Record: d.record + 1, Prompt: d.line.Prompt, Completion: d.line.Completion})
	}
	slices.SortStableFunc(r.refusals, func(a, b refusal) int { return cmp.Compare(a.record, b.record) })
	for _, f := range r.refusals {
		rep.Refused = count(rep.Refused, f.Reason, Sample{Record: f.record + 1, Detail: f.Detail})
	}
	byReason := func(a, b Removed) int { return cmp.Compare(a.Reason, b.Reason) }
	slices.SortFunc(rep.Removed, byReason)
	slices.SortFunc(rep.Refused, byReason)
	return rep
}

// stopped says why there is less than was wanted, before the filters; "": there is not. ran is how the style ended.
func (r *run) stopped(ran error) string {
	switch {
	case errors.Is(ran, errBudget):
		return ran.Error() + ": raise it and run the same command again to go on"
	case ran != nil:
		return ran.Error()
	case r.failed > 0:
		return fmt.Sprintf("%d requests failed: run the same command again to ask them again", r.failed)
	}
	made := map[int]bool{}
	for at, l := range r.lines {
		if l.flaw() == "" {
			made[at.record] = true
		}
	}
	if len(made) >= r.wanted {
		return ""
	}
	return fmt.Sprintf("the teacher's answers gave only %d of the %d that are wanted: %s", len(made), r.wanted, cmp.Or(r.short, "the others were removed or have no answer"))
}

func count(list []Removed, reason string, s Sample) []Removed {
	i := slices.IndexFunc(list, func(r Removed) bool { return r.Reason == reason })
	if i < 0 {
		i = len(list)
		list = append(list, Removed{Reason: reason})
	}
	list[i].Count++
	if len(list[i].Samples) < samplesOfReason {
		list[i].Samples = append(list[i].Samples, s)
	}
	return list
}

func (rep *Report) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(rep)
	return b.Bytes(), err
}

// Print writes the report for people, with a sample of what each reason removed.
func (rep *Report) Print(w io.Writer) error {
	rows := [][]string{{"answers", fmt.Sprint(rep.Answers)}, {"kept", fmt.Sprint(rep.Kept)}}
	if rep.Truncated > 0 {
		rows = append(rows, []string{"  cut by max_tokens", fmt.Sprint(rep.Truncated)})
	}
	for _, r := range rep.Removed {
		rows = append(rows, []string{"removed: " + r.Reason, fmt.Sprint(r.Count), r.Samples[0].said()})
	}
	for _, r := range rep.Refused {
		rows = append(rows, []string{"without an answer: " + r.Reason, fmt.Sprint(r.Count), fmt.Sprintf("record %d: %s", r.Samples[0].Record, shorten(r.Samples[0].Detail))})
	}
	for _, f := range rep.Figures {
		rows = append(rows, []string{f.Name, fmt.Sprintf("%.4g", f.Value)})
	}
	rows = append(rows, []string{"requests", fmt.Sprint(rep.Requests)},
		[]string{"tokens", fmt.Sprintf("%s read, %s written", report.Count(int64(rep.Usage.PromptTokens)), report.Count(int64(rep.Usage.CompletionTokens)))})
	if rep.Cost > 0 {
		rows = append(rows, []string{"cost", fmt.Sprintf("%.4g", rep.Cost)})
	}
	err := report.Table(w, rows)
	if !rep.Complete {
		_, wrote := fmt.Fprintln(w, rep.Stopped)
		err = errors.Join(err, wrote)
	}
	_, wrote := fmt.Fprintf(w, "written to %s\n", rep.Output)
	return errors.Join(err, wrote)
}

// said is an answer on part of a line, or where there is none what it is to.
func (s Sample) said() string {
	if strings.TrimSpace(s.Completion) == "" {
		return "for " + shorten(s.Prompt)
	}
	return "such as " + shorten(s.Completion)
}

// shorten is a text on part of a line.
func shorten(text string) string {
	const most = 60
	if runes := []rune(excerpt(text)); len(runes) > most {
		return string(runes[:most]) + " …"
	}
	return excerpt(text)
}
