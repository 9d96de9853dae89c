package cli

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"kdistill/internal/loss"
)

// TestHelp wants words and real examples from every command: examples are command lines whose flags exist.
func TestHelp(t *testing.T) {
	root := newRoot(streams{nil, io.Discard, io.Discard})
	flag := regexp.MustCompile(` --([a-z0-9-]+)`)
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			visit(sub)
		}
		if c == root {
			return
		}
		if c.Short == "" || c.Example == "" || c.Args == nil {
			t.Errorf("%s: have no short description, example or check of arguments", c.CommandPath())
		}
		own := 0
		for line := range strings.Lines(c.Example) {
			found, _, err := root.Find(strings.Fields(line)[1:])
			if err != nil || !strings.HasPrefix(line, "  kdistill ") {
				t.Errorf("%s: the example %q is no command: %v", c.CommandPath(), line, err)
				continue
			}
			if found == c {
				own++
			}
			for _, m := range flag.FindAllStringSubmatch(line, -1) {
				if found.Flags().Lookup(m[1]) == nil {
					t.Errorf("%s: the example %q has the unknown flag --%s", c.CommandPath(), line, m[1])
				}
			}
		}
		if own == 0 {
			t.Errorf("%s: no example is of this command", c.CommandPath())
		}
	}
	visit(root)
}

// TestCheckFails wants a failed check to be seen, and to be an error.
func TestCheckFails(t *testing.T) {
	var out bytes.Buffer
	err := check(streams{out: &out}, []loss.CheckResult{{Name: "good", Pass: true}, {Name: "bad", Value: 1}})
	if err == nil || err.Error() != "1 of 2 checks are off" {
		t.Errorf("have error %v", err)
	}
	if !regexp.MustCompile(`(?m)^bad .*OFF *$`).MatchString(out.String()) || !regexp.MustCompile(`(?m)^good .*ok *$`).MatchString(out.String()) {
		t.Errorf("have\n%s", out.String())
	}
	if check(streams{out: &out}, nil) == nil {
		t.Error("nothing checked is no success")
	}
}
