package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
)

// fieldNamed finds the field of struct type t that a YAML key names.
func fieldNamed(t reflect.Type, name string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); yamlName(f) == name && name != "" {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// yamlName is the key of a field, "" where it has none.
func yamlName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return strings.TrimSuffix(name, "-")
}

// hasList tells whether a list may stand in place of the keys of section t.
func hasList(t reflect.Type) bool {
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("instead") == "list" {
			return true
		}
	}
	return false
}

// names lists the YAML keys of struct type t.
func names(t reflect.Type) []string {
	var all []string
	for i := range t.NumField() {
		if name := yamlName(t.Field(i)); name != "" {
			all = append(all, name)
		}
	}
	return all
}

// inline is the map of v that takes the keys without a field of their own.
func inline(v reflect.Value) reflect.Value {
	for i := range v.NumField() {
		if strings.HasSuffix(v.Type().Field(i).Tag.Get("yaml"), ",inline") {
			return v.Field(i)
		}
	}
	return reflect.Value{}
}

// isSection tells whether the keys of t are merged one by one between default, file, environment and --set.
// Everything else is a leaf, which is replaced as a whole.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[nodeDecoder]())
}

// leaves calls f for every leaf below v, in the order of the structs. A list in place of a section's keys is a leaf by the name of the section.
func leaves(v reflect.Value, key string, f func(key string, v reflect.Value, tag reflect.StructTag)) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		at := join(key, yamlName(field))
		if isSection(field.Type) {
			leaves(v.Field(i), at, f)
		} else {
			f(at, v.Field(i), field.Tag)
		}
	}
}

// keys lists every key below t, those of list elements written as loss[].name.
func keys(t reflect.Type, key string) []string {
	var all []string
	for i := range t.NumField() {
		f := t.Field(i)
		at := join(key, yamlName(f))
		switch {
		case yamlName(f) == "":
		case isSection(f.Type):
			all = append(all, keys(f.Type, at)...)
		case f.Type.Kind() == reflect.Slice && isSection(f.Type.Elem()):
			all = append(append(all, at), keys(f.Type.Elem(), at+"[]")...)
		default:
			all = append(all, at)
		}
	}
	return all
}

// EnvName is the environment variable that overrides a key.
func EnvName(key string) string {
	return "KDISTILL_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func join(key, name string) string {
	if key == "" || name == "" {
		return key + name
	}
	return key + "." + name
}

// words writes a list for people: a, b or c.
func words(last string, list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " " + last + " " + list[len(list)-1]
}

var variable = regexp.MustCompile(`\$\{([^}]*)\}`)

// expand replaces a leading ~ by the home folder and ${VAR} by the variable, which must be set.
func expand(path string) (string, error) {
	if path == "~" || strings.HasPrefix(path, "~/") || strings.HasPrefix(path, "~"+string(filepath.Separator)) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("no home folder for ~: %w", err)
		}
		path = home + path[1:]
	}
	var missing error
	path = variable.ReplaceAllStringFunc(path, func(match string) string {
		name := match[2 : len(match)-1]
		value, ok := os.LookupEnv(name)
		if !ok {
			missing = fmt.Errorf("environment variable %s is not set: set it, or write the path out", name)
		}
		return value
	})
	return path, missing
}
