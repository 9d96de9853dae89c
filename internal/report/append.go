package report

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// appender writes at the end of a file.
type appender struct {
	*os.File
	empty bool // nothing was left after cutting
}

// put writes a record in one call to the system.
func (a *appender) put(record []byte) error {
	_, err := a.Write(record)
	return err
}

// scan reads one record and returns its step and its length in bytes; io.EOF or io.ErrUnexpectedEOF where none is
// whole, another error where what is there was never written by us.
type scan func(r *bufio.Reader) (step int, length int64, err error)

// openAppender opens a file behind its last record whose step is at most last, and cuts off the rest; of step last it keeps
// so many records.
func openAppender(path string, last, records int, next scan) (*appender, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	var end int64
	r := bufio.NewReader(f)
	for record := 1; last > 0; record++ {
		step, length, err := next(r)
		if err == nil && step == last {
			records--
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err == nil && (step > last || records < 0) {
			break
		}
		if err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("%s:%d: %w: mend or remove the file to go on", path, record, err)
		}
		end += length
	}
	err = f.Truncate(end)
	if err == nil {
		_, err = f.Seek(end, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return &appender{f, end == 0}, nil
}

// scanLine reads a line of metrics.jsonl.
func scanLine(r *bufio.Reader) (int, int64, error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return 0, 0, err // io.EOF: torn, or the end
	}
	var s struct {
		Step *int `json:"step"`
	}
	if err := json.Unmarshal(line, &s); err != nil {
		return 0, 0, fmt.Errorf("not a line of metrics: %w", err)
	}
	if s.Step == nil {
		return 0, 0, errors.New("not a line of metrics: it has no step")
	}
	return *s.Step, int64(len(line)), nil
}
