package kernel

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// Parallel runs f(0) … f(n-1), each once, on the calling goroutine and up to GOMAXPROCS-1 persistent workers, and returns when all are done.
// Which of them runs an item, and when, is open: items must not share what they write.
// A panic of f is raised again in the caller. A call from inside f, or while another goroutine's call runs, uses the calling goroutine alone.
func Parallel(n int, f func(i int)) { parallel(n, itemFunc(f)) }

// task is a Parallel body with its arguments; a pooled pointer to one starts without allocation, which a closure cannot.
type task interface{ run(i int) }

type itemFunc func(i int)

func (f itemFunc) run(i int) { f(i) }

// crew is the one set of workers and the job that they share.
var crew struct {
	sync.Mutex // held by the goroutine whose job it is
	workers    []*worker
	task       task
	own        share // the caller's
	members    int   // of the job: the caller, and workers
	failure    atomic.Pointer[failure]
}

type failure struct{ value any }

// share is a run of a job's items. The member that has it takes them from the front and then helps others, from the back of theirs, so that a
// job which comes again reads what lies in the caches of the same cores as before.
type share struct {
	left atomic.Uint64 // the first item that nobody has taken, and in the upper half the end
	_    [56]byte      // shares are written by different cores
}

func (s *share) set(first, end int) { s.left.Store(uint64(end)<<32 | uint64(first)) }

// take returns an item that nobody else has or will have, from the front or the back; ok is false where none is left.
func (s *share) take(back bool) (item int, ok bool) {
	for {
		left := s.left.Load()
		first, end := left&(1<<32-1), left>>32
		if first >= end {
			return 0, false
		}
		item, rest := first, left+1
		if back {
			item, rest = end-1, left-1<<32
		}
		if s.left.CompareAndSwap(left, rest) {
			return int(item), true
		}
	}
}

func parallel(n int, t task) {
	threads := min(runtime.GOMAXPROCS(0), n)
	if threads <= 1 || !crew.TryLock() {
		for i := range n {
			t.run(i)
		}
		return
	}
	defer crew.Unlock()
	for len(crew.workers) < threads-1 {
		w := &worker{number: len(crew.workers) + 1, wake: make(chan struct{}, 1), done: make(chan struct{}, 1)}
		crew.workers = append(crew.workers, w)
		go w.loop()
	}
	crew.task, crew.members = t, threads
	for i := range threads {
		shareOf(i).set(i*n/threads, (i+1)*n/threads)
	}
	helpers := crew.workers[:threads-1]
	for _, w := range helpers {
		w.start()
	}
	takeItems(0)
	for _, w := range helpers {
		w.wait()
	}
	crew.task = nil
	if f := crew.failure.Swap(nil); f != nil {
		panic(f.value)
	}
}

// shareOf returns the share of a member of the crew: 0 is the caller.
func shareOf(member int) *share {
	if member == 0 {
		return &crew.own
	}
	return &crew.workers[member-1].own
}

// takeItems runs items until none is left.
func takeItems(member int) {
	defer func() {
		if r := recover(); r != nil {
			crew.failure.CompareAndSwap(nil, &failure{r})
			for i := range crew.members {
				shareOf(i).set(0, 0) // nobody starts another item
			}
		}
	}()
	for i := range crew.members {
		own := shareOf((member + i) % crew.members)
		for {
			item, ok := own.take(i > 0)
			if !ok {
				break
			}
			crew.task.run(item)
		}
	}
}

// worker is a goroutine that outlives jobs: kernels follow each other within microseconds, less than it takes to wake a thread,
// so that it looks for the next job for a while before it sleeps.
type worker struct {
	own        share
	number     int
	state      atomic.Int32
	wake, done chan struct{} // one token for each time that the worker, or its caller, was asleep
}

const (
	idle    int32 = iota // looking for a job
	asleep               // waiting for wake
	called               // given a job that it has not begun
	busy                 // working
	awaited              // working, and the caller waits for done
)

// An idle worker and a waiting caller look patience times, of looks each, before they sleep, and let others run in between: some 50 µs in all.
const patience, looks = 300, 100

func (w *worker) loop() {
	debug.SetPanicOnFault(true) // operands may lie in a mapped file: the caller is told, and knows better than to crash
	for {
		w.watch(false)
		if w.state.CompareAndSwap(idle, asleep) {
			<-w.wake
		}
		if !w.state.CompareAndSwap(called, busy) {
			continue // the caller did it all meanwhile
		}
		takeItems(w.number)
		if !w.state.CompareAndSwap(busy, idle) {
			w.state.Store(idle)
			w.done <- struct{}{}
		}
	}
}

// watch looks until the worker is idle or, with want false, until it is not. It returns false where that takes too long.
func (w *worker) watch(want bool) bool {
	for range patience {
		for range looks {
			if (w.state.Load() == idle) == want {
				return true
			}
		}
		runtime.Gosched()
	}
	return false
}

// start calls the worker to the current job.
func (w *worker) start() {
	if !w.state.CompareAndSwap(idle, called) {
		w.state.Store(called)
		w.wake <- struct{}{}
	}
}

// wait returns when the worker has finished, or has not begun and will not.
func (w *worker) wait() {
	if w.state.CompareAndSwap(called, idle) || w.watch(true) {
		return
	}
	if w.state.CompareAndSwap(busy, awaited) {
		<-w.done
	}
}
