package kernel

import (
	"runtime"
	"time"
)

// Peak measures what the processor can do at best on the current path: float32 operations per second of multiply-adds
// that touch no memory, on all of GOMAXPROCS threads, in about a millisecond. 0 on the portable path, which has no such loop.
func Peak() float64 {
	switch pathOf[float32]() {
	case avx512:
		return measurePeak(peak, 2*24*16)
	case avx2:
		return measurePeak(peak, 2*12*8)
	}
	return 0
}

// PeakBF16 is Peak of the processor's own products of bfloat16; where GemmBF16 uses none, it is Peak.
func PeakBF16() float64 {
	if path == avx512BF16 {
		return measurePeak(peakPairs, 4*24*16)
	}
	return Peak()
}

func measurePeak(loop func(rounds int), operations int) float64 {
	threads, rounds := runtime.GOMAXPROCS(0), 100_000
	began := time.Now()
	Parallel(threads, func(int) { loop(rounds) })
	return float64(threads*rounds*operations) / time.Since(began).Seconds()
}
