package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"kdistill/internal/checkpoint"
	"kdistill/internal/config"
	"kdistill/internal/model"
)

func init() { register(newConfig) }

func newConfig(s streams) *cobra.Command {
	c := &cobra.Command{
		Use:   "config [NAME]",
		Short: "Print every key with its default, or an embedded configuration",
		Long: `Print every key of the configuration with its meaning and default, or the embedded configuration NAME:
` + strings.Join(config.Names(), ", ") + `.`,
		Example: `  kdistill config
  kdistill config forward_kl > run.yaml
  kdistill config new --teacher models/big --data corpus.txt --output run.yaml`,
		Args:      checked(cobra.MaximumNArgs(1)),
		ValidArgs: config.Names(),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				_, err := fmt.Fprintf(s.out, "%s\n# kdistill config NAME prints another one that is inside the program: %s.\n", config.Reference(), strings.Join(config.Names(), ", "))
				return err
			}
			text, _, err := config.Text(args[0])
			if err != nil {
				return usageError{err}
			}
			_, err = s.out.Write(text)
			return err
		},
	}
	c.AddCommand(newConfigNew(s))
	return c
}

type configNewOptions struct {
	config.Start
	file string
}

func newConfigNew(s streams) *cobra.Command {
	var o configNewOptions
	c := &cobra.Command{
		Use:   "new --teacher DIR --data FILE",
		Short: "Write a commented configuration for a teacher and a text",
		Long: `Write a configuration with the keys that a first run is likely to change, each with its comment. Without --student the student is every
second layer of the teacher.`,
		Example: `  kdistill config new --teacher models/big --data corpus.txt --output run.yaml
  kdistill config new --teacher models/big --student models/small --data train.jsonl --eval test.jsonl > run.yaml`,
		Args: checked(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error { return o.run(s) },
	}
	f := c.Flags()
	f.StringVar(&o.Teacher, "teacher", "", "the teacher: a Hugging Face `DIR`, or org/name in the cache")
	f.StringVar(&o.Student, "student", "", "the student: a Hugging Face `DIR`, or org/name in the cache")
	f.StringVar(&o.Data, "data", "", "the `FILE` to learn from: text, JSON lines, parquet or token ids")
	f.StringVar(&o.Eval, "eval", "", "the `FILE` to measure on")
	f.StringVar(&o.Output, "dir", "", "the run's `DIR`; default: runs/ and the name of the written file")
	f.StringVar(&o.file, "output", "", "write to `FILE`, which must not exist; default: print it")
	return c
}

func (o *configNewOptions) run(s streams) error {
	if o.Teacher == "" || o.Data == "" {
		return usagef("--teacher and --data are needed, the model to learn from and the file to learn on")
	}
	for _, path := range []string{o.Data, o.Eval} {
		if _, err := os.Stat(path); path != "" && err != nil {
			return err
		}
	}
	teacher, err := modelOf(o.Teacher)
	if err != nil {
		return fmt.Errorf("teacher: %w", err)
	}
	if o.Student == "" {
		o.Layers = (teacher.Info().Layers + 1) / 2
	} else if _, err := modelOf(o.Student); err != nil {
		return fmt.Errorf("student: %w", err)
	}
	if o.Output == "" {
		name := strings.TrimSuffix(filepath.Base(o.file), filepath.Ext(o.file))
		if o.file == "" {
			name = "first"
		}
		o.Output = "runs/" + name
	}
	text, err := config.New(o.Start)
	if err != nil {
		return err
	}
	if o.file == "" {
		_, err := s.out.Write(text)
		return err
	}
	f, err := os.OpenFile(o.file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, os.ErrExist) {
		return usagef("--output: %s is there already: name another file, or remove it", o.file)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.err, "%s is written; see what it would do with: kdistill train --config %s --dry-run\n", o.file, o.file)
	return err
}

// modelOf reads a model's config.json without its weights.
func modelOf(path string) (model.Model, error) {
	dir, err := checkpoint.Resolve(path)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return nil, err
	}
	m, err := model.New(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return m, nil
}
