package checkpoint

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

var hashPattern = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// key is the file's hash in hex, which is also its name among the blobs: of the content (LFS) or of git's blob.
func (f remoteFile) key() string {
	if f.LFS != nil {
		return f.LFS.Hash
	}
	return f.Blob
}

// hasher returns the hash that gives key when the content is written to it.
func (f remoteFile) hasher() hash.Hash {
	if f.LFS != nil {
		return sha256.New()
	}
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", f.Size)
	return h
}

// fetch brings a file into blobs, unless it is there, and links it into the snapshot.
func (h *hub) fetch(ctx context.Context, commit string, f remoteFile, snapshot string) error {
	if !hashPattern.MatchString(f.key()) || f.Size < 0 {
		return fmt.Errorf("the hub gives no hash to check it by (have %.70q)", f.key())
	}
	link := filepath.Join(snapshot, f.Name)
	blob := filepath.Join(h.folder, "blobs", f.key())
	done := h.at.Done + f.Size
	if !hasSize(link, f.Size) {
		if !hasSize(blob, f.Size) {
			if err := h.download(ctx, commit, f, blob); err != nil {
				return err
			}
		}
		if err := place(blob, link); err != nil {
			return err
		}
	}
	h.report(f.Name, done)
	return nil
}

func (h *hub) report(name string, done int64) {
	h.at.File, h.at.Done = name, done
	if h.progress != nil {
		h.progress(h.at)
	}
}

func hasSize(path string, size int64) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() == size
}

// place links the blob into the snapshot by a relative link; where the system has none, by a hard link or a copy.
func place(blob, link string) error {
	os.Remove(link)
	relative, err := filepath.Rel(filepath.Dir(link), blob)
	if err != nil {
		return err
	}
	if os.Symlink(relative, link) == nil || os.Link(blob, link) == nil {
		return nil
	}
	if err := copyFile(realDisk{}, blob, link+unfinished); err != nil {
		return err
	}
	return os.Rename(link+unfinished, link)
}

// download fetches into blob.incomplete, going on where an earlier one stopped, checks the hash and renames.
func (h *hub) download(ctx context.Context, commit string, f remoteFile, blob string) error {
	path := blob + ".incomplete"
	out, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	defer out.Close()
	sum := f.hasher()
	have, err := io.Copy(sum, out) // what an earlier pull left
	if err != nil {
		return err
	}
	p := &part{hub: h, file: f, out: out, sum: sum, have: have, start: h.at.Done}
	if have > f.Size {
		if err := p.restart(); err != nil {
			return err
		}
	}
	where := fmt.Sprintf("%s/%s/resolve/%s/%s", h.endpoint, h.repo, commit, url.PathEscape(f.Name))
	if p.have < f.Size {
		err := h.retry(ctx, func() (bool, error) {
			before := p.have
			err := p.request(ctx, where)
			return p.have > before, err
		})
		if err != nil {
			return err
		}
	}
	if got := hex.EncodeToString(p.sum.Sum(nil)); got != f.key() {
		return errors.Join(fmt.Errorf("the file is damaged: have hash %s, want %s: run it again to fetch it anew", got, f.key()), out.Close(), os.Remove(path))
	}
	if err := errors.Join(out.Sync(), out.Close()); err != nil {
		return err
	}
	return os.Rename(path, blob)
}

// part is a file on its way: have bytes are in out and in sum.
type part struct {
	hub   *hub
	file  remoteFile
	out   *os.File
	sum   hash.Hash
	have  int64
	start int64 // bytes of the pull before this file
}

func (p *part) restart() error {
	p.have, p.sum = 0, p.file.hasher()
	if _, err := p.out.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return p.out.Truncate(0)
}

// request asks for what is missing and writes what comes, up to the file's size.
func (p *part) request(ctx context.Context, where string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(p.hub.stall, func() { cancel(fmt.Errorf("no data for %s", p.hub.stall)) })
	defer watch.Stop()
	response, err := p.hub.get(ctx, where, p.have)
	if err != nil {
		return cause(ctx, err)
	}
	defer response.Body.Close()
	switch got := response.Header.Get("Content-Range"); {
	case response.StatusCode == http.StatusPartialContent && !strings.HasPrefix(got, fmt.Sprintf("bytes %d-", p.have)):
		return fatal{fmt.Errorf("%s: have the range %q, want one from byte %d", response.Request.URL.Host, got, p.have)}
	case response.StatusCode == http.StatusOK && p.have > 0: // a server without ranges sends the whole file
		if err := p.restart(); err != nil {
			return fatal{err}
		}
	}
	buffer := make([]byte, 1<<16)
	for p.have < p.file.Size {
		n, err := response.Body.Read(buffer[:min(int64(len(buffer)), p.file.Size-p.have)])
		watch.Reset(p.hub.stall)
		if _, err := p.out.Write(buffer[:n]); err != nil {
			return fatal{err}
		}
		p.sum.Write(buffer[:n])
		p.have += int64(n)
		p.hub.report(p.file.Name, p.start+p.have)
		if err == io.EOF && p.have < p.file.Size {
			err = io.ErrUnexpectedEOF
		}
		if err != nil && err != io.EOF {
			return cause(ctx, err)
		}
	}
	return nil
}

// cause prefers why a context was cancelled to the error that followed from it.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
