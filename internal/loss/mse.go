package loss

// mse: mean_i (z_i − x_i)², x what a regression is to give. In place of a teacher's row it gets x.
// ∂/∂z_i = 2 (z_i − x_i)/V; V is 1 in every model here.
func init() {
	register(Definition{
		Name:   "mse",
		Doc:    "(output - target)^2 of a model with one output, a regression",
		Target: true,
	}, logitMSE[float32], logitMSE[float64], func(x position) float64 {
		value := 0.0
		for i, z := range x.student {
			value += (z - x.teacher[i]) * (z - x.teacher[i]) / float64(len(x.student))
		}
		return value
	})
}
