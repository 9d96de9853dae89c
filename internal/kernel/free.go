package kernel

import (
	"reflect"
	"slices"
	"sync"
)

// FreeList keeps scratch between calls, as much as calls run at once, so that none of them allocates. The zero value is ready.
type FreeList[T any] struct {
	mutex sync.Mutex
	kept  []*T
}

// Take returns scratch that was given, with its content, or a new T.
func (f *FreeList[T]) Take() *T {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	last := len(f.kept) - 1
	if last < 0 {
		return new(T)
	}
	t := f.kept[last]
	f.kept = f.kept[:last]
	return t
}

// Give keeps what Take returned.
func (f *FreeList[T]) Give(t *T) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.kept = append(f.kept, t)
}

// free holds tasks and buffers between calls, so that a call allocates nothing once it has been made before.
var free struct {
	sync.Mutex
	tasks map[reflect.Type][]any // *T for each T
	f32   [][]float32            // smallest first
	f64   [][]float64
}

// take returns a T that was kept, or a new one.
func take[T any]() *T {
	free.Lock()
	defer free.Unlock()
	kept := free.tasks[reflect.TypeFor[T]()]
	if len(kept) == 0 {
		return new(T)
	}
	last := len(kept) - 1
	free.tasks[reflect.TypeFor[T]()] = kept[:last]
	return kept[last].(*T)
}

// keep keeps t with its content for take.
func keep[T any](t *T) {
	free.Lock()
	defer free.Unlock()
	if free.tasks == nil {
		free.tasks = map[reflect.Type][]any{}
	}
	free.tasks[reflect.TypeFor[T]()] = append(free.tasks[reflect.TypeFor[T]()], t)
}

// give keeps t without its content, which may be large slices of others.
func give[T any](t *T) {
	var zero T
	*t = zero
	keep(t)
}

func buffers[F Float]() *[][]F {
	var zero F
	if _, ok := any(zero).(float32); ok {
		return any(&free.f32).(*[][]F)
	}
	return any(&free.f64).(*[][]F)
}

// Borrow returns n elements of any content, to be handed to GiveBack: scratch that calls share.
func Borrow[F Float](n int) []F {
	free.Lock()
	defer free.Unlock()
	list := buffers[F]()
	for i, b := range *list {
		if cap(b) >= n {
			*list = slices.Delete(*list, i, i+1)
			return b[:n]
		}
	}
	return make([]F, n)
}

// GiveBack takes what Borrow returned.
func GiveBack[F Float](b []F) {
	free.Lock()
	defer free.Unlock()
	list := buffers[F]()
	i := 0
	for i < len(*list) && cap((*list)[i]) < cap(b) {
		i++
	}
	*list = slices.Insert(*list, i, b)
}
