// Package internal_test checks the rules that hold between packages.
package internal_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"kdistill/internal/testutil"
)

// layers lists all packages; each may import only those before it.
var layers = strings.Fields(`
	suggest testutil rouge answer configs config kernel loss safetensors tokenizer data graph nn model checkpoint journal signal optim
	objective teacher generate eval task report synth distill cli`)

// owners are the only packages that may know a module, separated by blanks.
var owners = map[string]string{
	"github.com/spf13/viper":         "config",
	"github.com/spf13/cobra":         "cli",
	"gorgonia.org/gorgonia":          "graph",
	"github.com/edsrzf/mmap-go":      "safetensors signal",
	"github.com/gofrs/flock":         "checkpoint",
	"github.com/parquet-go":          "data",
	"github.com/mmcloughlin/avo":     "kernel", // its generators
	"github.com/x448/float16":        "safetensors",
	"github.com/dlclark/regexp2/v2":  "tokenizer",
	"github.com/openai/openai-go/v3": "synth",
}

// TestLayers keeps data flowing one way: config, data, teacher's signal, graph, optimizer, checkpoint, evaluation and report. Tests are exempt.
func TestLayers(t *testing.T) {
	root := testutil.Root(t)
	seen := map[string]bool{}
	for _, dir := range []string{"cmd", "configs", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(file string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && d.Name() == "testdata" {
				return fs.SkipDir
			}
			if d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
				return nil
			}
			rel, err := filepath.Rel(root, file)
			if err != nil {
				return err
			}
			rel = filepath.ToSlash(rel)
			name := packageOf(path.Dir(rel))
			seen[name] = true
			source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			for _, spec := range source.Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					return err
				}
				check(t, rel, name, imported)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range layers {
		if !seen[name] {
			t.Errorf("package %s is in the list, but not in the tree", name)
		}
		delete(seen, name)
	}
	delete(seen, "cmd")
	for name := range seen {
		t.Errorf("package %s has no place in the list of layers", name)
	}
}

// packageOf is the name in layers of a folder below the root; folders inside a package (its generators) belong to it. cmd is above all.
func packageOf(dir string) string {
	parts := strings.Split(dir, "/")
	if parts[0] == "internal" && len(parts) > 1 {
		return parts[1]
	}
	return parts[0]
}

func check(t *testing.T, file, name, imported string) {
	t.Helper()
	for module, owner := range owners {
		if (imported == module || strings.HasPrefix(imported, module+"/")) && !slices.Contains(strings.Fields(owner), name) {
			t.Errorf("%s imports %s, which is for package %s only", file, imported, owner)
		}
	}
	inner, ours := strings.CutPrefix(imported, "kdistill/")
	if !ours {
		return
	}
	other := packageOf(inner)
	switch at, from := slices.Index(layers, name), slices.Index(layers, other); {
	case name == "cmd":
		if other != "cli" {
			t.Errorf("%s imports %s: the command is cli.Main and nothing else", file, imported)
		}
	case at < 0: // said once for the package
	case other == "testutil":
		t.Errorf("%s imports %s, which is for tests", file, imported)
	case name == other: // a generator
	case from < 0 || from >= at:
		t.Errorf("%s imports %s, which is not above it in the list of layers", file, imported)
	}
}
