package graph

import (
	"math"
	"strings"
	"testing"

	"gorgonia.org/tensor"
	"kdistill/internal/loss"
)

const recordedVocab = 9

// rowsOnDisk are rows of random logits, or the three likeliest ids of each.
type rowsOnDisk struct {
	complete bool
	rows     [][]float32
}

func newRowsOnDisk(f *fixture, complete bool) *rowsOnDisk {
	r := &rowsOnDisk{complete: complete}
	for range f.b * f.t {
		row := make([]float32, recordedVocab)
		for i := range row {
			row[i] = float32(f.random.NormFloat64())
		}
		r.rows = append(r.rows, row)
	}
	return r
}

func (r *rowsOnDisk) Vocab() int     { return recordedVocab }
func (r *rowsOnDisk) Complete() bool { return r.complete }

func (r *rowsOnDisk) Logits(position int, logits []float32) { copy(logits, r.rows[position]) }

func (r *rowsOnDisk) Kept(position int, kept *loss.Kept) {
	kept.IDs, kept.LogProbs = kept.IDs[:0], kept.LogProbs[:0]
	sum, rest := 0.0, 0.0
	for _, y := range r.rows[position] {
		sum += math.Exp(float64(y))
	}
	for id, y := range r.rows[position] {
		if p := math.Exp(float64(y)) / sum; id%3 == position%3 {
			kept.IDs, kept.LogProbs = append(kept.IDs, int32(id)), append(kept.LogProbs, float32(math.Log(p)))
		} else {
			rest += p
		}
	}
	kept.Tail = float32(math.Log(rest))
}

// at is a position as the plain loops of the tests take it.
func (r *rowsOnDisk) at(position int) (y []float64, kept *loss.Kept) {
	for _, v := range r.rows[position] {
		y = append(y, float64(v))
	}
	kept = &loss.Kept{}
	r.Kept(position, kept)
	return y, kept
}

func partly(t *testing.T, name string, p loss.Params) *loss.Loss {
	t.Helper()
	l, err := loss.New(name, p)
	if err != nil {
		t.Fatal(err)
	}
	if l, err = l.Sparse(loss.SparseParams{Temperature: 1, Vocabulary: recordedVocab}); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestRecording compares values, gradients and tails with plain loops: whole rows and rows of which a part is known, smaller, equal and larger vocabularies
// of the student, with losses on labels beside, and where positions have no label.
func TestRecording(t *testing.T) {
	for _, complete := range []bool{true, false} {
		for _, vocab := range []int{7, 9, 12} {
			for _, softcap := range []float64{0, 1.5} {
				terms := []*Term{
					{Loss: newLoss(t, "cross_entropy"), Scale: 0.3}, {Loss: newLoss(t, "forward_kl"), Attended: true, Scale: 0.7}, {Loss: newLoss(t, "total_variation"), Scale: 1.1},
				}
				if !complete {
					terms[1].Loss, terms[2].Loss = partly(t, "forward_kl", loss.Params{}), partly(t, "total_variation", loss.Params{Temperature: 2, T2Scaling: true})
				}
				c := newHeadCase(3, 5, false, vocab, 0, terms...).shaped(softcap != 0, softcap)
				c.recording = newRowsOnDisk(c.fixture, complete)
				c.check(t)
				if (c.losses.TeacherTail != nil) == complete {
					t.Errorf("complete %v: have tails %v", complete, c.losses.TeacherTail)
				}
				for i, p := range c.losses.TeacherTail {
					_, kept := c.recording.at(i)
					want := math.Exp(float64(kept.Tail))
					if c.feed.Attended[i] == 0 {
						want = 0
					}
					if q := c.losses.StudentTail[i]; vocab == 9 && math.Abs(p-want) > 1e-6 || (want > 0) != (q > 0) || q >= 1 {
						t.Errorf("position %d: have tails %v and %v, want %v", i, p, q, want)
					}
				}
			}
		}
	}
}

// TestRecordingFloat32 is the same in float32, where whole rows are read in place.
func TestRecordingFloat32(t *testing.T) {
	for _, complete := range []bool{true, false} {
		var values [2][]float64
		for i, dtype := range []tensor.Dtype{tensor.Float32, tensor.Float64} {
			term := &Term{Loss: newLoss(t, "reverse_kl"), Scale: 1}
			if !complete {
				term.Loss = partly(t, "reverse_kl", loss.Params{})
			}
			c := newHeadCaseOf(dtype, 2, 6, false, recordedVocab, 0, term)
			c.recording = newRowsOnDisk(c.fixture, complete)
			p, _ := c.compile(t, c.build, true)
			c.run(t, p)
			values[i] = append(c.losses.Values[0], c.gradients()["hidden"]...)
		}
		for i := range values[0] {
			if math.Abs(values[0][i]-values[1][i]) > 2e-6 {
				t.Errorf("complete %v, value %d: have %v, want %v", complete, i, values[0][i], values[1][i])
			}
		}
	}
}

// TestRecordingRefuses a loss that was made for other rows.
func TestRecordingRefuses(t *testing.T) {
	for _, complete := range []bool{true, false} {
		term := &Term{Loss: newLoss(t, "forward_kl"), Scale: 1}
		if complete {
			term.Loss = partly(t, "forward_kl", loss.Params{})
		}
		c := newHeadCase(1, 5, false, 7, 0, term)
		c.recording = newRowsOnDisk(c.fixture, complete)
		g := New(c.dtype, c.b, c.t)
		c.build(g, trained)
		if g.Err() == nil || !strings.Contains(g.Err().Error(), "loss forward_kl: made for rows that are known in part") {
			t.Errorf("complete %v: have %v", complete, g.Err())
		}
	}
}
