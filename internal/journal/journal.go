// Package journal keeps results on disk as they come: JSON lines behind a header that says of what run, so that a run that was stopped goes on.
// One process at a time may write to a file; readers of the finished work have files of their own.
package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"kdistill/internal/checkpoint"
)

// Run says what the lines of a file are.
type Run struct {
	Header any                                // of this run: the first line of a new file
	Same   func(header json.RawMessage) error // says why an older header is that of another run
	Note   func(line json.RawMessage) error   // takes each line that is there
	Sync   bool                               // each line outlives the machine, not the process alone
}

// File is where lines are added. It may be used from many goroutines.
type File struct {
	path string
	sync bool

	mu     sync.Mutex
	file   disk
	end    int64 // of what is whole
	broken error // nothing can be written any more
}

// disk is the file that lines go to; tests let it fail.
type disk interface {
	io.WriteCloser
	Sync() error
	Truncate(size int64) error
}

// Open opens or begins a file. One that belongs to another run is an error, and left as it is. cut tells how many bytes of a torn last line were taken away.
func Open(path string, r Run) (f *File, cut int64, err error) {
	f = &File{path: path, sync: r.Sync}
	size, err := f.read(r)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, 0, err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o666) // O_APPEND would forbid Truncate on Windows
	if err != nil {
		return nil, 0, err
	}
	f.file = file
	if size > f.end {
		cut = size - f.end
		err = file.Truncate(f.end)
	}
	if err == nil {
		_, err = file.Seek(f.end, io.SeekStart)
	}
	if err == nil && f.end == 0 {
		if err = f.put(r.Header); err == nil {
			err = checkpoint.SyncDir(filepath.Dir(path))
		}
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("%s: %w", path, err), file.Close())
	}
	return f, cut, nil
}

// read takes the lines of the file and returns its size; f.end is where its last whole line ends.
func (f *File) read(r Run) (size int64, err error) {
	file, err := os.Open(f.path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	lines := bufio.NewReaderSize(file, 1<<16)
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return info.Size(), nil // what is in line was torn by the end of the process
		}
		if err != nil {
			return 0, err
		}
		var wrong error
		switch {
		case !json.Valid(line):
			wrong = errors.New("not valid JSON")
		case number == 1:
			if err := r.Same(line); err != nil {
				return 0, fmt.Errorf("%s: %w", f.path, err)
			}
		default:
			wrong = r.Note(line)
		}
		if wrong != nil {
			if _, err := lines.Peek(1); err == io.EOF && number > 1 {
				return info.Size(), nil // the last line, torn in another way
			}
			return 0, fmt.Errorf("%s:%d: not a line of answers: %w: mend or move the file to go on", f.path, number, wrong)
		}
		f.end += int64(len(line))
	}
}

// Add appends a line.
func (f *File) Add(v any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken == nil {
		if err := f.put(v); err != nil {
			f.broken = fmt.Errorf("%s: an answer cannot be stored: %w (those before it are: free some space and run the same command again to go on)", f.path, err)
		}
	}
	return f.broken
}

// put appends one line, or as far as possible nothing.
func (f *File) put(v any) error {
	line, err := Line(v)
	if err != nil {
		return err
	}
	if _, err = f.file.Write(line); err == nil && f.sync {
		err = f.file.Sync()
	}
	if err != nil {
		return errors.Join(err, f.file.Truncate(f.end))
	}
	f.end += int64(len(line))
	return nil
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// Line is a line of JSON, with < and > as they are.
func Line(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
