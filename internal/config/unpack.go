package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"kdistill/configs"
)

// embeddedPrefix begins the path of a file or folder inside the program, such as embedded:demo/teacher.
const embeddedPrefix = "embedded:"

// Unpack writes the embedded files that c names to disk and puts their paths in place of embedded:NAME. They lie in the user's
// cache folder, or beside output.dir where that cannot be written, each below its content's hash: a second run finds them there.
func (c *Config) Unpack() error {
	roots := []string{filepath.Join(filepath.Dir(c.Output.Dir), "embedded")}
	if cache, err := os.UserCacheDir(); err == nil {
		roots = []string{filepath.Join(cache, "kdistill", "embedded"), roots[0]}
	}
	paths := []*string{&c.Teacher.Path, &c.Student.Path}
	for i := range c.Teacher.List {
		paths = append(paths, &c.Teacher.List[i].Path)
	}
	for _, sources := range [][]Source{c.Data.Train, c.Data.Eval} {
		for i := range sources {
			paths = append(paths, &sources[i].Path)
		}
	}
	for _, p := range paths {
		name, ok := strings.CutPrefix(*p, embeddedPrefix)
		if !ok {
			continue
		}
		to, err := unpack(configs.FS, name, roots)
		if err != nil {
			return err
		}
		*p = to
	}
	return nil
}

// unpack writes the file or folder of that name below the first of roots that can be written, and returns its path there.
func unpack(files fs.FS, name string, roots []string) (string, error) {
	type file struct {
		name    string // below the folder of name, with slashes
		content []byte
	}
	var all []file
	hash := sha256.New()
	err := fs.WalkDir(files, name, func(at string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(files, at)
		f := file{path.Base(name) + strings.TrimPrefix(at, name), content}
		fmt.Fprintf(hash, "%s %d\n", f.name, len(content))
		hash.Write(content)
		all = append(all, f)
		return err
	})
	if err != nil {
		return "", &Error{[]string{fmt.Sprintf("%s%s: there is no such file or folder inside the program", embeddedPrefix, name)}}
	}
	var failed []error
	for _, root := range roots {
		dir := filepath.Join(root, hex.EncodeToString(hash.Sum(nil))[:16])
		var err error
		for _, f := range all {
			err = errors.Join(err, place(filepath.Join(dir, filepath.FromSlash(f.name)), f.content))
		}
		if err == nil {
			return filepath.Join(dir, path.Base(name)), nil
		}
		failed = append(failed, err)
	}
	return "", fmt.Errorf("%s%s: cannot be unpacked: %w", embeddedPrefix, name, errors.Join(failed...))
}

// place makes sure that a file has this content: what is there is compared, what differs is replaced in one step, so that
// several runs may begin at once.
func place(path string, content []byte) error {
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".unpacking-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
