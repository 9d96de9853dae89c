package distill

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/config"
)

// tree lists the files of a folder with their contents.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files[path] = string(read(t, path))
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}

// untouched wants f to leave a folder as it is.
func untouched(t testing.TB, dir string, f func()) {
	t.Helper()
	before := tree(t, dir)
	f()
	after := tree(t, dir)
	for name, text := range before {
		if after[name] != text {
			t.Errorf("%s was changed", name)
		}
	}
	for name := range after {
		if _, ok := before[name]; !ok {
			t.Errorf("%s was written", name)
		}
	}
}

// TestAnotherRun wants a folder that holds another run refused, and left as it is by everything that goes wrong, even with --overwrite.
func TestAnotherRun(t *testing.T) {
	c := textConfig(t)
	train(t, c, Options{})
	want := outcomeOf(t, c.Output.Dir)
	untouched(t, c.Output.Dir, func() {
		refused(t, c, Options{}, "holds another run", "--resume", "--overwrite", "another folder")
		for what, change := range map[string]func(*config.Config){
			"no-such-model": func(c *config.Config) { c.Teacher.Path = "no-such-model" },
			"no-such-file":  func(c *config.Config) { c.Data.Train = textFile("no-such-file") },
			"no_such_loss":  func(c *config.Config) { c.Loss = only("no_such_loss") },
			"40 positions":  func(c *config.Config) { c.Data.SequenceLength = 40 },
			"first_layers":  func(c *config.Config) { c.Train.Schedule.Name = "first_layers" },
		} {
			wrong := *c
			change(&wrong)
			if what == "40 positions" {
				what = "sequence_length: have 40"
			}
			refused(t, &wrong, Options{Overwrite: true}, what)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := Train(ctx, c, Options{Overwrite: true, Log: &bytes.Buffer{}}); !errors.Is(err, context.Canceled) {
			t.Errorf("have %v", err)
		}
	})
	// What a killed process left goes too.
	write(t, filepath.Join(c.Output.Dir, "best.old", "config.json"), nil)
	write(t, filepath.Join(c.Output.Dir, "notes.txt"), []byte("mine"))
	train(t, c, Options{Overwrite: true})
	same(t, outcomeOf(t, c.Output.Dir), want)
	if exists(filepath.Join(c.Output.Dir, "best.old")) || string(read(t, filepath.Join(c.Output.Dir, "notes.txt"))) != "mine" {
		t.Error("want best.old removed and notes.txt kept")
	}
}

func only(name string) []config.Loss { return []config.Loss{term(name)} }

// TestForeignFolder wants files that no run wrote refused, and never removed.
func TestForeignFolder(t *testing.T) {
	c := textConfig(t)
	write(t, filepath.Join(c.Output.Dir, "letters", "to-mum.txt"), []byte("dear"))
	untouched(t, c.Output.Dir, func() {
		for _, o := range []Options{{}, {Resume: true}} {
			refused(t, c, o, "is not empty and holds no run")
		}
	})
	train(t, c, Options{Overwrite: true}) // beside them
	if string(read(t, filepath.Join(c.Output.Dir, "letters", "to-mum.txt"))) != "dear" {
		t.Error("letters were removed")
	}
	for _, name := range []string{"model/model.safetensors", "best/x", "checkpoints/x", "config.yaml", "metrics.jsonl"} {
		c.Output.Dir = t.TempDir()
		write(t, filepath.Join(c.Output.Dir, filepath.FromSlash(name)), []byte("mine"))
		untouched(t, c.Output.Dir, func() {
			refused(t, c, Options{Overwrite: true}, "holds no run", strings.Split(name, "/")[0], "choose another folder")
		})
	}
}

// TestUnreadableRun wants a run whose configuration this version cannot read to be known for one.
func TestUnreadableRun(t *testing.T) {
	c := textConfig(t)
	train(t, c, Options{})
	path := filepath.Join(c.Output.Dir, configFile)
	write(t, path, append(read(t, path), "key_of_the_future: 1\n"...))
	untouched(t, c.Output.Dir, func() {
		refused(t, c, Options{}, "holds another run")
		refused(t, c, Options{Resume: true}, "cannot be read", "key_of_the_future")
	})
	train(t, c, Options{Overwrite: true})
}

// TestOverwriteItsOwnSource wants a run not to remove what it is made from.
func TestOverwriteItsOwnSource(t *testing.T) {
	c := textConfig(t)
	train(t, c, Options{})
	untouched(t, c.Output.Dir, func() {
		student := *c
		student.Student.Path = filepath.Join(c.Output.Dir, "model")
		refused(t, &student, Options{Overwrite: true}, "--overwrite would remove "+student.Student.Path)
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(filepath.Join(c.Output.Dir, "best"), link); err == nil { // not everywhere allowed
			teacher := *c
			teacher.Teacher.Path = link
			refused(t, &teacher, Options{Overwrite: true}, "--overwrite would remove "+link)
		}
		data := *c
		data.Data.Eval = []config.Source{{Path: filepath.Join(c.Output.Dir, "metrics.jsonl"), Format: "jsonl"}}
		refused(t, &data, Options{Overwrite: true}, "--overwrite would remove")
		projected := *c
		projected.Loss = append(slices.Clone(c.Loss), config.Loss{Name: "hidden_mse", Projection: config.Projection{Init: filepath.Join(c.Output.Dir, "model", "model.safetensors")}})
		refused(t, &projected, Options{Overwrite: true}, "--overwrite would remove "+projected.Loss[len(projected.Loss)-1].Projection.Init)
	})
}

// TestNoFolder wants a folder that cannot be made to be told before the first step.
func TestNoFolder(t *testing.T) {
	c := textConfig(t)
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, []byte("mine"))
	for _, dir := range []string{file, filepath.Join(file, "run")} {
		c.Output.Dir = dir
		refused(t, c, Options{}, "output.dir", file)
	}
	if string(read(t, file)) != "mine" {
		t.Error("the file was changed")
	}
}

// TestDryRun wants sizes, memory and speed, and nothing written; and a warning of a folder that a real run would refuse.
func TestDryRun(t *testing.T) {
	c := textConfig(t)
	parent := filepath.Dir(c.Output.Dir)
	var said, out bytes.Buffer
	untouched(t, parent, func() {
		if err := DryRun(context.Background(), c, Options{Log: &said, Out: &out}); err != nil {
			t.Fatal(err)
		}
	})
	if exists(c.Output.Dir) {
		t.Error("the folder was made")
	}
	mentions(t, said.String(), "student: llama, 2 layers, width 20, 9.86k parameters", "teacher: llama, 4 layers", "40 documents", "12 steps of 5 rows in micro-batches of 2")
	mentions(t, out.String(), "student's weights", "optimizer's moments", "together", "one micro-batch of 2 rows", "tokens/s", "teacher's", "12 steps take about")
	train(t, c, Options{})
	untouched(t, c.Output.Dir, func() {
		said.Reset()
		out.Reset()
		if err := DryRun(context.Background(), c, Options{Log: &said, Out: &out}); err != nil {
			t.Error(err)
		}
		mentions(t, said.String(), "warning: the run itself would be refused: output.dir", "holds another run")
		mentions(t, out.String(), "12 steps take about")
		if err := DryRun(context.Background(), c, Options{Overwrite: true, Log: &said, Out: &out}); err != nil {
			t.Error(err)
		}
	})
}
