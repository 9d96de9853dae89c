package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// WriteFile writes a file under a temporary name, synced, then renamed: path holds the old content or the new, never a part.
func WriteFile(path string, data []byte) error {
	d, tmp := realDisk{}, path+unfinished
	if err := writeFile(d, tmp, content(data)); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(tmp))
	}
	if err := d.Rename(tmp, path); err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(tmp))
	}
	return d.SyncDir(filepath.Dir(path))
}

// SyncDir makes the names in a folder durable.
func SyncDir(dir string) error { return realDisk{}.SyncDir(dir) }
