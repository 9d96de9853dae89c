package checkpoint

import (
	"errors"
	"fmt"

	"kdistill/internal/model"
	"kdistill/internal/tokenizer"
)

// Pretrained is an open model folder: its weights mapped, its architecture known, its tokenizer loaded.
type Pretrained struct {
	*Folder
	Model     model.Model
	Tokenizer *tokenizer.Tokenizer // nil: the folder has none
}

// OpenModel resolves a folder or a name in the Hugging Face cache and opens what is there.
func OpenModel(path string) (*Pretrained, error) {
	dir, err := Resolve(path)
	if err != nil {
		return nil, err
	}
	f, err := Open(dir)
	if err != nil {
		return nil, err
	}
	p := &Pretrained{Folder: f}
	if p.Model, err = model.New(f.Config); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", dir, err), f.Close())
	}
	p.Tokenizer, err = tokenizer.Load(dir)
	if err != nil && !errors.Is(err, tokenizer.ErrNone) {
		return nil, errors.Join(err, f.Close())
	}
	return p, nil
}
