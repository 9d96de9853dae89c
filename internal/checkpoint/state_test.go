package checkpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// testState of a step has slices that follow from it.
func testState(n int) (State, []Slice) {
	state := State{
		Step: n, Seed: 1<<64 - 1, Config: []byte(`{"a":1e-05}`), Data: []byte(fmt.Sprintf(`{"epoch":%d}`, n)), Loop: []byte(`[1,"<"]`),
		Best: &Best{Step: 1, Metric: "nll", Value: 0.1},
	}
	x := make([]float32, 100)
	for i := range x {
		x[i] = float32(n*1000 + i)
	}
	return state, []Slice{{"parameters", x}, {"adamw.m", x[:50]}, {"empty", nil}}
}

func saveStep(t *testing.T, dir string, n int) string {
	t.Helper()
	state, slices := testState(n)
	path, err := Save(dir, state, slices)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// latest returns the step of the last good state, 0 for none, after comparing all of it.
func latest(t *testing.T, dir string) (n int, warnings []string) {
	t.Helper()
	saved, warnings, err := Latest(dir)
	if err != nil {
		t.Fatal(err)
	}
	if saved == nil {
		return 0, warnings
	}
	defer saved.Close()
	want, flat := testState(saved.Step)
	if !reflect.DeepEqual(saved.State, want) {
		t.Errorf("have %+v, want %+v", saved.State, want)
	}
	for _, s := range flat {
		got := make([]float32, len(s.Data))
		if err := saved.Read(s.Name, got); err != nil || !slices.Equal(got, s.Data) {
			t.Errorf("%s of step %d: have %v %v", s.Name, saved.Step, got, err)
		}
	}
	if got := saved.file.Names(); !slices.Equal(got, []string{"adamw.m", "empty", "parameters"}) {
		t.Errorf("names: have %v", got)
	}
	return saved.Step, warnings
}

func TestSaveLatest(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "checkpoints")
	if n, warnings := latest(t, dir); n != 0 || warnings != nil {
		t.Errorf("no folder: have %d %v", n, warnings)
	}
	for _, n := range []int{90, 100, 20} {
		saveStep(t, dir, n)
	}
	for _, other := range []string{"step-x", "step-300.tmp", "step--5", "notes"} {
		if err := os.Mkdir(filepath.Join(dir, other), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if n, warnings := latest(t, dir); n != 100 || warnings != nil {
		t.Errorf("have %d %v, want 100", n, warnings)
	}
	saved, err := Load(filepath.Join(dir, "step-20"))
	if err != nil {
		t.Fatal(err)
	}
	defer saved.Close()
	if err := saved.Read("parameters", make([]float32, 99)); err == nil || !strings.Contains(err.Error(), "have 100 elements, want 99") {
		t.Errorf("wrong length: have %v", err)
	}
	if err := saved.Read("none", nil); err == nil || !strings.Contains(err.Error(), `"none"`) {
		t.Errorf("unknown name: have %v", err)
	}
}

// One flipped bit, a cut, a missing file: the state before is taken, and a warning names the damage.
func TestLatestSkipsDamaged(t *testing.T) {
	for _, c := range []struct {
		name, file string
		damage     func([]byte) []byte
		want       string
	}{
		{"bit of a slice", slicesFile, func(b []byte) []byte { b[len(b)-7] ^= 1; return b }, "damaged"},
		{"slices cut", slicesFile, func(b []byte) []byte { return b[:len(b)-1] }, "damaged"},
		{"slices gone", slicesFile, nil, slicesFile},
		{"state gone", stateFile, nil, stateFile},
		{"state empty", stateFile, func(b []byte) []byte { return nil }, stateFile},
		{"state cut", stateFile, func(b []byte) []byte { return b[:len(b)/2] }, "invalid JSON"},
		{"digit of the state", stateFile, func(b []byte) []byte { return []byte(strings.Replace(string(b), `"step":2`, `"step":3`, 1)) }, "damaged"},
		{"other version", stateFile, func(b []byte) []byte { return []byte(strings.Replace(string(b), `"version":1`, `"version":9`, 1)) }, "version 9"},
		{"other kind", stateFile, func(b []byte) []byte { return []byte(`{"version": 1, "state": 5}`) }, "damaged"},
	} {
		dir := t.TempDir()
		saveStep(t, dir, 1)
		path := filepath.Join(saveStep(t, dir, 2), c.file)
		data, err := os.ReadFile(path)
		if err == nil && c.damage == nil {
			err = os.Remove(path)
		} else if err == nil {
			err = os.WriteFile(path, c.damage(data), 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
		n, warnings := latest(t, dir)
		if n != 1 || len(warnings) != 1 || !strings.Contains(warnings[0], "step-2") || !strings.Contains(warnings[0], c.want) {
			t.Errorf("%s: have step %d, warnings %q, want step 1 and %q", c.name, n, warnings, c.want)
		}
		saveStep(t, dir, 2) // goes over the damaged one
		if n, warnings := latest(t, dir); n != 2 || warnings != nil {
			t.Errorf("%s: saved again: have %d %v", c.name, n, warnings)
		}
	}
}

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	for n := 1; n <= 6; n++ {
		saveStep(t, dir, n)
	}
	for _, left := range []string{"step-9.tmp", "step-2.old", "notes"} {
		if err := os.Mkdir(filepath.Join(dir, left), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if err := Prune(dir, 6, 2); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"notes", "step-5", "step-6"}) {
		t.Errorf("have %v", got)
	}
	saveStep(t, dir, 4) // 5 and 6 were damaged, and the run was begun anew
	if err := Prune(dir, 4, 0); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"notes", "step-4"}) {
		t.Errorf("have %v", got)
	}
	if err := Prune(filepath.Join(dir, "none"), 1, 1); err != nil {
		t.Error(err)
	}
}

// Whenever the process dies while it saves or prunes, the state before or after loads without a warning, and the run goes on.
func TestSaveDies(t *testing.T) {
	for _, steps := range [][]int{{1}, {1, 2}} { // step 2 is new, or replaced
		eachStep(t, true, func(dir string) {
			for _, n := range steps {
				saveStep(t, dir, n)
			}
		}, func(d disk, dir string) error {
			state, flat := testState(2)
			if _, err := save(d, dir, state, flat); err != nil {
				return err
			}
			return prune(d, dir, 2, 1)
		}, func(dir string, _ error) {
			n, warnings := latest(t, dir)
			if n < len(steps) || n > 2 || warnings != nil {
				t.Fatalf("%v: have step %d, %v", steps, n, warnings)
			}
			saveStep(t, dir, 3)
			if err := Prune(dir, 3, 1); err != nil {
				t.Fatal(err)
			}
			if got := names(t, dir); !slices.Equal(got, []string{"step-3"}) {
				t.Fatalf("left behind: %v", got)
			}
		})
	}
}

func TestSaveDiskFull(t *testing.T) {
	eachStep(t, false, func(dir string) {
		saveStep(t, dir, 1)
	}, func(d disk, dir string) error {
		state, flat := testState(2)
		_, err := save(d, dir, state, flat)
		return err
	}, func(dir string, err error) {
		if err != nil && !strings.Contains(err.Error(), "no space left") {
			t.Errorf("have %v", err)
		}
		if n, warnings := latest(t, dir); n == 0 || warnings != nil || n == 1 && err == nil {
			t.Errorf("have step %d, %v", n, warnings)
		}
		if got := names(t, dir); slices.Contains(got, "step-2.tmp") {
			t.Errorf("left behind: %v", got)
		}
	})
}

func TestSaveRefusesWrongJSON(t *testing.T) {
	state, flat := testState(1)
	state.Data = []byte("{")
	dir := t.TempDir()
	if _, err := Save(dir, state, flat); err == nil || len(names(t, dir)) > 0 {
		t.Errorf("have %v and %v", err, names(t, dir))
	}
}
