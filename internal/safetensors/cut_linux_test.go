package safetensors

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCutShort: a file that is cut short while it is open is an error, and not the end of the process.
func TestCutShort(t *testing.T) {
	x, err := Encode("x", F32, []int{1 << 16}, make([]float32, 1<<16))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := Write(&b, []Tensor{x}, nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := os.WriteFile(path, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	mapped, _ := f.Tensor("x")
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	if err := mapped.Float32s(make([]float32, 1<<16)); err == nil || !strings.Contains(err.Error(), `tensor "x": its memory cannot be read`) {
		t.Errorf("have error %v", err)
	}
}
