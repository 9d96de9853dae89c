package objective

import (
	"context"
	"fmt"
	"slices"

	"gorgonia.org/tensor"
	"kdistill/internal/data"
	"kdistill/internal/graph"
	"kdistill/internal/loss"
	"kdistill/internal/model"
	"kdistill/internal/nn"
)

// heard is what a teacher says about a batch, as leaves of the student's graph. It is copied: the teacher's own memory is the student's, too.
type heard struct {
	teacher int // from 1
	want    []model.Feature
	places  []place
}

// place holds columns of a feature, [B*T, width] from a column on.
type place struct {
	feature, from, width int
	values               []float32
}

// leaf adds columns of a feature, or finds those that are there.
func (h *heard) leaf(b *nn.Builder, f model.Feature, from, width int) *graph.Node {
	feature := slices.Index(h.want, f)
	if feature < 0 {
		feature = len(h.want)
		h.want = append(h.want, f)
	}
	i := slices.IndexFunc(h.places, func(p place) bool { return p.feature == feature && p.from == from && p.width == width })
	if i < 0 {
		i = len(h.places)
		h.places = append(h.places, place{feature, from, width, make([]float32, b.Rows()*width)})
	}
	return b.Leaf(fmt.Sprintf("teacher %d's feature %v from column %d", h.teacher, f, from),
		tensor.New(tensor.WithShape(b.Rows(), width), tensor.WithBacking(h.places[i].values)))
}

// listen asks the teacher about a batch.
func (h *heard) listen(ctx context.Context, t Teacher, batch *data.Batch) error {
	var values [][]float32
	var err error
	switch {
	case len(h.want) == 0:
	case len(h.want) == 1 && h.want[0].Rows == loss.Logits:
		values = make([][]float32, 1)
		values[0], err = t.Hidden(ctx, batch)
	default:
		values, err = t.(Featured).Features(ctx, batch, h.want)
	}
	if err != nil {
		return err
	}
	for _, p := range h.places {
		all, rows := values[p.feature], len(p.values)/p.width
		stride := len(all) / rows
		if stride == p.width {
			copy(p.values, all)
			continue
		}
		for r := range rows {
			copy(p.values[r*p.width:(r+1)*p.width], all[r*stride+p.from:])
		}
	}
	return nil
}

// bytes is the memory that it takes.
func (h *heard) bytes() int {
	n := 0
	for _, p := range h.places {
		n += 4 * len(p.values)
	}
	return n
}
