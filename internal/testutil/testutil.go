// Package testutil finds test inputs. It is imported by tests only.
package testutil

import (
	"os"
	"path/filepath"
	"testing"
)

// Root returns the project's root: the nearest folder above the working directory that holds go.mod.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the working directory")
		}
		dir = parent
	}
}

// Testdata returns the path of a committed test input.
func Testdata(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join(Root(t), "testdata", filepath.FromSlash(name))
}

// Shared returns the path of an input under KDISTILL_SHARED (default ../shared from the project's root).
// Where it is missing the test fails in CI and is skipped elsewhere.
func Shared(t testing.TB, name string) string {
	t.Helper()
	base := os.Getenv("KDISTILL_SHARED")
	if base == "" {
		base = filepath.Join(Root(t), "..", "shared")
	}
	path := filepath.Join(base, filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("shared input is missing: %v (set KDISTILL_SHARED)", err)
		}
		t.Skipf("SKIPPED, shared input is missing: %v (set KDISTILL_SHARED to run this test)", err)
	}
	return path
}

// Sequential skips a long test that starts no goroutine where the race detector watches: it would find nothing there, slowly.
func Sequential(t testing.TB) {
	t.Helper()
	if Race {
		t.Skip("nothing runs at the same time here")
	}
}
