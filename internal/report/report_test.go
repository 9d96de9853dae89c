package report

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func step(i int) Step {
	return Step{Step: i, Loss: 1 / float64(i), Losses: map[string]float64{"forward_kl": 0.5, "ce": float64(i)}, GradNorm: 2, LR: 1e-8, Tokens: 7, TokensPerSecond: 1234.5}
}

type figures struct {
	NLL    float64  `json:"nll"`
	KL     float64  `json:"kl"`
	Bits   *float64 `json:"bits_per_byte"`
	Prefix string   `json:"prefix"`
}

// writeRun does what a trainer does: steps first..last, an evaluation before the first and after each tenth.
func writeRun(t *testing.T, dir string, first, last int) {
	t.Helper()
	l, err := OpenLog(dir, first-1, true)
	if err != nil {
		t.Fatal(err)
	}
	l.now = func() time.Time { return time.Unix(1700000000, 250_000_000) }
	check := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if first == 1 {
		check(l.Eval(0, figures{NLL: 3}))
	}
	for i := first; i <= last; i++ {
		check(l.Step(step(i)))
		if i%10 == 0 {
			check(l.Eval(i, figures{NLL: 1, KL: 0.25}))
			check(l.Sync())
		}
	}
	check(l.Close())
}

func read(t *testing.T, dir string) (metrics string, events []byte) {
	t.Helper()
	m, err := os.ReadFile(filepath.Join(dir, "metrics.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := os.ReadFile(filepath.Join(dir, "events.out.tfevents.0.kdistill"))
	if err != nil {
		t.Fatal(err)
	}
	return string(m), e
}

func TestMetricsText(t *testing.T) {
	dir := t.TempDir()
	writeRun(t, dir, 1, 1)
	got, _ := read(t, dir)
	want := `{"step":0,"eval":{"nll":3,"kl":0,"bits_per_byte":null,"prefix":""}}
{"step":1,"loss":1,"losses":{"ce":1,"forward_kl":0.5},"grad_norm":2,"lr":1e-8,"tokens":7,"tokens_per_second":1234.5}
`
	if got != want {
		t.Errorf("have\n%swant\n%s", got, want)
	}
}

// TestResume cuts a run at every byte that a crash may leave, resumes it at the last checkpoint, and wants the files of
// a run that was never interrupted.
func TestResume(t *testing.T) {
	whole := t.TempDir()
	writeRun(t, whole, 1, 30)
	wantMetrics, wantEvents := read(t, whole)
	after20 := strings.Index(wantMetrics, `{"step":21,`)
	torn := 0
	for cut := after20; cut < len(wantMetrics); cut += 37 {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "metrics.jsonl"), []byte(wantMetrics[:cut]), 0o600); err != nil {
			t.Fatal(err)
		}
		// The event file ends elsewhere: somewhere behind step 20 too.
		tail := len(wantEvents) - (len(wantMetrics)-cut)/3
		if err := os.WriteFile(filepath.Join(dir, "events.out.tfevents.0.kdistill"), wantEvents[:tail], 0o600); err != nil {
			t.Fatal(err)
		}
		if wantMetrics[cut-1] != '\n' {
			torn++
		}
		writeRun(t, dir, 21, 30)
		metrics, events := read(t, dir)
		if metrics != wantMetrics {
			t.Fatalf("cut at %d: metrics.jsonl differs:\n%s", cut, metrics)
		}
		if diff := cmp.Diff(decodeEvents(t, wantEvents)[1:], decodeEvents(t, events)[1:]); diff != "" {
			t.Fatalf("cut at %d: events differ: %s", cut, diff)
		}
	}
	if torn < 5 {
		t.Errorf("only %d torn lines were tried", torn)
	}
	// Begun anew, nothing of the old run stays.
	writeRun(t, whole, 1, 2)
	if metrics, events := read(t, whole); strings.Count(metrics, "\n") != 3 || len(decodeEvents(t, events)) != 4 {
		t.Errorf("have\n%s", metrics)
	}
}

// TestResumeBeforeEvaluation resumes at a state that was saved before its step's evaluation: whether or not that was written meanwhile, it is in the
// log once in the end.
func TestResumeBeforeEvaluation(t *testing.T) {
	whole := t.TempDir()
	writeRun(t, whole, 1, 10)
	wantMetrics, wantEvents := read(t, whole)
	for range 2 {
		l, err := OpenLog(whole, 10, false)
		if err != nil {
			t.Fatal(err)
		}
		if metrics, events := read(t, whole); !strings.HasSuffix(metrics, "}\n") || strings.Count(metrics, `"eval"`) != 1 || len(decodeEvents(t, events)) != 12 {
			t.Errorf("after opening: have\n%s", metrics)
		}
		l.now = func() time.Time { return time.Unix(1700000000, 250_000_000) }
		if err := errors.Join(l.Eval(10, figures{NLL: 1, KL: 0.25}), l.Close()); err != nil {
			t.Fatal(err)
		}
		metrics, events := read(t, whole)
		if diff := cmp.Diff(decodeEvents(t, wantEvents), decodeEvents(t, events)); metrics != wantMetrics || diff != "" {
			t.Errorf("have\n%sevents differ: %s", metrics, diff)
		}
	}
}

func TestForeignMetricsStay(t *testing.T) {
	dir := t.TempDir()
	for _, text := range []string{"{\"step\":1}\nmy notes\n", "{\"loss\":1}\n", "[]\n"} {
		path := filepath.Join(dir, "metrics.jsonl")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenLog(dir, 5, true); err == nil || !strings.Contains(err.Error(), "not a line of metrics") {
			t.Errorf("%q: have %v", text, err)
		}
		if left, _ := os.ReadFile(path); string(left) != text {
			t.Errorf("%q became %q", text, left)
		}
	}
}

func TestNotFinite(t *testing.T) {
	l, err := OpenLog(t.TempDir(), 0, true)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	bad := step(3)
	bad.Loss = math.NaN()
	if err := l.Step(bad); err == nil || !strings.Contains(err.Error(), "step 3") {
		t.Errorf("have %v", err)
	}
	if err := l.Eval(3, []int{1}); err == nil {
		t.Error("a list is no evaluation")
	}
}

func TestDamagedEvents(t *testing.T) {
	dir := t.TempDir()
	writeRun(t, dir, 1, 5)
	_, events := read(t, dir)
	flipped := bytes.Clone(events)
	flipped[len(flipped)/2] ^= 4
	path := filepath.Join(dir, "events.out.tfevents.0.kdistill")
	if err := os.WriteFile(path, flipped, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := OpenLog(dir, 5, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, left := read(t, dir)
	if len(left) > len(events)/2 || !bytes.HasPrefix(events, left) {
		t.Errorf("have %d bytes of %d", len(left), len(events))
	}
	decodeEvents(t, left)
}

// event is an Event message, decoded by hand: the layout is known, so no protobuf code is shared with the writer.
type event struct {
	Wall    float64
	Step    int
	Version string
	Scalars map[string]float32
}

func TestEvents(t *testing.T) {
	dir := t.TempDir()
	writeRun(t, dir, 1, 300)
	_, text := read(t, dir)
	events := decodeEvents(t, text)
	if events[0].Version != "brain.Event:2" || events[0].Wall < 1.7e9 {
		t.Errorf("have %+v, want the version first", events[0])
	}
	want := []event{
		{Wall: 1700000000.25, Step: 0, Scalars: map[string]float32{"eval/nll": 3, "eval/kl": 0}},
		{Wall: 1700000000.25, Step: 1, Scalars: map[string]float32{"train/loss": 1, "train/grad_norm": 2, "train/lr": 1e-8,
			"train/tokens_per_second": 1234.5, "losses/ce": 1, "losses/forward_kl": 0.5}},
	}
	if diff := cmp.Diff(want, events[1:3]); diff != "" {
		t.Error(diff)
	}
	if last := events[len(events)-1]; last.Step != 300 || last.Scalars["eval/kl"] != 0.25 { // two bytes of varint
		t.Errorf("have %+v", last)
	}
}

// TestCRC checks the value of CRC32C's standard test text, and TensorFlow's mask of it.
func TestCRC(t *testing.T) {
	if crc := crc32.Checksum([]byte("123456789"), castagnoli); crc != 0xe3069283 {
		t.Errorf("have %#x", crc)
	}
	// 0xe3069283 rotated right by 15 is 0x2507c60d.
	if got, want := maskedCRC([]byte("123456789")), uint32(0x2507c60d+0xa282ead8); got != want {
		t.Errorf("have %#x, want %#x", got, want)
	}
}

func decodeEvents(t *testing.T, b []byte) []event {
	t.Helper()
	varint := func(b []byte) (int, []byte) {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			t.Fatal("bad varint")
		}
		return int(v), b[n:]
	}
	bytesField := func(b []byte) ([]byte, []byte) {
		n, b := varint(b)
		return b[:n], b[n:]
	}
	unmask := func(b []byte) uint32 {
		rotated := binary.LittleEndian.Uint32(b) - 0xa282ead8
		return rotated>>17 | rotated<<15
	}
	var all []event
	for len(b) > 0 {
		n := int(binary.LittleEndian.Uint64(b))
		message := b[12 : 12+n]
		if unmask(b[8:]) != crc32.Checksum(b[:8], castagnoli) || unmask(b[12+n:]) != crc32.Checksum(message, castagnoli) {
			t.Fatal("wrong checksum")
		}
		b = b[16+n:]
		var e event
		for len(message) > 0 {
			var key, value []byte
			tag := message[0]
			message = message[1:]
			switch tag {
			case 1<<3 | 1:
				e.Wall = math.Float64frombits(binary.LittleEndian.Uint64(message))
				message = message[8:]
			case 2 << 3: // varint is 0
				e.Step, message = varint(message)
			case 3<<3 | 2:
				value, message = bytesField(message)
				e.Version = string(value)
			case 5<<3 | 2:
				var summary []byte
				summary, message = bytesField(message)
				e.Scalars = map[string]float32{}
				for len(summary) > 0 {
					if summary[0] != 1<<3|2 {
						t.Fatalf("tag %#x in a summary", summary[0])
					}
					value, summary = bytesField(summary[1:])
					if value[0] != 1<<3|2 {
						t.Fatalf("tag %#x in a value", value[0])
					}
					key, value = bytesField(value[1:])
					if value[0] != 2<<3|5 || len(value) != 5 {
						t.Fatalf("tag %#x in a value", value[0])
					}
					e.Scalars[string(key)] = math.Float32frombits(binary.LittleEndian.Uint32(value[1:]))
				}
			default:
				t.Fatalf("tag %#x in an event", tag)
			}
		}
		all = append(all, e)
	}
	return all
}

// FuzzOpenLog opens folders with foreign files: no panic, and a log that can be written stays readable.
func FuzzOpenLog(f *testing.F) {
	f.Add([]byte("{\"step\":1}\n{\"step\":3}\n"), append(versionEvent(time.Unix(1, 0)), scalarEvent(2, time.Unix(1, 0), map[string]float64{"a": 1})...), 2)
	f.Fuzz(func(t *testing.T, metrics, events []byte, last int) {
		dir := t.TempDir()
		for name, text := range map[string][]byte{"metrics.jsonl": metrics, "events.out.tfevents.0.kdistill": events} {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l, err := OpenLog(dir, last, true)
		if err != nil {
			return
		}
		if err := l.Step(step(1)); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if again, err := OpenLog(dir, math.MaxInt, true); err != nil {
			t.Fatal(err)
		} else if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
