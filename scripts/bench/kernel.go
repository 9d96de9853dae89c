package main

import (
	"bufio"
	"context"
	"encoding/json"
	"math"
	"os"
	"time"

	"gorgonia.org/tensor"
	"kdistill/internal/distill"
	"kdistill/internal/graph"
	"kdistill/internal/kernel"
	"kdistill/internal/loss"
)

// kernelCase is a loss and its gradient over rows of logits, or over hidden states and heads where Width is given, as kernels.py lists them.
type kernelCase struct {
	Loss       string `json:"loss"`
	Rows       int    `json:"rows"`
	Vocabulary int    `json:"vocabulary"`
	Width      int    `json:"width"`
	Teacher    int    `json:"teacher_width"`
	BF16       bool   `json:"bfloat16"`
	Repeat     int    `json:"repeat"` // evaluations of a turn, 0: one
}

// runKernel answers each line of the standard input with a turn: its seconds, the mean loss and samples of the gradients.
func runKernel(text string) error {
	answers, started := json.NewEncoder(os.Stdout), distill.PeakMemory()
	var c kernelCase
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	l, err := loss.New(c.Loss, loss.Params{})
	if err != nil {
		return err
	}
	turn, results := c.logits, [][]float32{nil}
	if c.Width > 0 {
		turn, results = c.head, [][]float32{nil, nil}
	}
	step, inputs, err := turn(l, results)
	if err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		began, times, value := time.Now(), max(1, c.Repeat), 0.0
		for range times {
			if value, err = step(); err != nil {
				return err
			}
		}
		seconds := time.Since(began).Seconds() / float64(times)
		samples := make([][]float32, len(results))
		for i, r := range results {
			for j := range 97 {
				samples[i] = append(samples[i], r[j*(len(r)/97)+j])
			}
		}
		if err := answers.Encode(map[string]any{"seconds": seconds, "loss": value, "gradients": samples}); err != nil {
			return err
		}
	}
	data := inputs
	for _, r := range results {
		data += 4 * len(r)
	}
	return answers.Encode(map[string]any{"peak_memory": distill.PeakMemory(), "imports": started, "data": data})
}

// logits prepares the loss over rows of logits.
func (c *kernelCase) logits(l *loss.Loss, results [][]float32) (step func() (float64, error), inputs int, err error) {
	v := c.Vocabulary
	z, y, dz := matrix(0, c.Rows*v, 12), matrix(1, c.Rows*v, 12), make([]float32, c.Rows*v)
	results[0] = dz
	sum, values, scales := loss.NewSum[float32]([]*loss.Loss{l}, v, v), make([]float64, c.Rows), []float64{1 / float64(c.Rows)}
	return func() (float64, error) {
		kernel.Parallel(c.Rows, func(r int) {
			row := func(x []float32) []float32 { return x[r*v : (r+1)*v] }
			sum.Row(values[r:r+1], row(dz), scales, row(z), row(y), nil, -1)
		})
		return kernel.Sum(values) / float64(c.Rows), nil
	}, 4 * (len(z) + len(y)), nil
}

// head prepares the loss over hidden states and heads of student and teacher.
func (c *kernelCase) head(l *loss.Loss, results [][]float32) (step func() (float64, error), inputs int, err error) {
	param := func(k, rows, columns int) *graph.Param {
		shape := tensor.Shape{rows, columns}
		inputs += 4 * rows * columns
		return &graph.Param{Name: string(rune('a' + k)), Shape: shape, Value: tensor.New(tensor.WithShape(shape...), tensor.WithBacking(matrix(uint32(k), rows*columns, 1)))}
	}
	hidden, teacher, w, wTeacher := param(0, c.Rows, c.Width), param(1, c.Rows, c.Teacher), param(2, c.Vocabulary, c.Width), param(3, c.Vocabulary, c.Teacher)
	for i, p := range []*graph.Param{hidden, w} {
		results[i] = make([]float32, p.Shape.TotalSize())
		p.Grad = tensor.New(tensor.WithShape(p.Shape...), tensor.WithBacking(results[i]))
	}
	g := graph.New(tensor.Float32, 1, c.Rows)
	g.BF16 = c.BF16
	feed := graph.Feed{Tokens: make([]int32, c.Rows), Labels: make([]int32, c.Rows), Attended: make([]int32, c.Rows)}
	for i := range feed.Tokens {
		feed.Tokens[i] = int32(i) // of a table of hidden states
	}
	term := &graph.Term{Loss: l, Scale: 1 / float64(c.Rows)}
	cost, losses := g.Loss(g.Embedding(g.Weight(hidden), g.Inputs.Tokens, 0, -1), graph.Head{Weight: w},
		[]*graph.Teacher{{Hidden: g.Leaf("teacher", teacher.Value), Head: graph.Head{Weight: wTeacher}}}, []*graph.Term{term})
	program, err := g.Compile(&graph.Arena{}, cost)
	return func() (float64, error) {
		for _, r := range results {
			clear(r)
		}
		err := program.Run(context.Background(), feed)
		return term.Scale * losses.Sum(0), err
	}, inputs, err
}

// matrix returns the k-th matrix of n numbers between -scale/2 and scale/2: bits of a multiplicative hash, the same in kernel_torch.py.
func matrix(k uint32, n int, scale float32) []float32 {
	x := make([]float32, n)
	for i := range x {
		h := (uint32(i) + k*0x9e3779b9) * 0x85ebca6b
		h = (h ^ h>>15) * 0xc2b2ae35
		h ^= h >> 16
		x[i] = scale * (float32(h>>8)*float32(math.Exp2(-24)) - 0.5)
	}
	return x
}
