package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"kdistill/configs"
	"kdistill/internal/suggest"
)

// Names lists the embedded configurations.
func Names() []string {
	files, _ := fs.Glob(configs.FS, "*.yaml") // fails for a bad pattern only
	var all []string
	for _, name := range files {
		all = append(all, strings.TrimSuffix(name, ".yaml"))
	}
	return all
}

// Text returns the text of a file, or of the embedded configuration of that name where no such file exists,
// and the name to use for it in messages.
func Text(name string) (text []byte, file string, err error) {
	info, err := os.Stat(name)
	if err == nil && !info.IsDir() {
		text, err = os.ReadFile(name)
		return text, name, err
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, name, err
	}
	embedded := strings.TrimSuffix(name, ".yaml") + ".yaml"
	if text, err := configs.FS.ReadFile(embedded); err == nil {
		return text, embedded, nil
	}
	hint := ""
	if near := suggest.Nearest(name, Names()); near != "" {
		hint = fmt.Sprintf("; did you mean %s?", near)
	}
	return nil, name, fmt.Errorf("configuration %q: no such file, and the embedded ones are %s%s", name, words("and", Names()), hint)
}

// Reference returns configs/reference.yaml: every key with its meaning and default.
func Reference() []byte {
	text, err := configs.FS.ReadFile("reference.yaml")
	if err != nil {
		panic(err) // it is embedded
	}
	return text
}
