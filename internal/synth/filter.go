package synth

import (
	"fmt"
	"slices"

	"kdistill/internal/config"
	"kdistill/internal/suggest"
)

// filter is a kind of filter, before its settings are known.
type filter struct {
	params map[string]float64 // defaults
	path   bool               // takes Path
	words  bool               // takes Phrases
	build  func(f config.Filter) (removes, error)
}

// removes tells whether a line goes. It sees the lines in their order, and may remember them.
type removes func(l Line) bool

var filters = map[string]filter{}

func registerFilter(name string, f filter) {
	if _, ok := filters[name]; ok {
		panic("synth: filter registered twice: " + name)
	}
	filters[name] = f
}

// namedFilter is a filter of the configuration.
type namedFilter struct {
	name    string
	removes removes
}

func newFilters(list []config.Filter) ([]namedFilter, error) {
	var all []namedFilter
	for i, c := range list {
		at := fmt.Sprintf("synth.filters[%d]", i)
		f, ok := filters[c.Name]
		if !ok {
			return nil, fmt.Errorf("%s: %w", at, suggest.Unknown("name", c.Name, sortedKeys(filters)))
		}
		values := map[string]float64{}
		for name, value := range f.params {
			values[name] = value
		}
		for _, name := range sortedKeys(c.Values) {
			if _, ok := f.params[name]; !ok {
				return nil, fmt.Errorf("%s: %w", at, suggest.Unknown(c.Name+" takes another key", name, sortedKeys(f.params)))
			}
			values[name] = c.Values[name]
		}
		switch {
		case c.Path != "" && !f.path:
			return nil, fmt.Errorf("%s: %s takes no path", at, c.Name)
		case c.Path == "" && f.path:
			return nil, fmt.Errorf("%s: %s: path is missing", at, c.Name)
		case c.Phrases != nil && !f.words:
			return nil, fmt.Errorf("%s: %s takes no phrases", at, c.Name)
		}
		c.Values = values
		r, err := f.build(c)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", at, c.Name, err)
		}
		all = append(all, namedFilter{c.Name, r})
	}
	return all, nil
}

// filtered returns the lines that stay, in their order, and notes those that go.
func (r *run) filtered(list []namedFilter) []Line {
	places := make([]place, 0, len(r.lines))
	for at := range r.lines {
		places = append(places, at)
	}
	slices.SortFunc(places, comparePlaces)
	var kept []Line
next:
	for _, at := range places {
		l := r.lines[at]
		if flaw := l.flaw(); flaw != "" {
			r.dropped = append(r.dropped, drop{at, flaw, l})
			continue
		}
		for _, f := range list {
			if f.removes(l) {
				r.dropped = append(r.dropped, drop{at, f.name, l})
				continue next
			}
		}
		kept = append(kept, l)
	}
	return kept
}
