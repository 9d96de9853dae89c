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
	n          int64
	next       atomic.Int64 // first item that nobody has taken
	failure    atomic.Pointer[failure]
}

type failure struct{ value any }

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
		w := &worker{wake: make(chan struct{}, 1), done: make(chan struct{}, 1)}
		crew.workers = append(crew.workers, w)
		go w.loop()
	}
	crew.task, crew.n = t, int64(n)
	crew.next.Store(0)
	helpers := crew.workers[:threads-1]
	for _, w := range helpers {
		w.start()
	}
	takeItems()
	for _, w := range helpers {
		w.wait()
	}
	crew.task = nil
	if f := crew.failure.Swap(nil); f != nil {
		panic(f.value)
	}
}

func takeItems() {
	defer func() {
		if r := recover(); r != nil {
			crew.failure.CompareAndSwap(nil, &failure{r})
			crew.next.Store(crew.n) // nobody starts another item
		}
	}()
	for i := crew.next.Add(1) - 1; i < crew.n; i = crew.next.Add(1) - 1 {
		crew.task.run(int(i))
	}
}

// worker is a goroutine that outlives jobs: kernels follow each other within microseconds, less than it takes to wake a thread,
// so that it looks for the next job for a while before it sleeps.
type worker struct {
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

// patience is how often an idle worker or a waiting caller looks, letting others run in between, before it sleeps: some 50 µs.
const patience = 300

func (w *worker) loop() {
	debug.SetPanicOnFault(true) // operands may lie in a mapped file: the caller is told, and knows better than to crash
	for {
		for i := 0; i < patience && w.state.Load() == idle; i++ {
			runtime.Gosched()
		}
		if w.state.CompareAndSwap(idle, asleep) {
			<-w.wake
		}
		if !w.state.CompareAndSwap(called, busy) {
			continue // the caller did it all meanwhile
		}
		takeItems()
		if !w.state.CompareAndSwap(busy, idle) {
			w.state.Store(idle)
			w.done <- struct{}{}
		}
	}
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
	if w.state.CompareAndSwap(called, idle) {
		return
	}
	for range patience {
		if w.state.Load() == idle {
			return
		}
		runtime.Gosched()
	}
	if w.state.CompareAndSwap(busy, awaited) {
		<-w.done
	}
}
