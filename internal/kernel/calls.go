package kernel

import "sync"

// callPool keeps the arguments of past calls of a kernel, so that a call allocates nothing.
type callPool struct{ pool sync.Pool }

// takeCall returns arguments of type T, with whatever their last call left in them.
func takeCall[T any](p *callPool) *T {
	if t, ok := p.pool.Get().(*T); ok {
		return t
	}
	return new(T)
}

// giveCall keeps arguments for the next call, without what they point to.
func giveCall[T any](p *callPool, t *T) {
	var zero T
	*t = zero
	p.pool.Put(t)
}
