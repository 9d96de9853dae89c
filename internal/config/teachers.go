package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// settleTeachers names teachers by the last names of their paths, with a number where that is taken.
func settleTeachers(list []NamedTeacher) {
	taken := func(name string) bool {
		return slices.ContainsFunc(list, func(t NamedTeacher) bool { return t.Name == name })
	}
	for i := range list {
		if list[i].Name != "" || list[i].Path == "" {
			continue
		}
		name := lastName(list[i].Path)
		for n := 2; taken(name); n++ {
			name = fmt.Sprintf("%s-%d", lastName(list[i].Path), n)
		}
		list[i].Name = name
	}
}

// lastName is the last part of a folder's path, or of org/name.
func lastName(path string) string { return filepath.Base(strings.TrimPrefix(path, embeddedPrefix)) }

// checkTeachers checks a list of teachers, and that losses name teachers that are there.
func (l *loader) checkTeachers(c *Config, wrong reporter) {
	names, heard := []string{}, map[string]bool{}
	for _, t := range c.Teacher.All() {
		names = append(names, t.Name)
	}
	for i, s := range c.Course() {
		for j, loss := range s.Loss {
			heard[loss.Teacher] = true
			if loss.Teacher != "" && !slices.Contains(names, loss.Teacher) {
				have := "there is none"
				if len(names) > 0 {
					have = "want " + words("or", names)
				}
				wrong(fmt.Sprintf("%s[%d].teacher", c.lossKey(i), j), "have %q, %s", loss.Teacher, have)
			}
		}
	}
	if c.Teacher.List == nil {
		return
	}
	for _, name := range []string{"path", "dtype", "cache"} {
		if key := "teacher." + name; l.given[key] != nil {
			wrong(key, "teacher is a list: set teacher[0].%s, or that of another entry", name)
		}
	}
	if len(c.Teacher.List) == 0 {
		wrong("teacher", "is empty: leave it out where no loss compares with a teacher")
	}
	together := 0.0
	for _, t := range c.Teacher.List {
		together += t.Weight
	}
	for i, t := range c.Teacher.List {
		at := fmt.Sprintf("teacher[%d]", i)
		switch {
		case t.Cache != "":
			wrong(at+".cache", "several teachers have to be live: give path, or teacher: {cache: ...} alone")
		case t.Path == "":
			wrong(at, "path is missing")
		case slices.Index(names, t.Name) < i:
			wrong(at+".name", "%s is there already: give this teacher another name", t.Name)
		case t.Weight == 0 && together > 0 && !heard[t.Name]:
			wrong(at+".weight", "have 0, and no loss says teacher: %s: nobody would hear it", t.Name)
		}
	}
	if together == 0 && len(c.Teacher.List) > 0 {
		wrong("teacher", "every weight is 0: leave the weights out where each loss says which teacher it compares with")
	}
}

// lossKey is the key of the losses of a stage.
func (c *Config) lossKey(stage int) string {
	if c.Stages == nil {
		return "loss"
	}
	return fmt.Sprintf("stages[%d].loss", stage)
}
