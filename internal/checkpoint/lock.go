package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// LockFile is in a folder to which one process may write at a time. It is empty, and stays: what counts is that a living process holds it.
const LockFile = ".lock"

// Lock is a folder's, held until Close or the end of the process, however it ends.
type Lock struct{ file *flock.Flock }

// LockFolder takes the lock of a folder that is there. It does not wait: where another process has the lock that is an error.
func LockFolder(dir string) (*Lock, error) { return lock(filepath.Join(dir, LockFile), dir, "folder") }

// LockOutput takes the lock of a file, which need not be there yet. It lies beside it, with .lock at the end of its name.
func LockOutput(path string) (*Lock, error) { return lock(path+LockFile, path, "file") }

// lock takes the lock at path, of what, which is of a kind.
func lock(path, what, kind string) (*Lock, error) {
	f := flock.New(path, flock.SetPermissions(0o666))
	held, err := f.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if !held {
		return nil, fmt.Errorf("another process is writing to %s: wait for its end, or choose another %s", what, kind)
	}
	return &Lock{f}, nil
}

// FolderIsFree returns LockFolder's error, and leaves no trace in a folder that was never locked, or is not there.
func FolderIsFree(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, LockFile)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	l, err := LockFolder(dir)
	if err != nil {
		return err
	}
	return l.Close()
}

// Close gives the lock back.
func (l *Lock) Close() error { return l.file.Close() }
