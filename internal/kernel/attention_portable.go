package kernel

import (
	"math"
	"unsafe"
)

// These work on scores and their like with a row of width elements for each key, and a column for each query: on rows from … to-1,
// the first of which is the given key. A column sees the keys lo <= key < hi.
// whole has a pair for every maskGroup columns: the keys that all of them see.

// softmaxColumnsPortable takes scores into a running softmax: what is seen becomes 2^(scale·s·log2(e) − top), what is not 0;
// top, the largest exponent of each column so far, and sum are updated, and factor is what older sums must be multiplied by.
func softmaxColumnsPortable[F Float](s []F, width int, lo, hi, whole []int32, from, to, key int, scale F, top, sum, factor []F) {
	scale *= math.Log2E
	for i := range top {
		begin, end := max(from, int(lo[i])-key+from), min(to, int(hi[i])-key+from)
		m := top[i]
		for j := begin; j < end; j++ {
			m = max(m, scale*s[j*width+i])
		}
		factor[i] = 0
		if !math.IsInf(float64(top[i]), -1) {
			factor[i] = powerOfTwo(top[i] - m)
		}
		top[i] = m
		var added F
		for j := from; j < to; j++ {
			var e F
			if j >= begin && j < end {
				e = powerOfTwo(F(scale*s[j*width+i]) - m)
			}
			s[j*width+i] = e
			added += e
		}
		sum[i] = F(sum[i]*factor[i]) + added
	}
}

// gradientColumnsPortable turns scores p into probabilities e^(scale·p − lse) and their gradients ds into those of the scores,
// scale·p·(ds − delta); both are 0 where the key is not seen.
func gradientColumnsPortable[F Float](p, ds []F, width int, lo, hi, whole []int32, from, to, key int, scale F, lse, delta []F) {
	for j := from; j < to; j++ {
		for i := range lse {
			at := j*width + i
			if k := key + j - from; k < int(lo[i]) || k >= int(hi[i]) {
				p[at], ds[at] = 0, 0
				continue
			}
			p[at] = exponential(F(scale*p[at]) - lse[i])
			ds[at] = p[at] * scale * (ds[at] - delta[i])
		}
	}
}

func powerOfTwo[F Float](x F) F {
	if unsafe.Sizeof(x) == 8 {
		return F(math.Exp2(float64(x)))
	}
	return F(exp32(float64(x) * math.Ln2))
}

// scaleColumnsPortable multiplies each column by its factor.
func scaleColumnsPortable[F Float](x []F, width, from, to int, factor []F) {
	for j := from; j < to; j++ {
		for i := range factor {
			x[j*width+i] *= factor[i]
		}
	}
}

// logSumsPortable sets lse = log(2^top·sum) and inverse = 1/sum, 0 where sum is 0.
func logSumsPortable[F Float](lse, inverse, top, sum []F) {
	for i := range lse {
		lse[i], inverse[i] = F(float64(top[i])*math.Ln2+math.Log(float64(sum[i]))), 0
		if sum[i] != 0 {
			inverse[i] = 1 / sum[i]
		}
	}
}

// dotRowsPortable sets dst to the dot products of rows of d elements of a and b, stride elements apart.
func dotRowsPortable[F Float](dst, a, b []F, stride, d int) {
	for i := range dst {
		dst[i] = dotPortable(a[i*stride:][:d], b[i*stride:][:d])
	}
}
