package distill

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"kdistill/internal/report"
)

// headroom is how much garbage may gather before it is collected: steps make little of it, and with Go's default it would grow, in hours,
// to the size of all that lives.
const headroom = 8 << 20

// programMemory is what the program takes that is in no other row of memory: its code, the Go runtime, threads' working memory, headroom.
const programMemory = 32 << 20

// settle gives back what loading has left over and bounds garbage from now on; GOGC in the environment has its way. Close undoes it.
func (r *run) settle() error {
	intermediate, err := r.bytes(r.micro, r.config.Data.SequenceLength)
	if err != nil {
		return err
	}
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	r.loaded = int(m.HeapAlloc)
	if os.Getenv("GOGC") == "" {
		before := debug.SetGCPercent(max(1, min(100, 100*headroom/(r.loaded+intermediate))))
		r.unsettle = func() { debug.SetGCPercent(before) }
	}
	return nil
}

// memoryPart is a row of the memory table.
type memoryPart struct {
	name  string
	bytes int
}

// memory lists what a run holds when it trains, and perhaps is evaluated, with intermediate values of so many bytes. Of a teacher's files all is counted
// that is mapped, but what lies packed and is not read again.
func (r *run) memory(intermediate int, evaluated bool) []memoryPart {
	weights := 4 * r.student.flat.Count()
	moments := 0
	for _, m := range r.optimizer.State() {
		moments += 4 * len(m.Values)
	}
	documents := 8 * r.dataset.Tokens() // ids and source bytes
	teacher, packed := 0, 0
	for _, t := range r.teachers {
		teacher += t.memory(evaluated)
		packed += t.packing.Taken
	}
	return []memoryPart{
		{"student's weights", weights}, {"gradients", weights}, {"optimizer's moments", moments}, {"teacher's weights", teacher},
		{"intermediate values", intermediate}, {"documents", documents},
		{"program, tokenizers, weights converted", programMemory + max(0, r.loaded-2*weights-moments-documents-packed)},
	}
}

func totalMemory(parts []memoryPart) (bytes int) {
	for _, p := range parts {
		bytes += p.bytes
	}
	return bytes
}

// memoryTable is memory for people.
func memoryTable(parts []memoryPart) [][]string {
	rows := [][]string{{"memory", ""}}
	for _, p := range append(parts, memoryPart{"together", totalMemory(parts)}) {
		rows = append(rows, []string{p.name, report.Bytes(int64(p.bytes))})
	}
	return rows
}

// PeakMemory is the most memory that this process has taken so far, in bytes; 0 where the system does not tell.
func PeakMemory() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	var kilobytes int64
	fmt.Sscan(after, &kilobytes)
	return kilobytes << 10
}
