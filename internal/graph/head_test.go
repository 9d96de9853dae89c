package graph

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"gorgonia.org/tensor"
	"kdistill/internal/loss"
)

func newLoss(t testing.TB, name string) *loss.Loss {
	t.Helper()
	l, err := loss.New(name, loss.Params{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

const headWidth, teacherWidth = 3, 2

// fellow is one more teacher.
type fellow struct {
	hidden *Param
	head   Head
	share  float64
}

// headCase is the fused head and loss on random numbers.
type headCase struct {
	*fixture
	terms                []*Term
	vocab, teacherVocab  int
	tied                 bool // hidden states are rows of the head's own weight
	softcap              float64
	biased               bool // heads of both have a bias
	budget               int  // of the graph
	weights              []float32
	teacher, teacherHead *Param
	teacherBias          *Param
	recording            *rowsOnDisk // in place of the teacher
	share                float64     // of the teacher among several
	more                 []fellow    // beside the first one
	losses               *Losses     // of the graph built last
}

// newHeadCase has labels at some positions and padding at others. teacherVocab 0: no teacher.
func newHeadCase(b, t int, tied bool, vocab, teacherVocab int, terms ...*Term) *headCase {
	return newHeadCaseOf(tensor.Float64, b, t, tied, vocab, teacherVocab, terms...)
}

func newHeadCaseOf(dtype tensor.Dtype, b, t int, tied bool, vocab, teacherVocab int, terms ...*Term) *headCase {
	c := &headCase{fixture: newFixture(dtype, b, t), terms: terms, vocab: vocab, teacherVocab: teacherVocab, tied: tied}
	for i := range b * t {
		switch i % 5 {
		case 0, 3:
			c.feed.Labels[i] = int32(i * 3 % vocab)
		case 4:
			c.feed.Attended[i] = 0
		}
		if tied {
			c.feed.Tokens[i] = int32(i * i % vocab)
		}
	}
	if teacherVocab > 0 {
		c.teacher, c.teacherHead = c.frozen("teacher", b*t, teacherWidth), c.frozen("teacher's head", teacherVocab, teacherWidth)
	}
	return c
}

// shaped gives the heads of both a bias, a softcap or both.
func (c *headCase) shaped(biased bool, softcap float64) *headCase {
	c.biased, c.softcap = biased, softcap
	if biased && c.teacherVocab > 0 {
		c.teacherBias = c.frozen("teacher's bias", c.teacherVocab)
	}
	return c
}

// head is the student's.
func (c *headCase) head(view func(*Param) *Param) Head {
	h := Head{Weight: view(c.param("head", c.vocab, headWidth)), Softcap: c.softcap}
	if c.biased {
		h.Bias = view(c.param("bias", c.vocab))
	}
	return h
}

func (c *headCase) build(g *Graph, view func(*Param) *Param) (cost *Node) {
	g.HeadBudget = c.budget
	var hidden *Node
	head := c.head(view)
	if c.tied {
		hidden = g.Embedding(g.Weight(head.Weight), g.Inputs.Tokens, 0, -1)
	} else {
		hidden = c.matrix(g, view, "hidden", headWidth)
	}
	var teachers []*Teacher
	if c.teacherVocab > 0 {
		teachers = []*Teacher{{Hidden: g.Leaf("teacher's hidden states", c.teacher.Value), Head: Head{c.teacherHead, c.teacherBias, c.softcap}, Share: c.share}}
	}
	for _, f := range c.more {
		teachers = append(teachers, &Teacher{Hidden: g.Leaf(f.hidden.Name, f.hidden.Value), Head: f.head, Share: f.share})
	}
	if c.recording != nil {
		teachers = []*Teacher{{Recording: c.recording}}
	}
	cost, c.losses = g.Loss(hidden, head, teachers, c.terms)
	return cost
}

// TestHeadOfEveryLoss compares values and gradients with the row functions over logits that are computed one by one.
func TestHeadOfEveryLoss(t *testing.T) {
	for _, name := range loss.Names() {
		definition, _ := loss.Lookup(name)
		if definition.Rows != loss.Logits || definition.Target {
			continue // see features_test.go and TestTargets
		}
		for _, teacherVocab := range []int{0, 7, 5, 9} { // the student's is 7
			if definition.Teacher && teacherVocab == 0 {
				continue
			}
			for _, attended := range []bool{false, true} {
				for _, tied := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s, teacher %d, attended %v, tied %v", name, teacherVocab, attended, tied), func(t *testing.T) {
						newHeadCase(2, 5, tied, 7, teacherVocab, &Term{Loss: newLoss(t, name), Attended: attended, Scale: 0.3}).check(t)
					})
				}
			}
		}
	}
}

func TestHeadOfSeveralTerms(t *testing.T) {
	for _, teacherVocab := range []int{7, 5, 9} {
		newHeadCase(2, 5, false, 7, teacherVocab,
			&Term{Loss: newLoss(t, "cross_entropy"), Scale: 0.25},
			&Term{Loss: newLoss(t, "forward_kl"), Attended: true, Scale: 0.5},
			&Term{Loss: newLoss(t, "logit_mse"), Scale: 0.125}).check(t)
	}
}

// TestWeights multiplies value and gradient of positions, some by 0, whether the vocabulary comes whole or in blocks.
func TestWeights(t *testing.T) {
	for _, vocab := range []int{7, 2*idBlock + 5} {
		c := newHeadCase(2, 5, false, vocab, vocab, &Term{Loss: newLoss(t, "cross_entropy"), Scale: 0.25}, &Term{Loss: newLoss(t, "forward_kl"), Attended: true, Scale: 0.5})
		for i := range c.feed.Labels {
			c.weights = append(c.weights, []float32{1, 0, 0.25, 3}[i%4])
		}
		if vocab > idBlock {
			c.budget = 1
		}
		c.check(t)
	}
}

// TestTargets: a loss with targets sees the number of its own position, beside losses that see the teacher's row or none.
func TestTargets(t *testing.T) {
	ce, mse := &Term{Loss: newLoss(t, "cross_entropy"), Scale: 0.25}, &Term{Loss: newLoss(t, "mse"), Scale: 0.5}
	for _, teacherVocab := range []int{0, 1} {
		c := newHeadCase(2, 5, false, 1, teacherVocab, ce, mse)
		mse.Targets = make([]float32, len(c.feed.Labels))
		for i := range mse.Targets {
			c.feed.Labels[i] = min(c.feed.Labels[i], 0)
			mse.Targets[i] = float32(i) - 4.5
		}
		c.check(t)
	}
}

// TestTeacherRowsOfTerms: a loss that does not compare must not see a teacher's row, whose length may be another; a metric sees all of it.
func TestTeacherRowsOfTerms(t *testing.T) {
	var seen map[string]int
	spy := func(name string, d loss.Definition) *Term {
		d.Name = name
		return &Term{Loss: &loss.Loss{Definition: d, Row64: func(_ []float64, _ float64, student, teacher []float64, _ int) float64 {
			seen[name+" student"], seen[name+" teacher"] = len(student), len(teacher)
			return 0
		}}}
	}
	for teacher, compared := range map[int]int{5: 5, 9: 7} {
		seen = map[string]int{}
		c := newHeadCase(1, 1, false, 7, teacher, spy("loss", loss.Definition{}), spy("compared", loss.Definition{Teacher: true}), spy("metric", loss.Definition{Metric: true}))
		p, _ := c.compile(t, c.build, false)
		c.run(t, p)
		for what, want := range map[string]int{
			"loss student": 7, "loss teacher": 0, "compared student": compared, "compared teacher": compared, "metric student": 7, "metric teacher": teacher,
		} {
			if seen[what] != want {
				t.Errorf("teacher %d, %s: have %d ids, want %d", teacher, what, seen[what], want)
			}
		}
	}
}

// TestHeadGradient checks the whole path against central differences, a tied head with both of its uses included.
func TestHeadGradient(t *testing.T) {
	for _, tied := range []bool{false, true} {
		c := newHeadCase(1, 6, tied, 7, 6, &Term{Loss: newLoss(t, "cross_entropy"), Scale: 0.25}, &Term{Loss: newLoss(t, "reverse_kl"), Attended: true, Scale: 0.5})
		c.checkGradients(t, c.build)
	}
}

// TestHeadShapes: every part of a head, on both sides, in values and in gradients.
func TestHeadShapes(t *testing.T) {
	for _, biased := range []bool{false, true} {
		for _, softcap := range []float64{0, 1.5} {
			for _, tied := range []bool{false, true} {
				t.Run(fmt.Sprintf("bias %v, softcap %v, tied %v", biased, softcap, tied), func(t *testing.T) {
					c := newHeadCase(1, 6, tied, 7, 6, &Term{Loss: newLoss(t, "cross_entropy"), Scale: 0.25}, &Term{Loss: newLoss(t, "generalized_jsd"), Attended: true, Scale: 0.5})
					c.shaped(biased, softcap).check(t)
					c.checkGradients(t, c.build)
				})
			}
		}
	}
}

// TestHeadFloat32 compares what training computes in with float64.
func TestHeadFloat32(t *testing.T) {
	run := func(dtype tensor.Dtype) (float64, map[string][]float64) {
		c := newHeadCaseOf(dtype, 1, 6, false, 40, 40, &Term{Loss: newLoss(t, "cross_entropy"), Scale: 0.25}, &Term{Loss: newLoss(t, "forward_kl"), Scale: 0.5})
		p, cost := c.shaped(true, 1.5).compile(t, c.build, true)
		c.run(t, p)
		return scalarOf(p.g, cost), c.gradients()
	}
	value, gradients := run(tensor.Float32)
	wantValue, want := run(tensor.Float64)
	if math.Abs(value-wantValue) > 1e-5 {
		t.Errorf("have %v, want %v", value, wantValue)
	}
	for name, w := range want {
		for i, g := range gradients[name] {
			if math.Abs(g-w[i]) > 2e-6 {
				t.Errorf("gradient of %s[%d]: have %v, want %v", name, i, g, w[i])
			}
		}
	}
}

// TestHeadRounds: in bfloat16 the gradient of logits, which two products read, is rounded once, unless a bias needs it as it is. That changes no bit.
func TestHeadRounds(t *testing.T) {
	for _, softcap := range []float64{0, 1.5} {
		for _, vocab := range []int{41, 2*idBlock + 41} {
			var want map[string][]float64
			for _, biased := range []bool{true, false} {
				c := newHeadCaseOf(tensor.Float32, 1, 70, false, vocab, vocab, &Term{Loss: newLoss(t, "cross_entropy"), Scale: 0.25},
					&Term{Loss: newLoss(t, "forward_kl"), Attended: true, Scale: 0.5}).shaped(false, softcap)
				c.budget, c.biased = 1, biased
				c.param("hidden", 70, headWidth)
				c.param("head", vocab, headWidth)
				p, _ := c.compile(t, func(g *Graph, view func(*Param) *Param) *Node {
					g.BF16 = true
					return c.build(g, view)
				}, true)
				if biased {
					c.param("bias", vocab).Value.Zero()
				}
				c.run(t, p)
				gradients := c.gradients()
				delete(gradients, "bias")
				if want == nil {
					want = gradients
				}
				sameBits(t, fmt.Sprintf("softcap %v, %d ids, bias %v", softcap, vocab, biased), gradients, want)
			}
		}
	}
}

// TestHeadBiasAlone: a bias is trained on a frozen weight.
func TestHeadBiasAlone(t *testing.T) {
	c := newHeadCase(1, 6, false, 7, 0, &Term{Loss: newLoss(t, "cross_entropy"), Scale: 0.25}).shaped(true, 2)
	weight := c.frozen("frozen head", c.vocab, headWidth)
	c.checkGradients(t, func(g *Graph, view func(*Param) *Param) *Node {
		cost, _ := g.Loss(c.matrix(g, view, "hidden", headWidth), Head{Weight: weight, Bias: view(c.param("bias", c.vocab)), Softcap: c.softcap}, nil, c.terms)
		return cost
	})
}

func TestHeadRefusesBias(t *testing.T) {
	f := newFixture(tensor.Float64, 1, 3)
	g := New(f.dtype, 1, 3)
	g.Logits(f.matrix(g, (*Param).Frozen, "hidden", headWidth), Head{Weight: f.param("head", 5, headWidth), Bias: f.param("bias", 4)})
	if g.Err() == nil || g.Err().Error() != "bias: have shape (4), want [5], one for each row of head" {
		t.Errorf("have %v, want an error", g.Err())
	}
}

// TestHeadChunks runs the same positions in chunks of several sizes.
func TestHeadChunks(t *testing.T) {
	c := newHeadCase(5, 9, false, 7, 6, &Term{Loss: newLoss(t, "cross_entropy"), Scale: 0.25}, &Term{Loss: newLoss(t, "reverse_kl"), Attended: true, Scale: 0.5})
	p, _ := c.compile(t, c.build, true)
	if c.losses.chunk != 45 {
		t.Fatalf("have a chunk of %d, want all 45 positions at once", c.losses.chunk)
	}
	rowwise := func() map[string][]float64 {
		return map[string][]float64{"term 0": slices.Clone(c.losses.Values[0]), "term 1": slices.Clone(c.losses.Values[1]), "hidden": c.gradients()["hidden"]}
	}
	c.run(t, p)
	want, head := rowwise(), c.gradients()["head"]
	for _, chunk := range []int{1, 7, 32, 44} {
		c.losses.chunk = chunk
		c.clearGradients()
		p.poison()
		c.run(t, p)
		what := fmt.Sprintf("chunks of %d", chunk)
		sameBits(t, what, rowwise(), want)
		near(t, what+": gradient of the head", c.gradients()["head"], head) // a sum over positions, which the chunks cut
	}
}

// TestHeadBlocks: with less memory than rows of logits take, the vocabulary comes in blocks, and what comes out is the same.
func TestHeadBlocks(t *testing.T) {
	const vocab, positions = 3500, 40
	kl, err := loss.New("forward_kl", loss.Params{Temperature: 2, T2Scaling: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		teacherVocab int
		softcap      float64 // with a bias
		budget       int
	}{{0, 0, 1}, {2100, 0, 8 * 64 * 1024}, {vocab, 0, 8 * 200 * 1024}, {4500, 0, 1}, {0, 1.5, 8 * 64 * 1024}, {vocab, 1.5, 1}} {
		terms := []*Term{{Loss: newLoss(t, "cross_entropy"), Scale: 0.25}}
		if x.teacherVocab > 0 {
			terms = append(terms, &Term{Loss: kl, Scale: 0.5}, &Term{Loss: newLoss(t, "reverse_kl"), Attended: true, Scale: 0.5})
		}
		c := newHeadCase(1, positions, false, vocab, x.teacherVocab, terms...).shaped(x.softcap != 0, x.softcap)
		var results [2]map[string][]float64
		for i, budget := range []int{0, x.budget} {
			c.budget = budget
			p, cost := c.compile(t, c.build, true)
			c.clearGradients()
			p.poison()
			c.run(t, p)
			values, value := c.compile(t, c.build, false)
			only := c.losses
			c.run(t, values)
			results[i] = c.gradients()
			for j := range terms {
				results[i][fmt.Sprint("values of term ", j)] = slices.Clone(only.Values[j])
			}
			if have, want := scalarOf(p.g, cost), scalarOf(values.g, value); have != want {
				t.Errorf("cost %v with gradients, %v without", have, want)
			}
		}
		for name, want := range results[0] {
			what := fmt.Sprintf("%+v: %s", x, name)
			if !strings.HasPrefix(name, "values") {
				near(t, what, results[1][name], want)
			} else if !slices.Equal(results[1][name], want) {
				t.Errorf("%s: other values", what)
			}
		}
	}
}

// TestHeadBudget: how a budget is kept, and when not.
func TestHeadBudget(t *testing.T) {
	for _, c := range []struct {
		loss               string
		n, vocab, teacher  int
		budget, chunk, ids int
		teachers           int
	}{
		{"forward_kl", 2048, 32000, 32000, 0, 416, 32000, 1},
		{"forward_kl", 2048, 32000, 32000, 96 << 20, 384, 32000, 1},
		{"forward_kl", 2048, 32000, 32000, 16 << 20, 64, 32000, 1},
		{"forward_kl", 2048, 150000, 150000, 16 << 20, 2048, 1024, 1},
		{"forward_kl", 512, 150000, 150000, 16 << 20, 512, 4096, 1},
		{"forward_kl", 2048, 32000, 32000, 1 << 20, 128, 1024, 1},
		{"cross_entropy", 2048, 32000, 0, 16 << 20, 128, 32000, 1},
		{"generalized_jsd", 2048, 32000, 32000, 1 << 20, 32, 32000, 1}, // no loss for blocks
		{"forward_kl", 20, 32000, 32000, 16 << 20, 20, 32000, 1},
		{"forward_kl", 2048, 512, 512, 1, 32, 512, 1}, // no vocabulary for blocks
		{"forward_kl", 2048, 32000, 32000, 16 << 20, 32, 32000, 2},
		{"forward_kl", 2048, 32000, 32000, 48 << 20, 128, 32000, 2},
		{"forward_kl", 2048, 32000, 32000, 1 << 20, 64, 1024, 2},
		{"forward_kl", 2048, 262144, 262144, 16 << 20, 1344, 1024, 2},
		{"generalized_jsd", 2048, 32000, 32000, 1 << 20, 32, 32000, 2},
	} {
		g := New(tensor.Float32, 1, c.n)
		g.HeadBudget = c.budget
		operands := []*Node{}
		projected := func(vocab int) *projection[float32] {
			hidden := g.Leaf("hidden", newDense(tensor.Float32, tensor.Shape{c.n, 8}))
			return newProjection[float32](g, hidden, Head{Weight: &Param{Name: "head", Shape: tensor.Shape{vocab, 8}}}, &operands)
		}
		x := &chunks[float32]{Losses: &Losses{Terms: []*Term{{Loss: newLoss(t, c.loss)}}, logits: []int{0}}, student: projected(c.vocab)}
		logits, teachers := c.vocab, []*Teacher(nil)
		for range min(c.teacher, c.teachers) {
			x.teachers, x.places = append(x.teachers, projected(c.teacher)), append(x.places, len(x.places))
			logits, teachers = logits+c.teacher, append(teachers, &Teacher{Share: 1})
		}
		size := x.plan(c.n, c.budget, teachers)
		if x.chunk != c.chunk || x.ids != c.ids {
			t.Errorf("%+v: have %d positions of %d ids", c, x.chunk, x.ids)
		}
		least := 0
		if c.ids == c.vocab {
			least = min(c.n, 32) * logits
		}
		if most := max(c.budget/4, least); c.budget > 0 && size-8*(1+c.teachers)*x.chunk > most {
			t.Errorf("%+v: have %d elements, want at most %d", c, size, most)
		}
	}
}

// TestHeadMemory bounds what a large vocabulary takes: never the logits of all positions.
func TestHeadMemory(t *testing.T) {
	const n, vocab, width = 4096, 150_000, 8
	g := New(tensor.Float32, 1, n)
	hidden := g.Leaf("hidden", newDense(tensor.Float32, tensor.Shape{n, width}))
	head := &Param{Name: "head", Shape: tensor.Shape{vocab, width}, Grad: &tensor.Dense{}}
	teacher := &Teacher{Hidden: hidden, Head: Head{Weight: &Param{Name: "teacher's head", Shape: tensor.Shape{vocab, width}}}}
	cost, l := g.Loss(hidden, Head{Weight: head}, []*Teacher{teacher}, []*Term{{Loss: newLoss(t, "forward_kl")}})
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	const least = headRows * 3 * vocab // a chunk of headRows positions: logits of both, and a gradient
	if l.chunk < headRows || l.chunk*3*vocab > max(headBudget, least) {
		t.Errorf("have chunks of %d positions, want as many as fit in %d elements, at least %d", l.chunk, headBudget, headRows)
	}
	if have, most := g.byNode[cost].scratch, max(headBudget, least)+4*n*width; have > most {
		t.Errorf("have working memory of %d elements, want at most %d", have, most)
	}
}

// TestLogits compares the head alone with the products.
func TestLogits(t *testing.T) {
	for _, dtype := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
		for _, softcap := range []float64{0, 1.5} {
			f := newFixture(dtype, 1, 3)
			g := New(f.dtype, 1, 3)
			head := Head{Weight: f.param("head", 5, headWidth), Softcap: softcap}
			if softcap != 0 {
				head.Bias = f.param("bias", 5)
			}
			y := g.Logits(f.matrix(g, (*Param).Frozen, "hidden", headWidth), head)
			p, err := g.Compile(&Arena{}, nil, y)
			if err != nil {
				t.Fatal(err)
			}
			f.run(t, p)
			for i := range 3 {
				want := logitsOf(head, wide(f.param("hidden").Value)[i*headWidth:(i+1)*headWidth])
				for j, have := range wide(p.Value(y))[i*5 : (i+1)*5] {
					if tolerance := map[tensor.Dtype]float64{tensor.Float32: 1e-6, tensor.Float64: 1e-14}[dtype]; math.Abs(have-want[j]) > tolerance*4 {
						t.Errorf("%v, softcap %v: logit %d of position %d: have %v, want %v", dtype, softcap, j, i, have, want[j])
					}
				}
			}
			p.Close()
		}
	}
}

// TestLabelBeyondVocabulary: a label that the head does not have is an error that names the op.
func TestLabelBeyondVocabulary(t *testing.T) {
	c := newHeadCase(1, 1, false, 7, 0, &Term{Loss: newLoss(t, "cross_entropy"), Scale: 1})
	c.feed.Labels[0] = 7
	p, _ := c.compile(t, c.build, true)
	if err := p.Run(context.Background(), c.feed); err == nil || !strings.HasPrefix(err.Error(), "head and losses: ") {
		t.Errorf("have error %v, want one of the op head and losses", err)
	}
}

// check compares a case with plain loops.
func (c *headCase) check(t *testing.T) {
	t.Helper()
	p, cost := c.compile(t, c.build, true)
	p.poison()
	c.losses.Weights = c.weights
	c.run(t, p)

	h, hidden := c.head(trained), []float64(nil)
	head := h.Weight.Value.Float64s()
	if c.tied {
		for _, id := range c.feed.Tokens {
			hidden = append(hidden, head[int(id)*headWidth:(int(id)+1)*headWidth]...)
		}
	} else {
		hidden = c.param("hidden").Value.Float64s()
	}
	dhead, dhidden, dbias := make([]float64, len(head)), make([]float64, len(hidden)), make([]float64, c.vocab)
	total := 0.0
	for i := range c.b * c.t {
		z := logitsOf(h, hidden[i*headWidth:(i+1)*headWidth])
		var y []float64
		if c.teacherVocab > 0 {
			y = logitsOf(Head{c.teacherHead, c.teacherBias, c.softcap}, c.teacher.Value.Float64s()[i*teacherWidth:(i+1)*teacherWidth])
		}
		y1 := y
		var kept *loss.Kept
		if c.recording != nil {
			y, kept = c.recording.at(i)
		}
		dz := make([]float64, c.vocab)
		for k, term := range c.terms {
			want := 0.0
			if c.more != nil {
				y = c.hears(term, i, y1)
			}
			if label := c.feed.Labels[i]; label >= 0 || term.Attended && c.feed.Attended[i] != 0 {
				want = termValue(term, dz, z, y, kept, i, int(label))
			}
			if c.weights != nil {
				want *= float64(c.weights[i])
			}
			if have := c.losses.Values[k][i]; math.Abs(have-want) > 1e-13 {
				t.Errorf("term %d, position %d: have %v, want %v", k, i, have, want)
			}
			total += term.Scale * want
		}
		for v, d := range dz {
			if c.weights != nil {
				d *= float64(c.weights[i])
			}
			if c.softcap != 0 {
				d *= 1 - z[v]*z[v]/c.softcap/c.softcap
			}
			dbias[v] += d
			for k := range headWidth {
				dhead[v*headWidth+k] += d * hidden[i*headWidth+k]
				dhidden[i*headWidth+k] += d * head[v*headWidth+k]
			}
		}
	}
	if have := scalarOf(p.g, cost); math.Abs(have-total) > 1e-12 {
		t.Errorf("cost: have %v, want %v", have, total)
	}
	if c.tied {
		for i, id := range c.feed.Tokens {
			for k := range headWidth {
				dhead[int(id)*headWidth+k] += dhidden[i*headWidth+k]
			}
		}
	} else {
		near(t, "gradient of the hidden states", c.param("hidden").Grad.Float64s(), dhidden)
	}
	near(t, "gradient of the head", c.param("head").Grad.Float64s(), dhead)
	if c.biased {
		near(t, "gradient of the bias", c.param("bias").Grad.Float64s(), dbias)
	}
}

// hears is what a term compares with at a position: the row of one teacher, or the average of those that have a share, over the ids that all have.
func (c *headCase) hears(term *Term, at int, first []float64) []float64 {
	rows, shares := [][]float64{first}, []float64{c.share}
	for _, f := range c.more {
		width := f.hidden.Shape[1]
		rows, shares = append(rows, logitsOf(f.head, f.hidden.Value.Float64s()[at*width:(at+1)*width])), append(shares, f.share)
	}
	if term.Teacher > 0 {
		return rows[term.Teacher-1]
	}
	ids, all := c.vocab, 0.0
	for k, row := range rows {
		ids, all = min(ids, len(row)), all+shares[k]
	}
	temperature, average := term.Loss.Params.Temperature, make([]float64, ids)
	for k, row := range rows {
		sum := 0.0
		for _, y := range row[:ids] {
			sum += math.Exp(y / temperature)
		}
		for i, y := range row[:ids] {
			average[i] += shares[k] / all * math.Exp(y/temperature) / sum
		}
	}
	for i, p := range average {
		average[i] = temperature * math.Log(p)
	}
	return average
}

// termValue is a term over the ids that both models have.
func termValue(term *Term, dz, z, y []float64, kept *loss.Kept, at, label int) float64 {
	if term.Loss.Target {
		return term.Loss.Row64(dz, term.Scale, z, []float64{float64(term.Targets[at])}, label)
	}
	if !term.Loss.Teacher {
		return term.Loss.Row64(dz, term.Scale, z, nil, label)
	}
	if term.Loss.Partly() {
		values, grad := []float64{0}, make([]float64, len(z))
		loss.NewSum[float64]([]*loss.Loss{term.Loss}, len(z), recordedVocab).Row(values, grad, []float64{term.Scale}, z, nil, kept, label)
		for i, g := range grad {
			dz[i] += g
		}
		return values[0]
	}
	n := min(len(z), len(y))
	return term.Loss.Row64(dz[:n], term.Scale, z[:n], y[:n], label)
}

// logitsOf is a head over one hidden state.
func logitsOf(head Head, x []float64) []float64 {
	w, out := wide(head.Weight.Value), make([]float64, head.Weight.Shape[0])
	for i := range out {
		if head.Bias != nil {
			out[i] = wide(head.Bias.Value)[i]
		}
		for k, v := range x {
			out[i] += v * w[i*len(x)+k]
		}
		if head.Softcap != 0 {
			out[i] = head.Softcap * math.Tanh(out[i]/head.Softcap)
		}
	}
	return out
}

// near fails where two vectors differ by more than rounding, or where the wanted one is zero and nothing would be checked.
func near(t *testing.T, what string, have, want []float64) {
	t.Helper()
	if len(have) != len(want) {
		t.Fatalf("%s: have %d values, want %d", what, len(have), len(want))
	}
	for i, w := range want {
		if d := math.Abs(have[i] - w); !(d <= 1e-12*max(1, math.Abs(w))) {
			t.Fatalf("%s: element %d: have %v, want %v", what, i, have[i], w)
		}
	}
	if nothing(want) {
		t.Errorf("%s: zero everywhere, which checks nothing", what)
	}
}
