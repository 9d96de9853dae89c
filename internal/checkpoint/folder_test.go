package checkpoint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/safetensors"
	"kdistill/internal/testutil"
)

// write puts files into a new folder; a name without content is an empty file.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// weights returns a safetensors file with one-element tensors of these names.
func weights(t *testing.T, names ...string) string {
	t.Helper()
	var tensors []safetensors.Tensor
	for i, name := range names {
		x, err := safetensors.Encode(name, safetensors.F32, []int{1}, []float32{float32(i)})
		if err != nil {
			t.Fatal(err)
		}
		tensors = append(tensors, x)
	}
	var b bytes.Buffer
	if err := safetensors.Write(&b, tensors, nil); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestOpenGolden(t *testing.T) {
	for name, want := range map[string]struct {
		files int
		dtype safetensors.DType
	}{"llama-sharded": {3, safetensors.F32}, "llama-bf16": {1, safetensors.BF16}, "llama-f16": {1, safetensors.F16}} {
		dir := testutil.Shared(t, "golden/models/"+name)
		f, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		size := int64(0)
		paths, _ := filepath.Glob(filepath.Join(dir, "model*.safetensors"))
		for _, path := range paths {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			size += info.Size()
		}
		if got, err := f.Size(); got != size || err != nil || len(paths) != want.files {
			t.Errorf("%s: have %d bytes (%v) in %d files, want %d in %d", name, got, err, len(paths), size, want.files)
		}
		for _, tensor := range []string{"model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight", "model.norm.weight"} {
			x, ok := f.Tensor(tensor)
			if !ok || x.DType != want.dtype || !slices.Contains(f.Names(), tensor) {
				t.Errorf("%s: %s: have %v %s, want %s", name, tensor, ok, x.DType, want.dtype)
			}
		}
		if !json.Valid(f.Config) {
			t.Errorf("%s: config is no JSON", name)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestHash(t *testing.T) {
	hash := func(config, weights string) string {
		f, err := Open(write(t, map[string]string{configFile: config, weightsFile: weights, "README.md": config + weights}))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got, err := f.Hash()
		if again, _ := f.Hash(); err != nil || got != again || len(got) != 64 {
			t.Errorf("have %q, then %q, %v", got, again, err)
		}
		return got
	}
	seen := map[string]bool{}
	for _, config := range []string{`{"a":1}`, `{"a":2}`} {
		for _, w := range []string{weights(t, "a"), weights(t, "b"), weights(t, "a", "b")} {
			h := hash(config, w)
			if seen[h] || h != hash(config, w) {
				t.Errorf("%s with %q: hash %s is not its own", config, w, h)
			}
			seen[h] = true
		}
	}
}

func TestOpenWrong(t *testing.T) {
	index := func(places string) string { return fmt.Sprintf(`{"metadata": {}, "weight_map": {%s}}`, places) }
	w := weights(t, "a", "b")
	for _, c := range []struct {
		name  string
		files map[string]string
		want  []string
	}{
		{"empty folder", nil, []string{"no config.json", "it is empty"}},
		{"other files", map[string]string{"model.gguf": "", "x.txt": ""}, []string{"no config.json", "model.gguf, x.txt"}},
		{"no weights", map[string]string{configFile: "{}", "adapter_model.safetensors": ""}, []string{"no model.safetensors", "adapter_model.safetensors, config.json"}},
		{"pytorch", map[string]string{configFile: "{}", "pytorch_model.bin": ""}, []string{"pytorch_model.bin", "python -c", "save_pretrained"}},
		{"pytorch shards", map[string]string{configFile: "{}", "pytorch_model.bin.index.json": ""}, []string{"python -c"}},
		{"config cut", map[string]string{configFile: "{\n \"a\": 1,\n", weightsFile: w}, []string{"config.json:2:9", "unexpected end"}},
		{"config wrong", map[string]string{configFile: "{\n \"a\": 1,\n \"b\": nul\n}", weightsFile: w}, []string{"config.json:3:10: invalid JSON", "invalid character"}},
		{"config empty", map[string]string{configFile: "", weightsFile: w}, []string{"config.json:1:1", "unexpected end"}},
		{"config a list", map[string]string{configFile: "[1]", weightsFile: w}, []string{"config.json", "want a JSON object"}},
		{"config null", map[string]string{configFile: "null", weightsFile: w}, []string{"want a JSON object"}},
		{"weights cut", map[string]string{configFile: "{}", weightsFile: w[:len(w)-1]}, []string{weightsFile, "truncated"}},
		{"weights empty", map[string]string{configFile: "{}", weightsFile: ""}, []string{weightsFile, "have 0 bytes"}},
		{"index wrong", map[string]string{configFile: "{}", indexFile: "{"}, []string{indexFile + ":1:"}},
		{"index without map", map[string]string{configFile: "{}", indexFile: `{"weight_map": null}`}, []string{indexFile, "no weight_map"}},
		{"index empty", map[string]string{configFile: "{}", indexFile: index("")}, []string{"empty"}},
		{"index to a number", map[string]string{configFile: "{}", indexFile: index(`"a": 1`)}, []string{`"a"`, "want a file name"}},
		{"index to elsewhere", map[string]string{configFile: "{}", indexFile: index(`"a": "../x.safetensors"`)}, []string{`"a"`, "without a folder"}},
		{"index twice", map[string]string{configFile: "{}", indexFile: index(`"a": "x", "a": "y"`)}, []string{`"a"`, "twice"}},
		{"shard missing", map[string]string{configFile: "{}", "x": w, indexFile: index(`"a": "x", "c": "y"`)}, []string{"shard y is missing"}},
		{"shard wrong", map[string]string{configFile: "{}", "x": w[:20], indexFile: index(`"a": "x"`)}, []string{"x: header", "truncated"}},
		{"tensor in no shard", map[string]string{configFile: "{}", "x": w, indexFile: index(`"a": "x", "c": "x"`)}, []string{`tensor "c" is not in x`}},
		{"tensor in another shard", map[string]string{configFile: "{}", "x": w, "y": weights(t, "c"), indexFile: index(`"a": "x", "b": "y", "c": "y"`)}, []string{`tensor "b" is not in y`}},
		{"tensor in two shards", map[string]string{configFile: "{}", "x": w, "y": weights(t, "b"), indexFile: index(`"a": "x", "b": "y"`)}, []string{`tensor "b" is in both x and y`}},
	} {
		f, err := Open(write(t, c.files))
		if err == nil {
			f.Close()
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: have %v, want %q", c.name, err, want)
			}
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); err == nil || !os.IsNotExist(err) {
		t.Errorf("no folder: have %v", err)
	}
}

func TestTokenizerFiles(t *testing.T) {
	dir := write(t, map[string]string{configFile: "{}", weightsFile: weights(t), "tokenizer.json": "", "merges.txt": "", "spiece.model": "", "generation_config.json": "", "notes.txt": ""})
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := []string{filepath.Join(dir, "tokenizer.json"), filepath.Join(dir, "merges.txt"), filepath.Join(dir, "spiece.model"), filepath.Join(dir, "generation_config.json")}
	if got := f.TokenizerFiles(); !slices.Equal(got, want) {
		t.Errorf("have %v, want %v", got, want)
	}
}

// Whatever an index says, opening ends with an error or with tensors that can be found.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"metadata": {"total_size": 4}, "weight_map": {"a": "x", "b": "x"}}`))
	f.Add([]byte(`{"weight_map": {"a": "..", "b": "C:x", "a": {}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		places, err := readIndex("index", data)
		if err != nil {
			return
		}
		for name, shard := range places {
			if filepath.Base(shard) != shard || !slices.Contains(shards(places), shard) {
				t.Fatalf("%q is in %q", name, shard)
			}
		}
	})
}
