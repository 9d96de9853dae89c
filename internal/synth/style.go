package synth

import (
	"context"
	"fmt"

	"kdistill/internal/suggest"
)

// style is a way to make data: a program that asks the teacher and keeps or drops lines. It must ask the same for the same answers, whatever the
// concurrency: a run that goes on is the same program again, with the stored answers at once.
type style struct {
	fields []string // names that synth.fields may translate
	run    func(ctx context.Context, r *run) error
}

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
