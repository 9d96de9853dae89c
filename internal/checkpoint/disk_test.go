package checkpoint

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
)

var errDead = errors.New("the process is dead")

// faulty is a disk on which step number left (from 0) fails. If it dies there, nothing happens any more, and files that were
// not synced lose what was written, as in a power cut.
type faulty struct {
	realDisk
	left    int
	dies    bool
	failed  bool
	unsafed map[string]bool // files with content that is not synced
}

// step counts one thing done; an error: it must not happen.
func (f *faulty) step() error {
	if f.failed && f.dies {
		return errDead
	}
	f.left--
	if f.left != -1 {
		return nil
	}
	f.failed = true
	if !f.dies {
		return syscall.ENOSPC
	}
	for path := range f.unsafed {
		os.Truncate(path, 0)
	}
	return errDead
}

func (f *faulty) Mkdir(dir string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.realDisk.Mkdir(dir)
}

func (f *faulty) Rename(from, to string) error {
	if err := f.step(); err != nil {
		return err
	}
	for path := range f.unsafed {
		if name, ok := strings.CutPrefix(path, from); ok {
			delete(f.unsafed, path)
			f.unsafed[to+name] = true
		}
	}
	return f.realDisk.Rename(from, to)
}

func (f *faulty) RemoveAll(path string) error {
	if err := f.step(); err != nil {
		if f.dies { // half of it may be gone
			entries, _ := os.ReadDir(path)
			for _, e := range entries[:len(entries)/2] {
				f.realDisk.RemoveAll(path + "/" + e.Name())
			}
		}
		return err
	}
	return f.realDisk.RemoveAll(path)
}

func (f *faulty) SyncDir(dir string) error {
	if err := f.step(); err != nil {
		return err
	}
	return f.realDisk.SyncDir(dir)
}

func (f *faulty) Create(path string) (file, error) {
	if err := f.step(); err != nil {
		return nil, err
	}
	out, err := os.Create(path)
	if f.unsafed == nil {
		f.unsafed = map[string]bool{}
	}
	f.unsafed[path] = true
	return &faultyFile{out, f}, err
}

type faultyFile struct {
	*os.File
	disk *faulty
}

func (f *faultyFile) Write(p []byte) (int, error) {
	if err := f.disk.step(); err != nil {
		n := 0
		if !errors.Is(err, errDead) {
			n, _ = f.File.Write(p[:len(p)/2])
		}
		return n, err
	}
	return f.File.Write(p)
}

func (f *faultyFile) Sync() error {
	if err := f.disk.step(); err != nil {
		return err
	}
	delete(f.disk.unsafed, f.Name())
	return f.File.Sync()
}

// eachStep runs write on disks that fail at its first, second … step, until it gets through. before prepares, after looks.
func eachStep(t *testing.T, dies bool, before func(dir string), write func(d disk, dir string) error, after func(dir string, err error)) {
	t.Helper()
	for n := 0; ; n++ {
		dir := t.TempDir()
		before(dir)
		d := &faulty{left: n, dies: dies}
		err := write(d, dir)
		if d.failed && err == nil && dies {
			t.Errorf("died at step %d without an error", n)
		}
		after(dir, err)
		if !d.failed {
			if err != nil || n < 8 {
				t.Errorf("through after %d steps with error %v", n, err)
			}
			return
		}
	}
}
