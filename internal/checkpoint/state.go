package checkpoint

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"kdistill/internal/safetensors"
)

const (
	stateFile    = "state.json"
	slicesFile   = "state.safetensors"
	stateVersion = 1
	stepPrefix   = "step-"
)

// State is what a run needs, beside its slices, to go on after Step as if it had never stopped.
// Raw members belong to other packages and come back as they were, without white space.
type State struct {
	Step   int             `json:"step"`
	Seed   uint64          `json:"seed"`
	Config json.RawMessage `json:"config,omitempty"` // the run's effective configuration
	Data   json.RawMessage `json:"data,omitempty"`   // the position in the data
	Loop   json.RawMessage `json:"loop,omitempty"`   // whatever else the loop counts
	Best   *Best           `json:"best,omitempty"`
}

// Best is the best evaluation so far.
type Best struct {
	Step   int     `json:"step"`
	Metric string  `json:"metric"`
	Value  float64 `json:"value"`
}

// Slice is a flat array of the training state, as parameters or moments.
type Slice struct {
	Name string
	Data []float32
}

// stateJSON is state.json. The sum is SHA-256 over the state as written and then the slices' file.
type stateJSON struct {
	Version int             `json:"version"`
	Sum     string          `json:"sha256"`
	State   json.RawMessage `json:"state"`
}

// Save writes dir/step-N with state.json and state.safetensors and returns its path. It is complete and synced under
// a temporary name before it gets this one.
func Save(dir string, state State, slices []Slice) (string, error) {
	return save(realDisk{}, dir, state, slices)
}

func save(d disk, dir string, state State, flat []Slice) (string, error) {
	path := filepath.Join(dir, stepPrefix+strconv.Itoa(state.Step))
	raw, err := encode(state)
	if err != nil {
		return "", fmt.Errorf("write %s: %w", path, err)
	}
	parameters := make([]Parameter, len(flat))
	for i, s := range flat {
		parameters[i] = Parameter{s.Name, []int{len(s.Data)}, s.Data}
	}
	return path, replaceFolder(d, path, func(tmp string) error {
		sum := sha256.New()
		sum.Write(raw)
		err := writeFile(d, filepath.Join(tmp, slicesFile), func(w io.Writer) error {
			return writeParameters(io.MultiWriter(w, sum), parameters, safetensors.F32)
		})
		if err != nil {
			return err
		}
		text, err := encode(stateJSON{stateVersion, hex.EncodeToString(sum.Sum(nil)), raw})
		if err != nil {
			return err
		}
		return writeFile(d, filepath.Join(tmp, stateFile), content(append(text, '\n')))
	})
}

// Saved is a training state on disk, checked.
type Saved struct {
	State
	Path string
	file *safetensors.File
}

// Load opens one saved state, step-N, and checks its sum.
func Load(path string) (*Saved, error) {
	name := filepath.Join(path, stateFile)
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	if err := checkObject(name, data); err != nil {
		return nil, err
	}
	var text stateJSON
	if err := json.Unmarshal(data, &text); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if text.Version != stateVersion {
		return nil, fmt.Errorf("%s: have version %d, want %d: it is of another version of kdistill", name, text.Version, stateVersion)
	}
	sum, err := sumState(text.State, filepath.Join(path, slicesFile))
	if err != nil {
		return nil, err
	}
	if sum != text.Sum {
		return nil, fmt.Errorf("%s: have SHA-256 %s, want %s: the state is damaged", path, sum, text.Sum)
	}
	s := &Saved{Path: path}
	if err := json.Unmarshal(text.State, &s.State); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if s.file, err = safetensors.Open(filepath.Join(path, slicesFile)); err != nil {
		return nil, err
	}
	return s, nil
}

func sumState(state json.RawMessage, path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	sum := sha256.New()
	sum.Write(state)
	_, err = io.Copy(sum, file)
	return hex.EncodeToString(sum.Sum(nil)), err
}

// Read copies the saved slice of that name into dst, which must have its length.
func (s *Saved) Read(name string, dst []float32) error {
	t, ok := s.file.Tensor(name)
	if !ok {
		return fmt.Errorf("%s: have no %q", s.Path, name)
	}
	if err := t.Float32s(dst); err != nil {
		return fmt.Errorf("%s: %w", s.Path, err)
	}
	return nil
}

// Close ends the mapping of the slices.
func (s *Saved) Close() error { return s.file.Close() }

// Latest loads the last good state in dir; nil where there is none. Damaged ones are skipped, with a warning each.
func Latest(dir string) (saved *Saved, warnings []string, err error) {
	all, err := listSteps(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range all {
		saved, err := Load(s.path)
		if err == nil {
			return saved, warnings, nil
		}
		warnings = append(warnings, fmt.Sprintf("skipped a saved state that cannot be loaded: %v", err))
	}
	return nil, warnings, nil
}

type step struct {
	n    int
	path string
}

// listSteps returns the states in dir, the last first; a step that was being replaced when the process died counts by its old folder.
func listSteps(dir string) ([]step, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []step
	for _, e := range entries {
		number, ok := strings.CutPrefix(strings.TrimSuffix(e.Name(), aside), stepPrefix)
		n, err := strconv.Atoi(number)
		path := filepath.Join(dir, stepPrefix+number)
		if ok && err == nil && n >= 0 && filepath.Base(standing(path)) == e.Name() {
			out = append(out, step{n, standing(path)})
		}
	}
	slices.SortFunc(out, func(a, b step) int { return cmp.Compare(b.n, a.n) })
	return out, nil
}

// Prune removes all states in dir but the keep (1 at least) up to step last, and what dead processes left. States after last, the step just saved, are
// those that could not be loaded: the run has gone another way.
func Prune(dir string, last, keep int) error { return prune(realDisk{}, dir, last, keep) }

func prune(d disk, dir string, last, keep int) error {
	all, err := listSteps(dir)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(s step) bool { return s.n > last })
	kept := map[string]bool{}
	for _, s := range all[:min(len(all), max(keep, 1))] {
		kept[filepath.Base(s.path)] = true
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), stepPrefix) && !kept[e.Name()] {
			if err := d.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
