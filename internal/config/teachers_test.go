package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// several is minimal with a list of teachers.
func several(list string) string { return strings.Replace(minimal, "{path: t}", list, 1) }

// TestTeachers: names, weights and overrides of a list in place of a single teacher.
func TestTeachers(t *testing.T) {
	t.Setenv("KDISTILL_TEST_MODELS", "/m")
	c := mustLoad(t, several("[{path: '${KDISTILL_TEST_MODELS}/a'}, {path: org/a, weight: 3}, {path: embedded:demo/b/, dtype: bfloat16, name: a-3}, {path: x/a}]"))
	want := []NamedTeacher{
		{Name: "a", Weight: 1, Path: "/m/a", DType: "auto"}, {Name: "a-2", Weight: 3, Path: "org/a", DType: "auto"},
		{Name: "a-3", Weight: 1, Path: "embedded:demo/b/", DType: "bfloat16"}, {Name: "a-4", Weight: 1, Path: "x/a", DType: "auto"},
	}
	if diff := cmp.Diff(want, c.Teacher.All()); diff != "" {
		t.Error(diff)
	}
	if c.Teacher.Base() != "/m/a" {
		t.Errorf("a student is made from %s", c.Teacher.Base())
	}

	text := several("[{path: a}, {path: b}]")
	for _, x := range []struct {
		set  string
		want []NamedTeacher
	}{
		{"teacher[1].weight=2", []NamedTeacher{{"a", 1, "a", "auto", ""}, {"b", 2, "b", "auto", ""}}},
		{"teacher[2].path=c", []NamedTeacher{{"a", 1, "a", "auto", ""}, {"b", 1, "b", "auto", ""}, {"c", 1, "c", "auto", ""}}},
		{"teacher=[{path: z}]", []NamedTeacher{{"z", 1, "z", "auto", ""}}},
	} {
		if diff := cmp.Diff(x.want, mustLoad(t, text, x.set).Teacher.List); diff != "" {
			t.Errorf("%s: %s", x.set, diff)
		}
	}
	d := Diff(mustLoad(t, text), mustLoad(t, text, "teacher[1].weight=2"))
	if len(d) != 1 || d[0] != (Change{"teacher[1].weight", "1", "2", false}) {
		t.Errorf("have changes %v", d)
	}

	t.Setenv("KDISTILL_TEACHER", "[{path: e}]")
	if c := mustLoad(t, text); len(c.Teacher.List) != 1 || c.Teacher.Base() != "e" {
		t.Errorf("environment: have %+v", c.Teacher)
	}
	t.Setenv("KDISTILL_TEACHER", "")
	t.Setenv("KDISTILL_TEACHER_PATH", "p")
	if c := mustLoad(t, minimal+"loss: [{name: x, teacher: p}]"); c.Teacher.List != nil || c.Teacher.Path != "p" {
		t.Errorf("environment: have %+v", c.Teacher)
	}
	if all := mustLoad(t, minimal).Teacher.All(); len(all) != 1 || all[0] != (NamedTeacher{"p", 1, "p", "auto", ""}) {
		t.Errorf("a single teacher: have %+v", all)
	}
}

func TestTeacherProblems(t *testing.T) {
	for text, want := range map[string]string{
		several("[]"):                                                       "run.yaml:1: teacher: is empty: leave it out",
		several("[{path: a}, {dtype: auto}]"):                               "teacher[1]: path is missing",
		several("[{path: a, weight: -1}]"):                                  "run.yaml:1: teacher[0].weight: have -1, want at least 0",
		several("[{path: a, weight: 0}, {path: b, weight: 0}]"):             "teacher: every weight is 0",
		several("[{path: a, weight: 0}, {path: b}]"):                        "teacher[0].weight: have 0, and no loss says teacher: a: nobody would hear it",
		several("[{path: a, name: c}, {path: b, name: c}]"):                 "teacher[1].name: c is there already",
		several("[{path: a}, {path: b, cache: c}]"):                         "teacher[1].cache: several teachers have to be live",
		several("[{path: a}, {pth: b}]"):                                    "teacher[1].pth: unknown key: did you mean teacher[1].path?",
		several("[a, b]"):                                                   `teacher[0]: have "a", want name, weight, path, dtype and cache`,
		several("5"):                                                        "teacher: have 5, want path, dtype, cache, url, model and key_env, or a list of teachers",
		several("[{path: a}, {path: b}]") + "loss: [{name: x, teacher: c}]": `loss[0].teacher: have "c", want a or b`,
		minimal + "loss: [{name: x, teacher: c}]":                           `loss[0].teacher: have "c", want t`,
		several("{}") + "loss: [{name: x, teacher: c}]":                     `loss[0].teacher: have "c", there is none`,
		several("[{path: a}, {path: b}]") + "stages: [{name: s, steps: 1, loss: [{name: x}, {name: y, teacher: c}]}]": `stages[0].loss[1].teacher: have "c", want a or b`,
	} {
		if _, err := Load(write(t, text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("have %v, want %s", err, want)
		}
	}
	for set, want := range map[string]string{
		"teacher.path=x":         "--set teacher.path: teacher is a list: set teacher[0].path",
		"teacher.dtype=bfloat16": "teacher is a list: set teacher[0].dtype",
		"teacher[3].path=x":      "teacher has 2 entries: teacher[2] would add the next",
	} {
		if _, err := Load(write(t, several("[{path: a}, {path: b}]")), []string{set}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: have %v, want %s", set, err, want)
		}
	}
	if _, err := Load(write(t, minimal), []string{"train[0]=1"}); err == nil || !strings.Contains(err.Error(), "train[0]") {
		t.Errorf("a section without a list: have %v", err)
	}
}
