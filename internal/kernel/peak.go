package kernel

import (
	"runtime"
	"time"
)

// Peak measures what the processor can do at best on the current path: float32 operations per second of multiply-adds
// that touch no memory, on all of GOMAXPROCS threads, in about a millisecond. 0 on the portable path, which has no such loop.
func Peak() float64 {
	threads := runtime.GOMAXPROCS(0)
	rounds, operations := 100_000, 0
	switch path {
	case avx512:
		operations = 2 * 24 * 16
	case avx2:
		operations = 2 * 12 * 8
	default:
		return 0
	}
	began := time.Now()
	Parallel(threads, func(int) { peak(rounds) })
	return float64(threads*rounds*operations) / time.Since(began).Seconds()
}
