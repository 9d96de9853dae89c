package report

import (
	"os"
	"strings"
	"testing"
	"time"
)

type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func progress(done, total, width int) (*Progress, *strings.Builder, *clock) {
	var out strings.Builder
	c := &clock{time.Unix(1000, 0)}
	p := NewProgress(&out, done, total)
	p.now, p.begun = c.now, c.t
	if width > 0 {
		p.width = func() int { return width }
	}
	return p, &out, c
}

func TestPlainLines(t *testing.T) {
	p, out, c := progress(0, 1000, 0)
	for i := 1; i <= 1000; i++ {
		c.t = c.t.Add(time.Second)
		p.Step(i, 2.5, 12345)
	}
	p.Done()
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 21 {
		t.Errorf("have %d lines, want the first and each fiftieth:\n%s", len(lines), out)
	}
	if want := "step 1/1000  loss 2.5000  12.3k tokens/s  16m39s left"; lines[0] != want {
		t.Errorf("have %q, want %q", lines[0], want)
	}
	if want := "step 1000/1000  loss 2.5000  12.3k tokens/s"; lines[len(lines)-1] != want {
		t.Errorf("have %q, want %q", lines[len(lines)-1], want)
	}
}

func TestSlowPlainLines(t *testing.T) {
	p, out, c := progress(500, 100000, 0)
	for i := 501; i <= 510; i++ {
		c.t = c.t.Add(40 * time.Second)
		p.Step(i, 1, 1)
	}
	if n := strings.Count(out.String(), "\n"); n != 5 { // the first, then each second one: 80 s
		t.Errorf("have %d lines:\n%s", n, out)
	}
	// 40 s for each of 99,499 steps, whatever was done before.
	if first, _, _ := strings.Cut(out.String(), "\n"); !strings.Contains(first, "46d01h left") {
		t.Errorf("have %q", first)
	}
}

// TestRestart: another stage's steps take another time.
func TestRestart(t *testing.T) {
	p, out, c := progress(0, 20, 0)
	for i := 1; i <= 11; i++ {
		if i == 11 {
			p.Restart(10)
			c.t = c.t.Add(time.Minute)
		}
		c.t = c.t.Add(time.Second)
		p.Step(i, 1, 1)
	}
	for _, want := range []string{"step 10/20  loss 1.0000  1 tokens/s  10s left", "step 11/20  loss 1.0000  1 tokens/s  9m09s left"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("have %q, want %q", out, want)
		}
	}
}

// screen plays what a terminal would show.
func screen(text string) []string {
	rows, column := [][]rune{nil}, 0
	for _, r := range text {
		last := len(rows) - 1
		switch r {
		case '\r':
			column = 0
		case '\n':
			rows, column = append(rows, nil), 0
		default:
			for len(rows[last]) <= column {
				rows[last] = append(rows[last], ' ')
			}
			rows[last][column] = r
			column++
		}
	}
	var shown []string
	for _, row := range rows {
		shown = append(shown, strings.TrimRight(string(row), " "))
	}
	return shown
}

func TestLiveLine(t *testing.T) {
	p, out, c := progress(0, 300, 80)
	show := func(i int, loss float64) string {
		c.t = c.t.Add(time.Second)
		p.Step(i, loss, 900)
		shown := screen(out.String())
		return shown[len(shown)-1]
	}
	if got, want := show(1, 10), "step 1/300  loss 10.0000  900 tokens/s  4m59s left"; got != want {
		t.Errorf("have %q, want %q", got, want)
	}
	if got, want := show(270, 1), "step 270/300  loss 1.0000  900 tokens/s  0.2s left"; got != want { // shorter: nothing may stay
		t.Errorf("have %q, want %q", got, want)
	}
	size := out.Len()
	p.Step(271, 1, 900) // too soon
	if out.Len() != size {
		t.Error("written again within the refresh time")
	}
	p.Printf("saved %s\n", "step-270")
	if got := show(272, 1); !strings.HasPrefix(got, "step 272/300") {
		t.Errorf("have %q", got)
	}
	p.Step(300, 0.5, 900) // the last is shown at once
	p.Done()
	p.Done()
	want := []string{"saved step-270", "step 300/300  loss 0.5000  900 tokens/s", ""}
	got := screen(out.String())
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("have %q, want %q", got, want)
	}
}

func TestNarrowTerminal(t *testing.T) {
	p, out, _ := progress(0, 300, 20)
	p.Step(1, 1, 1)
	if shown := screen(out.String()); len(shown[0]) > 19 || !strings.HasPrefix(shown[0], "step 1/300") {
		t.Errorf("have %q", shown)
	}
}

func TestFileIsNoTerminal(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if NewProgress(f, 0, 1).width != nil {
		t.Error("a file is taken for a terminal")
	}
}

func TestHumanise(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.0s", 42 * time.Millisecond: "42ms", 99600 * time.Microsecond: "0.1s", 4240 * time.Millisecond: "4.2s", 9949 * time.Millisecond: "9.9s", 9960 * time.Millisecond: "10s", 45 * time.Second: "45s",
		59600 * time.Millisecond: "1m00s", 185 * time.Second: "3m05s", 3599600 * time.Millisecond: "1h00m", 7620 * time.Second: "2h07m",
		76 * time.Hour: "3d04h", -5 * time.Second: "-5.0s",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%d) = %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{
		0: "0", 999: "999", 1000: "1.00k", 1234: "1.23k", 45600: "45.6k", 260032: "260k", 999_499: "999k", 999_600: "1.00M", 7_890_000_000: "7.89B", -1500: "-1.50k",
		99_960: "100k", 9_999: "10.0k",
	} {
		if got := Count(n); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{512: "512 B", 1536: "1.50 KiB", 1 << 20: "1.00 MiB", 25 << 29: "12.5 GiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	if err := Table(&out, [][]string{{"", "teacher", "student"}, {"nll", "1.30973", "2.1"}, {"top-1", "-", "0.61"}}); err != nil {
		t.Fatal(err)
	}
	want := "       teacher  student\nnll    1.30973  2.1\ntop-1  -        0.61\n"
	if out.String() != want {
		t.Errorf("have\n%swant\n%s", out.String(), want)
	}
}
