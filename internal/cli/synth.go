package cli

import (
	"github.com/spf13/cobra"
	"kdistill/internal/config"
	"kdistill/internal/synth"
)

func init() { register(newSynth) }

type synthOptions struct {
	configured
	json bool
}

func newSynth(s streams) *cobra.Command {
	var o synthOptions
	c := &cobra.Command{
		Use:   "synth --config FILE|NAME",
		Short: "Make a data set with a teacher that writes",
		Long: `Ask a teacher as the section synth of a configuration says, and write what it answers to synth.output, which data.train reads.

Each answer is stored as it comes, in a file beside the output. A run that was interrupted, killed, or stopped by its budget, by a server or by a
full disk goes on with the same command: no stored answer is asked for again. When all are there, the output is written in the order of the input;
the same configuration gives the same lines but for their times, from a teacher that answers alike. Filters run then, over stored answers: to
change them costs nothing. A report tells how many lines each removed, with samples.`,
		Example: `  kdistill synth --config synth.yaml
  kdistill synth --config synth.yaml --set synth.budget_tokens=2000000
  kdistill train --config run.yaml --set 'data.train=[{path: out.jsonl}]'`,
		Args: checked(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, s) },
	}
	o.addFlags(c)
	c.Flags().BoolVar(&o.json, "json", false, "print the report as one JSON object")
	return c
}

func (o *synthOptions) run(cmd *cobra.Command, s streams) error {
	if err := o.check(); err != nil {
		return err
	}
	c, err := o.loadBy(config.LoadSynth)
	if err != nil {
		return err
	}
	r, err := synth.Make(cmd.Context(), c, synth.Options{Log: s.err, Teacher: synth.NewTeacher})
	if err != nil {
		return err
	}
	if o.json {
		line, err := jsonLine(r)
		if err == nil {
			_, err = s.out.Write(line)
		}
		return err
	}
	return r.Print(s.out)
}
