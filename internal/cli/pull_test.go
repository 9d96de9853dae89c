package cli

import (
	"bytes"
	"strings"
	"testing"

	"kdistill/internal/checkpoint"
)

// TestPullProgress looks at the living line of a terminal: a file's first and last state are always shown, a longer line is written over.
func TestPullProgress(t *testing.T) {
	var out bytes.Buffer
	p := &pullProgress{w: &out, terminal: true}
	for _, at := range []checkpoint.Progress{
		{File: "a-long-name.json", Done: 10, Total: 2048}, {File: "m.bin", Done: 20, Total: 2048}, {File: "m.bin", Done: 1000, Total: 2048}, {File: "m.bin", Done: 2048, Total: 2048},
	} {
		p.show(at)
	}
	p.done()
	want := []string{"", "a-long-name.json  10 B of 2.00 KiB (0 %)", "m.bin  20 B of 2.00 KiB (1 %)           ", "m.bin  2.00 KiB of 2.00 KiB (100 %)\n"}
	if have := out.String(); have != strings.Join(want, "\r") {
		t.Errorf("have %q", have)
	}
}
