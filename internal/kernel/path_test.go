package kernel

import (
	"strings"
	"testing"
)

// onEachPath runs f once for each path of float32 kernels that this machine has, with kernels forced to it.
func onEachPath(t *testing.T, f func(t *testing.T)) { onPaths(t, avx512, f) }

// onPaths is onEachPath up to the path best.
func onPaths(t *testing.T, best level, f func(t *testing.T)) {
	for l := portable; l <= min(best, supported()); l++ {
		t.Run(l.String(), func(t *testing.T) {
			forcePath(t, l)
			f(t)
		})
	}
}

func forcePath(t testing.TB, l level) {
	before := path
	path = l
	t.Cleanup(func() { path = before })
}

func TestChoosePath(t *testing.T) {
	for _, c := range []struct {
		name string
		best level
		want level
		err  string
	}{
		{"", avx2, avx2, ""},
		{"portable", avx512, portable, ""},
		{"avx2", avx512, avx2, ""},
		{"avx512", avx512BF16, avx512, ""},
		{"", avx512BF16, avx512BF16, ""},
		{"avx512_bf16", avx512, avx512, "this machine has no avx512_bf16, the best it can run is avx512"},
		{"avx512", avx2, avx2, "this machine has no avx512, the best it can run is avx2"},
		{"sse", avx512, avx512, `have "sse", want portable, avx2, avx512 or avx512_bf16`},
	} {
		got, err := choosePath(c.name, c.best)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("choosePath(%q, %v) = %v, %v, want %v, error %q", c.name, c.best, got, err, c.want, c.err)
		}
	}
}
