package report

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// Progress tells people how far a run is: on a terminal by one line that is written over, elsewhere by a plain line now
// and then. It is used from one goroutine.
type Progress struct {
	w     io.Writer
	total int // steps of the whole run
	first int // the step after which the time left is counted: that which was reached before, or the last of another stage
	width func() int
	now   func() time.Time

	begun, written time.Time
	marked         int // the last step of a plain line
	live           int // columns of the line that stands on the terminal
}

const (
	refresh    = 100 * time.Millisecond // between live lines
	plainLines = 20                     // of a whole run, at least
	plainPause = time.Minute            // between plain lines, at most
)

// NewProgress begins after step done of total steps.
func NewProgress(w io.Writer, done, total int) *Progress {
	p := &Progress{w: w, total: total, first: done, marked: done, now: time.Now}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.width = func() int {
			if width, _, err := term.GetSize(int(f.Fd())); err == nil {
				return width
			}
			return 80
		}
	}
	p.begun = p.now()
	return p
}

// Step shows that a step of training is done. tokensPerSecond is over the steps that the caller likes to average.
func (p *Progress) Step(step int, loss, tokensPerSecond float64) {
	p.Show(step, func() string {
		return fmt.Sprintf("step %d/%d  loss %.4f  %s tokens/s", step, p.total, loss, Count(int64(tokensPerSecond)))
	})
}

// Show shows that step is done, in words, with the time left.
func (p *Progress) Show(step int, words func() string) {
	now := p.now()
	every := max(1, p.total/plainLines)
	due := step == p.first+1 || step == p.total || step/every > p.marked/every || now.Sub(p.written) >= plainPause
	if p.width != nil {
		due = step == p.total || now.Sub(p.written) >= refresh
	}
	if !due {
		return
	}
	p.written, p.marked = now, step
	line := words()
	if done := step - p.first; step < p.total && done > 0 {
		left := time.Duration(float64(now.Sub(p.begun)) / float64(done) * float64(p.total-step))
		line += "  " + Duration(left) + " left"
	}
	if p.width == nil {
		fmt.Fprintln(p.w, line)
		return
	}
	n := min(len(line), max(p.width()-1, 0)) // a full row would wrap
	fmt.Fprint(p.w, "\r"+line[:n]+strings.Repeat(" ", max(p.live-n, 0)))
	p.live = n
}

// Restart counts the time left by the steps from now on: those before took another time.
func (p *Progress) Restart(done int) { p.first, p.begun = done, p.now() }

// Printf writes a line of its own, above the live one.
func (p *Progress) Printf(format string, args ...any) {
	p.clear()
	fmt.Fprintf(p.w, strings.TrimSuffix(format, "\n")+"\n", args...)
}

// Done ends the live line; it stays to be read.
func (p *Progress) Done() {
	if p.live > 0 {
		fmt.Fprintln(p.w)
		p.live = 0
	}
}

// clear takes the live line away. Blanks do it on every terminal.
func (p *Progress) clear() {
	if p.live > 0 {
		fmt.Fprint(p.w, "\r"+strings.Repeat(" ", p.live)+"\r")
		p.live = 0
	}
}
