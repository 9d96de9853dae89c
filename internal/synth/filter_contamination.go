package synth

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kdistill/internal/config"
	"kdistill/internal/data"
)

func init() {
	registerFilter("contamination", filter{path: true, params: map[string]float64{"n": 13}, build: func(f config.Filter) (removes, error) {
		n := int(f.Values["n"])
		if n < 1 {
			return nil, fmt.Errorf("n: have %d, want at least 1", n)
		}
		texts, err := evaluationTexts(f.Path)
		if err != nil {
			return nil, err
		}
		seen := map[uint64]bool{}
		for _, text := range texts {
			if words := words(text); len(words) >= n { // a shorter one is said by chance
				for x := range shingles(words, n) {
					seen[x] = true
				}
			}
		}
		if len(seen) == 0 {
			return nil, fmt.Errorf("%s: no text of %d words in it", f.Path, n)
		}
		// A line shares n words in a row with the evaluation file (Brown et al. 2020 take 13).
		return func(l Line) bool {
			words := words(l.Prompt + "\n" + l.Completion)
			if len(words) < n {
				return false
			}
			for x := range shingles(words, n) {
				if seen[x] {
					return true
				}
			}
			return false
		}, nil
	}})
}

// evaluationTexts returns every string in a file of JSON, or a text file as a whole.
func evaluationTexts(path string) (texts []string, err error) {
	if !slices.Contains([]string{".json", ".jsonl", ".ndjson"}, strings.ToLower(filepath.Ext(path))) {
		b, err := os.ReadFile(path)
		return []string{string(b)}, err
	}
	records, err := data.Objects(path)
	if err != nil {
		return nil, err
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			texts = append(texts, v)
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	for _, r := range records {
		for _, raw := range r.Fields {
			var v any
			if err := json.Unmarshal(raw, &v); err != nil {
				return nil, fmt.Errorf("%s: %w", r.Place, err)
			}
			walk(v)
		}
	}
	return texts, nil
}
