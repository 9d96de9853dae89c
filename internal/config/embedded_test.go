package config

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

func allLeaves(c *Config) []string {
	var all []string
	leaves(reflect.ValueOf(c).Elem(), "", func(key string, _ reflect.Value, _ reflect.StructTag) { all = append(all, key) })
	return all
}

func TestEveryEmbeddedFileLoads(t *testing.T) {
	t.Chdir(t.TempDir()) // no file of that name here
	if !slices.Contains(Names(), "reference") {
		t.Fatal(Names())
	}
	for _, name := range Names() {
		load := Load
		if strings.HasPrefix(name, "synth_") {
			load = LoadSynth
		}
		if _, err := load(name, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestName(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir("reference", 0o700); err != nil { // a folder is no configuration
		t.Fatal(err)
	}
	for _, name := range []string{"reference", "reference.yaml"} {
		if _, file, err := Text(name); err != nil || file != "reference.yaml" {
			t.Errorf("%s: have %s, %v", name, file, err)
		}
	}
	if err := os.WriteFile("forward_kl", []byte(minimal), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Load("forward_kl", nil); err != nil || c.Output.Dir != "o" {
		t.Errorf("the file does not win: %+v, %v", c, err)
	}
	_, err := Load("refrence", nil)
	if err == nil || !strings.Contains(err.Error(), "did you mean reference?") {
		t.Errorf("have %v", err)
	}
	for _, name := range []string{"", "no/such.yaml", "../configs/reference"} {
		if _, err := Load(name, nil); err == nil {
			t.Errorf("%q was found", name)
		}
	}
}

// examples are the keys whose value in reference.yaml only stands for one: they have no default.
var examples = []string{"teacher.path", "student.path", "data.train[].path", "output.dir"}

// TestReference proves that reference.yaml holds every key of Config and no other, each with a comment, and that every
// default in it is that of the code.
func TestReference(t *testing.T) {
	var root yaml.Node
	if err := yaml.Unmarshal(Reference(), &root); err != nil {
		t.Fatal(err)
	}
	checkReference(t, root.Content[0], reflect.ValueOf(Default()).Elem(), "")
}

func checkReference(t *testing.T, n *yaml.Node, v reflect.Value, key string) {
	var have []string
	for i := 0; i < len(n.Content); i += 2 {
		name, value := n.Content[i], n.Content[i+1]
		at := join(key, name.Value)
		have = append(have, name.Value)
		comment := name.HeadComment
		if i == 0 {
			comment += n.HeadComment // where the library puts that of an element's first key
		}
		f, ok := fieldNamed(v.Type(), name.Value)
		if !ok {
			t.Errorf("reference.yaml has %s, the code has not", at)
			continue
		}
		field := v.FieldByIndex(f.Index)
		if isSection(f.Type) {
			checkReference(t, value, field, at)
			continue
		}
		if comment == "" && name.Value != "completion_field" { // prompt_field's says it
			t.Errorf("reference.yaml does not explain %s", at)
		}
		if f.Type.Kind() == reflect.Slice && isSection(f.Type.Elem()) && value.Kind == yaml.SequenceNode {
			element := reflect.New(f.Type.Elem())
			element.Interface().(interface{ setDefaults() }).setDefaults()
			if at == "loss" {
				element.Elem().Set(reflect.ValueOf(Default().Loss[0]))
			}
			checkReference(t, value.Content[0], element.Elem(), at+"[]")
			continue
		}
		if at == "stages" {
			for _, name := range names(f.Type.Elem()) {
				if !strings.Contains(comment, "\n#   "+name+": ") {
					t.Errorf("reference.yaml does not explain %s[].%s", at, name)
				}
			}
		}
		if slices.Contains(examples, at) {
			continue
		}
		d := newDecoder("reference.yaml")
		written := reflect.New(f.Type).Elem() // null: the zero value
		d.value(value, written, at, f.Tag)
		if err := d.err(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(field.Interface(), written.Interface()); diff != "" {
			t.Errorf("%s: the code's default (-) is not that of reference.yaml (+): %s", at, diff)
		}
	}
	for _, name := range names(v.Type()) {
		if !slices.Contains(have, name) {
			t.Errorf("reference.yaml lacks %s", join(key, name))
		}
	}
}

func TestNew(t *testing.T) {
	for _, c := range []struct {
		start Start
		want  Student
	}{
		{Start{Teacher: "t: #", Layers: 3, Data: "a b.txt", Output: "o"},
			Student{Init: "teacher_layers", Config: map[string]any{"num_hidden_layers": 3}, Layers: Layers{Rule: "uniform"}}},
		{Start{Teacher: "x/y@main", Student: "s", Data: "a.jsonl", Eval: "e.txt", Output: "o"},
			Student{Init: "checkpoint", Path: "s"}},
	} {
		text, err := New(c.start)
		if err != nil {
			t.Fatal(err)
		}
		got := mustLoad(t, string(text))
		if diff := cmp.Diff(c.want, got.Student); diff != "" {
			t.Error(diff)
		}
		if got.Teacher.Path != c.start.Teacher || got.Data.Train[0].Path != c.start.Data || (len(got.Data.Eval) == 1) != (c.start.Eval != "") {
			t.Errorf("have %+v", got)
		}
		if strings.Count(string(text), "#") < 15 {
			t.Errorf("hardly a comment in\n%s", text)
		}
	}
}
