package checkpoint

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func testFiles(t *testing.T) map[string]string {
	return map[string]string{
		configFile: testConfig, weightsFile: weights(t, "a", "b", "c"), "tokenizer.json": "{}", "merges.txt": "", "generation_config.json": "{}",
		"README.md": "# tiny", "pytorch_model.bin": "pickle", "model.gguf": "gguf", "onnx/config.json": "{}", "consolidated.safetensors": "big",
	}
}

var wanted = []string{"config.json", "generation_config.json", "merges.txt", "model.safetensors", "tokenizer.json"}

// pull is Pull with short waits.
func pull(ctx context.Context, t *testing.T, model string, progress func(Progress)) (string, error) {
	t.Helper()
	r, ok := parseReference(model)
	if !ok {
		t.Fatal(model)
	}
	dir, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	h := newHub(r, dir, progress)
	h.wait, h.stall = time.Millisecond, 10*time.Second
	return h.pull(ctx)
}

func checkPulled(t *testing.T, f *fakeHub, dir string) {
	t.Helper()
	if got := names(t, dir); !slices.Equal(got, wanted) {
		t.Errorf("have files %v, want %v", got, wanted)
	}
	for _, name := range names(t, dir) {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || string(got) != f.files[name] {
			t.Errorf("%s: have %q %v, want %q", name, got, err, f.files[name])
		}
	}
}

func TestPull(t *testing.T) {
	root := filepath.Join(cache(t), "models--org--tiny")
	f := newFakeHub(t, testFiles(t))
	f.token = "secret"
	t.Setenv("HF_TOKEN", "secret")
	var reports []Progress
	dir, err := Pull(t.Context(), "org/tiny", func(p Progress) { reports = append(reports, p) })
	if err != nil {
		t.Fatal(err)
	}
	checkPulled(t, f, dir)
	if want := filepath.Join(root, "snapshots", testCommit); dir != want {
		t.Errorf("have %s, want %s", dir, want)
	}
	if ref, err := os.ReadFile(filepath.Join(root, "refs", "main")); string(ref) != testCommit {
		t.Errorf("refs/main: have %q %v", ref, err)
	}
	if runtime.GOOS != "windows" {
		if link, err := os.Readlink(filepath.Join(dir, weightsFile)); link != "../../blobs/"+shaHash(f.files[weightsFile]) {
			t.Errorf("weights: have link %q %v", link, err)
		}
		if link, err := os.Readlink(filepath.Join(dir, configFile)); link != "../../blobs/"+gitHash(testConfig) {
			t.Errorf("config: have link %q %v", link, err)
		}
	}
	total := int64(0)
	for _, name := range wanted {
		total += int64(len(f.files[name]))
	}
	if last := reports[len(reports)-1]; last != (Progress{weightsFile, total, total}) {
		t.Errorf("progress ends with %v, want %d bytes", last, total)
	}
	if !slices.IsSortedFunc(reports, func(a, b Progress) int { return int(a.Done - b.Done) }) {
		t.Errorf("progress goes back: %v", reports)
	}
	if got, err := Resolve("org/tiny"); got != dir || err != nil {
		t.Errorf("resolve: have %s %v", got, err)
	}

	f.asked = nil
	if again, err := Pull(t.Context(), "org/tiny@main", nil); again != dir || err != nil || f.asked != nil {
		t.Errorf("again: have %s %v, asked %v", again, err, f.asked)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if again, err := Pull(t.Context(), "org/tiny", nil); again != dir || err != nil || f.asked != nil {
		t.Errorf("with blobs only: have %s %v, asked %v", again, err, f.asked)
	}
	checkPulled(t, f, dir)
	if other, err := Pull(t.Context(), "org/tiny@refs/pr/1", nil); other != dir || err != nil {
		t.Errorf("refs/pr/1: have %s %v", other, err)
	}
	if got, err := Resolve("org/tiny@refs/pr/1"); got != dir || err != nil {
		t.Errorf("resolve refs/pr/1: have %s %v", got, err)
	}

	t.Setenv("HF_HUB_OFFLINE", "True")
	f.status = http.StatusInternalServerError
	if got, err := Pull(t.Context(), "org/tiny", nil); got != dir || err != nil {
		t.Errorf("offline: have %s %v", got, err)
	}
	if _, err := Pull(t.Context(), "org/other", nil); err == nil || !strings.Contains(err.Error(), "HF_HUB_OFFLINE") {
		t.Errorf("offline, not in the cache: have %v", err)
	}
	if _, err := Pull(t.Context(), "tiny", nil); err == nil || !strings.Contains(err.Error(), "want org/name") {
		t.Errorf("no name: have %v", err)
	}
}

// A connection that breaks off, hangs, or a busy server: it goes on where it stopped.
func TestPullGoesOn(t *testing.T) {
	for _, c := range []struct {
		name  string
		set   func(*fakeHub)
		asked []string // of the weights
	}{
		{"cut thrice", func(f *fakeHub) { f.cut, f.cuts = 40, 3 }, []string{"", " bytes=40-", " bytes=80-", " bytes=120-"}},
		{"cut, no ranges", func(f *fakeHub) { f.cut, f.cuts, f.ranges = 150, 1, false }, []string{"", " bytes=150-"}},
		{"busy", func(f *fakeHub) { f.busy = 3 }, []string{""}},
	} {
		cache(t)
		f := newFakeHub(t, testFiles(t))
		f.files[configFile] = `{}`
		c.set(f)
		dir, err := pull(t.Context(), t, "org/tiny", nil)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		checkPulled(t, f, dir)
		var asked []string
		for _, a := range f.asked {
			if rest, ok := strings.CutPrefix(a, weightsFile); ok {
				asked = append(asked, rest)
			}
		}
		if !slices.Equal(asked, c.asked) {
			t.Errorf("%s: asked for %q, want %q", c.name, asked, c.asked)
		}
	}
}

func TestPullStalls(t *testing.T) {
	dir := cache(t)
	f := newFakeHub(t, testFiles(t))
	f.hangs = 3
	r, _ := parseReference("org/tiny")
	h := newHub(r, dir, nil)
	h.wait, h.stall = time.Millisecond, 50*time.Millisecond
	got, err := h.pull(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	checkPulled(t, f, got)
}

// Interrupted in the middle of the weights, the next pull asks for the rest only.
func TestPullInterrupted(t *testing.T) {
	root := filepath.Join(cache(t), "models--org--tiny")
	f := newFakeHub(t, testFiles(t))
	f.cut, f.cuts = 100, 1
	f.files[configFile] = "{}"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := pull(ctx, t, "org/tiny", func(p Progress) {
		if p.File == weightsFile {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("have %v, want cancelled", err)
	}
	if _, err := Resolve("org/tiny"); err == nil {
		t.Error("a half-fetched model is found")
	}
	partial, _ := filepath.Glob(filepath.Join(root, "blobs", "*.incomplete"))
	if len(partial) != 1 || !hasSize(partial[0], 100) {
		t.Fatalf("have parts %v, want one of 100 bytes", partial)
	}
	f.asked = nil
	dir, err := pull(t.Context(), t, "org/tiny", nil)
	if err != nil {
		t.Fatal(err)
	}
	checkPulled(t, f, dir)
	if want := []string{weightsFile + " bytes=100-"}; !slices.Equal(f.asked, want) {
		t.Errorf("asked for %q, want %q", f.asked, want)
	}
}

// What does not have the hash of the listing gets no name, and the next pull starts anew.
func TestPullDamaged(t *testing.T) {
	for _, name := range []string{configFile, weightsFile} {
		root := filepath.Join(cache(t), "models--org--tiny")
		f := newFakeHub(t, testFiles(t))
		f.lies = map[string]string{name: "?" + f.files[name][1:]}
		_, err := pull(t.Context(), t, "org/tiny", nil)
		if err == nil || !strings.Contains(err.Error(), name+": the file is damaged") {
			t.Errorf("%s: have %v", name, err)
		}
		if blobs := names(t, filepath.Join(root, "blobs")); slices.ContainsFunc(blobs, func(b string) bool { return strings.HasSuffix(b, ".incomplete") }) {
			t.Errorf("%s: left %v", name, blobs)
		}
		if _, err := Resolve("org/tiny"); err == nil {
			t.Errorf("%s: a damaged model is found", name)
		}
		f.lies = nil
		dir, err := pull(t.Context(), t, "org/tiny", nil)
		if err != nil {
			t.Fatal(err)
		}
		checkPulled(t, f, dir)
	}
}

func TestPullShards(t *testing.T) {
	files := testFiles(t)
	delete(files, weightsFile)
	files["model-1.safetensors"], files["model-2.safetensors"] = weights(t, "a"), weights(t, "b")
	files[indexFile] = `{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}`
	cache(t)
	newFakeHub(t, files)
	dir, err := pull(t.Context(), t, "org/tiny", nil)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if got := m.Names(); !slices.Equal(got, []string{"a", "b"}) || slices.Contains(names(t, dir), "consolidated.safetensors") {
		t.Errorf("have %v and %v", got, names(t, dir))
	}
}

func TestPullFails(t *testing.T) {
	weightless := func(f *fakeHub) { delete(f.files, weightsFile) }
	for _, c := range []struct {
		name string
		set  func(*fakeHub)
		want string
	}{
		{"401 without token", func(f *fakeHub) { f.token = "x" }, "set HF_TOKEN"},
		{"401 with token", func(f *fakeHub) { f.token = "x"; t.Setenv("HF_TOKEN", "wrong") }, "refuses HF_TOKEN"},
		{"403", func(f *fakeHub) { f.status = 403 }, "accept the model's terms"},
		{"404", func(f *fakeHub) { f.status, f.code = 404, "RepoNotFound" }, "check the name"},
		{"404 of the revision", func(f *fakeHub) { f.status, f.code = 404, "RevisionNotFound" }, `no revision "main"`},
		{"410", func(f *fakeHub) { f.status = 410 }, "410 Gone"},
		{"503 for ever", func(f *fakeHub) { f.busy = 1 << 30 }, "gave up after 5 attempts"},
		{"cut without a byte for ever", func(f *fakeHub) { f.cuts = 1 << 30 }, "gave up after 5 attempts"},
		{"file gone", func(f *fakeHub) {
			f.list = func(m *listing) {
				m.Files = append(m.Files, remoteFile{Name: "vocab.txt", Size: 1, Blob: gitHash("x")})
			}
		}, "vocab.txt: there is no"},
		{"wrong range", func(f *fakeHub) { f.cut, f.cuts, f.wrong = 5, 1, "bytes 0-9/10" }, "want one from byte 5"},
		{"no config", func(f *fakeHub) { delete(f.files, configFile) }, "no config.json"},
		{"only PyTorch", weightless, "only PyTorch weights"},
		{"no weights", func(f *fakeHub) { weightless(f); delete(f.files, "pytorch_model.bin") }, "have no model.safetensors among its files"},
		{"index names a stranger", func(f *fakeHub) { weightless(f); f.files[indexFile] = `{"weight_map": {"a": "m.safetensors"}}` }, "does not have"},
		{"index names a path", func(f *fakeHub) { weightless(f); f.files[indexFile] = `{"weight_map": {"a": "../m.safetensors"}}` }, "without a folder"},
		{"commit is a path", func(f *fakeHub) { f.list = func(m *listing) { m.Commit = "../../../x" } }, "want 40 hexadecimal digits"},
		{"hash is a path", func(f *fakeHub) {
			f.list = func(m *listing) { m.Files = []remoteFile{{Name: configFile, Blob: "../x"}, {Name: weightsFile}} }
		}, "no hash"},
		{"no hashes", func(f *fakeHub) {
			f.list = func(m *listing) { m.Files = []remoteFile{{Name: configFile}, {Name: weightsFile}} }
		}, "no hash"},
	} {
		cache(t)
		f := newFakeHub(t, testFiles(t))
		c.set(f)
		if _, err := pull(t.Context(), t, "org/tiny", nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: have %v, want %q", c.name, err, c.want)
		}
		if _, err := Resolve("org/tiny"); err == nil {
			t.Errorf("%s: half a model is found", c.name)
		}
	}
	t.Setenv("HF_HOME", filepath.Join(testFile(t), "x"))
	newFakeHub(t, testFiles(t))
	if _, err := pull(t.Context(), t, "org/tiny", nil); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("no place for a cache: have %v", err)
	}
}

func testFile(t *testing.T) string {
	return filepath.Join(write(t, map[string]string{"file": ""}), "file")
}
