package kernel

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestParallelRunsEachItemOnce(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, threads := range []int{1, 2, 3, 8, 2} { // later changes count
		runtime.GOMAXPROCS(threads)
		for n := range 40 {
			runs := make([]int, n)
			Parallel(n, func(i int) { runs[i]++ })
			for i, r := range runs {
				if r != 1 {
					t.Fatalf("%d threads, %d items: item %d ran %d times", threads, n, i, r)
				}
			}
		}
	}
}

// A member takes its items from the front, others take them from the back.
func TestShare(t *testing.T) {
	var s share
	s.set(3, 8)
	for i, want := range []int{3, 7, 4, 6, 5} {
		if item, ok := s.take(i%2 == 1); item != want || !ok {
			t.Errorf("take %d: have item %d, %v, want %d", i, item, ok, want)
		}
	}
	for _, back := range []bool{false, true} {
		if item, ok := s.take(back); ok {
			t.Errorf("have item %d of an empty share", item)
		}
	}
}

func TestParallelUsesAllThreads(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	for range 20 {
		var inside sync.WaitGroup
		inside.Add(4)
		Parallel(4, func(int) { // ends only if four run at once
			inside.Done()
			inside.Wait()
		})
	}
}

// Workers that have gone to sleep must come back.
func TestParallelAfterPause(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	for _, pause := range []time.Duration{0, time.Microsecond, 20 * time.Microsecond, 200 * time.Microsecond, 5 * time.Millisecond} {
		for range 50 {
			time.Sleep(pause)
			var ran atomic.Int64
			Parallel(3, func(i int) {
				time.Sleep(pause / 4 * time.Duration(i))
				ran.Add(1)
			})
			if ran.Load() != 3 {
				t.Fatalf("after %v: %d of 3 items ran", pause, ran.Load())
			}
		}
	}
}

func TestParallelPanic(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	for bad := range 10 {
		func() {
			defer func() {
				if r := recover(); r != fmt.Sprint("item ", bad) {
					t.Errorf("recovered %v", r)
				}
			}()
			Parallel(10, func(i int) {
				if i == bad {
					panic(fmt.Sprint("item ", i))
				}
			})
			t.Error("no panic")
		}()
		sum := make([]int, 100) // the workers live on
		Parallel(100, func(i int) { sum[i] = i })
		for i, s := range sum {
			if s != i {
				t.Fatalf("after a panic, item %d did not run", i)
			}
		}
	}
}

// Calls from inside and from several goroutines at once must all complete.
func TestParallelNestedAndConcurrent(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	var total atomic.Int64
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for range 50 {
				Parallel(5, func(int) { Parallel(7, func(int) { total.Add(1) }) })
			}
		})
	}
	callers.Wait()
	if want := int64(4 * 50 * 5 * 7); total.Load() != want {
		t.Errorf("%d inner items ran, want %d", total.Load(), want)
	}
}

func TestParallelAllocatesNothing(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	f := func(int) {}
	checkAllocations(t, func() { Parallel(8, f) })
}

// checkAllocations fails where f allocates every time. (testing.AllocsPerRun would run it on one thread.)
func checkAllocations(t *testing.T, f func()) {
	t.Helper()
	const runs = 50
	var before, after runtime.MemStats
	f()
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	if n := after.Mallocs - before.Mallocs; n > runs/2 {
		t.Errorf("%d allocations in %d runs", n, runs)
	}
}

func BenchmarkParallel(b *testing.B) {
	for b.Loop() {
		Parallel(2, func(int) {})
	}
}
