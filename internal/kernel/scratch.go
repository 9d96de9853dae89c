package kernel

import "unsafe"

// scratch is borrowed memory, cut into slices that begin at cache lines.
type scratch[F Float] struct{ rest, whole []F }

// borrowScratch borrows memory for slices of these sizes, of any content, to be had by cut and handed back by giveBack.
func borrowScratch[F Float](sizes ...int) scratch[F] {
	const line = 64
	var zero F
	size := int(unsafe.Sizeof(zero))
	n := line / size
	for _, s := range sizes {
		n += roundUp(s)
	}
	whole := Borrow[F](n)
	skip := int(-uintptr(unsafe.Pointer(&whole[0]))%line) / size
	return scratch[F]{whole[skip:], whole}
}

// cut takes the next n elements.
func (s *scratch[F]) cut(n int) []F {
	cut := s.rest[:n:n]
	s.rest = s.rest[roundUp(n):]
	return cut
}

func (s *scratch[F]) giveBack() { GiveBack(s.whole) }
