package kernel

import "unsafe"

// Make returns n zeros, in huge pages where they fill some and the system gives such pages to those who ask. Products read matrices whose rows lie
// many kilobytes apart: with ordinary pages the processor forgets where they are.
func Make[F Float](n int) []F {
	const page = 2 << 20
	x := make([]F, n)
	if n == 0 {
		return x
	}
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), n*int(unsafe.Sizeof(x[0])))
	skip := int(-uintptr(unsafe.Pointer(&x[0])) % page)
	if whole := (len(bytes) - skip) / page * page; whole > 0 {
		adviseHuge(bytes[skip:][:whole])
	}
	return x
}
