package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"kdistill/internal/safetensors"
)

const (
	configFile  = "config.json"
	weightsFile = "model.safetensors"
	indexFile   = "model.safetensors.index.json"
)

// tokenizerFiles are what is copied from a folder to the model made of it: everything about text and generation.
var tokenizerFiles = []string{
	"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt", "vocab.txt", "tokenizer.model",
	"spiece.model", "added_tokens.json", "chat_template.jinja", "generation_config.json",
}

// Folder is an open Hugging Face model folder, its weights memory-mapped. Its methods except Close may be called concurrently.
type Folder struct {
	Dir    string
	Config []byte // config.json as written, a JSON object

	weights []string // base names of the safetensors files, sorted
	files   []*safetensors.File
	where   map[string]int // tensor's name to its file
	hash    func() (string, error)
}

// Open reads config.json and maps model.safetensors, or the shards that model.safetensors.index.json names.
func Open(dir string) (*Folder, error) {
	dir = standing(dir)
	config, err := os.ReadFile(filepath.Join(dir, configFile))
	if err != nil {
		return nil, explainMissing(dir, configFile, err)
	}
	if err := checkObject(filepath.Join(dir, configFile), config); err != nil {
		return nil, err
	}
	f := &Folder{Dir: dir, Config: config, where: map[string]int{}}
	f.hash = sync.OnceValues(f.sum)
	if err := f.openWeights(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Bytes is the size of the mapped files.
func (f *Folder) Bytes() (n int64) {
	for _, file := range f.files {
		n += file.Bytes()
	}
	return n
}

// Release lets go of the memory of what was read of the mapped files so far.
func (f *Folder) Release() {
	for _, file := range f.files {
		file.Release()
	}
}

func (f *Folder) openWeights() error {
	if exists(filepath.Join(f.Dir, weightsFile)) { // comes before an index in transformers too
		return f.openFile(weightsFile)
	}
	path := filepath.Join(f.Dir, indexFile)
	index, err := os.ReadFile(path)
	if err != nil {
		return explainMissing(f.Dir, weightsFile, err)
	}
	places, err := readIndex(path, index)
	if err != nil {
		return err
	}
	for _, shard := range shards(places) {
		if err := f.openFile(shard); err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("%s: shard %s is missing: fetch the model again", path, shard)
			}
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(places)) {
		if i, ok := f.where[name]; !ok || f.weights[i] != places[name] {
			return fmt.Errorf("%s: tensor %q is not in %s, where the index puts it", path, name, places[name])
		}
	}
	return nil
}

func (f *Folder) openFile(name string) error {
	file, err := safetensors.Open(filepath.Join(f.Dir, name))
	if err != nil {
		return err
	}
	f.weights, f.files = append(f.weights, name), append(f.files, file)
	for _, tensor := range file.Names() {
		if i, twice := f.where[tensor]; twice {
			return fmt.Errorf("%s: tensor %q is in both %s and %s", f.Dir, tensor, f.weights[i], name)
		}
		f.where[tensor] = len(f.files) - 1
	}
	return nil
}

// readIndex returns the file of each tensor.
func readIndex(path string, data []byte) (map[string]string, error) {
	if err := checkObject(path, data); err != nil {
		return nil, err
	}
	var index struct {
		Map json.RawMessage `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(index.Map) == 0 || index.Map[0] != '{' {
		return nil, fmt.Errorf("%s: have no weight_map, want tensor names with their files", path)
	}
	all, err := members(index.Map)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	places := map[string]string{}
	for _, m := range all {
		var shard string
		if err := json.Unmarshal(m.value, &shard); err != nil || !plainName(shard) {
			return nil, fmt.Errorf("%s: tensor %q: have file %s, want a file name without a folder", path, m.key, m.value)
		}
		if _, twice := places[m.key]; twice {
			return nil, fmt.Errorf("%s: tensor %q is in the index twice", path, m.key)
		}
		places[m.key] = shard
	}
	if len(places) == 0 {
		return nil, fmt.Errorf("%s: weight_map is empty", path)
	}
	return places, nil
}

// shards returns the files of an index, sorted.
func shards(places map[string]string) []string {
	return slices.Compact(slices.Sorted(maps.Values(places)))
}

// plainName says that name is a file's name and leads nowhere else, on any system.
func plainName(name string) bool {
	return filepath.IsLocal(name) && name != "." && !strings.ContainsAny(name, `/\:`)
}

// explainMissing says what a folder lacks, what it holds, and what to do.
func explainMissing(dir, missing string, err error) error {
	entries, listErr := os.ReadDir(dir)
	if !errors.Is(err, os.ErrNotExist) || listErr != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if missing == weightsFile && (slices.Contains(names, "pytorch_model.bin") || slices.Contains(names, "pytorch_model.bin.index.json")) {
		return fmt.Errorf("%s: have only PyTorch weights (pytorch_model.bin), want %s; convert them with transformers:\n  python -c %s %q",
			dir, weightsFile, `"import sys; from transformers import AutoModelForCausalLM as M; M.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[1])"`, dir)
	}
	holds := "it is empty"
	if n := len(names); n > 0 {
		holds = "it holds " + strings.Join(names[:min(n, 12)], ", ")
		if n > 12 {
			holds += fmt.Sprintf(" and %d more", n-12)
		}
	}
	return fmt.Errorf("%s: have no %s, want a Hugging Face model folder; %s (if it was being fetched, run `kdistill pull` again)", dir, missing, holds)
}

// Names returns the names of all tensors, sorted.
func (f *Folder) Names() []string { return slices.Sorted(maps.Keys(f.where)) }

// Tensor returns a tensor by its name in the files.
func (f *Folder) Tensor(name string) (safetensors.Tensor, bool) {
	i, ok := f.where[name]
	if !ok {
		return safetensors.Tensor{}, false
	}
	return f.files[i].Tensor(name)
}

// TokenizerFiles returns the paths of the tokenizer's and generation files that the folder has.
func (f *Folder) TokenizerFiles() []string {
	var out []string
	for _, name := range tokenizerFiles {
		if path := filepath.Join(f.Dir, name); exists(path) {
			out = append(out, path)
		}
	}
	return out
}

// Size returns the bytes of the weights on disk.
func (f *Folder) Size() (int64, error) {
	size := int64(0)
	for _, name := range f.weights {
		info, err := os.Stat(filepath.Join(f.Dir, name))
		if err != nil {
			return 0, err
		}
		size += info.Size()
	}
	return size, nil
}

// Hash returns the SHA-256, in hex, of config.json and the weights: who the model is. It reads all files at the first call.
func (f *Folder) Hash() (string, error) { return f.hash() }

func (f *Folder) sum() (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%s %d\n", configFile, len(f.Config))
	h.Write(f.Config)
	for _, name := range f.weights {
		file, err := os.Open(filepath.Join(f.Dir, name))
		if err != nil {
			return "", err
		}
		info, err := file.Stat()
		if err == nil {
			fmt.Fprintf(h, "%s %d\n", name, info.Size())
			_, err = io.Copy(h, file)
		}
		if err := errors.Join(err, file.Close()); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Close ends the mappings: tensors of the folder must not be used afterwards.
func (f *Folder) Close() error {
	var errs []error
	for _, file := range f.files {
		errs = append(errs, file.Close())
	}
	f.files, f.where = nil, nil
	return errors.Join(errs...)
}
