package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Synth is what kdistill synth asks a teacher, and what it keeps of the answers. Which styles and filters there are is known to package synth.
type Synth struct {
	Style  string            `yaml:"style,omitempty"`
	Input  Paths             `yaml:"input,omitempty,flow" path:"yes" resume:"free"` // its content is compared
	Fields map[string]string `yaml:"fields,omitempty,flow"`                         // a style's own names to those in Input
	Limit  int               `yaml:"limit,omitempty" range:"[0,)" resume:"free"`    // records of Input; 0: all
	Output string            `yaml:"output,omitempty" path:"yes" resume:"free"`

	Chat              bool           `yaml:"chat"`
	System            string         `yaml:"system,omitempty"`
	Samples           int            `yaml:"samples" range:"[1,)"`
	MaxTokens         int            `yaml:"max_tokens" range:"[1,)"`
	Temperature       float64        `yaml:"temperature" range:"[0,)"`
	TopK              int            `yaml:"top_k,omitempty" range:"[0,)"` // 0: all
	TopP              float64        `yaml:"top_p" range:"(0,1]"`
	MinP              float64        `yaml:"min_p,omitempty" range:"[0,1]"`
	RepetitionPenalty float64        `yaml:"repetition_penalty" range:"(0,)"`
	Stop              []string       `yaml:"stop,omitempty,flow"`
	Logprobs          int            `yaml:"logprobs,omitempty" range:"[0,20]"` // 0: none
	Seed              int64          `yaml:"seed" range:"[0,)"`
	Extra             map[string]any `yaml:"extra,omitempty,flow"`

	Concurrency    int        `yaml:"concurrency" range:"[1,)" resume:"free"`
	BudgetTokens   int        `yaml:"budget_tokens,omitempty" range:"[0,)" resume:"free"`   // 0: none
	BudgetRequests int        `yaml:"budget_requests,omitempty" range:"[0,)" resume:"free"` // 0: none
	Price          [2]float64 `yaml:"price,flow" range:"[0,)" resume:"free"`                // of a million tokens: read, written
	Timeout        float64    `yaml:"timeout" range:"(0,)" resume:"free"`                   // seconds
	Retries        int        `yaml:"retries" range:"[0,)" resume:"free"`

	Complete Complete `yaml:"complete"`
	Instruct Instruct `yaml:"instruct"`
	CoT      CoT      `yaml:"cot"`
	ICL      ICL      `yaml:"icl"`
	Filters  []Filter `yaml:"filters,omitempty" resume:"free"`
}

// Complete is the style of that name.
type Complete struct {
	Words  int `yaml:"words,omitempty" range:"[0,)"` // of a text that are its beginning; 0: all
	BestOf int `yaml:"best_of,omitempty" range:"[0,)"`
}

// Instruct is the style of that name. The tag forms names those that a key is for.
type Instruct struct {
	Form   string   `yaml:"form" oneof:"answers|chat|self_instruct|alpaca|topics"`
	Count  int      `yaml:"count" range:"[1,)" resume:"free"` // new instructions
	Shots  int      `yaml:"shots" range:"[1,)" forms:"self_instruct|alpaca|topics"`
	ROUGE  float64  `yaml:"rouge" range:"(0,1]" forms:"self_instruct|alpaca|topics"`
	Topics []string `yaml:"topics,omitempty,flow" forms:"topics"`
	Turns  int      `yaml:"turns" range:"[1,)" resume:"free"`

	Exclude []string `yaml:"exclude,flow" forms:"self_instruct|alpaca|topics"` // words that no new instruction has
}

// CoT is the style of that name.
type CoT struct {
	Answer      string `yaml:"answer" oneof:"number|choice|text" resume:"free"` // stored answers are judged anew
	Shots       int    `yaml:"shots,omitempty" range:"[0,)"`
	ShotsFrom   string `yaml:"shots_from,omitempty" path:"yes" resume:"free"` // prompts are compared
	Rationalize bool   `yaml:"rationalize" resume:"free"`
}

// ICL is the style of that name.
type ICL struct {
	Form  string `yaml:"form" oneof:"meta|multitask"`
	Shots int    `yaml:"shots" range:"[1,)"`
	Count int    `yaml:"count" range:"[1,)" resume:"free"`
}

// Filter is one filter of answers; Values are the parameters that it alone takes.
type Filter struct {
	Name    string             `yaml:"name"`
	Path    string             `yaml:"path,omitempty" path:"yes"`
	Phrases []string           `yaml:"phrases,omitempty,flow"`
	Values  map[string]float64 `yaml:",inline"`
}

func (f *Filter) setDefaults() { *f = Filter{} }

// Paths are files; one may be written without brackets.
type Paths []string

// decodeNode reads a path or a list of them.
func (p *Paths) decodeNode(d *decoder, n *yaml.Node, key string, tag reflect.StructTag) {
	if n.Kind != yaml.SequenceNode {
		n = &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{n}}
	}
	list := make([]string, len(n.Content))
	for i, element := range n.Content {
		d.text(element, reflect.ValueOf(&list[i]).Elem(), fmt.Sprintf("%s[%d]", key, i), tag)
	}
	*p = list
}

func defaultSynth() Synth {
	return Synth{
		Samples: 1, MaxTokens: 256, Temperature: 0.7, TopP: 1, RepetitionPenalty: 1, Seed: 1,
		Concurrency: 8, Timeout: 600, Retries: 6,
		Instruct: Instruct{Form: "answers", Count: 100, Shots: 8, ROUGE: 0.7, Turns: 2, Exclude: excluded()}, CoT: CoT{Answer: "number"}, ICL: ICL{Form: "multitask", Shots: 4, Count: 1000},
	}
}

// excluded are the words of instructions that Self-Instruct and Alpaca remove, as text alone cannot follow them, or as it had too many of them.
func excluded() []string {
	return []string{
		"image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps", "draw", "plot", "go to", "video", "audio", "music", "flowchart", "diagram",
		"write a program",
	}
}

// Settings maps the keys of section synth that decide what the style in use asks for to their values, as text: of a list or mapping one for each scalar in it, by
// the scalar's key. A stored answer was given under these; all other keys may change when a run goes on.
func (c *Config) Settings() map[string]map[string]string {
	all := map[string]map[string]string{}
	leaves(reflect.ValueOf(&c.Synth).Elem(), "", func(key string, v reflect.Value, tag reflect.StructTag) {
		style, _, ofStyle := strings.Cut(key, ".")
		forms := tag.Get("forms")
		if tag.Get("resume") == "free" || ofStyle && style != c.Synth.Style || forms != "" && !slices.Contains(strings.Split(forms, "|"), c.Synth.Instruct.Form) {
			return
		}
		key = "synth." + key
		all[key] = scalars(key, v)
	})
	return all
}

// checkSynth is checkTraining for kdistill synth.
func (l *loader) checkSynth(c *Config) {
	wrong := l.reporter()
	t, s := c.Teacher, c.Synth
	switch {
	case len(t.List) > 0:
		wrong("teacher", "have a list, want one teacher: each writes an output of its own")
	case t.Path == "" && t.URL == "":
		wrong("teacher.path", "is missing: give a model's folder, or teacher.url of a server")
	case t.Path != "" && t.URL != "":
		wrong("teacher.url", "teacher.path is given too: leave one of them out")
	case t.Path != "" && t.Model != "":
		wrong("teacher.model", "belongs to teacher.url")
	case t.Path != "" && t.KeyEnv != "":
		wrong("teacher.key_env", "belongs to teacher.url")
	}
	if s.Style == "" {
		wrong("synth.style", "is missing")
	}
	if s.Output == "" {
		wrong("synth.output", "is missing: give the file to write to")
	}
	if s.System != "" && !s.Chat {
		wrong("synth.system", "belongs to synth.chat: true")
	}
	answers := s.Samples
	if b := s.Complete.BestOf; b > 0 {
		if b < s.Samples {
			wrong("synth.complete.best_of", "have %d, want at least synth.samples (%d), of which they are the best", b, s.Samples)
		}
		answers = b
	}
	if answers > 1 && s.Temperature == 0 {
		wrong("synth.temperature", "have 0 for %d samples: greedy ones are all the same", answers)
	}
	if s.CoT.Shots > 0 && s.CoT.ShotsFrom == "" {
		wrong("synth.cot.shots_from", "is missing: give a file of worked questions, of which synth.cot.shots are shown")
	}
	if t.Path != "" && s.Extra != nil {
		wrong("synth.extra", "belongs to teacher.url: it is part of a request to a server")
	}
	for i, f := range s.Filters {
		if f.Name == "" {
			wrong(fmt.Sprintf("synth.filters[%d]", i), "name is missing")
		}
	}
}
