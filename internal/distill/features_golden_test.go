package distill

import (
	"context"
	"encoding/json"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/checkpoint"
	"kdistill/internal/config"
	"kdistill/internal/data"
	"kdistill/internal/graph"
	"kdistill/internal/loss"
	"kdistill/internal/objective"
	"kdistill/internal/teacher"
	"kdistill/internal/testutil"
)

// goldenFeature is a case of testdata/golden/features: a loss as a configuration has it, its value and some of its gradient by torch and transformers.
type goldenFeature struct {
	Models    string
	Loss      json.RawMessage
	Value     float64
	Gradients map[string]struct {
		L2      float64
		Indices []int
		Values  []float64
	}
}

// TestGoldenFeatures compares losses on features, and their gradients, with torch: on padded rows, and with the same documents packed.
func TestGoldenFeatures(t *testing.T) {
	var file struct {
		Tokens [][]int32 `json:"input_ids"`
		Mask   [][]int32 `json:"attention_mask"`
		Cases  []goldenFeature
	}
	unmarshal(t, read(t, testutil.Testdata(t, "golden/features/expected.json")), &file)
	seen := map[string]bool{}
	for _, g := range file.Cases {
		for _, packed := range []bool{false, true} {
			batch := batchOf(file.Tokens, file.Mask, packed)
			t.Run(g.Models+string(g.Loss), func(t *testing.T) { seen[g.check(t, batch)] = true })
		}
	}
	for _, name := range loss.Names() {
		if d, _ := loss.Lookup(name); d.Rows != loss.Logits && !seen[name] {
			t.Errorf("%s has no golden features", name)
		}
	}
}

// batchOf makes one row of each document, or two documents of a row.
func batchOf(tokens, mask [][]int32, packed bool) *data.Batch {
	length := len(tokens[0])
	b := &data.Batch{B: len(tokens), T: length}
	if packed {
		b.B, b.T = len(tokens)/2, 2*length
	}
	n := len(tokens) * length
	b.Tokens, b.Positions = make([]int32, n), make([]int32, n)
	b.Labels, b.Segments, b.Documents = slices.Repeat([]int32{data.Ignore}, n), slices.Repeat([]int32{-1}, n), slices.Repeat([]int32{-1}, n)
	for d, row := range tokens {
		at := d * length
		if packed && d%2 == 1 {
			for at = (d - 1) * length; b.Segments[at] >= 0; at++ {
			}
		}
		for i, id := range row {
			if mask[d][i] == 1 {
				b.Tokens[at+i], b.Positions[at+i], b.Documents[at+i], b.Segments[at+i] = id, int32(i), int32(d), int32(d%2)
			}
		}
	}
	return b
}

func (g goldenFeature) check(t *testing.T, batch *data.Batch) (name string) {
	yaml := filepath.Join(t.TempDir(), "run.yaml")
	write(t, yaml, []byte("teacher: {path: t}\nstudent: {path: s}\ndata: {train: [{path: x}]}\noutput: {dir: o}\nloss: ["+string(g.Loss)+"]\n"))
	c, err := config.Read(yaml)
	if err != nil {
		t.Fatal(err)
	}
	asked := c.Loss[0]
	asked.Projection.Init = "" // as it is where nothing is asked for
	if strings.HasPrefix(asked.Name, "hidden") {
		asked.Projection.Init = "identity"
	}
	open := func(name string) *checkpoint.Pretrained {
		p, err := checkpoint.OpenModel(testutil.Testdata(t, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return p
	}
	from := open(map[string]string{"decoder": "golden/distill/teacher", "encoder": "golden/features/encoder-teacher"}[g.Models])
	to, err := newStudent(context.Background(), &config.Config{Student: config.Student{Init: "checkpoint", Path: testutil.Testdata(t, "golden/features/"+g.Models+"-student")}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	weights, err := checkpoint.ReadFrozen(from, from.Model, checkpoint.Auto)
	if err != nil {
		t.Fatal(err)
	}
	l, err := loss.New(asked.Name, loss.Params{Choices: choices(asked)})
	if err != nil {
		t.Fatal(err)
	}
	students, err := sideOf(to.model)
	if err != nil {
		t.Fatal(err)
	}
	teachers, err := sideOf(from.Model)
	if err != nil {
		t.Fatal(err)
	}
	f, projections, err := featureOf(asked, l.Rows, students, teachers, batch.T)
	if err != nil {
		t.Fatal(err)
	}
	if err := to.project(projections, 1); err != nil {
		t.Fatal(err)
	}
	term := &graph.Term{Loss: l, Attended: true, Tokens: tokens[asked.Tokens]}
	term.Scale = 1 / float64(counted(batch, term))
	arena := &graph.Arena{}
	live := &teacher.Live{Model: from.Model, Weights: weights, Arena: arena}
	o := &objective.Objective{Model: to.model, Weights: to.flat, Teachers: objective.Alone(live), Terms: []*graph.Term{term}, Features: []objective.Feature{f}, Arena: arena}
	defer o.Close()
	defer live.Close()
	values, err := o.Run(context.Background(), batch)
	if err != nil {
		t.Fatal(err)
	}
	if have := term.Scale * values.Sum(0); !near(have, g.Value, 1e-5) {
		t.Errorf("have %.8f, want %.8f", have, g.Value)
	}
	compared := 0
	for i, spec := range to.flat.Specs {
		lo, hi := to.flat.Range(i)
		have := to.flat.Gradients[lo:hi]
		want, ok := g.Gradients[spec.Name]
		if ok {
			compared++
		}
		squares := 0.0
		for _, x := range have {
			squares += float64(x) * float64(x)
		}
		if norm := math.Sqrt(squares); math.Abs(norm-want.L2) > 1e-4+1e-4*want.L2 {
			t.Errorf("gradient of %s: have norm %v, want %v", spec.Name, norm, want.L2)
		}
		for j, at := range want.Indices {
			if math.Abs(float64(have[at])-want.Values[j]) > 1e-4+1e-4*want.L2 {
				t.Errorf("gradient of %s[%d]: have %v, want %v", spec.Name, at, have[at], want.Values[j])
			}
		}
	}
	if compared != len(g.Gradients) || compared == 0 {
		t.Errorf("compared %d gradients, torch has %d", compared, len(g.Gradients))
	}
	return asked.Name
}
