package synth

import (
	"fmt"
	"io"
	"sync"

	"kdistill/internal/report"
)

// screen is where people see how far a run is. It may be used from many goroutines.
type screen struct {
	w        io.Writer
	mu       sync.Mutex
	progress *report.Progress // nil until something is asked
}

// begin starts the clock after done of total things, once.
func (s *screen) begin(done, total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.progress == nil {
		s.progress = report.NewProgress(s.w, done, total)
	}
}

func (s *screen) show(done int, words func() string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.progress != nil {
		s.progress.Show(done, words)
	}
}

// printf writes a line of its own.
func (s *screen) printf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.progress != nil {
		s.progress.Printf(format, args...)
		return
	}
	fmt.Fprintf(s.w, format+"\n", args...)
}

func (s *screen) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.progress != nil {
		s.progress.Done()
	}
}
