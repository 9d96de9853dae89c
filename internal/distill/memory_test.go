package distill

import (
	"context"
	"io"
	"runtime"
	"runtime/debug"
	"testing"
)

// TestStepAllocates: a step allocates what its runs of the objective do, which package graph accounts for, and a few small things.
func TestStepAllocates(t *testing.T) {
	r, err := prepare(context.Background(), textConfig(t), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	batch, err := r.source.Next(5)
	if err != nil {
		t.Fatal(err)
	}
	number := 0
	measure := func(f func() error) (objects, bytes uint64) {
		objects, bytes = 1<<62, 1<<62
		for range 10 { // the least: pools fill by chance
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if err := f(); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			objects, bytes = min(objects, after.Mallocs-before.Mallocs), min(bytes, after.TotalAlloc-before.TotalAlloc)
		}
		return objects, bytes
	}
	stepObjects, stepBytes := measure(func() error {
		number++
		_, err := r.step(context.Background(), number, batch)
		return err
	})
	runObjects, runBytes := measure(func() error {
		_, err := r.accumulate(context.Background(), r.stages[0], batch)
		return err
	})
	if have := stepObjects - runObjects; have > 30 {
		t.Errorf("a step allocates %d objects beside its runs' %d", have, runObjects)
	}
	if have := stepBytes - runBytes; have > 4096 {
		t.Errorf("a step allocates %d bytes beside its runs' %d", have, runBytes)
	}
	if runBytes > 100_000 { // 3 runs of two models
		t.Errorf("the runs allocate %d bytes", runBytes)
	}
}

// TestSettle: garbage is bounded while a run lives, and only then.
func TestSettle(t *testing.T) {
	t.Setenv("GOGC", "")
	percent := func() int {
		p := debug.SetGCPercent(100)
		debug.SetGCPercent(p)
		return p
	}
	before := percent()
	c := textConfig(t)
	c.Data.SequenceLength, c.Train.MicroBatchSize = 512, 5
	c.Teacher.Path, c.Student.Path = modelFolder(t, "teacher", long, nil), modelFolder(t, "student", long, nil)
	r, err := prepare(context.Background(), c, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := r.source.Next(5)
	if err != nil {
		t.Fatal(err)
	}
	intermediate, err := r.bytes(batch.B, batch.T)
	if err != nil {
		t.Fatal(err)
	}
	parts := r.memory(intermediate, true)
	if have, total := percent(), totalMemory(parts); have < 1 || have >= before || have*(total-programMemory)/100 > 2*headroom {
		t.Errorf("a run that takes %d bytes collects garbage at %d %%", total, have)
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	if have := percent(); have != before {
		t.Errorf("after the run garbage is collected at %d %%, before at %d %%", have, before)
	}
}

// long gives a model positions enough that its memory is far above headroom.
func long(config map[string]any) { config["max_position_embeddings"] = 512 }
