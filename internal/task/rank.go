package task

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"kdistill/internal/data"
	"kdistill/internal/generate"
	"kdistill/internal/graph"
	"kdistill/internal/loss"
	"kdistill/internal/model"
	"kdistill/internal/nn"
	"kdistill/internal/objective"
)

// tokens of a batch, and what the length of its rows is rounded up to, so that few shapes are compiled.
const (
	batchTokens = 4096
	lengthStep  = 32
)

// row is a prompt with one of its choices.
type row struct{ prompt, choice int }

// Ranking is what was known before, and takes what is found.
type Ranking struct {
	Known map[int][]float64                       // by the number of the question
	Keep  func(i int, likelihood []float64) error // takes each new one; nil: nobody does
}

// Rank returns the log-probability, in nats, of every choice of every prompt after it. progress is told how many choices are done.
func Rank(ctx context.Context, m model.Model, weights nn.Weights, prompts []Prompt, k Ranking, progress func(done int)) (likelihood [][]float64, err error) {
	if err := generate.Check(m); err != nil {
		return nil, err
	}
	ce, err := loss.New("cross_entropy", loss.Params{})
	if err != nil {
		return nil, err
	}
	o := objective.Objective{Model: m, Weights: weights, Terms: []*graph.Term{{Loss: ce}}, Arena: &graph.Arena{}}
	defer o.Close()
	var rows []row
	likelihood = make([][]float64, len(prompts))
	left := make([]int, len(prompts)) // choices that are to be compared
	before := 0
	for i, p := range prompts {
		if known := k.Known[i]; len(known) == len(p.Ends) {
			likelihood[i], before = known, before+len(known)
			continue
		}
		likelihood[i], left[i] = make([]float64, len(p.Ends)), len(p.Ends)
		for j := range p.Ends {
			rows = append(rows, row{i, j})
		}
	}
	size := func(r row) int { return len(prompts[r.prompt].IDs) + len(prompts[r.prompt].Ends[r.choice]) - 1 } // nothing follows the last id
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(size(b), size(a)) })                  // the largest shape first: it fails or fits at once
	for done := 0; done < len(rows); {
		length := min((size(rows[done])+lengthStep-1)/lengthStep*lengthStep, m.Info().Positions)
		taken := rows[done:min(done+max(1, batchTokens/length), len(rows))]
		batch := newBatch(len(taken), length)
		for i, r := range taken {
			p := prompts[r.prompt]
			fill(batch, i, p.IDs, p.Ends[r.choice])
		}
		losses, err := o.Run(ctx, batch)
		if err != nil {
			return nil, err
		}
		for at, label := range batch.Labels {
			if label == data.Ignore {
				continue
			}
			r := taken[at/length]
			if likelihood[r.prompt][r.choice] -= losses.Values[0][at]; math.IsNaN(losses.Values[0][at]) {
				return nil, fmt.Errorf("the likelihood of a choice is not a number: the weights hold NaN or infinities")
			}
		}
		done += len(taken)
		progress(before + done)
		for _, r := range taken {
			if left[r.prompt]--; left[r.prompt] > 0 || k.Keep == nil {
				continue
			}
			if err := k.Keep(r.prompt, likelihood[r.prompt]); err != nil {
				return nil, err
			}
		}
	}
	return likelihood, nil
}

func newBatch(rows, length int) *data.Batch {
	n := rows * length
	b := &data.Batch{B: rows, T: length, Tokens: make([]int32, n), Labels: slices.Repeat([]int32{data.Ignore}, n),
		Segments: slices.Repeat([]int32{-1}, n), Positions: make([]int32, n), Documents: slices.Repeat([]int32{-1}, n)}
	return b
}

// fill makes row i of context and end, of which the latter is predicted.
func fill(b *data.Batch, i int, context, end []int32) {
	ids := slices.Concat(context, end)
	at := i * b.T
	for j := range len(ids) - 1 {
		b.Tokens[at+j], b.Segments[at+j], b.Positions[at+j], b.Documents[at+j] = ids[j], 0, int32(j), int32(i)
		if j+1 >= len(context) {
			b.Labels[at+j] = ids[j+1]
		}
	}
}
