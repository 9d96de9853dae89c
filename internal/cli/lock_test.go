package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestOneProcessAFolder starts a second run in a folder that a living process writes to; a dead one's is free.
func TestOneProcessAFolder(t *testing.T) {
	dir := runFolder(t, 1_000_000)
	for _, again := range []string{"--resume", "--overwrite"} {
		if err := os.RemoveAll(filepath.Join(dir, "run")); err != nil {
			t.Fatal(err)
		}
		first, _, stderr := process(t, dir, "train", "--config", "run.yaml")
		if err := first.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- first.Wait() }()
		waitFor(ended, filepath.Join(dir, "run"), "metrics.jsonl", 0) // by then it has the lock
		second, _, said := process(t, dir, "train", "--config", "run.yaml", again)
		if err := second.Start(); err != nil {
			t.Fatal(err)
		}
		hung := time.AfterFunc(time.Minute, func() { _ = second.Process.Kill() })
		err := second.Wait()
		hung.Stop()
		if code := second.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(said.String(), "output.dir: another process is writing to run: wait for its end, or choose another folder") {
			t.Errorf("%s: have %v, exit code %d: %s", again, err, code, said)
		}
		if err := first.Process.Kill(); err != nil {
			t.Errorf("the first process ended: %s", stderr)
		}
		<-ended
	}
	p, _, stderr := process(t, dir, "train", "--config", "run.yaml", "--overwrite", "--set", "train.steps=2")
	if err := p.Run(); err != nil {
		t.Fatalf("after the kill: %v: %s", err, stderr)
	}
}
