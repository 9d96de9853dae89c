package kernel

import "unsafe"

//go:generate go run ./gen/vec

// The vector functions run on the calling goroutine and may be called from inside Parallel. Their results depend on the slices' contents and
// lengths alone, on a given path. Slices that belong together have the length of the first one named; dst may be one of the sources.
// Errors are stated for float32 in ulp, units in the last place of the result.

// sumBlock is how many elements are summed in F before the sum goes to a float64: it bounds the rounding error of long float32 rows.
const sumBlock = 2048

// pathOf returns the path that kernels of type F run on.
func pathOf[F Float]() level {
	var f F
	if unsafe.Sizeof(f) == 8 {
		return portable
	}
	return min(path, avx512) // what lies above it is for products of bfloat16 alone
}

// f32 returns x, whose type F is float32 where this is called.
func f32[F Float](x []F) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(x))), len(x))
}

// Exp sets dst = e^src. The error is below 1.1 ulp for all src, those with denormal results included; e^−Inf is 0, above 88.73 the result is +Inf.
func Exp[F Float](dst, src []F) {
	src = src[:len(dst)]
	expShift(dst, src, 1, 0)
}

// ExpShift sets dst = e^(scale·src − shift) and returns the sum of dst. With dst nil it only sums.
// The exponent is rounded once, e^ of it is as precise as Exp.
func ExpShift[F Float](dst, src []F, scale, shift F) F {
	if dst != nil {
		dst = dst[:len(src)]
	}
	var sum float64
	for len(src) > 0 {
		n := min(len(src), sumBlock)
		if dst == nil {
			sum += float64(expSum(src[:n], scale, shift))
		} else {
			sum += float64(expShift(dst[:n], src[:n], scale, shift))
			dst = dst[n:]
		}
		src = src[n:]
	}
	return F(sum)
}

// Max returns the largest element: −Inf for an empty slice, NaN where one is in x.
func Max[F Float](x []F) F { return maximum(x) }

// Sum returns Σ x.
func Sum[F Float](x []F) F {
	var s float64
	for len(x) > 0 {
		n := min(len(x), sumBlock)
		s += float64(sum(x[:n]))
		x = x[n:]
	}
	return F(s)
}

// Dot returns Σ a·b.
func Dot[F Float](a, b []F) F {
	b = b[:len(a)]
	var s float64
	for len(a) > 0 {
		n := min(len(a), sumBlock)
		s += float64(dot(a[:n], b[:n]))
		a, b = a[n:], b[n:]
	}
	return F(s)
}

// Axpy adds scale·src to dst.
func Axpy[F Float](dst, src []F, scale F) { axpy(dst, src[:len(dst)], scale) }

// Scale sets dst = scale·src.
func Scale[F Float](dst, src []F, scale F) { scaleTo(dst, src[:len(dst)], scale) }

// Add sets dst = a + b.
func Add[F Float](dst, a, b []F) { add(dst, a[:len(dst)], b[:len(dst)]) }
