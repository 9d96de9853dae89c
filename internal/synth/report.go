package synth

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"kdistill/internal/report"
)

// Report says what became of all that was asked.
type Report struct {
	Complete  bool      `json:"complete"` // everything was asked
	Output    string    `json:"output"`
	Style     string    `json:"style"`
	Teacher   string    `json:"teacher"`
	Answers   int       `json:"answers"` // that the style used
	Kept      int       `json:"kept"`
	Truncated int       `json:"truncated"` // of those kept: cut by the limit of tokens
	Removed   []Removed `json:"removed"`
	Refused   []Removed `json:"refused"`           // prompts without an answer
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
}

const samplesOfReason = 5

func comparePlaces(a, b place) int {
	return cmp.Or(cmp.Compare(a.record, b.record), cmp.Compare(a.answer, b.answer))
}

// report counts. ran is how the style ended.
func (r *run) report(kept []Line, ran error) *Report {
	requests, u := r.store.spent()
	rep := &Report{
		Complete: ran == nil, Output: r.config.Output, Style: r.config.Style, Teacher: r.teacher.Identity(), Answers: r.answers, Kept: len(kept),
		Requests: requests, Usage: u, Cost: cost(r.config, u), Removed: []Removed{}, Refused: []Removed{}, Figures: r.figures,
	}
	for _, l := range kept {
		if l.FinishReason == FinishLength {
			rep.Truncated++
		}
	}
	slices.SortStableFunc(r.dropped, func(a, b drop) int { return comparePlaces(a.place, b.place) })
	for _, d := range r.dropped {
		rep.Removed = count(rep.Removed, d.reason, Sample{d.record + 1, d.line.Prompt, d.line.Completion})
	}
	slices.SortStableFunc(r.refusals, func(a, b refusal) int { return cmp.Compare(a.record, b.record) })
	for _, f := range r.refusals {
		rep.Refused = count(rep.Refused, f.reason, Sample{Record: f.record + 1})
	}
	byReason := func(a, b Removed) int { return cmp.Compare(a.Reason, b.Reason) }
	slices.SortFunc(rep.Removed, byReason)
	slices.SortFunc(rep.Refused, byReason)
	return rep
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
		rows = append(rows, []string{"removed: " + r.Reason, fmt.Sprint(r.Count), "such as " + shorten(r.Samples[0].Completion)})
	}
	for _, r := range rep.Refused {
		rows = append(rows, []string{"without an answer", fmt.Sprint(r.Count), fmt.Sprintf("record %d: %s", r.Samples[0].Record, shorten(r.Reason))})
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
		_, wrote := fmt.Fprintln(w, "the budget is used up: raise it and run the same command again to go on")
		err = errors.Join(err, wrote)
	}
	_, wrote := fmt.Fprintf(w, "written to %s\n", rep.Output)
	return errors.Join(err, wrote)
}

// shorten is a text on part of a line.
func shorten(text string) string {
	const most = 60
	if runes := []rune(excerpt(text)); len(runes) > most {
		return string(runes[:most]) + " …"
	}
	return excerpt(text)
}
