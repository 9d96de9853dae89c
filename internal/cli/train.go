package cli

import (
	"github.com/spf13/cobra"
	"kdistill/internal/distill"
)

func init() { register(newTrain) }

type trainOptions struct {
	configured
	resume, overwrite bool
	dryRun            bool
}

func newTrain(s streams) *cobra.Command {
	var o trainOptions
	c := &cobra.Command{
		Use:   "train --config FILE|NAME",
		Short: "Distil a teacher into a student as a configuration says",
		Long: `Distil a teacher into a student as a configuration says.

FILE is a YAML file; NAME is a configuration inside the program (kdistill config lists them). The one named demo is run twice, as it is
and with cross-entropy alone, and the two students are compared.
The run is written to output.dir: model (the student, a Hugging Face folder), best, checkpoints, metrics.jsonl, config.yaml.
Ctrl-C saves the state and ends; --resume goes on from there, to the same bytes.`,
		Example: `  kdistill train --config demo
  kdistill train --config run.yaml --set train.steps=200 --set 'loss[0].weight=1'
  kdistill train --config run.yaml --resume
  kdistill train --config run.yaml --dry-run`,
		Args: checked(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, s) },
	}
	o.addFlags(c)
	f := c.Flags()
	f.BoolVar(&o.resume, "resume", false, "go on with the run in output.dir")
	f.BoolVar(&o.overwrite, "overwrite", false, "replace the run in output.dir")
	f.BoolVar(&o.dryRun, "dry-run", false, "check everything, print sizes, memory and speed, and train nothing")
	c.MarkFlagsMutuallyExclusive("resume", "overwrite")
	return c
}

func (o *trainOptions) run(cmd *cobra.Command, s streams) error {
	if err := o.check(); err != nil {
		return err
	}
	if isDemo(o.config) && !o.dryRun {
		return o.demo(cmd.Context(), s)
	}
	c, err := o.load()
	if err != nil {
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
