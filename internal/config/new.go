package config

import (
	"fmt"
	"reflect"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// Start is what a new configuration is made for. Teacher, Data and Output must be given.
type Start struct {
	Teacher string // folder, or org/name
	Student string // folder, or org/name; "": every second layer of the teacher, Layers of them
	Layers  int    // of the student, where Student is ""
	Data    string // file to learn from
	Eval    string // file to measure on; "": none
	Output  string // the run's folder
}

// New writes a configuration with the keys that a first run is likely to change, each with its comment of the reference.
func New(s Start) ([]byte, error) {
	type file struct {
		Path string `yaml:"path"`
	}
	type term struct {
		Name        string  `yaml:"name"`
		Weight      float64 `yaml:"weight"`
		Temperature int     `yaml:"temperature,omitempty"`
		T2Scaling   bool    `yaml:"t2_scaling,omitempty"`
	}
	values := map[string]any{ // nil: as in the reference
		"teacher.path":                s.Teacher,
		"student.init":                nil,
		"student.path":                s.Student,
		"data.train":                  []file{{s.Data}},
		"data.sequence_length":        nil,
		"loss":                        []term{{"forward_kl", 0.5, 2, true}, {"cross_entropy", 0.5, 0, false}},
		"train.steps":                 nil,
		"train.batch_size":            nil,
		"train.optimizer.lr":          nil,
		"train.schedule.name":         nil,
		"train.schedule.warmup_steps": 100,
		"train.schedule.min_lr_ratio": 0.1,
		"train.eval_every":            nil,
		"train.save_every":            nil,
		"output.dir":                  s.Output,
	}
	if s.Student == "" {
		delete(values, "student.path")
		values["student.init"] = "teacher_layers"
		values["student.config"] = map[string]int{"num_hidden_layers": s.Layers}
	}
	if s.Eval != "" {
		values["data.eval"] = []file{{s.Eval}}
	}
	var root yaml.Node
	if err := yaml.Unmarshal(Reference(), &root); err != nil {
		return nil, err
	}
	if err := keep(root.Content[0], reflect.TypeFor[Config](), "", values); err != nil {
		return nil, err
	}
	root.HeadComment = "# Written by kdistill config new. Start with: kdistill train --config THIS_FILE --dry-run\n# kdistill config shows every other key, and what it means."
	text, err := encode(&root)
	return between.ReplaceAll(text, []byte("$1\n\n$2")), err
}

// between is the end of a section and the beginning of the next one.
var between = regexp.MustCompile(`(?m)(^ .*)\n([^ \n])`)

// keep drops from mapping n the keys that are not in values, and puts the values in.
func keep(n *yaml.Node, t reflect.Type, key string, values map[string]any) error {
	var kept []*yaml.Node
	for i := 0; i < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		f, ok := fieldNamed(t, name.Value)
		if !ok {
			return fmt.Errorf("reference.yaml has the unknown key %s", join(key, name.Value))
		}
		at := join(key, name.Value)
		if isSection(f.Type) {
			if err := keep(value, f.Type, at, values); err != nil {
				return err
			}
			if len(value.Content) == 0 {
				continue
			}
		} else if v, ok := values[at]; !ok {
			continue
		} else if v != nil {
			comment := value.LineComment
			*value = yaml.Node{}
			if err := value.Encode(v); err != nil {
				return err
			}
			value.LineComment = comment
		}
		kept = append(kept, name, value)
	}
	n.Content = kept
	return nil
}
