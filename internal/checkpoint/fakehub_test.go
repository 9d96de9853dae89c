package checkpoint

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// fakeHub serves one model, org/tiny. Files that end in .safetensors are LFS files, on another host.
type fakeHub struct {
	t       *testing.T
	files   map[string]string
	lies    map[string]string // what is sent instead of a file
	token   string            // asked for, if not ""
	status  int               // of the listing, if not 0
	code    string            // X-Error-Code
	busy    int               // answers 503 first
	cut     int               // bytes after which an answer breaks off
	cuts    int               // how often it does
	ranges  bool
	hangs   int              // answers that never end: the listing, then files from their middle on
	wrong   string           // Content-Range of all parts
	asked   []string         // files with their Range
	list    func(m *listing) // changes the listing
	storage *httptest.Server
}

func newFakeHub(t *testing.T, files map[string]string) *fakeHub {
	f := &fakeHub{t: t, files: files, ranges: true}
	f.storage = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("the token went to the storage host")
		}
		f.send(w, r, strings.TrimPrefix(r.URL.Path, "/"))
	}))
	t.Cleanup(f.storage.Close)
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	t.Setenv("HF_ENDPOINT", server.URL+"/")
	return f
}

func (f *fakeHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.token != "" && r.Header.Get("Authorization") != "Bearer "+f.token {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if f.busy > 0 {
		f.busy--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	name, isFile := strings.CutPrefix(r.URL.Path, "/org/tiny/resolve/"+testCommit+"/")
	switch {
	case r.URL.EscapedPath() == "/api/models/org/tiny/revision/main" || r.URL.EscapedPath() == "/api/models/org/tiny/revision/refs%2Fpr%2F1":
		if f.hangs > 2 {
			f.hangs--
			<-r.Context().Done()
			return
		}
		if f.status != 0 {
			w.Header().Set("X-Error-Code", f.code)
			w.WriteHeader(f.status)
		}
		json.NewEncoder(w).Encode(f.listing())
	case isFile && strings.HasSuffix(name, ".safetensors"):
		http.Redirect(w, r, f.storage.URL+"/"+name, http.StatusFound)
	case isFile:
		f.send(w, r, name)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (f *fakeHub) listing() listing {
	m := listing{Commit: testCommit}
	for name, content := range f.files {
		file := remoteFile{Name: name, Size: int64(len(content)), Blob: gitHash(content)}
		if strings.HasSuffix(name, ".safetensors") {
			file.Size = 130 // of the pointer
			json.Unmarshal(fmt.Appendf(nil, `{"sha256": %q, "size": %d}`, shaHash(content), len(content)), &file.LFS)
		}
		m.Files = append(m.Files, file)
	}
	if f.list != nil {
		f.list(&m)
	}
	return m
}

func gitHash(content string) string {
	sum := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(content), content))
	return hex.EncodeToString(sum[:])
}

func shaHash(content string) string {
	sum := sha256.Sum256([]byte(content))
	return hex.EncodeToString(sum[:])
}

func (f *fakeHub) send(w http.ResponseWriter, r *http.Request, name string) {
	f.asked = append(f.asked, strings.TrimSpace(name+" "+r.Header.Get("Range")))
	content, ok := f.files[name]
	if lie, lies := f.lies[name]; lies {
		content = lie
	}
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	start := 0
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &start); n == 1 && f.ranges {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(content)-1, len(content)))
		if f.wrong != "" {
			w.Header().Set("Content-Range", f.wrong)
		}
	} else {
		start = 0
	}
	content = content[min(start, len(content)):]
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	if w.Header().Get("Content-Range") != "" {
		w.WriteHeader(http.StatusPartialContent)
	}
	if f.hangs > 0 {
		f.hangs--
		w.Write([]byte(content[:len(content)/2]))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return
	}
	if f.cuts > 0 && len(content) > f.cut {
		f.cuts--
		w.Write([]byte(content[:f.cut]))
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	w.Write([]byte(content))
}
