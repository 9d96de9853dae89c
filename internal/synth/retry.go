package synth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// The pauses before a request is sent again: they double from the first to the longest, each shortened at random by up to a half, so that
// many clients do not come back at once. A server that asks for a longer pause than the patience is not waited for.
const (
	firstPause   = time.Second
	longestPause = time.Minute
	patience     = 15 * time.Minute
)

// transient is a failure that may pass.
type transient struct {
	error
	after   time.Duration // the server's own wish; 0: none
	general bool          // it is no matter of this request: others would fail alike
}

// retrier repeats what fails for a while. All its users wait while a server has asked one of them to.
type retrier struct {
	retries int
	now     func() time.Time
	sleep   func(ctx context.Context, d time.Duration) error
	notice  func(format string, args ...any)

	mu    sync.Mutex
	until time.Time // nobody asks before
}

func newRetrier(retries int, notice func(format string, args ...any)) *retrier {
	return &retrier{retries: retries, now: time.Now, sleep: sleep, notice: notice}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// do calls f until it succeeds, fails for good, or has failed too often: that is a *Failed where it may be a matter of this call alone.
func (r *retrier) do(ctx context.Context, f func() error) error {
	for try := 0; ; try++ {
		if err := r.wait(ctx); err != nil {
			return err
		}
		err := f()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var t *transient
		if !errors.As(err, &t) {
			return err
		}
		if try >= r.retries {
			err = fmt.Errorf("%w (tried %d times; synth.retries and synth.timeout say for how long)", t.error, try+1)
			if t.general {
				return err
			}
			return &Failed{err}
		}
		if t.after > patience {
			return fmt.Errorf("%w: the server asks to come back in %s: run again then", t.error, t.after.Round(time.Second))
		}
		pause := max(t.after, pauseBefore(try))
		if t.after > 0 {
			r.mu.Lock()
			r.until = later(r.until, r.now().Add(t.after))
			r.mu.Unlock()
		}
		r.notice("%v; again in %s", t.error, pause.Round(100*time.Millisecond))
		if err := r.sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// wait holds back while the server wants no requests.
func (r *retrier) wait(ctx context.Context) error {
	for {
		r.mu.Lock()
		left := r.until.Sub(r.now())
		r.mu.Unlock()
		if left <= 0 {
			return ctx.Err()
		}
		if err := r.sleep(ctx, left); err != nil {
			return err
		}
	}
}

func pauseBefore(try int) time.Duration {
	d := longestPause
	if try < 6 {
		d = firstPause << try
	}
	return time.Duration(float64(d) * (0.5 + rand.Float64()/2))
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
