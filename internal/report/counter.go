package report

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// Counter is the live line of work without a loss: done of total units, and the time left. Nothing is shown where w is no terminal.
type Counter struct {
	w              io.Writer
	unit           string
	total          int
	begun, written time.Time
	live           bool
}

// NewCounter begins at 0 of total units.
func NewCounter(w io.Writer, unit string, total int) *Counter {
	f, ok := w.(*os.File)
	return &Counter{w: w, unit: unit, total: total, begun: time.Now(), live: ok && term.IsTerminal(int(f.Fd()))}
}

// Set shows that so many units are done.
func (c *Counter) Set(done int) {
	now := time.Now()
	if !c.live || done == 0 || now.Sub(c.written) < refresh {
		return
	}
	c.written = now
	left := time.Duration(float64(now.Sub(c.begun)) / float64(done) * float64(c.total-done))
	fmt.Fprintf(c.w, "\r%d/%d %s  %s left  ", done, c.total, c.unit, Duration(left))
}

// Done takes the line away.
func (c *Counter) Done() {
	if c.live && !c.written.IsZero() {
		fmt.Fprintf(c.w, "\r%60s\r", "")
	}
}
