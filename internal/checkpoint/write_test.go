package checkpoint

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/safetensors"
)

const testConfig = `{"model_type": "llama", "rms_norm_eps": 1e-05, "unknown": {"b": [1, 2.50], "a": null}, "torch_dtype": "float16", "html": "<&>"}`

// testModel is told apart by its value.
func testModel(value float32) Model {
	return Model{
		Config:     []byte(testConfig),
		Parameters: []Parameter{{"b.weight", []int{2, 1}, []float32{value, -value}}, {"a", []int{1}, []float32{value}}},
		DType:      safetensors.F32,
	}
}

// valueOf returns the value of the test model in dir.
func valueOf(t *testing.T, dir string) (float32, error) {
	t.Helper()
	f, err := Open(dir)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var a [1]float32
	var b [2]float32
	for name, dst := range map[string][]float32{"a": a[:], "b.weight": b[:]} {
		x, ok := f.Tensor(name)
		if !ok {
			t.Fatalf("no tensor %q", name)
		}
		if err := x.Float32s(dst); err != nil {
			t.Fatal(err)
		}
	}
	if a[0] != b[0] || a[0] != -b[1] {
		t.Fatalf("have a mixture: %v %v", a, b)
	}
	return a[0], nil
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestWriteModel(t *testing.T) {
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "runs", "model")
	tokenizer := filepath.Join(from, "tokenizer.json")
	if err := os.WriteFile(tokenizer, []byte("{}"), 0o666); err != nil {
		t.Fatal(err)
	}
	m := testModel(1 + 1.0/512)
	m.DType, m.Files, m.Card = safetensors.BF16, []string{tokenizer}, Card{Name: "x"}.Text()
	if err := WriteModel(to, m); err != nil {
		t.Fatal(err)
	}
	if got, want := names(t, to), []string{"README.md", "config.json", "model.safetensors", "tokenizer.json"}; !slices.Equal(got, want) {
		t.Errorf("have files %v, want %v", got, want)
	}
	if got, err := valueOf(t, to); got != 1 || err != nil {
		t.Errorf("have %v %v, want the value rounded to bfloat16: 1", got, err)
	}
	f, err := Open(to)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want := `{
  "model_type": "llama",
  "rms_norm_eps": 1e-05,
  "unknown": {
    "b": [
      1,
      2.50
    ],
    "a": null
  },
  "torch_dtype": "bfloat16",
  "html": "<&>"
}
`
	if string(f.Config) != want {
		t.Errorf("config.json: have %s, want %s", f.Config, want)
	}
}

func TestWriteModelRefuses(t *testing.T) {
	mine := t.TempDir()
	if err := os.WriteFile(filepath.Join(mine, "thesis.tex"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	inFile := filepath.Join(mine, "thesis.tex", "model")
	for _, c := range []struct {
		dir    string
		change func(*Model)
		want   string
	}{
		{mine, func(*Model) {}, "thesis.tex"},
		{inFile, func(*Model) {}, "not a directory"},
		{filepath.Join(mine, "a"), func(m *Model) { m.Config = []byte("[]") }, "want a JSON object"},
		{filepath.Join(mine, "b"), func(m *Model) { m.DType = safetensors.F64 }, `dtype "F64"`},
		{filepath.Join(mine, "c"), func(m *Model) { m.Parameters[0].Shape = []int{3} }, `"b.weight": have 2 values, want 3`},
		{filepath.Join(mine, "d"), func(m *Model) { m.Parameters[0].Name = "a" }, "taken"},
		{filepath.Join(mine, "e"), func(m *Model) { m.Files = []string{filepath.Join(mine, "none")} }, "none"},
	} {
		m := testModel(1)
		c.change(&m)
		if err := WriteModel(c.dir, m); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: have %v, want %q", c.dir, err, c.want)
		}
	}
	if got := names(t, mine); !slices.Equal(got, []string{"thesis.tex"}) {
		t.Errorf("left behind: %v", got)
	}
}

func TestWriteModelReadOnly(t *testing.T) {
	if os.Getuid() == 0 || os.Getuid() < 0 {
		t.Skip("file modes do not bind root, nor Windows; the full disk stands for it")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	if err := WriteModel(filepath.Join(dir, "model"), testModel(1)); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("have %v", err)
	}
}

// Whenever the process dies, the old or the new model is there, whole, and the next write succeeds and tidies up.
func TestWriteModelDies(t *testing.T) {
	for _, replaces := range []bool{false, true} {
		eachStep(t, true, func(dir string) {
			if replaces {
				if err := WriteModel(filepath.Join(dir, "model"), testModel(1)); err != nil {
					t.Fatal(err)
				}
			}
		}, func(d disk, dir string) error {
			return writeModel(d, filepath.Join(dir, "model"), testModel(2))
		}, func(dir string, _ error) {
			model := filepath.Join(dir, "model")
			found, err := Resolve(model)
			if err != nil && replaces {
				t.Fatal(err)
			}
			if err == nil {
				if got, err := valueOf(t, found); err != nil || got != 2 && (got != 1 || !replaces) {
					t.Fatalf("replaces %v: have %v %v, want 1 or 2", replaces, got, err)
				}
			}
			if err := writeModel(&faulty{left: 4}, model, testModel(3)); err == nil {
				t.Fatal("no error from a full disk")
			}
			if _, err := Resolve(model); err != nil && replaces {
				t.Fatalf("after a second failure: %v", err)
			}
			if err := WriteModel(model, testModel(3)); err != nil {
				t.Fatal(err)
			}
			if got, err := valueOf(t, model); got != 3 || err != nil {
				t.Fatalf("have %v %v, want 3", got, err)
			}
			if got := names(t, dir); !slices.Equal(got, []string{"model"}) {
				t.Fatalf("left behind: %v", got)
			}
		})
	}
}

// A disk that is full at any step: an error that says so, one whole model, nothing left behind.
func TestWriteModelDiskFull(t *testing.T) {
	eachStep(t, false, func(dir string) {
		if err := WriteModel(filepath.Join(dir, "model"), testModel(1)); err != nil {
			t.Fatal(err)
		}
	}, func(d disk, dir string) error {
		return writeModel(d, filepath.Join(dir, "model"), testModel(2))
	}, func(dir string, err error) {
		if err != nil && !strings.Contains(err.Error(), "no space left") {
			t.Errorf("have %v", err)
		}
		got, openErr := valueOf(t, filepath.Join(dir, "model"))
		if openErr != nil || got != 1 && got != 2 || got == 1 && err == nil {
			t.Errorf("have %v %v after %v", got, openErr, err)
		}
		left := names(t, dir)
		if got == 1 && !slices.Equal(left, []string{"model"}) || slices.Contains(left, "model.tmp") {
			t.Errorf("left behind %v after %v", left, err)
		}
	})
}

func TestEditObject(t *testing.T) {
	got, err := EditObject([]byte(`{"z":1e400,"x":{"k":[]},"a":1,"x":2,"gone":0}`), map[string]any{"x": "é<", "n": map[string]int{}, "m": nil}, "gone", "absent")
	want := "{\n  \"z\": 1e400,\n  \"x\": \"é<\",\n  \"a\": 1,\n  \"m\": null,\n  \"n\": {}\n}\n"
	if err != nil || string(got) != want {
		t.Errorf("have %s %v, want %s", got, err, want)
	}
	for _, wrong := range []string{"", "[]", "null", "{", `{"a":}`, "1"} {
		if _, err := EditObject([]byte(wrong), nil); err == nil {
			t.Errorf("%q: no error", wrong)
		}
	}
	if _, err := EditObject([]byte("{}"), map[string]any{"f": func() {}}); err == nil {
		t.Error("a function: no error")
	}
}

func FuzzEditObject(f *testing.F) {
	f.Add([]byte(testConfig))
	f.Add([]byte(`{"dtype":[{"a":"\ud800"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := EditObject(data, map[string]any{"dtype": "x"})
		if (err == nil) != (checkObject("", data) == nil) {
			t.Fatalf("have %v", err)
		}
		if err != nil {
			return
		}
		var before, after map[string]any
		if json.Unmarshal(data, &before) != nil { // numbers too large for a float64
			return
		}
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatal(err)
		}
		before["dtype"] = "x"
		a, _ := json.Marshal(before)
		b, _ := json.Marshal(after)
		if string(a) != string(b) {
			t.Fatalf("have %s, want %s", b, a)
		}
	})
}

func TestCard(t *testing.T) {
	got := Card{
		Name: "tiny\nmodel", BaseModel: "org/student@v2", Teachers: []CardTeacher{{Path: "/home/me/teacher", Hash: "abc"}},
		Data: []string{"stories.txt, 100 documents"}, Losses: []string{"0.5 × forward_kl (temperature 2)"},
		Columns: []string{"", "teacher", "student"}, Figures: [][]string{{"nats per token", "1.2", "1|5"}},
	}.Text()
	want := `---
library_name: transformers
base_model: "org/student"
tags:
- kdistill
- knowledge-distillation
---

# tiny model

Trained with kdistill by distillation from the teacher ` + "`teacher` (SHA-256 of its configuration and weights: `abc`)" + `.

## Data

- stories.txt, 100 documents

## Losses

- 0.5 × forward_kl (temperature 2)

## Figures

|  | teacher | student |
| --- | --- | --- |
| nats per token | 1.2 | 1\|5 |
`
	if got != want {
		t.Errorf("have %s\nwant %s", got, want)
	}
	if got := (Card{}).Text(); !strings.HasPrefix(got, "---\nlibrary_name: transformers\ntags:") {
		t.Errorf("empty card: have %s", got)
	}
}
