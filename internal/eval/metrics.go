package eval

import "kdistill/internal/loss"

// definition registers a metric over the logits of each predicted token.
type definition struct {
	name        string
	teacher     bool // compares with the teacher
	percentiles bool
	row         func() (*loss.Loss, error)
}

// registry lists the metrics in the order in which they are reported; all are means over tokens.
var registry = []definition{
	{name: "nll", row: func() (*loss.Loss, error) { return loss.New("cross_entropy", loss.Params{}) }},
	{name: "teacher_nll", teacher: true, row: teacherNLL},
	{name: "kl", teacher: true, percentiles: true, row: func() (*loss.Loss, error) { return loss.New("forward_kl", loss.Params{}) }},
	{name: "reverse_kl", teacher: true, percentiles: true, row: func() (*loss.Loss, error) { return loss.New("reverse_kl", loss.Params{}) }},
	{name: "top1_agreement", teacher: true, row: func() (*loss.Loss, error) { return loss.NewMetric("top1_agreement") }},
	{name: "acceptance", teacher: true, row: func() (*loss.Loss, error) { return loss.NewMetric("acceptance") }},
}

// Metrics lists the names of all metrics; those from the second on need a teacher.
func Metrics() (names []string) {
	for _, m := range registry {
		names = append(names, m.name)
	}
	return names
}

// Better says whether a is a better value of the metric than b.
func Better(metric string, a, b float64) bool {
	if metric == "top1_agreement" || metric == "acceptance" {
		return a > b
	}
	return a < b
}

// teacherNLL is the cross-entropy of the teacher's own row. It does not compare, so that the teacher's whole vocabulary counts.
func teacherNLL() (*loss.Loss, error) {
	ce, err := loss.New("cross_entropy", loss.Params{})
	if err != nil {
		return nil, err
	}
	return &loss.Loss{
		Definition: loss.Definition{Name: "teacher_nll", Metric: true},
		Row32: func(_ []float32, _ float32, _, teacher []float32, label int) float32 {
			return ce.Row32(nil, 0, teacher, nil, label)
		},
		Row64: func(_ []float64, _ float64, _, teacher []float64, label int) float64 {
			return ce.Row64(nil, 0, teacher, nil, label)
		},
	}, nil
}
