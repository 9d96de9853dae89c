package checkpoint

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const testCommit = "0123456789abcdef0123456789abcdef01234567"

// cache sets an empty Hugging Face cache for the test and returns it.
func cache(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT"} {
		t.Setenv(name, "")
	}
	home := t.TempDir()
	t.Setenv("HF_HOME", home)
	return filepath.Join(home, "hub")
}

func TestCacheDir(t *testing.T) {
	cache(t)
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TEST_DISK", "/disk")
	for _, c := range []struct{ name, value, want string }{
		{"HF_HOME", "", home + "/.cache/huggingface/hub"},
		{"XDG_CACHE_HOME", "/xdg", "/xdg/huggingface/hub"},
		{"HF_HOME", "$TEST_DISK/hf/", "/disk/hf/hub"},
		{"HUGGINGFACE_HUB_CACHE", "/old", "/old"},
		{"HF_HUB_CACHE", "~/models", home + "/models"},
	} { // each goes before the ones above
		t.Setenv(c.name, c.value)
		if got, err := cacheDir(); got != filepath.FromSlash(c.want) || err != nil {
			t.Errorf("%s=%s: have %s %v, want %s", c.name, c.value, got, err, c.want)
		}
	}
}

func TestResolve(t *testing.T) {
	repo := filepath.Join(cache(t), "models--org--tiny-model.v1")
	snapshot := filepath.Join(repo, "snapshots", testCommit)
	for _, dir := range []string{snapshot, filepath.Join(repo, "refs", "pr")} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for ref, commit := range map[string]string{"main": testCommit, "pr/1": testCommit + "\n", "gone": strings.Repeat("a", 40), "bad": "../../x"} {
		if err := os.WriteFile(filepath.Join(repo, "refs", ref), []byte(commit), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	folder := t.TempDir()
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, dir, err string }{
		{folder, folder, ""},
		{"org/tiny-model.v1", snapshot, ""},
		{"org/tiny-model.v1@main", snapshot, ""},
		{"org/tiny-model.v1@pr/1", snapshot, ""},
		{"org/tiny-model.v1@" + testCommit, snapshot, ""},
		{"org/tiny-model.v1@gone", "", "run `kdistill pull org/tiny-model.v1@gone`"},
		{"org/tiny-model.v1@v2", "", "run `kdistill pull org/tiny-model.v1@v2`"},
		{"org/tiny-model.v1@bad", "", "want a commit"},
		{"org/other", "", "run `kdistill pull org/other`"},
		{"org/tiny-model.v1@../main", "", "no such folder"},
		{"org/tiny-model.v1@x/../main", "", "no such folder (want"},
		{"org/..", "", "no such folder (want"},
		{"org--x/y", "", "no such folder (want"},
		{"a/b/c", "", "no such folder"},
		{"", "", "no such folder"},
		{file, "", "have a file"},
	} {
		dir, err := Resolve(c.path)
		if dir != c.dir || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: have %q %v, want %q %q", c.path, dir, err, c.dir, c.err)
		}
	}
}
