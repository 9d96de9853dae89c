package kernel

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

func TestMake(t *testing.T) {
	for _, n := range []int{0, 1, 1000, 5 << 20} {
		x := Make[float32](n)
		if len(x) != n || slices.ContainsFunc(x, func(v float32) bool { return v != 0 }) {
			t.Errorf("%d: have %d elements, or not all 0", n, len(x))
		}
	}
}

// TestMakeAsksForHugePages finds the advice among the flags of the memory's mapping.
func TestMakeAsksForHugePages(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("this system has no huge pages:", err)
	}
	x := Make[float64](8 << 20)
	middle := uintptr(unsafe.Pointer(&x[len(x)/2]))
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	here := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var from, to uintptr
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); n == 2 {
			here = from <= middle && middle < to
		}
		if flags, ok := strings.CutPrefix(lines.Text(), "VmFlags:"); ok && here {
			if !slices.Contains(strings.Fields(flags), "hg") {
				t.Errorf("have flags %s, want hg among them", flags)
			}
			return
		}
	}
	t.Error("the mapping is not in smaps")
}
