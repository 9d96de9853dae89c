//go:build race

package testutil

// Race says that the race detector watches.
const Race = true
