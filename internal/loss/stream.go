package loss

import "kdistill/internal/kernel"

// Stream is one position whose rows of logits come in blocks of ids, twice, because nobody holds them: first for the values, then for the gradient.
type Stream[F kernel.Float] []evaluation[F]

// Streams reports whether the losses can be evaluated in a Stream: their gradient must need no more than sums over the logits.
// That is so of cross_entropy without smoothing, forward_kl, reverse_kl and symmetric_kl.
func (s *Sum[F]) Streams() bool {
	for i := range s.groups {
		if s.groups[i].mixture >= 0 || len(s.groups[i].sparse) > 0 {
			return false
		}
	}
	return len(s.rest) == 0
}

// NewStream returns a Stream that can be used again and again.
func (s *Sum[F]) NewStream() Stream[F] { return make(Stream[F], len(s.groups)) }

// Begin begins a position.
func (s *Sum[F]) Begin(x Stream[F]) {
	for i := range x {
		x[i] = evaluation[F]{moments: newMoments[F](s.groups[i].temperature)}
	}
}

// Scan takes in the ids from, from+1, … of both rows; the teacher's block is shorter, or empty, where it has fewer ids. Blocks come in order; as long as
// they have a multiple of 1024 ids, but for the last, their sizes change no bit.
func (s *Sum[F]) Scan(x Stream[F], student, teacher []F, from, label int) {
	w := s.streams.Take()
	defer s.streams.Give(w)
	for i := range x {
		g, e := &s.groups[i], &x[i]
		z, y := compared(g, student, teacher)
		for b := range blocks(len(z)) {
			at, to := span(b, len(z))
			e.add(w.q[:to-at], part(w.p[:], y, 0, to-at), z[at:to], part(y, y, at, to), g.forward, g.reverse)
		}
		if of := label - from; g.labels && 0 <= of && of < len(z) {
			e.label = z[of]
		}
	}
}

// Close sets values[i] to loss i, when all blocks were scanned. scales are those of the gradient; nil: none is wanted.
func (s *Sum[F]) Close(x Stream[F], values, scales []float64, label int) {
	for i := range x {
		s.close(&s.groups[i], &x[i], values, scales, label)
	}
}

// Gradient sets grad to the gradient of the ids from, from+1, … of the student's row, as Row does. grad may be student.
func (s *Sum[F]) Gradient(x Stream[F], grad, student, teacher []F, from, label int) {
	w := s.streams.Take()
	defer s.streams.Give(w)
	for b := range blocks(len(student)) {
		at, to := span(b, len(student))
		sum := w.sum[:to-at]
		clear(sum)
		for i := range x {
			e := &x[i]
			if e.total == (slope{}) {
				continue
			}
			z, y := compared(&s.groups[i], student[at:to], teacher[min(at, len(teacher)):min(to, len(teacher))])
			n := len(z)
			kernel.Exp2Shift(w.q[:n], z, e.scale, e.z.ref)
			if y != nil {
				kernel.Exp2Shift(w.p[:n], y, e.scale, e.y.ref)
			}
			e.gradient(w.part[:n], w.q[:n], w.p[:n], z, y, e.z.ref, e.y.ref)
			kernel.Add(sum[:n], sum[:n], w.part[:n])
		}
		copy(grad[at:to], sum)
	}
	for i := range x {
		if of := label - from; x[i].total.label != 0 && 0 <= of && of < len(grad) {
			grad[of] += F(x[i].total.label)
		}
	}
}

// streamWork is scratch for one block.
type streamWork[F kernel.Float] struct{ q, p, part, sum [blockSize]F }
