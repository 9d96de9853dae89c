package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"kdistill/internal/answer"
	"kdistill/internal/tokenizer"
)

// The styles of the format cot: what a question with its answer and a rationale becomes.
const (
	LabelOnly           = "label_only"            // question → answer
	RationaleThenAnswer = "rationale_then_answer" // question → rationale. So the answer is answer (Ho et al. 2022)
	Multitask           = "multitask"             // [label] question → answer, and [rationale] question → rationale (Hsieh et al. 2023)
)

// Styles lists the styles of the format cot.
func Styles() []string { return []string{LabelOnly, RationaleThenAnswer, Multitask} }

func init() {
	register("cot", format{text: true, causal: true, names: []string{"question", "choices", "answer", "rationale"}, read: readCot})
}

// readCot emits what a style makes of each record: one document, or of multitask two.
func readCot(f *File, src *os.File, emit func(record) error) error {
	written, err := readRationales(f.Rationales)
	if err != nil {
		return err
	}
	made := map[string][]func(*File, problem) (example, error){LabelOnly: {labelled}, RationaleThenAnswer: {reasoned}, Multitask: {labelled, explained}}[f.Style]
	records := 0
	err = splitJSON(f, src, func(unit string, number int, raw []byte) error {
		rationale := ""
		if records < len(written) {
			rationale = written[records]
		}
		records++
		for _, make := range made {
			if err := emit(record{f, unit, number, func() (example, error) { return f.reason(raw, rationale, make) }}); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && written != nil && len(written) != records {
		err = fmt.Errorf("%s: have %d records, and %d rationales in %s: want one for each, in the same order", f.Path, records, len(written), f.Rationales)
	}
	return err
}

// reason reads a record and what a teacher wrote about it ("": nothing), of which make makes an example.
func (f *File) reason(raw []byte, rationale string, make func(*File, problem) (example, error)) (example, error) {
	o, err := f.object(raw)
	if err != nil {
		return example{}, err
	}
	p, err := f.problem(o)
	if err != nil {
		return example{}, err
	}
	p.raw = rationale
	return make(f, p)
}

// problem is a question with its answer.
type problem struct {
	question  string
	choices   []string
	answer    string
	rationale string // as it is to be learned
	raw       string // as a teacher continued the question, its answer included; "": there is none
}

// problem reads a record.
func (f *File) problem(o object) (p problem, err error) {
	text := func(name string, needed bool, to *string) {
		raw, ok := o[f.name(name)]
		switch {
		case err != nil || !needed && !o.has(f.name(name)):
		case !ok:
			err = f.lacks(name, o)
		default:
			if *to, err = parseField(raw, name == "answer"); err != nil {
				err = fmt.Errorf("field %q: %w", f.name(name), err)
			}
		}
	}
	text("question", true, &p.question)
	text("answer", true, &p.answer)
	text("rationale", false, &p.rationale)
	if name := f.name("choices"); err == nil && o.has(name) && json.Unmarshal(o[name], &p.choices) != nil {
		err = fmt.Errorf("field %q: want a list of strings, have %s", name, kind(o[name]))
	}
	if before, after, ok := strings.Cut(p.answer, "####"); ok && p.rationale == "" { // GSM8K
		p.rationale, p.answer = before, after
	}
	p.question, p.answer, p.rationale = strings.TrimSpace(p.question), strings.TrimSpace(p.answer), strings.TrimSpace(p.rationale)
	return p, err
}

// Question writes a question and its choices as prompts of the formats cot and icl do, up to where the answer begins (with a space).
func Question(question string, choices []string) string {
	text := "Q: " + question
	for i, c := range choices {
		if i == 0 {
			text += "\nAnswer Choices:"
		}
		text += fmt.Sprintf("\n(%c) %s", 'a'+i, c)
	}
	return text + "\nA:"
}

func (p problem) prompt(prefix string) string { return prefix + Question(p.question, p.choices) }

func labelled(f *File, p problem) (example, error) {
	prefix := ""
	if f.Style == Multitask {
		prefix = "[label] "
	}
	return completed(p.prompt(prefix), " "+p.answer), nil
}

func explained(f *File, p problem) (example, error) {
	rationale, err := p.explanation()
	ex := completed(p.prompt("[rationale] "), " "+rationale)
	ex.rationale = true
	return ex, err
}

func reasoned(f *File, p problem) (example, error) {
	rationale, err := p.explanation()
	return completed(p.prompt(""), " "+rationale+" So the answer is "+p.answer), err
}

// completed is an example whose prompt is context.
func completed(prompt, completion string) example {
	return example{text: prompt + completion, pair: true, parts: []part{{tokenizer.Span{Start: len(prompt), End: len(prompt) + len(completion)}, 1}}}
}

// explanation returns the rationale, of a raw one what precedes its answer, if that is the right one.
func (p problem) explanation() (string, error) {
	if p.raw == "" {
		if p.rationale == "" {
			return "", skipped("records without a rationale")
		}
		return p.rationale, nil
	}
	rationale, given, ok := SplitRationale(p.raw)
	switch {
	case !ok:
		return "", skipped("rationales without an answer at their end")
	case !p.right(given):
		return "", skipped("rationales with another answer than the record's")
	case rationale == "":
		return "", skipped("rationales that are nothing but an answer")
	}
	return rationale, nil
}

// "So the answer is (d) math problem.", "The answer is ( 84.0 / 2.0 )"; what leads to it may end without a full stop.
var conclusion = regexp.MustCompile(`(?i)(?:\b(?:so|therefore|thus|hence),?\s+)?\bthe\s+answer\s+is\s*:?`)

// SplitRationale cuts what a teacher wrote behind "A:" at the next question that it went on to ask itself, and takes its final answer off.
func SplitRationale(raw string) (rationale, given string, ok bool) {
	text := answer.Cut(raw)
	at := conclusion.FindAllStringIndex(text, -1)
	if at == nil {
		return "", "", false
	}
	last := at[len(at)-1]
	given = strings.TrimSpace(text[last[1]:])
	return strings.TrimSpace(text[:last[0]]), given, given != ""
}

// formula is an answer of numbers and operators, such as "( 84.0 / 2.0 )", which is compared by its value.
var formula = regexp.MustCompile(`^[\s\d.,()+*/%$-]*$`)

// right compares a given answer with the record's.
func (p problem) right(given string) bool {
	if len(p.choices) > 0 {
		i, ok := answer.FindChoice(given, p.choices)
		return ok && answer.Normalize(p.choices[i]) == answer.Normalize(p.answer)
	}
	if formula.MatchString(p.answer) {
		return answer.Number.Equal(given, p.answer, nil)
	}
	return answer.Text.Equal(given, p.answer, nil)
}

// readRationales reads lists of texts: a JSON file, or all in a folder in the order of the numbers in their names. "": none.
func readRationales(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	files := []string{path}
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("rationales: %w", err)
	} else if info.IsDir() {
		if files, err = filepath.Glob(filepath.Join(path, "*.json")); err != nil || len(files) == 0 {
			return nil, errors.Join(fmt.Errorf("rationales: no .json files in %s", path), err)
		}
		slices.SortFunc(files, naturally)
	}
	all := []string{}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("rationales: %w", err)
		}
		var part []string
		if err := json.Unmarshal(text, &part); err != nil {
			return nil, fmt.Errorf("rationales: %s: want a JSON list of texts: %w", name, err)
		}
		all = append(all, part...)
	}
	return all, nil
}

var digits = regexp.MustCompile(`\d+`)

// naturally orders names as people do: part_2 before part_10.
func naturally(a, b string) int {
	pad := func(s string) string {
		return digits.ReplaceAllStringFunc(s, func(n string) string { return strings.Repeat("0", max(0, 20-len(n))) + n })
	}
	return strings.Compare(pad(a), pad(b))
}
