package synth

import (
	"context"
	"fmt"

	"kdistill/internal/suggest"
)

// style is a way to make data.
type style struct {
	fields []string // names that synth.fields may translate
	plan   func(r *run) (program, error)
}

// program asks the teacher and keeps or drops lines. It must ask the same for the same answers, whatever the concurrency: a run that goes on is the
// same program again, with the stored answers at once. What is wrong with the input its plan has found: there is neither teacher nor file then.
type program func(ctx context.Context) error

var styles = map[string]style{}

func registerStyle(name string, s style) {
	if _, ok := styles[name]; ok {
		panic("synth: style registered twice: " + name)
	}
	styles[name] = s
}

func lookupStyle(name string) (style, error) {
	s, ok := styles[name]
	if !ok {
		return s, suggest.Unknown("synth.style", name, sortedKeys(styles))
	}
	return s, nil
}

// checkFields refuses translations of names that the style does not know.
func (s style) checkFields(fields map[string]string) error {
	for _, name := range sortedKeys(fields) {
		found := false
		for _, known := range s.fields {
			found = found || known == name
		}
		if !found {
			return fmt.Errorf("synth.fields: %w", suggest.Unknown("name", name, s.fields))
		}
	}
	return nil
}
