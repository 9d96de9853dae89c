package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// disk is what is done to files while a folder is written; tests let it fail or die at each step.
type disk interface {
	Mkdir(dir string) error // with its parents
	Create(path string) (file, error)
	Rename(from, to string) error
	RemoveAll(path string) error
	SyncDir(dir string) error // makes the names in dir durable
}

type file interface {
	io.WriteCloser
	Sync() error
}

type realDisk struct{}

func (realDisk) Mkdir(dir string) error           { return os.MkdirAll(dir, 0o777) }
func (realDisk) Create(path string) (file, error) { return os.Create(path) }
func (realDisk) Rename(from, to string) error     { return os.Rename(from, to) }
func (realDisk) RemoveAll(path string) error      { return os.RemoveAll(path) }

func (realDisk) SyncDir(dir string) error {
	if runtime.GOOS == "windows" { // where a folder cannot be synced
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// The suffixes of a folder being written and of the one it replaces.
const (
	unfinished = ".tmp"
	aside      = ".old"
)

// replaceFolder puts a folder that fill has written in the place of dir. The new content is complete and synced under
// dir.tmp before dir is touched; then dir becomes dir.old, dir.tmp becomes dir, dir.old is removed. Whenever the process
// dies, either dir is complete (before or after), or dir is not there and dir.old is the complete folder from before.
func replaceFolder(d disk, dir string, fill func(tmp string) error) error {
	if err := tidy(d, dir); err != nil {
		return fmt.Errorf("write %s: removing what an interrupted run left: %w", dir, err)
	}
	tmp, old := dir+unfinished, dir+aside
	if err := fillFolder(d, tmp, fill); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w (what was there before is unchanged)", dir, err), d.RemoveAll(tmp))
	}
	replaces := exists(dir)
	if replaces {
		if err := d.Rename(dir, old); err != nil {
			return errors.Join(fmt.Errorf("write %s: moving the old folder aside: %w (it is unchanged)", dir, err), d.RemoveAll(tmp))
		}
	}
	if err := d.Rename(tmp, dir); err != nil {
		err = fmt.Errorf("write %s: %w", dir, err)
		if replaces {
			err = errors.Join(err, d.Rename(old, dir))
		}
		return errors.Join(err, d.RemoveAll(tmp))
	}
	if err := d.SyncDir(filepath.Dir(dir)); err != nil {
		return fmt.Errorf("write %s: %w", dir, err)
	}
	if replaces {
		if err := d.RemoveAll(old); err != nil {
			return fmt.Errorf("%s is written, but removing the one from before: %w", dir, err)
		}
	}
	return nil
}

// tidy undoes what a dead process left of a replaceFolder.
func tidy(d disk, dir string) error {
	if err := d.RemoveAll(dir + unfinished); err != nil {
		return err
	}
	if exists(dir) {
		return d.RemoveAll(dir + aside)
	}
	if exists(dir + aside) {
		return d.Rename(dir+aside, dir)
	}
	return nil
}

func fillFolder(d disk, tmp string, fill func(tmp string) error) error {
	if err := d.Mkdir(tmp); err != nil {
		return err
	}
	if err := fill(tmp); err != nil {
		return err
	}
	return d.SyncDir(tmp)
}

// standing returns where the content of dir is: dir, or dir.old where a process died between the two renames.
func standing(dir string) string {
	if !exists(dir) && exists(dir+aside) {
		return dir + aside
	}
	return dir
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// writeFile creates a file, lets write fill it, and syncs it.
func writeFile(d disk, path string, write func(io.Writer) error) error {
	f, err := d.Create(path)
	if err != nil {
		return err
	}
	if err := write(f); err != nil {
		f.Close()
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// content writes what is at hand.
func content(b []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}
}

// copyFile copies a file's content.
func copyFile(d disk, from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	return writeFile(d, to, func(w io.Writer) error {
		_, err := io.Copy(w, source)
		return err
	})
}
