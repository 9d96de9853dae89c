package eval

import "kdistill/internal/loss"

// squaredError is the mean squared error of a regression; its error is that of every mean here.
var squaredError = definition{name: "mse", kinds: numeric, row: func() (*loss.Loss, error) { return loss.New("mse", loss.Params{}) }}
