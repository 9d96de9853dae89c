package generate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// StopIDs returns the ids that end a text by a model folder's files: eos_token_id, an id or a list, of generation_config.json,
// else of config.json (given as config); none where neither says.
func StopIDs(dir string, config []byte) ([]int32, error) {
	const name = "generation_config.json"
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		if ids, err := eos(name, text); len(ids) > 0 || err != nil {
			return ids, err
		}
	}
	return eos("config.json", config)
}

func eos(name string, text []byte) ([]int32, error) {
	var c struct {
		EOS json.RawMessage `json:"eos_token_id"`
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(c.EOS) == 0 || string(c.EOS) == "null" {
		return nil, nil
	}
	if !bytes.HasPrefix(c.EOS, []byte("[")) {
		c.EOS = append(append([]byte("["), c.EOS...), ']')
	}
	var ids []int32
	if err := json.Unmarshal(c.EOS, &ids); err != nil {
		return nil, fmt.Errorf("%s: eos_token_id: want an id or a list of ids: %w", name, err)
	}
	return ids, nil
}
