package data

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kdistill/internal/suggest"
	"kdistill/internal/tokenizer"
)

// File names one input and says how its documents are found. The zero value of every field but Path is its default.
type File struct {
	Path            string
	Format          string   // text, jsonl, parquet, tsv or tokens; "": by the extension (tokens must be named)
	Separator       string   // text: stands between documents; "": the file is one document
	Columns         []string // tsv: names of the columns of a file without a header line
	Field           string   // jsonl, parquet, tsv: the field of the text, default "text"
	PromptField     string   // with CompletionField, in place of Field
	CompletionField string
	MaskPrompt      bool   // the prompt's tokens are context, not labels
	KeepTruncated   bool   // take answers that a limit of tokens cut short (finish_reason "length")
	AppendEOS       string // auto, true or false; "": auto, which is yes after completions and, for text, what the tokenizer does
	PairField       string // Classification: the field of a second text; "": there is none
	LabelField      string // Classification: the field of the class or number, default "label"

	Fields       map[string]string // chat, cot, icl: other names of the fields that the format knows
	ChatTemplate string            // chat: a name as of tokenizer.ChatTemplate; "": the tokenizer's own, or alpaca where it has none

	Style           string  // cot: one of Styles
	Rationales      string  // cot: a JSON list of texts, one for each record, or a folder of such lists; "": the records have them
	RationaleWeight float64 // cot, multitask: of the mean over the rationales' tokens, where that over the answers' has 1

	Shots               int     // icl: demonstrations in front of each example
	Draws               int     // icl: documents made of each example, each with other demonstrations; 0: one
	DemonstrationWeight float64 // icl: of each of their tokens, where those of the answer have 1; 0: they are context

	task     Task // what its documents are for
	template *tokenizer.ChatTemplate
	fellBack bool   // template is Alpaca's prompt since the tokenizer has none
	pairs    bool   // nobody named fields: a record may have prompt and completion in place of text
	seed     uint64 // icl: of the demonstrations
	keepTold bool   // keep what the teacher told of each answer
}

// format is a way to find documents in a file. A reader emits records in the file's order and stops at emit's error.
type format struct {
	extensions []string
	text       bool     // documents are text: they need an Encoder
	fields     bool     // documents are named fields
	separator  bool     // documents stand between separators
	causal     bool     // documents are for models that predict the next token only
	template   bool     // documents are written by a chat template
	names      []string // the fields that it knows, which File.Fields can rename
	read       func(f *File, src *os.File, emit func(record) error) error
}

var formats = map[string]format{}

func register(name string, f format) {
	if _, ok := formats[name]; ok {
		panic("data: format registered twice: " + name)
	}
	formats[name] = f
}

// Formats returns the names of the registered formats, sorted.
func Formats() []string { return slices.Sorted(maps.Keys(formats)) }

// record is one document as a reader found it. Parsing is put off, for it runs on a worker.
type record struct {
	file   *File
	unit   string // line, element or row
	number int    // from 1
	parse  func() (example, error)
}

// String names the place for error messages: "FILE:LINE", or "FILE: row N".
func (r record) String() string {
	if r.unit == "line" {
		return fmt.Sprintf("%s:%d", r.file.Path, r.number)
	}
	return fmt.Sprintf("%s: %s %d", r.file.Path, r.unit, r.number)
}

// example is a parsed document: text, or token ids as they are.
type example struct {
	text      string
	pair      bool           // text is a prompt with its completion: it gets an end token
	chat      bool           // its record has messages too
	cut       bool           // a limit of tokens ended the text: it gets none
	written   bool           // text has its start and end tokens
	parts     []part         // what is learned of the text; nil: all of it
	rationale bool           // cot, multitask: text is one
	shorter   func() example // icl: the same with fewer demonstrations; nil: there are none
	told      *Told

	paired bool   // Classification: there is a second text
	second string // of a pair
	label  string // Classification: the class or number

	ids, labels, types []int32 // labels nil: each token is its own label; types nil: all 0
}

// part is a run of a text that is learned.
type part struct {
	tokenizer.Span
	weight float32 // of each of its tokens
}

// skipped is why a record becomes no document, though nothing is wrong with it: the documents of a file that are skipped are counted.
type skipped string

func (s skipped) Error() string { return string(s) }

// name is what a field that the format knows is called in the file.
func (f *File) name(field string) string { return cmp.Or(f.Fields[field], field) }

// Check fills in the defaults of f and reports settings that contradict each other. It does not open the file.
func (f *File) Check() error {
	if f.Path == "" {
		return errors.New("data: a file without path: set path")
	}
	if f.Format == "" {
		extension := strings.ToLower(filepath.Ext(f.Path))
		for name, format := range formats {
			if slices.Contains(format.extensions, extension) {
				f.Format = name
			}
		}
		if f.Format == "" {
			return fmt.Errorf("%s: the extension %q tells no format: set format to one of %s", f.Path, extension, strings.Join(Formats(), ", "))
		}
	}
	format, ok := formats[f.Format]
	if !ok {
		return fmt.Errorf("%s: unknown format %q: want one of %s", f.Path, f.Format, strings.Join(Formats(), ", "))
	}
	if f.AppendEOS == "" {
		f.AppendEOS = "auto"
	}
	classified := f.PairField != "" || f.LabelField != ""
	named := classified || f.Field != "" || f.PromptField != "" || f.CompletionField != "" || f.MaskPrompt
	switch {
	case !slices.Contains([]string{"auto", "true", "false"}, f.AppendEOS):
		return fmt.Errorf("%s: append_eos: have %q, want auto, true or false", f.Path, f.AppendEOS)
	case f.Separator != "" && !format.separator:
		return fmt.Errorf("%s: separator is for text, the format is %s: remove it", f.Path, f.Format)
	case named && !format.fields:
		return fmt.Errorf("%s: fields of records (field, prompt_field, label_field, …) and mask_prompt are for jsonl, parquet and tsv, the format is %s: remove them", f.Path, f.Format)
	case f.Columns != nil && f.Format != "tsv":
		return fmt.Errorf("%s: columns is for tsv, the format is %s: remove it", f.Path, f.Format)
	case !format.text && f.AppendEOS == "true":
		return fmt.Errorf("%s: append_eos is for text, the format is %s: put the end token into input_ids", f.Path, f.Format)
	case (f.PromptField == "") != (f.CompletionField == ""):
		return fmt.Errorf("%s: prompt_field and completion_field belong together: set both", f.Path)
	case f.Field != "" && f.PromptField != "":
		return fmt.Errorf("%s: field and prompt_field exclude each other: remove one", f.Path)
	case f.PromptField != "" && classified:
		return fmt.Errorf("%s: pair_field and label_field are for texts with a class, prompt_field is not: remove one", f.Path)
	case f.MaskPrompt && f.PromptField == "":
		return fmt.Errorf("%s: mask_prompt needs prompt_field and completion_field", f.Path)
	}
	if format.fields && f.Field == "" && f.PromptField == "" {
		f.Field, f.pairs = "text", !classified
	}
	return f.checkFormat(format)
}

// checkFormat looks at the settings that belong to single formats.
func (f *File) checkFormat(format format) error {
	for name := range f.Fields {
		if format.names == nil {
			return fmt.Errorf("%s: fields is for chat, cot and icl, the format is %s: remove it", f.Path, f.Format)
		}
		if !slices.Contains(format.names, name) {
			return fmt.Errorf("%s: fields: %w", f.Path, suggest.Unknown("name of format "+f.Format, name, format.names))
		}
	}
	for _, only := range []struct {
		key, format string
		set         bool
	}{
		{"chat_template", "chat", f.ChatTemplate != ""}, {"style", "cot", f.Style != ""}, {"rationales", "cot", f.Rationales != ""},
		{"rationale_weight", "cot", f.RationaleWeight != 0}, {"shots", "icl", f.Shots != 0},
		{"draws", "icl", f.Draws != 0}, {"demonstration_weight", "icl", f.DemonstrationWeight != 0},
	} {
		if only.set && f.Format != only.format {
			return fmt.Errorf("%s: %s is for %s, the format is %s: remove it", f.Path, only.key, only.format, f.Format)
		}
	}
	switch {
	case f.RationaleWeight < 0 || f.DemonstrationWeight < 0:
		return fmt.Errorf("%s: rationale_weight and demonstration_weight: want no negative number", f.Path)
	case f.Format == "cot" && !slices.Contains(Styles(), f.Style):
		return fmt.Errorf("%s: style: have %q, want one of %s", f.Path, f.Style, strings.Join(Styles(), ", "))
	case f.Style != Multitask && f.RationaleWeight != 0:
		return fmt.Errorf("%s: rationale_weight is for style multitask, have %s: remove it", f.Path, f.Style)
	case f.Style == LabelOnly && f.Rationales != "":
		return fmt.Errorf("%s: rationales: style label_only has no use for them: remove it", f.Path)
	case f.Format == "icl" && f.Shots < 1:
		return fmt.Errorf("%s: shots: have %d, want at least 1", f.Path, f.Shots)
	case f.Draws < 0:
		return fmt.Errorf("%s: draws: have %d, want no negative number", f.Path, f.Draws)
	}
	if f.Style == Multitask && f.RationaleWeight == 0 {
		f.RationaleWeight = 1
	}
	return nil
}

// bare says that documents of the file get no start tokens but those that they have.
func (f *File) bare() bool {
	return !formats[f.Format].text || formats[f.Format].template && f.ChatTemplate != "alpaca" && f.ChatTemplate != "none"
}

// fields names what a record must hold, in the order in which compose takes the values.
func (f *File) fields() []string {
	switch {
	case f.PromptField != "":
		return []string{f.PromptField, f.CompletionField}
	case f.task != Classification:
		return []string{f.Field}
	case f.PairField != "":
		return []string{f.Field, f.LabelField, f.PairField}
	}
	return []string{f.Field, f.LabelField}
}

// compose makes an example of the values of f.fields().
func (f *File) compose(values []string) example {
	switch {
	case f.PromptField != "":
		ex := completed(values[0], values[1])
		if !f.MaskPrompt {
			ex.parts = nil
		}
		return ex
	case f.task != Classification:
		return example{text: values[0]}
	case f.PairField != "":
		return example{text: values[0], label: values[1], paired: true, second: values[2]}
	}
	return example{text: values[0], label: values[1]}
}

// withoutBOM returns a reader of src behind a UTF-8 byte order mark, if there is one.
func withoutBOM(src *os.File) *bufio.Reader {
	r := bufio.NewReaderSize(src, 1<<16)
	if mark, err := r.Peek(3); err == nil && string(mark) == "\ufeff" {
		r.Discard(3)
	}
	return r
}
