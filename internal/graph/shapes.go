package graph

import (
	"errors"
	"io"
)

// Shape is the number of rows and of positions in a row.
type Shape struct{ B, T int }

// ByShape keeps what was compiled last, each shape once. The zero value is ready.
type ByShape[C io.Closer] struct {
	compiled map[Shape]C
	recent   []Shape // in the order in which they were compiled
}

// maxShapes bounds what is kept: training on padded rows meets a shape for every 32 tokens of length.
const maxShapes = 16

// At returns what was built for a shape, building it at its first use.
func (c *ByShape[C]) At(s Shape, build func() (C, error)) (C, error) {
	if p, ok := c.compiled[s]; ok {
		return p, nil
	}
	p, err := build()
	if err != nil {
		return p, err
	}
	if len(c.recent) == maxShapes {
		old := c.recent[0]
		if err := c.compiled[old].Close(); err != nil {
			return p, err
		}
		delete(c.compiled, old)
		c.recent = c.recent[1:]
	}
	if c.compiled == nil {
		c.compiled = map[Shape]C{}
	}
	c.compiled[s] = p
	c.recent = append(c.recent, s)
	return p, nil
}

// Close closes everything that is kept.
func (c *ByShape[C]) Close() error {
	var errs []error
	for _, p := range c.compiled {
		errs = append(errs, p.Close())
	}
	c.compiled, c.recent = nil, nil
	return errors.Join(errs...)
}
