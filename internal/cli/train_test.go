package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kdistill/internal/testutil"
)

// process is the command line as a program of its own, in the folder dir.
func process(t testing.TB, dir string, args ...string) (p *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	p = exec.Command(self, args...)
	p.Args[0] = "kdistill" // see TestMain
	p.Dir, p.Stdout, p.Stderr = dir, stdout, stderr
	return p, stdout, stderr
}

// runFolder makes a folder with run.yaml, whose run over token ids writes to "run" there.
func runFolder(t testing.TB, steps int) string {
	t.Helper()
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(7, 0))
	var ids bytes.Buffer
	for range 50 {
		document := make([]int, 2+random.IntN(25))
		for i := range document {
			document[i] = 3 + random.IntN(61)
		}
		if err := json.NewEncoder(&ids).Encode(map[string]any{"input_ids": document}); err != nil {
			t.Fatal(err)
		}
	}
	config := fmt.Sprintf(`
teacher: {path: '%s'}
student: {path: '%s'}
data: {train: [{path: ids.jsonl, format: tokens}], sequence_length: 32}
loss: [{name: forward_kl}, {name: cross_entropy, weight: {from: 1, to: 0}}]
train:
  steps: %d
  batch_size: 6
  micro_batch_size: 4
  eval_every: 4
  save_every: 3
  optimizer: {lr: 0.01}
output: {dir: run}
`, testutil.Testdata(t, "golden/distill/teacher"), testutil.Testdata(t, "golden/distill/student"), steps)
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "ids.jsonl"), ids.Bytes(), 0o666), os.WriteFile(filepath.Join(dir, "run.yaml"), []byte(config), 0o666)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// finished runs the configuration to its end and returns what it has written: the models, and metrics.jsonl without times.
func finished(t testing.TB, dir string, args ...string) map[string]string {
	t.Helper()
	p, _, stderr := process(t, dir, append([]string{"train", "--config", "run.yaml"}, args...)...)
	if err := p.Run(); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	written := map[string]string{}
	for _, name := range []string{"model/model.safetensors", "best/model.safetensors", "metrics.jsonl"} {
		text, err := os.ReadFile(filepath.Join(dir, "run", filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		written[name] = regexp.MustCompile(`"tokens_per_second":[^,}]*`).ReplaceAllString(string(text), "")
	}
	return written
}

func sameRun(t testing.TB, have, want map[string]string) {
	t.Helper()
	for name := range want {
		if have[name] != want[name] {
			t.Errorf("%s differs", name)
			if name == "metrics.jsonl" {
				t.Logf("have\n%swant\n%s", have[name], want[name])
			}
		}
	}
}

// TestKill kills a run without warning, again and again, at any time and in the middle of writing, and wants the outcome of a run that was left alone.
func TestKill(t *testing.T) {
	const steps = 24
	dir := runFolder(t, steps)
	begun := time.Now()
	want := finished(t, dir)
	whole := time.Since(begun)
	// What is to be seen in the folder when the process is killed; "": nothing, after a time.
	var moments []string
	for i := range steps / 3 {
		moments = append(moments, "", fmt.Sprintf("checkpoints/step-%d.tmp", 3*i+3), "", "best.tmp", "", fmt.Sprintf("checkpoints/step-%d", 3*i+3), "model.tmp", "best.old")
	}
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0)) // any moment is to be harmless
	kills := 0
	for range 3 {
		dir := runFolder(t, steps)
		for attempt := range 20 {
			p, _, stderr := process(t, dir, "train", "--config", "run.yaml", "--resume")
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- p.Wait() }()
			waitFor(ended, filepath.Join(dir, "run"), moments[random.IntN(len(moments))], time.Duration(random.Int64N(int64(whole)/2)))
			_ = p.Process.Kill() // an error where it has ended
			<-ended
			if p.ProcessState.Success() {
				break
			}
			if p.ProcessState.Exited() && runtime.GOOS != "windows" {
				t.Fatalf("attempt %d: it ended by itself: %s", attempt, stderr)
			}
			kills++
		}
		sameRun(t, finished(t, dir, "--resume"), want)
	}
	if kills < 3 {
		t.Errorf("only %d processes were killed", kills)
	}
}

// waitFor returns when a name is to be seen in dir, or, without a name, after a time; and when the process has ended, which stays to be read.
func waitFor(ended chan error, dir, name string, after time.Duration) {
	begun := time.Now()
	for {
		select {
		case err := <-ended:
			ended <- err
			return
		default:
		}
		if name == "" {
			if time.Since(begun) >= after {
				return
			}
			time.Sleep(100 * time.Microsecond)
			continue
		}
		if _, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(name))); err == nil {
			return
		}
		time.Sleep(10 * time.Microsecond)
	}
}

// TestSignals wants SIGINT and SIGTERM to save, to say how to go on, and to end with 130; and the resumed run to come to the same end.
func TestSignals(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no signals to send")
	}
	want := finished(t, runFolder(t, 100))
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		dir := runFolder(t, 100)
		p, stdout, stderr := process(t, dir, "train", "--config", "run.yaml")
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- p.Wait() }()
		waitFor(ended, filepath.Join(dir, "run"), "checkpoints/step-6", 0)
		if err := p.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		<-ended
		if code := p.ProcessState.ExitCode(); code != exitInterrupted {
			t.Errorf("%v: have exit code %d, want %d: %s", signal, code, exitInterrupted, stderr)
		}
		stop := regexp.MustCompile(`(?m)^stopped after step (\d+): go on with --resume$`).FindStringSubmatch(stderr.String())
		if stop == nil || !strings.Contains(stderr.String(), "\ninterrupted\n") || stdout.Len() > 0 {
			t.Fatalf("%v: have %s%s", signal, stdout, stderr)
		}
		if strings.ContainsRune(stderr.String(), '\r') {
			t.Errorf("a log has a living line: %q", stderr)
		}
		if _, err := os.Stat(filepath.Join(dir, "run", "checkpoints", "step-"+stop[1])); err != nil {
			t.Error(err)
		}
		sameRun(t, finished(t, dir, "--resume"), want)
	}
}

// stopped leaves a run that was interrupted after some of its steps.
func stopped(t testing.TB, dir string, args ...string) {
	t.Helper()
	p, _, stderr := process(t, dir, append([]string{"train", "--config", "run.yaml"}, args...)...)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Wait() }()
	waitFor(ended, filepath.Join(dir, "run"), "checkpoints/step-6", 0)
	_ = p.Process.Signal(os.Interrupt)
	<-ended
	if code := p.ProcessState.ExitCode(); code != exitInterrupted {
		t.Fatalf("have exit code %d: %s", code, stderr)
	}
}

// TestFileLimit lets every save fail that writes more than a little: the states from before stay good.
func TestFileLimit(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no ulimit")
	}
	want := finished(t, runFolder(t, 100))
	dir := runFolder(t, 100)
	stopped(t, dir)
	before := checkpoints(t, dir)
	p, _, stderr := process(t, dir, "train", "--config", "run.yaml", "--resume")
	// 80 KiB: more than a model, less than a state.
	limited := exec.Command("sh", "-c", `ulimit -f 160 && exec "$0" "$@"`)
	limited.Args = append(limited.Args, filepath.Join(t.TempDir(), "kdistill"))
	if err := os.Symlink(p.Path, limited.Args[len(limited.Args)-1]); err != nil {
		t.Fatal(err)
	}
	limited.Args = append(limited.Args, p.Args[1:]...)
	limited.Dir, limited.Stderr = dir, stderr
	err := limited.Run()
	if limited.ProcessState.ExitCode() != exitFailed || !strings.Contains(stderr.String(), "save: write ") || !strings.Contains(stderr.String(), "file too large") {
		t.Fatalf("have %v: %s", err, stderr)
	}
	after := checkpoints(t, dir) // an older one may have gone: the step after the last proved that good
	if newest(after) != newest(before) {
		t.Errorf("have %v, want the last of %v", after, before)
	}
	sameRun(t, finished(t, dir, "--resume"), want)
}

// newest is the state of the last step.
func newest(names []string) string {
	return slices.MaxFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
}

func checkpoints(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "run", "checkpoints"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestFullDisk fills a disk while a run saves, makes room, and wants the run to go on to the end that it would have had.
func TestFullDisk(t *testing.T) {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("SKIPPED, a small disk can be made by root on Linux only")
	}
	want := finished(t, runFolder(t, 40), "--set", "train.keep=100")
	for _, size := range []string{"512k", "640k", "700k"} { // it ends in different files
		dir := runFolder(t, 40)
		disk := filepath.Join(dir, "run")
		if err := os.Mkdir(disk, 0o777); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "none", disk).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED, no small disk can be made: %s", out)
		}
		t.Cleanup(func() { _ = exec.Command("umount", "-l", disk).Run() })
		p, _, stderr := process(t, dir, "train", "--config", "run.yaml", "--set", "train.keep=100")
		err := p.Run()
		if p.ProcessState.ExitCode() != exitFailed || !strings.Contains(stderr.String(), "no space left on device") {
			t.Fatalf("have %v: %s", err, stderr)
		}
		if out, err := exec.Command("mount", "-o", "remount,size=16m", disk).CombinedOutput(); err != nil {
			t.Skipf("SKIPPED, the disk cannot be made larger: %s", out)
		}
		p, _, stderr = process(t, dir, "train", "--config", "run.yaml", "--set", "train.keep=100", "--resume")
		if err := p.Run(); err != nil || !regexp.MustCompile(`resuming run after step [1-9]`).MatchString(stderr.String()) {
			t.Fatalf("have %v: %s", err, stderr)
		}
		sameRun(t, finished(t, dir, "--set", "train.keep=100", "--resume"), want)
	}
}
