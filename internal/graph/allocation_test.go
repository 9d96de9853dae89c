package graph

import (
	"runtime"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// allocated returns the objects and bytes that f allocates at least: the smallest of some runs, because the kernels' pools fill by chance.
func allocated(runs int, f func()) (objects, bytes uint64) {
	objects = 1 << 62
	for range runs {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		if n := after.Mallocs - before.Mallocs; n < objects {
			objects, bytes = n, after.TotalAlloc-before.TotalAlloc
		}
	}
	return objects, bytes
}

// TestAllocations: after the first run an op allocates nothing; the tape machine a few small things for each node.
func TestAllocations(t *testing.T) {
	for seed := range uint64(8) {
		f := newFixture(tensor.Float32, 8, 64)
		for i := range f.feed.Labels {
			f.feed.Labels[i] = int32(i % 11)
		}
		var nodes []*Node
		p, _ := f.compile(t, randomGraph(t, f, seed, &nodes), true)
		f.run(t, p)
		for _, o := range p.g.ops {
			run := o.run
			o.run = func(out gorgonia.Value, in []gorgonia.Value) {
				if objects, bytes := allocated(3, func() { run(out, in) }); objects > 0 {
					t.Errorf("%s: allocates %d bytes in %d objects", o.name, bytes, objects)
				}
			}
		}
		f.run(t, p) // in which ops run several times: on garbage
		for _, o := range p.g.ops {
			o.run = func(gorgonia.Value, []gorgonia.Value) {}
		}
		objects, bytes := allocated(3, func() { f.run(t, p) })
		if n := uint64(len(p.g.ops)); objects > 8*n || bytes > 256*n {
			t.Errorf("gorgonia allocates %d bytes in %d objects for %d ops", bytes, objects, n)
		}
	}
}
