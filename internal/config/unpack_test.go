package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"kdistill/configs"
)

var packed = fstest.MapFS{
	"d/m/config.json": {Data: []byte("{}")},
	"d/m/sub/x":       {Data: []byte("x")},
	"d/text.txt":      {Data: []byte("text")},
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestUnpack(t *testing.T) {
	root := t.TempDir()
	dir, err := unpack(packed, "d/m", []string{root})
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(dir) != "m" || read(t, filepath.Join(dir, "config.json")) != "{}" || read(t, filepath.Join(dir, "sub", "x")) != "x" {
		t.Errorf("%s: wrong content", dir)
	}
	file, err := unpack(packed, "d/text.txt", []string{root})
	if err != nil || read(t, file) != "text" || filepath.Base(file) != "text.txt" {
		t.Errorf("have %s, %v", file, err)
	}

	// A damaged file is made good; what is whole stays untouched; nothing half-written is left.
	damaged, whole := filepath.Join(dir, "config.json"), filepath.Join(dir, "sub", "x")
	if err := os.WriteFile(damaged, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(whole)
	if err != nil {
		t.Fatal(err)
	}
	again, err := unpack(packed, "d/m", []string{root})
	if err != nil || again != dir || read(t, damaged) != "{}" {
		t.Errorf("have %s, %v", again, err)
	}
	if after, err := os.Stat(whole); err != nil || !os.SameFile(before, after) {
		t.Errorf("a whole file was written again: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); left != nil {
		t.Errorf("left behind: %v", left)
	}

	changed := fstest.MapFS{"d/text.txt": {Data: []byte("Text")}}
	if other, err := unpack(changed, "d/text.txt", []string{root}); err != nil || other == file || read(t, file) != "text" {
		t.Errorf("another content lies at %s: %v", other, err)
	}
}

func TestUnpackElsewhere(t *testing.T) {
	root := t.TempDir()
	blocked := filepath.Join(root, "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	beside := filepath.Join(root, "beside")
	file, err := unpack(packed, "d/text.txt", []string{blocked, beside})
	if err != nil || !strings.HasPrefix(file, beside) || read(t, file) != "text" {
		t.Errorf("have %s, %v", file, err)
	}
	if _, err := unpack(packed, "d/text.txt", []string{blocked}); err == nil || !strings.Contains(err.Error(), "cannot be unpacked") {
		t.Errorf("have %v", err)
	}
	for _, name := range []string{"nothing", "", "../d", "/d"} {
		if _, err := unpack(packed, name, []string{root}); err == nil || !strings.Contains(err.Error(), "inside the program") {
			t.Errorf("%q: have %v", name, err)
		}
	}
}

// The program stays small: what it embeds is below 3 MB.
func TestEmbeddedSize(t *testing.T) {
	size := int64(0)
	err := fs.WalkDir(configs.FS, ".", func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && !entry.IsDir() {
			size += info.Size()
		}
		return err
	})
	if err != nil || size == 0 || size >= 3_000_000 {
		t.Errorf("%d bytes, %v", size, err)
	}
}
