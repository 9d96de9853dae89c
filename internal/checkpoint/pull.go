package checkpoint

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Progress says how far a pull is.
type Progress struct {
	File        string // at work
	Done, Total int64  // bytes of all files, those that were in the cache before included
}

// Pull fetches what training needs of org/name[@revision] (config.json, tokenizer files, safetensors) into the Hugging Face
// cache and returns the model's folder there. A file that was cut off goes on where it stopped, now or at the next call; each
// is checked against the hub's SHA-256 or git hash before it gets its name. progress may be nil; it is called from this goroutine.
// HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE (then only the cache is looked at) are honoured.
// Two pulls of one model at the same time disturb each other: one of them may fail its check.
func Pull(ctx context.Context, model string, progress func(Progress)) (dir string, err error) {
	r, ok := parseReference(model)
	if !ok {
		return "", fmt.Errorf("pull %s: want org/name[@revision]", model)
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	if offline() {
		if dir, err = r.snapshot(cache); err == nil && dir == "" {
			err = fmt.Errorf("pull %s: it is not in the cache %s, and HF_HUB_OFFLINE forbids fetching it", r, cache)
		}
		return dir, err
	}
	if dir, err = newHub(r, cache, progress).pull(ctx); err != nil {
		return "", fmt.Errorf("pull %s: %w", r, err)
	}
	return dir, nil
}

// offline reads the variables as huggingface_hub does.
func offline() bool {
	value := cmp.Or(os.Getenv("HF_HUB_OFFLINE"), os.Getenv("TRANSFORMERS_OFFLINE"))
	return slices.Contains([]string{"1", "ON", "YES", "TRUE"}, strings.ToUpper(value))
}

// hub is one pull.
type hub struct {
	endpoint, token string
	folder          string // models--org--name in the cache
	reference
	wait     time.Duration // before the first repetition of a request, then doubled
	stall    time.Duration // without a byte: the connection is dead
	progress func(Progress)
	at       Progress
}

func newHub(r reference, cache string, progress func(Progress)) *hub {
	return &hub{
		endpoint: cmp.Or(strings.TrimRight(os.Getenv("HF_ENDPOINT"), "/"), "https://huggingface.co"), token: os.Getenv("HF_TOKEN"),
		folder: r.folder(cache), reference: r, wait: time.Second, stall: time.Minute, progress: progress,
	}
}

// listing is the hub's answer about a revision, files with sizes and hashes.
type listing struct {
	Commit string       `json:"sha"`
	Files  []remoteFile `json:"siblings"`
}

type remoteFile struct {
	Name string `json:"rfilename"`
	Size int64  `json:"size"`
	Blob string `json:"blobId"` // git's SHA-1
	LFS  *struct {
		Hash string `json:"sha256"`
		Size int64  `json:"size"`
	} `json:"lfs"`
}

func (h *hub) pull(ctx context.Context) (string, error) {
	var list listing
	if err := h.list(ctx, &list); err != nil {
		return "", err
	}
	snapshot := filepath.Join(h.folder, "snapshots", list.Commit)
	for _, dir := range []string{snapshot, filepath.Join(h.folder, "blobs")} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return "", err
		}
	}
	files, err := h.choose(ctx, &list, snapshot)
	if err != nil {
		return "", err
	}
	for _, f := range files {
		h.at.Total += f.Size
	}
	for _, f := range files {
		if err := h.fetch(ctx, list.Commit, f, snapshot); err != nil {
			return "", fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return snapshot, h.writeRef(list.Commit)
}

// list asks for the revision's files and checks all of the answer that becomes part of a path.
func (h *hub) list(ctx context.Context, list *listing) error {
	where := fmt.Sprintf("%s/api/models/%s/revision/%s?blobs=true", h.endpoint, h.repo, url.PathEscape(h.revision))
	err := h.retry(ctx, func() (bool, error) {
		ctx, cancel := context.WithTimeout(ctx, h.stall)
		defer cancel()
		response, err := h.get(ctx, where, 0)
		if err != nil {
			return false, err
		}
		defer response.Body.Close()
		data, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
		if err != nil {
			return false, err
		}
		if err := json.Unmarshal(data, list); err != nil {
			return false, fatal{fmt.Errorf("%s: have no listing of a model's files: %w", where, err)}
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	if !commitPattern.MatchString(list.Commit) {
		return fmt.Errorf("%s: have commit %.50q, want 40 hexadecimal digits", where, list.Commit)
	}
	for i := range list.Files {
		if f := &list.Files[i]; f.LFS != nil {
			f.Size = f.LFS.Size
		}
	}
	return nil
}

var shardPattern = regexp.MustCompile(`^[\w.-]+\.safetensors$`)

// choose picks the files that training needs; of a model in shards it fetches the index first.
func (h *hub) choose(ctx context.Context, list *listing, snapshot string) ([]remoteFile, error) {
	byName := map[string]remoteFile{}
	var names []string
	for _, f := range list.Files {
		byName[f.Name] = f
		names = append(names, f.Name)
	}
	var out []remoteFile
	for _, name := range append([]string{configFile}, tokenizerFiles...) {
		if f, ok := byName[name]; ok {
			out = append(out, f)
		}
	}
	if _, ok := byName[configFile]; !ok {
		return nil, fmt.Errorf("have no %s among its %d files: not a model that transformers made", configFile, len(names))
	}
	if f, ok := byName[weightsFile]; ok {
		return append(out, f), nil
	}
	index, ok := byName[indexFile]
	if !ok {
		if slices.Contains(names, "pytorch_model.bin") || slices.Contains(names, "pytorch_model.bin.index.json") {
			return nil, fmt.Errorf("have only PyTorch weights (pytorch_model.bin), want %s: convert it with transformers (save_pretrained), or look for a revision such as %s@refs/pr/1 that has it", weightsFile, h.repo)
		}
		return nil, fmt.Errorf("have no %s among its files: %s", weightsFile, strings.Join(names[:min(len(names), 20)], ", "))
	}
	h.at.Total = index.Size
	if err := h.fetch(ctx, list.Commit, index, snapshot); err != nil {
		return nil, fmt.Errorf("%s: %w", indexFile, err)
	}
	path := filepath.Join(snapshot, indexFile)
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	places, err := readIndex(path, data)
	if err != nil {
		return nil, err
	}
	for _, shard := range shards(places) {
		f, ok := byName[shard]
		if !ok || !shardPattern.MatchString(shard) {
			return nil, fmt.Errorf("%s names %q, which the model does not have", indexFile, shard)
		}
		out = append(out, f)
	}
	return out, nil
}

// writeRef notes the commit of a branch, when all files are there, so that a half-fetched model is not found.
func (h *hub) writeRef(commit string) error {
	if h.revision == commit {
		return nil
	}
	path := filepath.Join(h.folder, "refs", filepath.FromSlash(h.revision))
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return WriteFile(path, []byte(commit))
}

// fatal is an error that asking again will not change.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

// retry repeats a request that failed on the way; one that brought bytes does not count as a failure.
func (h *hub) retry(ctx context.Context, request func() (progressed bool, err error)) error {
	wait := h.wait
	for failures := 0; ; {
		progressed, err := request()
		if _, stop := errors.AsType[fatal](err); err == nil || stop {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if failures++; progressed {
			failures, wait = 1, h.wait
		}
		if failures == 5 {
			return fmt.Errorf("gave up after 5 attempts: %w (run it again to go on where it stopped)", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
			wait *= 2
		}
	}
}

// get asks for a URL from byte start on; an answer other than 200 and 206 is an error.
func (h *hub) get(ctx context.Context, where string, start int64) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return nil, fatal{err}
	}
	request.Header.Set("User-Agent", "kdistill")
	request.Header.Set("Accept-Encoding", "identity") // sizes and ranges are of the file itself
	if h.token != "" {
		request.Header.Set("Authorization", "Bearer "+h.token)
	}
	if start > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", start))
	}
	client := http.Client{CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if next.URL.Host != via[0].URL.Host {
			next.Header.Del("Authorization") // storage hosts carry their own in the URL
		}
		if len(via) >= 10 {
			return errors.New("stopped after 10 redirects")
		}
		return nil
	}}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode == http.StatusOK || response.StatusCode == http.StatusPartialContent {
		return response, nil
	}
	response.Body.Close()
	return nil, h.explain(response)
}

// explain turns an answer's status into what the user can do.
func (h *hub) explain(response *http.Response) error {
	page := h.endpoint + "/" + h.repo
	switch code := response.StatusCode; {
	case code == http.StatusUnauthorized && h.token != "":
		return fatal{fmt.Errorf("the hub refuses HF_TOKEN, or there is no model %s (%s)", page, response.Status)}
	case code == http.StatusUnauthorized:
		return fatal{fmt.Errorf("there is no model %s, or it is private or gated: check the name, or set HF_TOKEN (%s)", page, response.Status)}
	case code == http.StatusForbidden:
		return fatal{fmt.Errorf("no access: accept the model's terms on %s with the account of HF_TOKEN (%s)", page, response.Status)}
	case code == http.StatusNotFound && response.Header.Get("X-Error-Code") == "RevisionNotFound":
		return fatal{fmt.Errorf("%s has no revision %q (%s)", page, h.revision, response.Status)}
	case code == http.StatusNotFound:
		return fatal{fmt.Errorf("there is no %s: check the name (%s)", response.Request.URL.Redacted(), response.Status)}
	case code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout:
		return fmt.Errorf("%s: %s", response.Request.URL.Host, response.Status)
	default:
		return fatal{fmt.Errorf("%s: %s", response.Request.URL.Host, response.Status)}
	}
}
