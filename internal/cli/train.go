package cli

import (
	"runtime"

	"github.com/spf13/cobra"
	"kdistill/internal/config"
	"kdistill/internal/distill"
)

func init() { register(newTrain) }

type trainOptions struct {
	config            string
	sets              []string
	resume, overwrite bool
	dryRun            bool
	threads           int
}

func newTrain(s streams) *cobra.Command {
	var o trainOptions
	c := &cobra.Command{
		Use:   "train --config FILE|NAME",
		Short: "Distil a teacher into a student as a configuration says",
		Long: `Distil a teacher into a student as a configuration says.

FILE is a YAML file; NAME is a configuration inside the program (kdistill config lists them). The one named demo is run twice, with
cross-entropy alone and as it is, and the two students are compared.
The run is written to output.dir: model (the student, a Hugging Face folder), best, checkpoints, metrics.jsonl, config.yaml.
Ctrl-C saves the state and ends; --resume goes on from there, to the same bytes.`,
		Example: `  kdistill train --config demo
  kdistill train --config run.yaml --set train.steps=200 --set loss[0].weight=1
  kdistill train --config run.yaml --resume
  kdistill train --config run.yaml --dry-run`,
		Args: checked(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, s) },
	}
	f := c.Flags()
	f.StringVar(&o.config, "config", "", "a YAML `FILE`, or the name of an embedded configuration")
	f.StringArrayVar(&o.sets, "set", nil, "override a key, as `KEY=VALUE`; may be repeated")
	f.BoolVar(&o.resume, "resume", false, "go on with the run in output.dir")
	f.BoolVar(&o.overwrite, "overwrite", false, "replace the run in output.dir")
	f.BoolVar(&o.dryRun, "dry-run", false, "check everything, print sizes, memory and speed, and train nothing")
	addThreads(c, &o.threads)
	c.MarkFlagsMutuallyExclusive("resume", "overwrite")
	return c
}

func (o *trainOptions) run(cmd *cobra.Command, s streams) error {
	if o.config == "" {
		return usagef("--config is missing: name a YAML file or an embedded configuration (kdistill config lists them)")
	}
	if err := setThreads(o.threads); err != nil {
		return err
	}
	if isDemo(o.config) && !o.dryRun {
		return o.demo(cmd.Context(), s)
	}
	c, err := config.Load(o.config, o.sets)
	if err != nil {
		return err
	}
	if err := c.Unpack(); err != nil {
		return err
	}
	if o.dryRun {
		return distill.DryRun(cmd.Context(), c, o.options(s))
	}
	result, err := distill.Train(cmd.Context(), c, o.options(s))
	if err != nil {
		return err
	}
	return result.Print(s.out)
}

func (o *trainOptions) options(s streams) distill.Options {
	return distill.Options{Resume: o.resume, Overwrite: o.overwrite, Log: s.err, Out: s.out}
}

// addThreads adds --threads.
func addThreads(c *cobra.Command, threads *int) {
	c.Flags().IntVar(threads, "threads", 0, "cores to use; 0: all that the system grants. Results don't depend on it")
}

func setThreads(n int) error {
	if n < 0 {
		return usagef("--threads: have %d, want 0 or more", n)
	}
	if n > 0 {
		runtime.GOMAXPROCS(n)
	}
	return nil
}
