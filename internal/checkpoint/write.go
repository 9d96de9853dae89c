package checkpoint

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"kdistill/internal/safetensors"
)

// Parameter is a named array of float32, row-major.
type Parameter struct {
	Name  string
	Shape []int
	Data  []float32
}

// Model is what a Hugging Face folder is written from.
type Model struct {
	Config     []byte // config.json, a JSON object; its dtype is set to DType
	Parameters []Parameter
	DType      safetensors.DType // of the weights on disk: F32, BF16 or F16
	Files      []string          // copied under their own names: tokenizer and generation files
	Card       string            // README.md; "": none
	Beside     []Parameter       // trained with the model and no part of it: projections.safetensors, in float32; nil: none
}

const besideFile = "projections.safetensors"

var dtypeNames = map[safetensors.DType]string{safetensors.F32: "float32", safetensors.BF16: "bfloat16", safetensors.F16: "float16"}

// WriteModel writes a Hugging Face folder: complete and synced under a temporary name first, then renamed, so that
// dir always holds one whole model, the old or the new. An existing folder is replaced if it is a model's or empty.
// On Windows no Folder may be open on dir.
func WriteModel(dir string, m Model) error { return writeModel(realDisk{}, dir, m) }

func writeModel(d disk, dir string, m Model) error {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 && !exists(filepath.Join(dir, configFile)) {
		return fmt.Errorf("write %s: it holds %s and no %s, so it is not a model to replace: choose another folder", dir, entries[0].Name(), configFile)
	}
	config, err := withDType(m.Config, m.DType)
	if err != nil {
		return fmt.Errorf("write %s: %w", dir, err)
	}
	return replaceFolder(d, dir, func(tmp string) error {
		if err := writeFile(d, filepath.Join(tmp, configFile), content(config)); err != nil {
			return err
		}
		if m.Card != "" {
			if err := writeFile(d, filepath.Join(tmp, "README.md"), content([]byte(m.Card))); err != nil {
				return err
			}
		}
		for _, path := range m.Files {
			if err := copyFile(d, path, filepath.Join(tmp, filepath.Base(path))); err != nil {
				return err
			}
		}
		if m.Beside != nil {
			err := writeFile(d, filepath.Join(tmp, besideFile), func(w io.Writer) error { return writeParameters(w, m.Beside, safetensors.F32) })
			if err != nil {
				return err
			}
		}
		return writeFile(d, filepath.Join(tmp, weightsFile), func(w io.Writer) error {
			return writeParameters(w, m.Parameters, m.DType)
		})
	})
}

func writeParameters(w io.Writer, parameters []Parameter, dtype safetensors.DType) error {
	tensors := make([]safetensors.Tensor, len(parameters))
	for i, p := range parameters {
		var err error
		if tensors[i], err = safetensors.Encode(p.Name, dtype, p.Shape, p.Data); err != nil {
			return err
		}
	}
	return safetensors.Write(w, tensors, map[string]string{"format": "pt"}) // transformers asks for the format
}

// withDType sets the type of the weights in config.json, under the names it has there (transformers 4: torch_dtype).
func withDType(config []byte, dtype safetensors.DType) ([]byte, error) {
	if err := checkObject(configFile, config); err != nil {
		return nil, err
	}
	name, ok := dtypeNames[dtype]
	if !ok {
		return nil, fmt.Errorf("have dtype %q, want F32, BF16 or F16", dtype)
	}
	var have map[string]json.RawMessage
	if err := json.Unmarshal(config, &have); err != nil {
		return nil, err
	}
	set := map[string]any{}
	for _, key := range []string{"torch_dtype", "dtype"} {
		if _, ok := have[key]; ok {
			set[key] = name
		}
	}
	if len(set) == 0 {
		set["dtype"] = name
	}
	return EditObject(config, set)
}
