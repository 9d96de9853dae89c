// Package checkpoint turns Hugging Face model folders, and the saved state of a training run, to memory and back.
// It knows files and names, not architectures: what a model computes is the business of package model.
package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// reference names a model of the hub at a revision (branch, tag or commit).
type reference struct{ repo, revision string }

// No part of a name begins with a dot: none can lead out of the cache.
var (
	repoPattern     = regexp.MustCompile(`^\w[\w.-]*/\w[\w.-]*$`)
	revisionPattern = regexp.MustCompile(`^\w[\w.-]*(/\w[\w.-]*)*$`)
	commitPattern   = regexp.MustCompile(`^[0-9a-f]{40}$`)
)

// parseReference reads org/name[@revision].
func parseReference(s string) (reference, bool) {
	repo, revision, given := strings.Cut(s, "@")
	if !given {
		revision = "main"
	}
	ok := repoPattern.MatchString(repo) && revisionPattern.MatchString(revision) && !strings.Contains(repo, "--") // which the hub forbids
	return reference{repo, revision}, ok
}

func (r reference) String() string {
	if r.revision == "main" {
		return r.repo
	}
	return r.repo + "@" + r.revision
}

// folder is where the cache keeps the model: blobs, refs and snapshots, as huggingface_hub lays them out.
func (r reference) folder(cache string) string {
	return filepath.Join(cache, "models--"+strings.ReplaceAll(r.repo, "/", "--"))
}

// snapshot returns the model's folder in the cache, "" where there is none.
func (r reference) snapshot(cache string) (string, error) {
	commit := r.revision
	if !commitPattern.MatchString(commit) {
		data, err := os.ReadFile(filepath.Join(r.folder(cache), "refs", filepath.FromSlash(r.revision)))
		if errors.Is(err, os.ErrNotExist) {
			return "", nil
		}
		if err != nil {
			return "", err
		}
		if commit = strings.TrimSpace(string(data)); !commitPattern.MatchString(commit) {
			return "", fmt.Errorf("%s: have %.50q in refs/%s, want a commit: delete it and run `kdistill pull %s`", r.folder(cache), commit, r.revision, r)
		}
	}
	dir := filepath.Join(r.folder(cache), "snapshots", commit)
	if !isDir(dir) {
		return "", nil
	}
	return dir, nil
}

// Resolve returns the folder that path names: a folder itself, or org/name[@revision] in the Hugging Face cache
// (HF_HUB_CACHE, HF_HOME/hub, ~/.cache/huggingface/hub).
func Resolve(path string) (string, error) {
	if dir := standing(path); isDir(dir) {
		return dir, nil
	}
	if exists(path) {
		return "", fmt.Errorf("%s: have a file, want a Hugging Face model folder", path)
	}
	r, ok := parseReference(path)
	if !ok {
		return "", fmt.Errorf("%s: no such folder (want a Hugging Face model folder, or org/name[@revision])", path)
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir, err := r.snapshot(cache)
	if err == nil && dir == "" {
		err = fmt.Errorf("%s: no such folder, and no such model in the Hugging Face cache %s: run `kdistill pull %s`", path, cache, path)
	}
	return dir, err
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// cacheDir returns the hub's cache folder by huggingface_hub's variables, in its order.
func cacheDir() (string, error) {
	dir := "~/.cache/huggingface/hub"
	for _, v := range []struct{ name, below string }{
		{"HF_HUB_CACHE", ""}, {"HUGGINGFACE_HUB_CACHE", ""}, {"HF_HOME", "/hub"}, {"XDG_CACHE_HOME", "/huggingface/hub"},
	} {
		if base := os.Getenv(v.name); base != "" {
			dir = os.ExpandEnv(base) + v.below
			break
		}
	}
	if below, ok := strings.CutPrefix(dir, "~"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("the Hugging Face cache: %w (set HF_HOME)", err)
		}
		dir = home + below
	}
	return filepath.Clean(dir), nil
}
