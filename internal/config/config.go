// Package config turns a YAML file, KDISTILL_ environment variables and --set overrides into one checked Config.
// It knows keys, types, ranges and contradictions; losses, models and data are checked by the packages that own them.
package config

import (
	"cmp"
	"math"
)

// Config is the whole configuration of a run. The meaning of every key is written in configs/reference.yaml.
//
// Struct tags: yaml is the key; oneof lists the words allowed; range is the interval of a number, or of a list's members;
// instead:"list" marks a list that may stand in place of its section's keys; path marks text in which ~ and ${VAR} are expanded; resume:"free" marks a key that may change when a run goes on.
type Config struct {
	Teacher Teacher `yaml:"teacher"`
	Student Student `yaml:"student"`
	Data    Data    `yaml:"data"`
	Loss    []Loss  `yaml:"loss,omitempty"` // nil: Stages have their own
	Stages  []Stage `yaml:"stages,omitempty"`
	Train   Train   `yaml:"train"`
	Output  Output  `yaml:"output"`
	Cache   Cache   `yaml:"cache"`
	Synth   Synth   `yaml:"synth"`
}

// Teacher is the frozen model, or a List of them. Path may be empty where no loss needs a teacher.
type Teacher struct {
	Path  string         `yaml:"path,omitempty" path:"yes"`
	DType string         `yaml:"dtype" oneof:"auto|float32|bfloat16"`
	Cache string         `yaml:"cache,omitempty" path:"yes" resume:"free"` // "": the teacher is live
	List  []NamedTeacher `yaml:"-" instead:"list"`

	// Of kdistill synth, in place of Path: an OpenAI-compatible server, its name of the model, and the environment variable that holds the key.
	URL    string `yaml:"url,omitempty" resume:"free"`
	Model  string `yaml:"model,omitempty"`
	KeyEnv string `yaml:"key_env,omitempty" resume:"free"`
}

// NamedTeacher is one of several teachers.
type NamedTeacher struct {
	Name   string  `yaml:"name"`                // what Loss.Teacher calls it; "": the last name of Path
	Weight float64 `yaml:"weight" range:"[0,)"` // of the teachers' average, in proportion
	Path   string  `yaml:"path" path:"yes"`
	DType  string  `yaml:"dtype" oneof:"auto|float32|bfloat16"`
	Cache  string  `yaml:"cache,omitempty"` // always refused: rows on disk are of a teacher alone
}

// All lists the teachers: List, or the only one by its last name, or none.
func (t Teacher) All() []NamedTeacher {
	if t.List != nil || t.Path == "" && t.Cache == "" {
		return t.List
	}
	return []NamedTeacher{{Name: lastName(cmp.Or(t.Path, t.Cache)), Weight: 1, Path: t.Path, DType: t.DType, Cache: t.Cache}}
}

// Base is the folder that a student may be made from: the only teacher's, or the first one's.
func (t Teacher) Base() string {
	if len(t.List) > 0 {
		return t.List[0].Path
	}
	return t.Path
}

// Student is the model to be trained: read from Path, or made from the teacher as Init says.
type Student struct {
	Path   string         `yaml:"path,omitempty" path:"yes"`
	Init   string         `yaml:"init" oneof:"checkpoint|random|teacher_layers"`
	Config map[string]any `yaml:"config,omitempty"` // keys of config.json, as YAML gives them: int, float64, bool, string, nil, []any, map[string]any
	Layers Layers         `yaml:"layers,omitempty"`
	Task   string         `yaml:"task,omitempty" oneof:"masked|classification"` // "": what config.json says
}

// Layers says which teacher layers a teacher_layers student keeps: a Rule, or a List of 0-based indices.
type Layers struct {
	Rule string // uniform, first, last, or "" where List is given
	List []int
}

// IsZero tells that nothing was said about layers.
func (l Layers) IsZero() bool { return l.Rule == "" && l.List == nil }

// Data is what is learnt from and what is measured on.
type Data struct {
	Train          []Source `yaml:"train"`
	Eval           []Source `yaml:"eval,omitempty"`
	SequenceLength int      `yaml:"sequence_length" range:"[2,)"`
	LongDocuments  string   `yaml:"long_documents" oneof:"split|truncate"`
	Packing        bool     `yaml:"packing"`
	Shuffle        bool     `yaml:"shuffle"`

	Labels          []string `yaml:"labels,omitempty,flow"` // names of the classes in their order; nil: the model's, or those in Train
	MaskProbability float64  `yaml:"mask_probability" range:"(0,1]"`
	WholeWords      bool     `yaml:"whole_words"`
}

// Source is one data file. Which formats there are, and which of these keys each takes, is known to package data.
type Source struct {
	Path            string `yaml:"path" path:"yes"`
	Format          string `yaml:"format,omitempty"` // "": by the extension
	Separator       string `yaml:"separator"`        // of text; "": the file is one document
	Field           string `yaml:"field,omitempty"`
	PromptField     string `yaml:"prompt_field,omitempty"`
	CompletionField string `yaml:"completion_field,omitempty"`
	MaskPrompt      bool   `yaml:"mask_prompt"`
	AppendEOS       string `yaml:"append_eos" oneof:"auto|true|false"`

	Columns    []string `yaml:"columns,omitempty,flow"` // of tsv without a line of names
	PairField  string   `yaml:"pair_field,omitempty"`
	LabelField string   `yaml:"label_field,omitempty"`

	KeepTruncated bool              `yaml:"keep_truncated,omitempty"`
	Fields        map[string]string `yaml:"fields,omitempty,flow"` // of chat, cot and icl, by the format's own names
	ChatTemplate  string            `yaml:"chat_template,omitempty"`

	Style           string  `yaml:"style,omitempty" oneof:"label_only|rationale_then_answer|multitask"`
	Rationales      string  `yaml:"rationales,omitempty" path:"yes"`
	RationaleWeight float64 `yaml:"rationale_weight,omitempty" range:"(0,)"`

	Shots               int     `yaml:"shots,omitempty" range:"[1,)"`
	Draws               int     `yaml:"draws,omitempty" range:"[0,)"` // 0: one
	DemonstrationWeight float64 `yaml:"demonstration_weight,omitempty" range:"[0,)"`
}

// Loss is one term of the objective. Which names exist, and which Values they take, is known to package loss.
type Loss struct {
	Name        string  `yaml:"name"`
	As          string  `yaml:"as,omitempty"`
	Teacher     string  `yaml:"teacher,omitempty"` // name of the one of several that it compares with; "": their average
	Weight      Weight  `yaml:"weight"`
	Temperature float64 `yaml:"temperature" range:"(0,)"`
	T2Scaling   bool    `yaml:"t2_scaling"`
	Positions   string  `yaml:"positions,omitempty" oneof:"labels|attended"` // "": labels, or every token where the loss is on features
	Tail        string  `yaml:"tail,omitempty" oneof:"tail_bucket|raw|teacher_renormalized|both_renormalized"`

	Layers        LayerMap     `yaml:"layers,omitempty,flow"`
	Layer         TeacherLayer `yaml:"layer,omitempty"`
	Tokens        string       `yaml:"tokens,omitempty" oneof:"all|first|mean"`
	Normalize     bool         `yaml:"normalize,omitempty"`
	Projection    Projection   `yaml:"projection,omitempty"`
	Compare       string       `yaml:"compare,omitempty" oneof:"probabilities|scores"`
	Heads         HeadMap      `yaml:"heads,omitempty,flow"`
	Relations     []string     `yaml:"relations,omitempty,flow" oneof:"qk|qq|kk|vv"`
	RelationHeads int          `yaml:"relation_heads,omitempty" range:"[1,)"`

	Values map[string]float64 `yaml:",inline"` // every other key: a parameter of that loss
}

// LayerMap says which layers of the student's are compared with which of the teacher's.
type LayerMap []LayerPair

// LayerPair is an entry of a LayerMap: a Rule for all layers of the student's, or a Pair of the student's and the teacher's, counted as hidden states are:
// 0 is the embedding, i the output of layer i.
type LayerPair struct {
	Rule string // uniform, first, last, all, embedding, or ""
	Pair [2]int
}

// TeacherLayer is the teacher's layer that the student's last one is compared with, from 1; -1: the last. 0: not given.
type TeacherLayer int

// Projection is the trained map from the student's width to the teacher's.
type Projection struct {
	Init string `yaml:"init,omitempty" path:"yes"` // normal, identity, zero or a file; "": normal where the widths differ, none where they don't
	Keep bool   `yaml:"keep,omitempty"`
}

// HeadMap says which heads of the teacher's the student's are compared with: each with its own (neither), the Average of all, or those in List.
type HeadMap struct {
	Average bool
	List    []int // from 0, one for each of the student's
}

// IsZero tells that nothing was said about heads.
func (h HeadMap) IsZero() bool { return !h.Average && h.List == nil }

// Stage is a part of the run with losses, steps and a schedule of its own: what it does not say of LR and Schedule, Train says.
// Exactly one of Steps and Epochs is positive.
type Stage struct {
	Name     string   `yaml:"name"`
	Loss     []Loss   `yaml:"loss"`
	Steps    int      `yaml:"steps,omitempty" range:"[1,)"`
	Epochs   int      `yaml:"epochs,omitempty" range:"[1,)"`
	LR       float64  `yaml:"lr" range:"[0,)"`
	Schedule Schedule `yaml:"schedule"`
}

// Course lists the stages of the run in their order: a single one without a name where Stages is empty, as Loss and Train say.
func (c *Config) Course() []Stage {
	if len(c.Stages) > 0 {
		return c.Stages
	}
	t := c.Train
	return []Stage{{Loss: c.Loss, Steps: t.Steps, Epochs: t.Epochs, LR: t.Optimizer.LR, Schedule: t.Schedule}}
}

// Label is the name of the term in logs and metrics: As, or Name where As is empty.
func (l Loss) Label() string {
	if l.As != "" {
		return l.As
	}
	return l.Name
}

// Weight is a factor that may go From one value To another over its stage. A constant has From == To and no Schedule.
type Weight struct {
	From     float64 `yaml:"from" range:"[0,)"`
	To       float64 `yaml:"to" range:"[0,)"`
	Schedule string  `yaml:"schedule" oneof:"linear|cosine"`
}

// Constant is the weight that stays w.
func Constant(w float64) Weight { return Weight{From: w, To: w} }

// At is the weight when the part progress of the stage is done: 0 at the first step, 1 at the last.
func (w Weight) At(progress float64) float64 {
	if w.Schedule == "cosine" {
		progress = (1 - math.Cos(math.Pi*progress)) / 2
	}
	return w.From + (w.To-w.From)*progress
}

// Train is the loop. Exactly one of Steps and Epochs is positive, or none where there are stages.
type Train struct {
	Steps          int        `yaml:"steps,omitempty" range:"[1,)"`
	Epochs         int        `yaml:"epochs,omitempty" range:"[1,)"`
	BatchSize      int        `yaml:"batch_size" range:"[1,)"`
	MicroBatchSize MicroBatch `yaml:"micro_batch_size" range:"[1,)" resume:"free"`
	Recompute      bool       `yaml:"activation_recompute" resume:"free"`
	HeadMemory     int        `yaml:"head_memory,omitempty" range:"[1,)"` // MB of logits at a time; 0: not given
	Precision      string     `yaml:"precision" oneof:"float32|bfloat16"`
	Optimizer      Optimizer  `yaml:"optimizer"`
	Schedule       Schedule   `yaml:"schedule"`
	MaxGradNorm    float64    `yaml:"max_grad_norm" range:"[0,)"`
	Seed           int64      `yaml:"seed" range:"[0,)"`
	EvalEvery      int        `yaml:"eval_every" range:"[0,)" resume:"free"`
	SaveEvery      int        `yaml:"save_every" range:"[0,)" resume:"free"`
	Keep           int        `yaml:"keep" range:"[1,)" resume:"free"`
	BestMetric     string     `yaml:"best_metric" oneof:"nll|accuracy|f1|macro_f1|matthews|mse|pearson|spearman|kl|reverse_kl|top1_agreement|acceptance"`
}

// MicroBatch is the number of sequences in one forward and backward pass; 0 is "auto": chosen by memory.
type MicroBatch int

// Optimizer holds the settings of all optimizers; those that the named one lacks keep their defaults.
type Optimizer struct {
	Name        string     `yaml:"name" oneof:"adamw|adam|sgd"`
	LR          float64    `yaml:"lr" range:"[0,)"`
	Betas       [2]float64 `yaml:"betas,flow" range:"[0,1)"`
	Eps         float64    `yaml:"eps" range:"(0,)"`
	WeightDecay float64    `yaml:"weight_decay" range:"[0,)"`
	Decay       string     `yaml:"decay" oneof:"matrices|all"`
	Momentum    float64    `yaml:"momentum" range:"[0,1)"`
	Dampening   float64    `yaml:"dampening" range:"[0,1]"`
	Nesterov    bool       `yaml:"nesterov"`
}

// Schedule is the course of the learning rate.
type Schedule struct {
	Name        string  `yaml:"name" oneof:"constant|linear|cosine|inverse_sqrt|warmup_stable_decay"`
	WarmupSteps int     `yaml:"warmup_steps" range:"[0,)"`
	MinLRRatio  float64 `yaml:"min_lr_ratio" range:"[0,1]"`
	DecaySteps  int     `yaml:"decay_steps,omitempty" range:"[1,)"` // 0: a tenth of all steps
}

// Output is where the run is written, and in which type its final weights are.
type Output struct {
	Dir   string `yaml:"dir" path:"yes" resume:"free"`
	DType string `yaml:"dtype" oneof:"float32|bfloat16|float16" resume:"free"`
}

// Cache is what kdistill cache keeps of the teacher's words. Either TopK or Samples is given.
type Cache struct {
	Dir         string  `yaml:"dir,omitempty" path:"yes" resume:"free"` // "": teacher.cache
	TopK        TopK    `yaml:"top_k" range:"[1,)" resume:"free"`
	Samples     int     `yaml:"samples" range:"[0,65535]" resume:"free"`
	Bits        int     `yaml:"bits" resume:"free"`                               // 0 with Samples
	Temperature float64 `yaml:"temperature,omitempty" range:"(0,)" resume:"free"` // 0: that of the losses
}

// TopK is a number of ids, or AllIDs; 0 where ids are drawn.
type TopK int

// AllIDs keeps the whole vocabulary.
const AllIDs TopK = -1

// Default returns the value of every key that nobody sets.
func Default() *Config {
	c := &Config{
		Teacher: Teacher{DType: "auto"},
		Student: Student{Init: "checkpoint"},
		Data:    Data{SequenceLength: 256, LongDocuments: "split", Packing: true, Shuffle: true, MaskProbability: 0.15},
		Loss:    make([]Loss, 1),
		Train: Train{
			Steps: 1000, BatchSize: 32, Precision: "float32",
			Optimizer:   Optimizer{Name: "adamw", LR: 1e-3, Betas: [2]float64{0.9, 0.95}, Eps: 1e-8, WeightDecay: 0.1, Decay: "matrices"},
			Schedule:    Schedule{Name: "cosine"},
			MaxGradNorm: 1, Seed: 1, EvalEvery: 100, SaveEvery: 500, Keep: 2, BestMetric: "nll",
		},
		Output: Output{DType: "float32"},
		Cache:  Cache{TopK: 64, Bits: 16},
		Synth:  defaultSynth(),
	}
	c.Loss[0].setDefaults()
	c.Loss[0].Name = "forward_kl"
	return c
}

func (s *Source) setDefaults() {
	*s = Source{AppendEOS: "auto"}
}

func (t *NamedTeacher) setDefaults() {
	*t = NamedTeacher{Weight: 1, DType: "auto"}
}

func (l *Loss) setDefaults() {
	*l = Loss{Weight: Constant(1), Temperature: 1}
}

func (w *Weight) setDefaults() { w.Schedule = "linear" }
