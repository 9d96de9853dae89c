package trials

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPaired compares with scipy.stats.t.
func TestPaired(t *testing.T) {
	x, y := []float64{1.5, 2.25, 0.75, 3}, []float64{1, 2.5, 0.25, 1.75}
	if mean, half := Paired(x, y); mean != 0.5 || math.Abs(half-0.9744211977188331) > 1e-12 {
		t.Errorf("have %v ± %v", mean, half)
	}
	if have, want := Difference(x, y), "+0.5000 ± 0.9744"; have != want {
		t.Errorf("have %s, want %s", have, want)
	}
	if have, want := Difference(x[:1], y[:1]), "+0.5000"; have != want {
		t.Errorf("a single pair: have %s, want %s", have, want)
	}
}

func TestStories(t *testing.T) {
	long := strings.Repeat("word ", 50) + "end"
	path := filepath.Join(t.TempDir(), "stories.txt")
	if err := os.WriteFile(path, []byte("short"+Separator+"\n"+long+" \n"+Separator), 0o666); err != nil {
		t.Fatal(err)
	}
	if have, err := Stories(path); err != nil || !slices.Equal(have, []string{long}) {
		t.Errorf("have %q, %v", have, err)
	}
}
