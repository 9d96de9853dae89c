package distill

import (
	"fmt"
	"path/filepath"
	"testing"

	"kdistill/internal/config"
	"kdistill/internal/testutil"
)

// encoderRuns are the runs of testdata/golden/encoders: what they learn from and by which losses.
var encoderRuns = map[string]struct {
	task  string
	terms []config.Loss
}{
	"classes_ce_kl":   {"classes", []config.Loss{weighted(0.5, term("cross_entropy")), weighted(0.5, heated(term("forward_kl"), 4))}},
	"classes_kl":      {"classes", []config.Loss{term("forward_kl")}},
	"number_mse":      {"number", []config.Loss{weighted(0.7, term("mse")), weighted(0.3, term("logit_mse"))}},
	"masked_ce_kl":    {"masked", []config.Loss{weighted(0.5, term("cross_entropy")), weighted(0.5, heated(term("forward_kl"), 2))}},
	"masked_attended": {"masked", []config.Loss{weighted(0.5, term("cross_entropy")), attended(weighted(0.5, heated(term("forward_kl"), 2)))}},
}

func weighted(w float64, l config.Loss) config.Loss {
	l.Weight = config.Constant(w)
	return l
}

func heated(l config.Loss, temperature float64) config.Loss {
	l.Temperature, l.T2Scaling = temperature, true
	return l
}

func attended(l config.Loss) config.Loss {
	l.Positions = "attended"
	return l
}

// encoderConfig is the set-up of the golden runs of a task.
func encoderConfig(t testing.TB, task, dir string, terms ...config.Loss) *config.Config {
	c := goldenConfig(t, dir)
	folder := "golden/encoders/" + task
	c.Teacher.Path, c.Student.Path = testutil.Testdata(t, folder+"/teacher"), testutil.Testdata(t, folder+"/student")
	c.Data.Train[0].Path = testutil.Testdata(t, folder+".jsonl")
	c.Loss = terms
	return c
}

// TestGoldenEncoders takes the ten steps that torch and transformers took, in micro-batches of several sizes.
func TestGoldenEncoders(t *testing.T) {
	for name, run := range encoderRuns {
		for _, micro := range []int{8, 3} {
			t.Run(fmt.Sprintf("%s in %d", name, micro), func(t *testing.T) {
				var want goldenRun
				unmarshal(t, read(t, testutil.Testdata(t, "golden/encoders/"+name+".json")), &want)
				c := encoderConfig(t, run.task, filepath.Join(t.TempDir(), "run"), run.terms...)
				c.Train.MicroBatchSize = config.MicroBatch(micro)
				have := train(t, c, Options{})
				if len(have) != len(want.Steps) || len(have) != 10 {
					t.Fatalf("have %d steps, want %d", len(have), len(want.Steps))
				}
				for i, w := range want.Steps {
					if h := have[i]; !near(h.Loss, w.Loss, 2e-5) || !near(h.GradNorm, w.Norm, 1e-4) || !near(h.LR, w.LR, 1e-9) {
						t.Errorf("step %d: have loss %.7f, norm %.7f, lr %.9f; want %.7f, %.7f, %.9f", i, h.Loss, h.GradNorm, h.LR, w.Loss, w.Norm, w.LR)
					}
				}
				endsAs(t, c, want)
			})
		}
	}
}
