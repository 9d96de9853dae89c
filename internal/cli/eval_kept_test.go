package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"kdistill/internal/testutil"
)

// TestEvalGoesOn interrupts and kills evaluations midway, which go on to the end that they would have had: no answer that was kept is given again.
func TestEvalGoesOn(t *testing.T) {
	model := testutil.Shared(t, "models/stories260k")
	dir := t.TempDir()
	var questions strings.Builder
	for i := range 400 {
		fmt.Fprintf(&questions, `{"question": "Who was number %d?", "choices": ["Tom", "a big dog"], "reference": 0}`+"\n", i)
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	write("q.jsonl", questions.String())
	other := filepath.Join(dir, "other")
	if err := os.CopyFS(other, os.DirFS(model)); err != nil {
		t.Fatal(err)
	}
	write("other/config.json", read("other/config.json")+"\n")
	for name, way := range map[string]struct {
		stop os.Signal
		args []string
	}{
		"written": {os.Interrupt, []string{"--metric", "length", "--temperature", "0.8", "--max-tokens", "60"}},
		"ranked":  {os.Interrupt, []string{"--metric", "acc", "--shots", "8"}},
		"killed":  {os.Kill, []string{"--metric", "length", "--metric", "acc", "--max-tokens", "60", "--threads", "1"}},
	} {
		args := append([]string{"eval", "--model", model, "--task", "q.jsonl"}, way.args...)
		run := func(file string) (*bytes.Buffer, *bytes.Buffer, error) {
			p, stdout, stderr := process(t, dir, append(args, "--per-example", file)...)
			return stdout, stderr, p.Run()
		}
		if _, stderr, err := run("whole"); err != nil {
			t.Fatalf("%v: %s", err, stderr)
		}
		p, _, stderr := process(t, dir, append(args, "--per-example", "each")...)
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		part := filepath.Join(dir, "each.part")
		for lines := 0; lines < 4; time.Sleep(time.Millisecond) {
			text, _ := os.ReadFile(part)
			lines = bytes.Count(text, []byte("\n"))
		}
		if err := p.Process.Signal(way.stop); err != nil {
			t.Fatal(err)
		}
		err := p.Wait()
		if err == nil || way.stop == os.Interrupt && (p.ProcessState.ExitCode() != exitInterrupted || !strings.Contains(stderr.String(), "are kept in each.part: run the same command again")) {
			t.Fatalf("%s: have %v: %s", name, err, stderr)
		}
		kept := strings.SplitAfter(read("each.part"), "\n")
		if n := len(kept) - 2; n < 3 || n >= 400 {
			t.Fatalf("%s: %d answers are kept", name, n)
		}
		// Marks show whether what is kept is taken; a torn line is none.
		kept[1] = regexp.MustCompile(`"loglikelihood":\[[^,]*`).ReplaceAllString(strings.Replace(kept[1], `"Text":"`, `"Text":"MARK `, 1), `"loglikelihood":[99`)
		write("marked.part", strings.Join(kept[:3], "")+`{"index": 1`)
		for file, like := range map[string]bool{"each": true, "marked": false} {
			if _, stderr, err := run(file); err != nil || (read(file) == read("whole")) != like {
				t.Errorf("%s, %s: have %v, %s or another end", name, file, err, stderr)
			}
			if _, err := os.Stat(filepath.Join(dir, file+".part")); err == nil {
				t.Errorf("%s: %s.part is left", name, file)
			}
		}
		if text := read("marked"); !strings.Contains(text, "MARK ") && !strings.Contains(text, "[99,") {
			t.Errorf("%s: a kept answer was given again", name)
		}
		write("each.part", strings.Join(kept[:3], ""))
		for want, more := range map[string][]string{"other questions, or asked in another way": {"--limit", "9"}, "another model": {"--model", other}} {
			p, _, stderr := process(t, dir, append(append(args, "--per-example", "each"), more...)...)
			if err := p.Run(); err == nil || !strings.Contains(stderr.String(), want) || read("each.part") != strings.Join(kept[:3], "") {
				t.Errorf("%s: have %v, %s", name, err, stderr)
			}
		}
		if err := os.Remove(part); err != nil {
			t.Fatal(err)
		}
	}
}
