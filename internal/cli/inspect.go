package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"gorgonia.org/tensor"
	"kdistill/internal/checkpoint"
	"kdistill/internal/graph"
	"kdistill/internal/loss"
	"kdistill/internal/model"
	"kdistill/internal/nn"
	"kdistill/internal/objective"
	"kdistill/internal/report"
	"kdistill/internal/safetensors"
	"kdistill/internal/signal"
	"kdistill/internal/teacher"
)

func init() { register(newInspect) }

type inspectOptions struct {
	teacher string
	json    bool
}

func newInspect(s streams) *cobra.Command {
	var o inspectOptions
	c := &cobra.Command{
		Use:   "inspect DIR",
		Short: "Describe a model and whether it can learn from a teacher, or a cache of teacher's words",
		Long: `Describe a model: architecture, sizes, tokenizer, and the memory that it takes. With --teacher also say what of the pair would be refused,
what would be warned about, and why. No weights are read. Memory is told for one row of 256 tokens; that of training is AdamW's in
float32, to which the teacher's weights come.
Of a folder that kdistill cache has written it tells whose words are in it, how many, and what was lost; every sum is checked.`,
		Example: `  kdistill inspect models/small
  kdistill inspect models/small --teacher models/big
  kdistill inspect Qwen/Qwen2.5-0.5B --json
  kdistill inspect caches/run`,
		Args: checked(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if signal.Is(args[0]) {
				return o.cache(cmd.Context(), s, args[0])
			}
			return o.run(s, args[0])
		},
	}
	f := c.Flags()
	f.StringVar(&o.teacher, "teacher", "", "report on learning from the model in `DIR`")
	f.BoolVar(&o.json, "json", false, "print one JSON object")
	return c
}

// inspection is what the command prints.
type inspection struct {
	description
	Teacher       *description `json:"teacher,omitempty"`
	Compatibility findings     `json:"compatibility,omitempty"`
}

// description is what a model's folder says without its weights being read. Sizes are in bytes.
type description struct {
	Path       string                 `json:"path"`
	ModelType  string                 `json:"model_type"`
	Class      string                 `json:"architecture"`
	Task       model.Task             `json:"task"`
	Labels     []string               `json:"labels,omitempty"`
	Problem    string                 `json:"problem_type,omitempty"`
	Layers     int                    `json:"layers"`
	Width      int                    `json:"width"`
	Heads      int                    `json:"heads"`
	KVHeads    int                    `json:"key_value_heads"`
	HeadWidth  int                    `json:"head_width"`
	Vocabulary int                    `json:"vocabulary"`
	Positions  int                    `json:"positions"`
	Tied       bool                   `json:"tied_embeddings"`
	Parameters int                    `json:"parameters"`
	SizeOnDisk int64                  `json:"size_on_disk"`
	Storage    map[string]int         `json:"storage"` // tensors by type
	Tokenizer  *tokenizerDescription  `json:"tokenizer"`
	Memory     memory                 `json:"memory"`
	Notes      []string               `json:"notes,omitempty"`
	pretrained *checkpoint.Pretrained // closed
	specs      []model.Spec
}

type tokenizerDescription struct {
	Kind        string           `json:"kind"`
	Vocabulary  int              `json:"vocabulary"`
	Special     map[string]token `json:"special"`
	Fingerprint string           `json:"fingerprint"`
	Warnings    []string         `json:"warnings,omitempty"`
}

type token struct {
	ID   int32  `json:"id"`
	Text string `json:"text"`
}

// memory is what a model takes for one row of so many tokens.
type memory struct {
	Tokens   int   `json:"tokens"`
	Weights  int64 `json:"weights"` // frozen
	Evaluate int64 `json:"evaluate"`
	Train    int64 `json:"train"` // with AdamW, without the teacher
}

func (o *inspectOptions) run(s streams, path string) error {
	d, err := describe(path)
	if err != nil {
		return err
	}
	i := inspection{description: *d}
	if o.teacher != "" {
		if i.Teacher, err = describe(o.teacher); err != nil {
			return fmt.Errorf("teacher: %w", err)
		}
		i.Compatibility = compare(i.Teacher, d)
	}
	if o.json {
		enc := json.NewEncoder(s.out)
		enc.SetIndent("", "  ")
		return enc.Encode(i)
	}
	if err := report.Table(s.out, table(d, i.Teacher)); err != nil {
		return err
	}
	for _, note := range d.Notes {
		if _, err := fmt.Fprintln(s.out, "note:", note); err != nil {
			return err
		}
	}
	if i.Teacher == nil {
		return nil
	}
	return printFindings(s, i.Compatibility)
}

// describe opens a model's folder.
func describe(path string) (_ *description, err error) {
	p, err := checkpoint.OpenModel(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	info := p.Model.Info()
	d := &description{
		Path: p.Dir, ModelType: info.Type, Class: info.Class, Task: info.Task, Labels: info.Labels, Problem: info.Problem, Layers: info.Layers, Width: info.Width, Vocabulary: info.Vocab,
		Positions: info.Positions, Tied: info.Tied != "", Notes: info.Notes, Storage: map[string]int{}, pretrained: p,
	}
	if d.SizeOnDisk, err = p.Size(); err != nil {
		return nil, err
	}
	if d.specs, err = model.Parameters(p.Model); err != nil {
		return nil, err
	}
	stored := map[string]safetensors.DType{}
	for _, name := range p.Names() {
		x, _ := p.Tensor(name)
		d.Storage[string(x.DType)]++
		stored[name], stored[info.Base+name] = x.DType, x.DType
	}
	for _, spec := range d.specs {
		n := tensor.Shape(spec.Shape).TotalSize()
		d.Parameters += n
		if stored[spec.Name] == safetensors.BF16 && len(spec.Shape) > 1 {
			n /= 2 // stays as it is
		}
		d.Memory.Weights += 4 * int64(n)
	}
	d.Heads, d.KVHeads, d.HeadWidth = info.Heads.H, info.Heads.KV, info.Heads.D
	if d.Tokenizer, err = describeTokenizer(p); err != nil {
		return nil, err
	}
	return d, d.measure(p.Model)
}

func describeTokenizer(p *checkpoint.Pretrained) (*tokenizerDescription, error) {
	t := p.Tokenizer
	if t == nil {
		return nil, nil
	}
	d := &tokenizerDescription{Vocabulary: t.VocabSize(), Fingerprint: t.Fingerprint(), Warnings: t.Warnings(), Special: map[string]token{}, Kind: tokenizerKind(p.Dir)}
	for name, id := range map[string]int32{"bos": t.BOS(), "eos": t.EOS(), "pad": t.PAD(), "unk": t.UNK()} {
		if id >= 0 {
			text, _ := t.Token(id)
			d.Special[name] = token{id, text}
		}
	}
	return d, nil
}

// memoryTokens is the length of the row whose memory is told.
const memoryTokens = 256

// measure estimates memory from the memory plan of the model's own graphs, which need no weights.
func (d *description) measure(m model.Model) error {
	name := "cross_entropy"
	if m.Info().Task == model.NoTask {
		name = "hidden_mse" // what can be learned without a head
	}
	l, err := loss.New(name, loss.Params{})
	if err != nil {
		return err
	}
	d.Memory.Tokens = min(memoryTokens, d.Positions)
	intermediate := func(trained bool) (int64, error) {
		o := objective.Objective{Model: m, Weights: declared{trained}, Terms: []*graph.Term{{Loss: l}}, Arena: &graph.Arena{}}
		if last := m.Info().Layers; l.Rows == loss.Hidden {
			o.Teachers = objective.Alone(&teacher.Live{Model: m, Weights: declared{}, Arena: &graph.Arena{}})
			o.Features = []objective.Feature{{Pairs: []objective.Pair{{Student: last, Teacher: last}}}}
		}
		n, err := o.Bytes(1, d.Memory.Tokens)
		return int64(n), err
	}
	evaluate, err := intermediate(false)
	if err != nil {
		return err
	}
	train, err := intermediate(true)
	if err != nil {
		return err
	}
	const trained = 4 + 4 + 8 // weights, gradients, two moments in float32
	d.Memory.Evaluate = d.Memory.Weights + evaluate
	d.Memory.Train = trained*int64(d.Parameters) + train
	return nil
}

// declared gives parameters without values, for graphs that are only measured.
type declared struct{ trained bool }

func (d declared) Param(name string, _ nn.Init, shape ...int) (*graph.Param, error) {
	p := &graph.Param{Name: name, Shape: shape}
	if d.trained {
		p.Grad = tensor.New(tensor.WithShape(1), tensor.WithBacking(make([]float32, 1)))
	}
	return p, nil
}

// table puts what is known of one model, or of two, side by side.
func table(d, teacher *description) [][]string {
	rows := [][]string{{"model", d.Path}}
	if teacher != nil {
		rows = [][]string{{"", "student", "teacher"}, {"model", d.Path, teacher.Path}}
	}
	for _, line := range []struct {
		name string
		show func(*description) string
	}{
		{"architecture", func(d *description) string { return fmt.Sprintf("%s (%s)", d.ModelType, d.Class) }},
		{"task", showTask},
		{"layers", func(d *description) string { return fmt.Sprint(d.Layers) }},
		{"width", func(d *description) string { return fmt.Sprint(d.Width) }},
		{"heads", func(d *description) string {
			return fmt.Sprintf("%d, %d of keys and values, %d wide", d.Heads, d.KVHeads, d.HeadWidth)
		}},
		{"vocabulary", showVocabulary},
		{"positions", func(d *description) string { return fmt.Sprint(d.Positions) }},
		{"parameters", func(d *description) string {
			return fmt.Sprintf("%s (%d)", report.Count(int64(d.Parameters)), d.Parameters)
		}},
		{"weights on disk", func(d *description) string {
			return fmt.Sprintf("%s, tensors: %s", report.Bytes(d.SizeOnDisk), showStorage(d.Storage))
		}},
		{"tokenizer", showTokenizer},
		{"special tokens", showSpecial},
		{"fingerprint", func(d *description) string {
			if d.Tokenizer == nil {
				return "-"
			}
			return d.Tokenizer.Fingerprint[:16]
		}},
		{"memory to evaluate", func(d *description) string { return showMemory(d.Memory.Evaluate, d.Memory.Tokens) }},
		{"memory to train", func(d *description) string { return showMemory(d.Memory.Train, d.Memory.Tokens) }},
	} {
		row := []string{line.name, line.show(d)}
		if teacher != nil {
			row = append(row, line.show(teacher))
		}
		rows = append(rows, row)
	}
	return rows
}

func showVocabulary(d *description) string {
	ids := fmt.Sprintf("%d ids", d.Vocabulary)
	switch {
	case d.Task != model.Causal && d.Task != model.Masked:
		return ids
	case d.Tied:
		return ids + ", the head is the embedding"
	}
	return ids + ", a head of its own"
}

func showTask(d *description) string {
	switch {
	case d.Task == model.Causal:
		return "predicts the next token"
	case d.Task == model.Masked:
		return "predicts masked tokens"
	case d.Problem != "":
		return fmt.Sprintf("%s: %s", strings.ReplaceAll(d.Problem, "_", " "), strings.Join(d.Labels, ", "))
	}
	return "none: it has no head"
}

func showStorage(storage map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(storage)) {
		parts = append(parts, fmt.Sprintf("%d %s", storage[name], name))
	}
	return strings.Join(parts, ", ")
}

func showTokenizer(d *description) string {
	if d.Tokenizer == nil {
		return "none: only data of token ids can be used"
	}
	return fmt.Sprintf("%s, %d ids", d.Tokenizer.Kind, d.Tokenizer.Vocabulary)
}

func showSpecial(d *description) string {
	if d.Tokenizer == nil {
		return "-"
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(d.Tokenizer.Special)) {
		parts = append(parts, fmt.Sprintf("%s %d %q", name, d.Tokenizer.Special[name].ID, d.Tokenizer.Special[name].Text))
	}
	return strings.Join(parts, ", ")
}

func showMemory(bytes int64, tokens int) string {
	return fmt.Sprintf("%s with one row of %d tokens", report.Bytes(bytes), tokens)
}

// tokenizerKind reads what sort of model tokenizer.json holds.
func tokenizerKind(dir string) string {
	var file struct{ Model struct{ Type string } }
	text, err := os.ReadFile(filepath.Join(dir, "tokenizer.json"))
	if err != nil || json.Unmarshal(text, &file) != nil || file.Model.Type == "" {
		return "unnamed" // files of old versions don't say
	}
	return file.Model.Type
}
