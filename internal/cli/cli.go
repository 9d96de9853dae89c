// Package cli is the command line: one file per command, each a struct of options with a run method that calls the other packages.
// All words for people stand here; nothing here computes.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"kdistill/internal/config"
	"kdistill/internal/kernel"
)

// Exit codes.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2 // wrong usage or configuration
	exitInterrupted = 130
)

// streams are where a command reads and writes. With --json, out holds nothing but the result.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// commands are filled by the files of this package: a new command is one new file.
var commands []func(streams) *cobra.Command

func register(build func(streams) *cobra.Command) { commands = append(commands, build) }

// usageError marks an error of usage: exit code 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Main runs the command line and returns the exit code. An interrupt or SIGTERM cancels the command's context; a second one ends the program at once.
func Main(args []string, in io.Reader, out, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	err := kernel.CheckPath()
	begun := false
	if err == nil {
		root := newRoot(streams{in, out, stderr})
		root.SetArgs(args)
		watch(root, &begun)
		err = root.ExecuteContext(ctx)
	}
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintln(stderr, "interrupted")
		return exitInterrupted
	}
	fmt.Fprintln(stderr, "kdistill:", err)
	var usage usageError
	var wrong *config.Error
	if !begun || errors.As(err, &usage) || errors.As(err, &wrong) {
		return exitUsage
	}
	return exitFailed
}

func newRoot(s streams) *cobra.Command {
	root := &cobra.Command{
		Use:           "kdistill",
		Short:         "Distil a large language model into a small one, on a CPU",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef("%w (see %s --help)", err, c.CommandPath())
	})
	for _, build := range commands {
		root.AddCommand(build(s))
	}
	return root
}

// watch notes when a command's own code begins: an error before that is cobra's, and one of usage.
func watch(c *cobra.Command, begun *bool) {
	if run := c.RunE; run != nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			*begun = true
			return run(c, args)
		}
	}
	for _, sub := range c.Commands() {
		watch(sub, begun)
	}
}

// checked wraps cobra's argument checks as errors of usage.
func checked(args cobra.PositionalArgs) cobra.PositionalArgs {
	return func(c *cobra.Command, a []string) error {
		if err := args(c, a); err != nil {
			return usagef("%w (see %s --help)", err, c.CommandPath())
		}
		return nil
	}
}
