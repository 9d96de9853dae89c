package cli

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// TestKillCache kills kdistill cache without warning, again and again, and wants the files of a run that was left alone.
func TestKillCache(t *testing.T) {
	args := []string{"cache", "--config", "run.yaml", "--set", "cache.dir=cache", "--set", "cache.top_k=8"}
	folder := func() string {
		dir := runFolder(t, 1)
		path := filepath.Join(dir, "ids.jsonl")
		var ids bytes.Buffer
		random := rand.New(rand.NewPCG(8, 0))
		for range 6000 {
			ids.WriteString(`{"input_ids": [`)
			for i := range 12 {
				if i > 0 {
					ids.WriteString(", ")
				}
				ids.WriteString([]string{"3", "17", "42", "61", "9"}[random.IntN(5)])
			}
			ids.WriteString("]}\n")
		}
		if err := os.WriteFile(path, ids.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	rows := func(dir string) []byte {
		p, _, stderr := process(t, dir, args...)
		if err := p.Run(); err != nil {
			t.Fatalf("%v: %s", err, stderr)
		}
		text, err := os.ReadFile(filepath.Join(dir, "cache", "rows-00000.bin"))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	want := rows(folder())
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0)) // any moment is to be harmless
	kills, halfway := 0, 0
	for range 3 {
		dir := folder()
		written := func() int {
			info, err := os.Stat(filepath.Join(dir, "cache", "rows-00000.bin"))
			if err != nil {
				return 0
			}
			return int(info.Size())
		}
		for attempt := range 5 {
			p, _, stderr := process(t, dir, args...)
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- p.Wait() }()
			waitUntil(ended, written, 1+random.IntN(len(want)/2))
			_ = p.Process.Kill() // an error where it has ended
			<-ended
			if p.ProcessState.Success() {
				break
			}
			if p.ProcessState.Exited() && runtime.GOOS != "windows" {
				t.Fatalf("attempt %d: it ended by itself: %s", attempt, stderr)
			}
			kills++
			if n := written(); n > 0 && n < len(want) {
				halfway++
			}
		}
		if have := rows(dir); !bytes.Equal(have, want) {
			t.Errorf("have %d bytes, want the same %d", len(have), len(want))
		}
	}
	if kills < 3 || halfway == 0 {
		t.Errorf("%d processes were killed, %d in the middle of writing", kills, halfway)
	}
}

// waitUntil waits for the end of a process, or for written bytes.
func waitUntil(ended chan error, written func() int, bytes int) {
	for written() < bytes {
		select {
		case err := <-ended:
			ended <- err
			return
		default:
			time.Sleep(100 * time.Microsecond)
		}
	}
}
