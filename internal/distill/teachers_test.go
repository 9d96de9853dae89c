package distill

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdistill/internal/config"
	"kdistill/internal/testutil"
)

// TestGoldenTeachersInMicroBatches: torch's numbers for two teachers, with their losses divided by the counts of the whole step.
func TestGoldenTeachersInMicroBatches(t *testing.T) {
	for _, name := range []string{"two_teachers", "a_loss_for_each"} {
		var want goldenRun
		unmarshal(t, read(t, testutil.Testdata(t, "golden/distill/"+name+".json")), &want)
		for _, micro := range []config.MicroBatch{1, 3} {
			c := goldenConfig(t, filepath.Join(t.TempDir(), "run"))
			goldenRuns[name](c)
			c.Train.MicroBatchSize = micro
			for i, h := range train(t, c, Options{}) {
				if w := want.Steps[i]; !near(h.Loss, w.Loss, 2e-5) || !near(h.GradNorm, w.Norm, 1e-4) {
					t.Errorf("%s, micro-batches of %d, step %d: have loss %.7f, norm %.7f; want %.7f, %.7f", name, micro, i, h.Loss, h.GradNorm, w.Loss, w.Norm)
				}
			}
			endsAs(t, c, want)
		}
	}
}

// severalConfig is textConfig with a second teacher, and a loss on its layers.
func severalConfig(t testing.TB) *config.Config {
	t.Helper()
	c := textConfig(t)
	c.Teacher = config.Teacher{DType: "auto", List: []config.NamedTeacher{
		{Name: "big", Weight: 3, Path: c.Teacher.Path, DType: "auto"}, {Name: "wide", Weight: 1, Path: modelFolder(t, "student-wide", nil, nil), DType: "bfloat16"},
	}}
	c.Loss = append(c.Loss, with(term("hidden_mse"), func(l *config.Loss) { l.Teacher, l.Layer = "wide", -1 }))
	return c
}

// TestListOfOne: a list of one teacher is that teacher, to the bytes; and a second one is not.
func TestListOfOne(t *testing.T) {
	c := textConfig(t)
	train(t, c, Options{})
	want := outcomeOf(t, c.Output.Dir)
	one := again(t, c, func(c *config.Config) {
		c.Teacher = config.Teacher{DType: "auto", List: []config.NamedTeacher{{Name: "x", Weight: 0.3, Path: c.Teacher.Path, DType: "auto"}}}
		c.Loss[0].Teacher = "x"
	})
	train(t, one, Options{})
	same(t, outcomeOf(t, one.Output.Dir), want)

	two := again(t, severalConfig(t), func(c *config.Config) { c.Loss = c.Loss[:2] })
	train(t, two, Options{})
	if outcomeOf(t, two.Output.Dir).model == want.model {
		t.Error("the second teacher changes nothing")
	}
	named := again(t, two, func(c *config.Config) {
		c.Loss[0].Teacher = "big"
		c.Teacher.List = slices.Clone(c.Teacher.List)
		c.Teacher.List[1].Weight = 0
	})
	named.Teacher.List[0].Path = one.Teacher.List[0].Path
	train(t, named, Options{})
	if outcomeOf(t, named.Output.Dir).model != want.model {
		t.Error("a loss that names the first teacher hears another one")
	}
}

// TestSeveralTeachers: what a run says, writes and resumes of several teachers; the same bytes after a stop, with little memory for logits, and whether
// products are in bfloat16 or not.
func TestSeveralTeachers(t *testing.T) {
	c := severalConfig(t)
	var said, out bytes.Buffer
	result, err := Train(context.Background(), c, Options{Log: &said, Out: &out})
	if err != nil {
		t.Fatal(err)
	}
	mentions(t, said.String(), "teacher big: llama, 4 layers, width 32", "75 % of the average", "teacher wide: llama, 2 layers", "25 % of the average",
		"teacher big: 5.5952 nats per token", "warning: the teacher wide predicts these documents no better than token frequencies do")
	if err := result.Print(&out); err != nil {
		t.Fatal(err)
	}
	mentions(t, out.String(), "teacher big ", "teacher wide ", "KL to teacher")
	for i, name := range []string{"teacher big", "teacher wide"} {
		if have := result.Teachers[i]; have.Name != name || have.Figures["nll"] == nil {
			t.Errorf("have %+v, want the figures of %s", have, name)
		}
	}
	card := string(read(t, filepath.Join(c.Output.Dir, "model", "README.md")))
	mentions(t, card, "## Teachers\n\n- `teacher`, 75 % of the average (SHA-256", "- `student-wide`, 25 % of the average (SHA-256", "hidden_mse (of the teacher wide")
	want := outcomeOf(t, c.Output.Dir)

	stopped := again(t, c, func(*config.Config) {})
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := Train(ctx, stopped, Options{Log: writer(func(line string) {
		if strings.HasPrefix(line, "step 7/12  loss") {
			cancel()
		}
	})}); err == nil {
		t.Fatal("it was not stopped")
	}
	lighter := again(t, stopped, func(d *config.Config) {
		d.Output = stopped.Output
		d.Teacher.List = slices.Clone(c.Teacher.List)
		d.Teacher.List[1].Weight = 2
	})
	refused(t, lighter, Options{Resume: true}, "cannot resume", "teacher[1].weight was 1 and is 2")
	file := filepath.Join(c.Teacher.List[1].Path, "model.safetensors")
	good := read(t, file)
	write(t, file, append(good[:len(good)-1:len(good)-1], good[len(good)-1]^1))
	refused(t, stopped, Options{Resume: true}, "cannot resume", "teacher")
	write(t, file, good)
	train(t, stopped, Options{Resume: true})
	same(t, outcomeOf(t, stopped.Output.Dir), want)

	rounded := again(t, c, func(c *config.Config) { c.Train.Precision = "bfloat16" })
	train(t, rounded, Options{})
	first := func(o outcome) string { line, _, _ := strings.Cut(o.metrics, "\n"); return line }
	if have := outcomeOf(t, rounded.Output.Dir); have.model == want.model || first(have) != first(want) {
		t.Error("products in bfloat16 change nothing, or evaluations")
	}
}

// TestSeveralTeachersMemory: the files of all teachers are counted, and what is copied of each; a step is timed with all of them.
func TestSeveralTeachersMemory(t *testing.T) {
	c := severalConfig(t)
	c.Loss = c.Loss[:2]
	var sizes []int
	for _, teachers := range [][]config.NamedTeacher{c.Teacher.List[:1], c.Teacher.List} {
		c := again(t, c, func(c *config.Config) { c.Teacher.List = teachers })
		b, err := NewBench(context.Background(), c, Options{Log: io.Discard})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if _, err := b.Step(context.Background()); err != nil {
			t.Fatal(err)
		}
		if l := b.LossRows(); l.Memory <= 0 || l.Exponentials <= 0 {
			t.Errorf("have losses %+v", l)
		}
		n, err := b.run.bytes(2, 32)
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, n)
		for _, part := range b.run.memory(0, false) {
			if part.name == "teacher's weights" {
				sizes = append(sizes, part.bytes)
			}
		}
		var out bytes.Buffer
		if err := DryRun(context.Background(), c, Options{Log: io.Discard, Out: &out}); err != nil {
			t.Fatal(err)
		}
		mentions(t, out.String(), "% of it the teacher's layers")
	}
	info, err := os.Stat(filepath.Join(c.Teacher.List[1].Path, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	const hidden = 4 * 2 * 32 * 32 // of the second teacher, on 2 rows of 32 tokens, 32 wide
	if sizes[2] < sizes[0]+hidden || sizes[3] < sizes[1]+int(info.Size()) {
		t.Errorf("have %d, want %d and %d more with the second teacher", sizes, hidden, info.Size())
	}
}

// TestSeveralTeachersFeatures: a loss on layers compares with the teacher that it names.
func TestSeveralTeachersFeatures(t *testing.T) {
	values := map[string]float64{}
	for _, teacher := range []string{"big", "wide"} {
		c := again(t, severalConfig(t), func(c *config.Config) { c.Loss[2].Teacher, c.Loss[2].Layer = teacher, 2 })
		alone := again(t, c, func(c *config.Config) {
			i := slices.IndexFunc(c.Teacher.List, func(x config.NamedTeacher) bool { return x.Name == teacher })
			c.Teacher.List = c.Teacher.List[i : i+1]
		})
		values[teacher] = train(t, c, Options{})[0].Losses["hidden_mse"]
		if have := train(t, alone, Options{})[0].Losses["hidden_mse"]; have != values[teacher] {
			t.Errorf("%s: have %v among two, %v alone", teacher, values[teacher], have)
		}
	}
	if values["big"] == values["wide"] || values["big"] == 0 {
		t.Errorf("have %v", values)
	}
}

// TestSeveralTeachersWrong wants a sentence that says what is possible, and no folder made.
func TestSeveralTeachersWrong(t *testing.T) {
	other := modelFolder(t, "student-wide", nil, nil)
	words := tokenizerWords()
	words[10], words[11] = words[11], words[10]
	writeTokenizer(t, other, words)
	for name, x := range map[string]struct {
		change func(c *config.Config)
		want   []string
	}{
		"layers of whom":        {func(c *config.Config) { c.Loss[2].Teacher = "" }, []string{"loss hidden_mse compares layers, of which several teachers have no average: name one of them (teacher: big or wide)"}},
		"logits of whom":        {func(c *config.Config) { c.Loss = only("logit_mse") }, []string{"loss logit_mse compares logits", "name one of them (teacher: big or wide)"}},
		"no comparison":         {func(c *config.Config) { c.Loss[1].Teacher = "big" }, []string{"loss cross_entropy compares with no teacher: leave out teacher: big"}},
		"a layer of the second": {func(c *config.Config) { c.Loss[2].Layer = 3 }, []string{"loss hidden_mse: layers: of the teacher: have layer 3, want 0 to 2"}},
		"no model":              {func(c *config.Config) { c.Teacher.List[1].Path = "no/such/folder" }, []string{"teacher wide: ", "no/such/folder"}},
		"another tokenizer":     {func(c *config.Config) { c.Teacher.List[1].Path = other }, []string{"teacher wide: teacher and student have different tokenizers"}},
		"another task":          {func(c *config.Config) { c.Teacher.List[1].Path = encoderFolder(t, "masked", "teacher", nil) }, []string{"loss forward_kl: the teacher is for masked, the student for causal"}},
		"too few positions": {func(c *config.Config) {
			c.Teacher.List[1].Path = modelFolder(t, "student-wide", func(c map[string]any) { c["max_position_embeddings"] = 31 }, nil)
		}, []string{"data.sequence_length: have 32, the teacher wide has 31 positions"}},
		"broken": {func(c *config.Config) {
			c.Teacher.List[1].Path = modelFolder(t, "student-wide", nil, spoil("model.norm.weight", 3, notANumber))
		}, []string{"teacher wide: model.norm.weight holds NaN"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := severalConfig(t)
			x.change(c)
			refused(t, c, Options{}, x.want...)
			if exists(filepath.Join(c.Output.Dir, "metrics.jsonl")) && name != "broken" {
				t.Error("the folder was made")
			}
		})
	}
	c := severalConfig(t)
	c.Cache.Dir = filepath.Join(t.TempDir(), "cache")
	if _, err := Cache(context.Background(), c, Options{Log: io.Discard}); err == nil || !strings.Contains(fmt.Sprint(err), "teacher is a list, and a cache keeps the words of one") {
		t.Errorf("cache: have %v", err)
	}
}
